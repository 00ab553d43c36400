/*
 * The text of /metrics.
 *
 * Histograms are coarser here than in the cells: one `le` for each power of two nanoseconds, whose
 * bounds are bounds of base/histogram.h's buckets, so that every count is exact. A value of exactly
 * 2^k ns is counted above it, not at it; nobody measures that.
 *
 * Labels hold what peers chose: stats.c has cleaned and bounded it; it is escaped here all the
 * same. The number of series is bounded by STATS_SUM_MAX names that are summed apart, times 17
 * statuses at most (those with no call are left out).
 */
#include "broker/metrics.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/histogram.h"
#include "broker/broker.h"
#include "parley/client.h"

#define METRICS_LE_FIRST 9 /* 2^9 ns: 0.5 us */
#define METRICS_LE_LAST 34 /* 2^34 ns: 17 s */

/* ---- Text ---- */

static void put(struct metrics *metrics, const char *text, size_t bytes)
{
    if (metrics->failed)
        return;
    if (metrics->bytes + bytes > metrics->bytes_max) {
        size_t bytes_max = metrics->bytes_max ? metrics->bytes_max : 4096;
        while (bytes_max < metrics->bytes + bytes)
            bytes_max *= 2;
        char *grown = realloc(metrics->text, bytes_max);
        if (!grown) {
            metrics->failed = true;
            return;
        }
        metrics->text = grown;
        metrics->bytes_max = bytes_max;
    }
    memcpy(metrics->text + metrics->bytes, text, bytes);
    metrics->bytes += bytes;
}

static void put_text(struct metrics *metrics, const char *text)
{
    put(metrics, text, strlen(text));
}

__attribute__((format(printf, 2, 3))) static void put_format(struct metrics *metrics,
                                                             const char *format, ...)
{
    char buffer[128];
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(buffer, sizeof(buffer), format, arguments);
    va_end(arguments);
    if (n > 0)
        put(metrics, buffer, (size_t)n < sizeof(buffer) ? (size_t)n : sizeof(buffer) - 1);
}

static void put_escaped(struct metrics *metrics, const char *value)
{
    for (; *value; value++) {
        if (*value == '\\' || *value == '"')
            put(metrics, "\\", 1);
        if (*value == '\n')
            put_text(metrics, "\\n");
        else
            put(metrics, value, 1);
    }
}

static void put_labels(struct metrics *metrics, const struct label *labels, size_t label_count,
                       const char *le)
{
    const char *between = "{";
    for (size_t i = 0; i < label_count; i++) {
        if (!labels[i].value)
            continue;
        put_format(metrics, "%s%s=\"", between, labels[i].name);
        put_escaped(metrics, labels[i].value);
        put_text(metrics, "\"");
        between = ",";
    }
    if (le)
        put_format(metrics, "%sle=\"%s\"", between, le);
    if (le || *between == ',')
        put_text(metrics, "}");
}

static void put_ns(struct metrics *metrics, uint64_t ns)
{
    put_format(metrics, "%llu.%09llu", (unsigned long long)(ns / NS_PER_S),
               (unsigned long long)(ns % NS_PER_S));
}

/* ---- Families and samples ---- */

void metrics_deinit(struct metrics *metrics)
{
    free(metrics->text);
    *metrics = (struct metrics){0};
}

void metrics_family(struct metrics *metrics, const char *name, enum metric_type type,
                    const char *help)
{
    static const char *const names[] = {"counter", "gauge", "histogram"};
    metrics->name = name;
    metrics->counter = type == METRIC_COUNTER;
    const char *suffix = metrics->counter && !metrics->open_metrics ? "_total" : "";
    put_format(metrics, "# HELP %s%s ", name, suffix);
    put_text(metrics, help);
    put_format(metrics, "\n# TYPE %s%s %s\n", name, suffix, names[type]);
}

static void begin(struct metrics *metrics, const struct label *labels, size_t label_count)
{
    put_text(metrics, metrics->name);
    put_text(metrics, metrics->counter ? "_total" : "");
    put_labels(metrics, labels, label_count, NULL);
}

void metrics_count(struct metrics *metrics, const struct label *labels, size_t label_count,
                   uint64_t value)
{
    begin(metrics, labels, label_count);
    put_format(metrics, " %llu\n", (unsigned long long)value);
}

void metrics_value(struct metrics *metrics, const struct label *labels, size_t label_count,
                   double value)
{
    begin(metrics, labels, label_count);
    if (isfinite(value))
        put_format(metrics, " %.17g\n", value);
    else
        put_text(metrics, isnan(value) ? " NaN\n" : value > 0 ? " +Inf\n" : " -Inf\n");
}

/* Nanoseconds, as seconds: exact. */
static void put_seconds(struct metrics *metrics, const struct label *labels, size_t label_count,
                        uint64_t ns)
{
    begin(metrics, labels, label_count);
    put_text(metrics, " ");
    put_ns(metrics, ns);
    put_text(metrics, "\n");
}

static void put_part(struct metrics *metrics, const char *suffix, const struct label *labels,
                     size_t label_count, const char *le)
{
    put_text(metrics, metrics->name);
    put_text(metrics, suffix);
    put_labels(metrics, labels, label_count, le);
    put_text(metrics, " ");
}

/* @bucket: of base/histogram.h, @bucket_count of them, the rest 0. */
static void put_histogram(struct metrics *metrics, const struct label *labels, size_t label_count,
                          const uint64_t *bucket, size_t bucket_count, uint64_t sum_ns)
{
    uint64_t count = 0;
    size_t i = 0;
    for (unsigned power = METRICS_LE_FIRST; power <= METRICS_LE_LAST; power++) {
        char le[32];
        size_t end = histogram_bucket(UINT64_C(1) << power);
        for (; i < end && i < bucket_count; i++)
            count += bucket[i];
        (void)snprintf(le, sizeof(le), "%.12g", (double)(UINT64_C(1) << power) / (double)NS_PER_S);
        put_part(metrics, "_bucket", labels, label_count, le);
        put_format(metrics, "%llu\n", (unsigned long long)count);
    }
    for (; i < bucket_count; i++)
        count += bucket[i];
    put_part(metrics, "_bucket", labels, label_count, "+Inf");
    put_format(metrics, "%llu\n", (unsigned long long)count);
    put_part(metrics, "_sum", labels, label_count, NULL);
    put_ns(metrics, sum_ns);
    put_text(metrics, "\n");
    put_part(metrics, "_count", labels, label_count, NULL);
    put_format(metrics, "%llu\n", (unsigned long long)count);
}

void metrics_end(struct metrics *metrics)
{
    if (metrics->open_metrics)
        put_text(metrics, "# EOF\n");
}

static void one_count(struct metrics *metrics, const char *name, enum metric_type type,
                      const char *help, uint64_t value)
{
    metrics_family(metrics, name, type, help);
    metrics_count(metrics, NULL, 0, value);
}

static void one_seconds(struct metrics *metrics, const char *name, enum metric_type type,
                        const char *help, uint64_t ns)
{
    metrics_family(metrics, name, type, help);
    put_seconds(metrics, NULL, 0, ns);
}

/* ---- Calls ---- */

#define CALL_LABELS 7

/* OpenTelemetry's attributes (https://opentelemetry.io/docs/specs/semconv/rpc/), as Prometheus
 * spells them, and our own. @method: of METHOD_BYTES. */
#define METHOD_BYTES (2 * STATS_NAME_BYTES + 1)
static void call_labels(const Parley__MethodStats *stats, char *method,
                        struct label labels[CALL_LABELS])
{
    (void)snprintf(method, METHOD_BYTES, "%s/%s", stats->interface, stats->method);
    labels[0] = (struct label){"rpc_system_name", "parley"};
    labels[1] = (struct label){"rpc_method", method};
    labels[2] = (struct label){"parley_interface", stats->interface};
    labels[3] = (struct label){"parley_version_asked", stats->asked};
    labels[4] = (struct label){"parley_version_served", stats->served};
    labels[5] = (struct label){"parley_translation",
                               stats->has_translation ? parley_translation_name(stats->translation)
                                                      : "unknown"};
    labels[6] =
        (struct label){"parley_side", stats->side == PARLEY__SIDE__SERVICE ? "service" : "client"};
}

static void write_durations(struct metrics *metrics, const Parley__Stats *stats, bool service)
{
    metrics_family(
        metrics, service ? "rpc_server_call_duration_seconds" : "rpc_client_call_duration_seconds",
        METRIC_HISTOGRAM,
        service ? "From a request's arrival to its answer, as the service sees it."
                : "From a call to its end, as the caller sees it.");
    for (size_t i = 0; i < stats->n_method; i++) {
        const Parley__MethodStats *method = stats->method[i];
        char name[METHOD_BYTES];
        struct label labels[CALL_LABELS];
        if ((method->side == PARLEY__SIDE__SERVICE) != service)
            continue;
        call_labels(method, name, labels);
        put_histogram(metrics, labels, CALL_LABELS - 1, method->latency->bucket,
                      method->latency->n_bucket, method->latency_sum_ns);
    }
}

static void write_statuses(struct metrics *metrics, const Parley__Stats *stats)
{
    metrics_family(
        metrics, "parley_calls", METRIC_COUNTER,
        "Calls that have ended, by status. error_type is set where it was a fault of the "
        "service or of the bus, not of the caller.");
    for (size_t i = 0; i < stats->n_method; i++) {
        const Parley__MethodStats *method = stats->method[i];
        char name[METHOD_BYTES];
        struct label labels[CALL_LABELS + 2];
        call_labels(method, name, labels);
        for (size_t s = 0; s < method->n_by_status; s++) {
            const char *status = parley_status_name((enum parley_status)s);
            if (method->by_status[s] == 0 && s != PARLEY_OK)
                continue;
            labels[CALL_LABELS] = (struct label){"rpc_response_status_code", status};
            labels[CALL_LABELS + 1] =
                (struct label){"error_type", status_is_fault((unsigned)s) ? status : NULL};
            metrics_count(metrics, labels, CALL_LABELS + 2, method->by_status[s]);
        }
    }
}

/* A figure of each method. */
static void write_figure(struct metrics *metrics, const Parley__Stats *stats, const char *name,
                         enum metric_type type, size_t offset, bool seconds, const char *help)
{
    metrics_family(metrics, name, type, help);
    for (size_t i = 0; i < stats->n_method; i++) {
        char method[METHOD_BYTES];
        struct label labels[CALL_LABELS];
        uint64_t value;
        memcpy(&value, (const char *)stats->method[i] + offset, sizeof(value));
        call_labels(stats->method[i], method, labels);
        if (seconds)
            put_seconds(metrics, labels, CALL_LABELS, value);
        else
            metrics_count(metrics, labels, CALL_LABELS, value);
    }
}

static void write_calls(struct metrics *metrics, const Parley__Stats *stats)
{
    static const struct {
        const char *name;
        enum metric_type type;
        size_t offset;
        bool seconds;
        const char *help;
    } figures[] = {
        {"parley_calls_started", METRIC_COUNTER, offsetof(Parley__MethodStats, calls), false,
         "Calls that have begun."},
        {"parley_calls_in_flight", METRIC_GAUGE, offsetof(Parley__MethodStats, in_flight), false,
         "Calls that have begun and not ended."},
        {"parley_calls_translated", METRIC_COUNTER, offsetof(Parley__MethodStats, translated),
         false, "Calls that have ended and went between two versions."},
        {"parley_calls_retried", METRIC_COUNTER, offsetof(Parley__MethodStats, retried), false,
         "Attempts that were repeated by the library."},
        {"parley_crossings_timed", METRIC_COUNTER, offsetof(Parley__MethodStats, crossings), false,
         "Messages whose crossing (copying, checking and translating) was timed: one in 61 that an "
         "endpoint reads."},
        {"parley_crossings_timed_seconds", METRIC_COUNTER,
         offsetof(Parley__MethodStats, crossing_sum_ns), true,
         "What the crossings that were timed took together."},
    };
    write_durations(metrics, stats, false);
    write_durations(metrics, stats, true);
    write_statuses(metrics, stats);
    for (size_t i = 0; i < sizeof(figures) / sizeof(figures[0]); i++)
        write_figure(metrics, stats, figures[i].name, figures[i].type, figures[i].offset,
                     figures[i].seconds, figures[i].help);
}

/* ---- Endpoints and the bus ---- */

static void write_endpoints(struct metrics *metrics, const Parley__Stats *stats)
{
    one_count(metrics, "parley_channel_ends", METRIC_GAUGE,
              "Ends of channels that endpoints have: two a channel.", stats->channels);
    one_count(metrics, "parley_wakeups", METRIC_COUNTER, "Times an endpoint slept and was woken.",
              stats->wakeups);
    one_count(metrics, "parley_doorbells", METRIC_COUNTER, "Times an endpoint woke another.",
              stats->doorbells);
    one_count(metrics, "parley_ring_full", METRIC_COUNTER,
              "Times a message found no room in a ring, and waited.", stats->ring_full);
    one_count(metrics, "parley_late_replies", METRIC_COUNTER,
              "Replies that came after their calls had ended, and were dropped.",
              stats->late_replies);
    metrics_family(metrics, "parley_spins", METRIC_COUNTER,
                   "Times an endpoint spun before it slept, by what came of it.");
    const struct label hit = {"parley_spin", "hit"}, missed = {"parley_spin", "missed"};
    metrics_count(metrics, &hit, 1, stats->spins_hit);
    metrics_count(metrics, &missed, 1, stats->spins_missed);
}

static void write_routes(struct metrics *metrics, const Parley__BusStats *bus)
{
    static const struct {
        const char *name, *help;
    } families[] = {
        {"parley_route_share_ratio", "Share of the calls that a version gets by weight."},
        {"parley_instances", "Instances of a version."},
        {"parley_instances_draining", "Instances of a version that take no new calls."},
    };
    for (unsigned f = 0; f < 3; f++) {
        metrics_family(metrics, families[f].name, METRIC_GAUGE, families[f].help);
        for (size_t i = 0; i < bus->n_route; i++) {
            const Parley__RouteStats *route = bus->route[i];
            const struct label labels[] = {{"parley_interface", route->interface},
                                           {"parley_version_served", route->version}};
            if (f == 0)
                metrics_value(metrics, labels, 2, route->share_per_100000 / (double)ROUTE_BUCKETS);
            else
                metrics_count(metrics, labels, 2, f == 1 ? route->instances : route->draining);
        }
    }
}

static void write_bus(struct metrics *metrics, const Parley__BusStats *bus)
{
    one_count(metrics, "parley_endpoints", METRIC_GAUGE, "Endpoints that are connected.",
              bus->endpoints);
    one_count(metrics, "parley_interfaces", METRIC_GAUGE, "Interfaces that were published.",
              bus->interfaces);
    one_count(metrics, "parley_versions", METRIC_GAUGE, "Versions that have an instance.",
              bus->versions);
    const struct label states[] = {
        {"parley_state", "open"}, {"parley_state", "waiting"}, {"parley_state", "refused"}};
    metrics_family(metrics, "parley_contracts", METRIC_GAUGE,
                   "What clients ask for: open, waiting for anybody to publish it, or refused for "
                   "want of a version that fits.");
    metrics_count(metrics, &states[0], 1,
                  bus->contracts - bus->contracts_waiting - bus->contracts_refused);
    metrics_count(metrics, &states[1], 1, bus->contracts_waiting);
    metrics_count(metrics, &states[2], 1, bus->contracts_refused);
    one_count(metrics, "parley_schemas", METRIC_GAUGE, "Schemas that the registry has.",
              bus->schemas);
    one_count(metrics, "parley_schemas_idle", METRIC_GAUGE, "Schemas that nobody uses now.",
              bus->schemas_idle);
    one_count(metrics, "parley_plans", METRIC_GAUGE,
              "Pairs of versions that calls cross, or would.", bus->plans);
    one_count(metrics, "parley_plans_refused", METRIC_GAUGE,
              "Pairs of versions that cannot be bridged.", bus->plans_refused);
    one_seconds(metrics, "parley_plans_compile_seconds", METRIC_GAUGE,
                "What compiling the plans that there are took.", bus->plan_compile_ns);
    write_routes(metrics, bus);
}

/* ---- The bus URLs ---- */

static void write_front(struct metrics *metrics, const Parley__FrontStats *front)
{
    one_count(metrics, "parley_front_connections", METRIC_GAUGE, "Connections to the bus URLs.",
              front->connections);
    one_count(metrics, "parley_front_calls", METRIC_GAUGE,
              "Calls by the bus URLs that are under way.", front->calls);
    const struct label messages[] = {{"parley_message", "frame"},
                                     {"parley_message", "json"},
                                     {"parley_message", "malformed"},
                                     {"parley_message", "limited"},
                                     {"parley_message", "too_large"}};
    const uint64_t counts[] = {front->frames, front->json, front->malformed, front->limited,
                               front->too_large};
    metrics_family(metrics, "parley_front_messages", METRIC_COUNTER,
                   "Messages to the bus URLs, by what they were.");
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
        metrics_count(metrics, &messages[i], 1, counts[i]);
    one_count(metrics, "parley_front_held_back", METRIC_COUNTER,
              "Times a connection was read no further until requests of it had been answered.",
              front->held_back);
    one_count(metrics, "parley_front_abandoned", METRIC_COUNTER,
              "Calls whose asker hung up, or cancelled them.", front->abandoned + front->cancelled);
    one_count(metrics, "parley_front_received_bytes", METRIC_COUNTER, "What came by the bus URLs.",
              front->bytes_in);
    one_count(metrics, "parley_front_sent_bytes", METRIC_COUNTER,
              "What was answered by the bus URLs.", front->bytes_out);
}

/* What the policy and the limits refused: guard.c, quota.c. */
static void write_guard(struct metrics *metrics, const Parley__Stats *stats)
{
    const struct {
        const char *limit;
        uint64_t value;
    } refused[] = {{"connections", stats->limited_connections},
                   {"calls", stats->limited_calls},
                   {"bytes", stats->limited_bytes},
                   {"rate", stats->limited_rate},
                   {"message", stats->limited_messages}};
    one_count(metrics, "parley_guard_denied", METRIC_COUNTER, "What the policy denied somebody.",
              stats->denied);
    metrics_family(
        metrics, "parley_guard_limited", METRIC_COUNTER,
        "Connections and messages to the bus URLs that a limit of their peer's refused.");
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        metrics_count(metrics, &(struct label){"parley_limit", refused[i].limit}, 1,
                      refused[i].value);
    one_count(metrics, "parley_guard_held_bad", METRIC_COUNTER,
              "Times a connection was not read for a while, for its garbage.", stats->held_bad);
}

/* REP sockets that serve: serve.h. */
static void write_serve(struct metrics *metrics, const Parley__ServeStats *serve)
{
    const struct {
        const char *state;
        uint64_t value;
    } calls[] = {{"sent", serve->calls}, {"waiting", serve->waiting}},
      answers[] = {{"response", serve->answered},
                   {"malformed", serve->malformed},
                   {"late", serve->late},
                   {"stray", serve->stray},
                   {"none", serve->abandoned}};
    one_count(metrics, "parley_serve_instances", METRIC_GAUGE,
              "Instances that are REP sockets of programs without the library.", serve->instances);
    metrics_family(metrics, "parley_serve_calls", METRIC_GAUGE,
                   "Calls that such sockets have been sent, or that wait for their turn.");
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
        metrics_count(metrics, &(struct label){"parley_state", calls[i].state}, 1, calls[i].value);
    one_count(metrics, "parley_serve_waiting_bytes", METRIC_GAUGE, "Of the calls that wait.",
              serve->waiting_bytes);
    metrics_family(metrics, "parley_serve_answers", METRIC_COUNTER,
                   "What they answered: a response, what is none, after the call's end, what was "
                   "not asked or once more, or nothing until the call's end.");
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++)
        metrics_count(metrics, &(struct label){"parley_answer", answers[i].state}, 1,
                      answers[i].value);
    one_count(metrics, "parley_serve_full", METRIC_COUNTER,
              "Calls that were refused because too many waited.", serve->full);
    one_count(metrics, "parley_serve_held", METRIC_COUNTER,
              "Times that a one-way call was left with its caller because of that.", serve->held);
}

/* ---- The broker ---- */

static void write_process(struct metrics *metrics, const Parley__BrokerStats *broker)
{
    if (broker->has_cpu_ns)
        one_seconds(metrics, "process_cpu_seconds", METRIC_COUNTER,
                    "CPU time of the broker, user and system.", broker->cpu_ns);
    if (broker->has_resident_bytes) {
        one_count(metrics, "process_resident_memory_bytes", METRIC_GAUGE,
                  "Memory of the broker in RAM.", broker->resident_bytes);
        one_count(metrics, "parley_broker_private_bytes", METRIC_GAUGE,
                  "Memory of the broker that it shares with nobody.", broker->private_bytes);
    }
    if (broker->has_virtual_bytes)
        one_count(metrics, "process_virtual_memory_bytes", METRIC_GAUGE,
                  "Address space of the broker.", broker->virtual_bytes);
    if (broker->has_descriptors)
        one_count(metrics, "process_open_fds", METRIC_GAUGE, "Open descriptors of the broker.",
                  broker->descriptors);
    if (broker->has_descriptors_max)
        one_count(metrics, "process_max_fds", METRIC_GAUGE, "Descriptors that the broker may open.",
                  broker->descriptors_max);
    one_seconds(metrics, "process_start_time_seconds", METRIC_GAUGE,
                "When the broker began, since 1970.", broker->start_unix_ns);
}

static void write_broker(struct metrics *metrics, const Parley__BrokerStats *broker)
{
    const struct label version = {"version", broker->version};
    metrics_family(metrics, "parley_build_info", METRIC_GAUGE, "1, with the broker's version.");
    metrics_count(metrics, &version, 1, 1);
    metrics_family(metrics, "parley_broker_turn_duration_seconds", METRIC_HISTOGRAM,
                   "A turn of the broker's loop, from its waking until it sleeps again.");
    put_histogram(metrics, NULL, 0, broker->turn->bucket, broker->turn->n_bucket,
                  broker->turn_sum_ns);
    one_count(metrics, "parley_events_subscribers", METRIC_GAUGE, "SUB sockets that hear events.",
              broker->subscribers);
    one_count(metrics, "parley_events_sent", METRIC_COUNTER,
              "Messages to SUB sockets, two for each event and socket.", broker->events_sent);
    one_count(metrics, "parley_events_lost", METRIC_COUNTER,
              "Messages for which a socket that reads too slowly had no room.",
              broker->events_lost);
    one_count(metrics, "parley_folders_lost", METRIC_GAUGE,
              "Folders of --rollouts and --schemas that are not there now.", broker->folders_lost);
    write_process(metrics, broker);
}

int metrics_stats(struct metrics *metrics, struct broker *broker)
{
    Parley__Stats stats;
    int r = stats_reply(broker, false, &stats);
    if (r < 0)
        return r;
    write_broker(metrics, stats.broker);
    write_bus(metrics, stats.bus);
    write_serve(metrics, stats.serve);
    write_guard(metrics, &stats);
    write_endpoints(metrics, &stats);
    if (stats.front)
        write_front(metrics, stats.front);
    write_calls(metrics, &stats);
    stats_reply_free(&stats);
    return metrics->failed ? -ENOMEM : 0;
}
