/*
 * parley stats: how the calls go.
 *
 * One row for each side, interface, method and pair of versions, as the broker summed them up from
 * the endpoints' pages. The two sides of a call are two rows: the client's latency holds the
 * service's and the way there and back. What belongs to no method, messages that found their ring
 * full and replies that came too late, is one line below, if there was any. --watch asks again
 * every interval and adds the rate since the last answer; a broker that is away meanwhile is
 * reported and asked again, as everything else on the bus goes on without it too.
 */
#include "cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "base/clock.h"
#include "cli/json.h"
#include "parley/client.h"
#include "parley/status.h"
#include "schema/schema.h"
#include "wire/wire.h"

struct watch {
    const char *interface; /* NULL: all */
    bool on, verbose;
    uint64_t interval_ns;
    uint64_t count;             /* rounds; 0: until stopped */
    Parley__ControlReply *last; /* NULL: none yet, or the broker was away since */
};

static uint64_t errors_of(const Parley__MethodStats *method)
{
    uint64_t errors = 0;
    for (size_t i = 1; i < method->n_by_status; i++)
        errors += method->by_status[i];
    return errors;
}

static bool same_text(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

static bool same_row(const Parley__MethodStats *a, const Parley__MethodStats *b)
{
    return a->side == b->side && same_text(a->interface, b->interface) &&
           same_text(a->method, b->method) && same_text(a->asked, b->asked) &&
           same_text(a->served, b->served);
}

static const Parley__MethodStats *find_row(const Parley__Stats *stats,
                                           const Parley__MethodStats *row)
{
    for (size_t i = 0; i < stats->n_method; i++) {
        if (same_row(stats->method[i], row))
            return stats->method[i];
    }
    return NULL;
}

/* Calls a second since the last answer, as text: "-" if there is nothing to compare with. A row
 * that was not there then may be an endpoint's that has found a new broker, with all it ever
 * counted. */
static char *rate_of(const struct watch *watch, const Parley__Stats *now,
                     const Parley__MethodStats *method)
{
    const Parley__Stats *last = watch->last ? watch->last->stats : NULL;
    if (!last || last->broker_id != now->broker_id || now->uptime_ns <= last->uptime_ns)
        return text_format("-");
    const Parley__MethodStats *before = find_row(last, method);
    if (!before || method->calls < before->calls)
        return text_format("-");
    double seconds = (double)(now->uptime_ns - last->uptime_ns) / (double)NS_PER_S;
    return text_format("%.0f", (double)(method->calls - before->calls) / seconds);
}

static const char *side_name(const Parley__MethodStats *method)
{
    return method->side == PARLEY__SIDE__CLIENT ? "client" : "service";
}

static void add_versions(struct table *table, const Parley__MethodStats *method)
{
    const char *asked = method->asked && *method->asked ? method->asked : "-";
    const char *served = method->served && *method->served ? method->served : "-";
    if (strcmp(asked, served) == 0)
        table_cell(table, "%s", asked);
    else
        table_cell(table, "%s>%s", asked, served);
}

static void add_latency(struct table *table, const Parley__Latency *latency)
{
    char buffer[TEXT_DURATION_BYTES];
    if (!latency || latency->count == 0) {
        for (const char *c = "123"; *c; c++)
            table_cell(table, "-");
        return;
    }
    table_cell(table, "%s", text_duration(latency->p50_ns, buffer));
    table_cell(table, "%s", text_duration(latency->p90_ns, buffer));
    table_cell(table, "%s", text_duration(latency->p99_ns, buffer));
}

static void add_row(struct table *table, const struct watch *watch, const Parley__Stats *stats,
                    const Parley__MethodStats *method)
{
    table_cell(table, "%s", side_name(method));
    table_cell(table, "%s", method->interface ? method->interface : "-");
    table_cell(table, "%s", method->method ? method->method : "-");
    add_versions(table, method);
    table_cell(table, "%" PRIu64, method->calls);
    if (watch->on) {
        char *rate = rate_of(watch, stats, method);
        table_cell(table, "%s", rate);
        free(rate);
    }
    table_cell(table, "%" PRIu64, errors_of(method));
    table_cell(table, "%" PRIu64, method->in_flight);
    table_cell(table, "%" PRIu64, method->translated);
    add_latency(table, method->latency);
}

static bool wanted(const struct watch *watch, const Parley__MethodStats *method)
{
    return !watch->interface || same_text(watch->interface, method->interface);
}

/* The bus URLs, the REP sockets that serve, and what policy and limits refused. */
static void print_front(struct cli *cli, const Parley__Stats *stats)
{
    const Parley__FrontStats *front = stats->front;
    const Parley__ServeStats *serve = stats->serve;
    if (front)
        fprintf(cli->out,
                "Bus URLs: %" PRIu32 " connections, %" PRIu32 " calls under way (%" PRIu32
                " at most so far); %" PRIu64 " frames, %" PRIu64 " in JSON, %" PRIu64
                " malformed, %" PRIu64 " over a limit; held back %" PRIu64 " times; %" PRIu64
                " calls were given up.\n",
                front->connections, front->calls, front->calls_most, front->frames, front->json,
                front->malformed, front->limited + front->too_large, front->held_back,
                front->cancelled + front->abandoned);
    if (serve)
        fprintf(cli->out,
                "REP sockets: %" PRIu32 " serve, %" PRIu32 " are awaited; %" PRIu32
                " calls are with them, %" PRIu32 " wait; answered %" PRIu64 ", malformed %" PRIu64
                ", late %" PRIu64 ", stray %" PRIu64 ", given up %" PRIu64 ", refused %" PRIu64
                ", held back %" PRIu64 ".\n",
                serve->instances, serve->expected, serve->calls, serve->waiting, serve->answered,
                serve->malformed, serve->late, serve->stray, serve->abandoned, serve->full,
                serve->held);
    if (stats->has_denied)
        fprintf(
            cli->out,
            "Refused: %" PRIu64 " by the policy; by limits %" PRIu64 " for connections, %" PRIu64
            " for calls, %" PRIu64 " for bytes, %" PRIu64 " for the rate, %" PRIu64
            " for a message's size; %" PRIu64 " times a connection was slowed for its "
            "garbage.\n",
            stats->denied, stats->limited_connections, stats->limited_calls, stats->limited_bytes,
            stats->limited_rate, stats->limited_messages, stats->held_bad);
}

/* How the endpoints wait, what there is, and how the broker is: what an older one does not say is
 * left out. */
static void print_rest(struct cli *cli, const Parley__Stats *stats)
{
    const Parley__BusStats *bus = stats->bus;
    const Parley__BrokerStats *broker = stats->broker;
    char turn[TEXT_DURATION_BYTES];
    if (stats->has_wakeups)
        fprintf(cli->out,
                "\nEndpoints: woken %" PRIu64 " times; spun %" PRIu64 " times, %" PRIu64
                " of them in vain; %" PRIu64 " ends of channels.\n",
                stats->wakeups, stats->spins_hit + stats->spins_missed, stats->spins_missed,
                stats->channels);
    if (bus)
        fprintf(cli->out,
                "Bus: %" PRIu32 " endpoints, %" PRIu32 " instances of %" PRIu32
                " versions of %" PRIu32 " interfaces; %" PRIu32 " contracts, %" PRIu32
                " wait, %" PRIu32 " found nothing that fits; %" PRIu32 " schemas, %" PRIu32
                " plans.\n",
                bus->endpoints, bus->instances, bus->versions, bus->interfaces, bus->contracts,
                bus->contracts_waiting, bus->contracts_refused, bus->schemas, bus->plans);
    print_front(cli, stats);
    if (broker && broker->turn)
        fprintf(cli->out, "Broker: %.1f MiB of its own, a turn of its loop %s (p99).\n",
                (double)broker->private_bytes / (1 << 20),
                text_duration(broker->turn->p99_ns, turn));
}

static void print_table(struct cli *cli, const struct watch *watch, const Parley__Stats *stats)
{
    static const char *const once[] = {"SIDE",   "INTERFACE", "METHOD",     "VERSIONS",
                                       ">CALLS", ">ERRORS",   ">IN FLIGHT", ">TRANSLATED",
                                       ">P50",   ">P90",      ">P99",       NULL};
    static const char *const watched[] = {
        "SIDE",       "INTERFACE",   "METHOD", "VERSIONS", ">CALLS", ">CALLS/S", ">ERRORS",
        ">IN FLIGHT", ">TRANSLATED", ">P50",   ">P90",     ">P99",   NULL};
    struct table *table = table_new(watch->on ? watched : once);
    size_t rows = 0;
    for (size_t i = 0; i < stats->n_method; i++) {
        if (!wanted(watch, stats->method[i]))
            continue;
        add_row(table, watch, stats, stats->method[i]);
        rows++;
    }
    if (rows > 0)
        table_print(table, cli->out);
    else if (watch->interface)
        fprintf(cli->out, "No calls of %s yet.\n", watch->interface);
    else
        fputs("No calls yet.\n", cli->out);
    table_free(table);
    if (!watch->interface && (stats->ring_full > 0 || stats->late_replies > 0))
        fprintf(cli->out,
                "\nOf all endpoints: %" PRIu64 " messages found a full ring, %" PRIu64
                " replies came too late.\n",
                stats->ring_full, stats->late_replies);
    if (!watch->interface && watch->verbose)
        print_rest(cli, stats);
}

static json_t *counts_json(const Parley__MethodStats *method)
{
    json_t *object = json_object();
    for (size_t i = 0; i < method->n_by_status && i < PARLEY_STATUS_COUNT; i++) {
        if (method->by_status[i] > 0)
            json_object_set_new(object, parley_status_name((enum parley_status)i),
                                json_integer((json_int_t)method->by_status[i]));
    }
    return object;
}

static json_t *latency_json(const Parley__Latency *latency)
{
    if (!latency)
        return json_null();
    return json_pack("{s:I,s:I,s:I,s:I,s:I}", "count", (json_int_t)latency->count, "p50",
                     (json_int_t)latency->p50_ns, "p90", (json_int_t)latency->p90_ns, "p99",
                     (json_int_t)latency->p99_ns, "p999", (json_int_t)latency->p999_ns);
}

/* What an older broker does not say is left out. */
static void json_set_count(json_t *object, const char *name, bool has, uint64_t value)
{
    if (has)
        json_object_set_new(object, name, json_integer((json_int_t)value));
}

static json_t *method_json(const Parley__MethodStats *method)
{
    json_t *object = json_object();
    json_set_text(object, "side", side_name(method));
    json_set_text(object, "interface", method->interface);
    json_set_text(object, "method", method->method);
    json_set_text(object, "asked", method->asked);
    json_set_text(object, "served", method->served);
    json_object_set_new(object, "calls", json_integer((json_int_t)method->calls));
    json_object_set_new(object, "errors", json_integer((json_int_t)errors_of(method)));
    json_object_set_new(object, "by_status", counts_json(method));
    json_object_set_new(object, "translated", json_integer((json_int_t)method->translated));
    json_object_set_new(object, "retried", json_integer((json_int_t)method->retried));
    json_object_set_new(object, "in_flight", json_integer((json_int_t)method->in_flight));
    json_object_set_new(object, "latency_ns", latency_json(method->latency));
    if (method->has_translation)
        json_set_text(object, "translation", parley_translation_name(method->translation));
    json_set_count(object, "faults", method->has_faults, method->faults);
    json_set_count(object, "latency_sum_ns", method->has_latency_sum_ns, method->latency_sum_ns);
    json_set_count(object, "crossings", method->has_crossings, method->crossings);
    json_set_count(object, "crossing_sum_ns", method->has_crossing_sum_ns, method->crossing_sum_ns);
    return object;
}

static json_t *route_json(const Parley__RouteStats *route)
{
    json_t *object = json_object();
    json_set_text(object, "interface", route->interface);
    json_set_text(object, "version", route->version);
    json_set_count(object, "share_per_100000", true, route->share_per_100000);
    json_set_count(object, "instances", true, route->instances);
    json_set_count(object, "draining", true, route->draining);
    return object;
}

static json_t *bus_json(const Parley__BusStats *bus)
{
    json_t *object = json_object(), *routes = json_array();
    json_set_count(object, "endpoints", bus->has_endpoints, bus->endpoints);
    json_set_count(object, "interfaces", bus->has_interfaces, bus->interfaces);
    json_set_count(object, "versions", bus->has_versions, bus->versions);
    json_set_count(object, "instances", bus->has_instances, bus->instances);
    json_set_count(object, "draining", bus->has_draining, bus->draining);
    json_set_count(object, "contracts", bus->has_contracts, bus->contracts);
    json_set_count(object, "contracts_waiting", bus->has_contracts_waiting, bus->contracts_waiting);
    json_set_count(object, "contracts_refused", bus->has_contracts_refused, bus->contracts_refused);
    json_set_count(object, "schemas", bus->has_schemas, bus->schemas);
    json_set_count(object, "schemas_idle", bus->has_schemas_idle, bus->schemas_idle);
    json_set_count(object, "plans", bus->has_plans, bus->plans);
    json_set_count(object, "plans_refused", bus->has_plans_refused, bus->plans_refused);
    json_set_count(object, "plan_compile_ns", bus->has_plan_compile_ns, bus->plan_compile_ns);
    for (size_t i = 0; i < bus->n_route; i++)
        json_array_append_new(routes, route_json(bus->route[i]));
    json_object_set_new(object, "routes", routes);
    return object;
}

static json_t *process_json(const Parley__BrokerStats *broker)
{
    json_t *object = json_object();
    json_set_text(object, "version", broker->version);
    json_set_count(object, "resident_bytes", broker->has_resident_bytes, broker->resident_bytes);
    json_set_count(object, "private_bytes", broker->has_private_bytes, broker->private_bytes);
    json_set_count(object, "virtual_bytes", broker->has_virtual_bytes, broker->virtual_bytes);
    json_set_count(object, "cpu_ns", broker->has_cpu_ns, broker->cpu_ns);
    json_set_count(object, "descriptors", broker->has_descriptors, broker->descriptors);
    json_set_count(object, "descriptors_max", broker->has_descriptors_max, broker->descriptors_max);
    json_set_count(object, "start_unix_ns", broker->has_start_unix_ns, broker->start_unix_ns);
    json_set_count(object, "turn_sum_ns", broker->has_turn_sum_ns, broker->turn_sum_ns);
    json_set_count(object, "subscribers", broker->has_subscribers, broker->subscribers);
    json_set_count(object, "events_sent", broker->has_events_sent, broker->events_sent);
    json_set_count(object, "events_lost", broker->has_events_lost, broker->events_lost);
    if (broker->turn)
        json_object_set_new(object, "turn_ns", latency_json(broker->turn));
    return object;
}

static json_t *front_json(const Parley__FrontStats *front)
{
    json_t *object = json_object();
    json_set_count(object, "connections", front->has_connections, front->connections);
    json_set_count(object, "connections_ever", front->has_connections_ever,
                   front->connections_ever);
    json_set_count(object, "connections_refused", front->has_connections_refused,
                   front->connections_refused);
    json_set_count(object, "frames", front->has_frames, front->frames);
    json_set_count(object, "json", front->has_json, front->json);
    json_set_count(object, "malformed", front->has_malformed, front->malformed);
    json_set_count(object, "limited", front->has_limited, front->limited);
    json_set_count(object, "too_large", front->has_too_large, front->too_large);
    json_set_count(object, "held_back", front->has_held_back, front->held_back);
    json_set_count(object, "cancelled", front->has_cancelled, front->cancelled);
    json_set_count(object, "abandoned", front->has_abandoned, front->abandoned);
    json_set_count(object, "calls", front->has_calls, front->calls);
    json_set_count(object, "calls_most", front->has_calls_most, front->calls_most);
    json_set_count(object, "bytes_in", front->has_bytes_in, front->bytes_in);
    json_set_count(object, "bytes_out", front->has_bytes_out, front->bytes_out);
    return object;
}

static json_t *serve_json(const Parley__ServeStats *serve)
{
    json_t *object = json_object();
    json_set_count(object, "expected", serve->has_expected, serve->expected);
    json_set_count(object, "instances", serve->has_instances, serve->instances);
    json_set_count(object, "calls", serve->has_calls, serve->calls);
    json_set_count(object, "waiting", serve->has_waiting, serve->waiting);
    json_set_count(object, "waiting_bytes", serve->has_waiting_bytes, serve->waiting_bytes);
    json_set_count(object, "answered", serve->has_answered, serve->answered);
    json_set_count(object, "malformed", serve->has_malformed, serve->malformed);
    json_set_count(object, "late", serve->has_late, serve->late);
    json_set_count(object, "stray", serve->has_stray, serve->stray);
    json_set_count(object, "abandoned", serve->has_abandoned, serve->abandoned);
    json_set_count(object, "full", serve->has_full, serve->full);
    json_set_count(object, "held", serve->has_held, serve->held);
    return object;
}

static void print_json(struct cli *cli, const struct watch *watch, const Parley__Stats *stats)
{
    json_t *object = json_object(), *methods = json_array();
    json_set_id(object, "broker", stats->broker_id);
    json_object_set_new(object, "uptime_ns", json_integer((json_int_t)stats->uptime_ns));
    json_object_set_new(object, "time_unix_ns", json_integer((json_int_t)stats->time_unix_ns));
    json_object_set_new(object, "ring_full", json_integer((json_int_t)stats->ring_full));
    json_object_set_new(object, "late_replies", json_integer((json_int_t)stats->late_replies));
    json_set_count(object, "wakeups", stats->has_wakeups, stats->wakeups);
    json_set_count(object, "doorbells", stats->has_doorbells, stats->doorbells);
    json_set_count(object, "channels", stats->has_channels, stats->channels);
    json_set_count(object, "spins_hit", stats->has_spins_hit, stats->spins_hit);
    json_set_count(object, "spins_missed", stats->has_spins_missed, stats->spins_missed);
    if (stats->bus)
        json_object_set_new(object, "bus", bus_json(stats->bus));
    if (stats->broker)
        json_object_set_new(object, "process", process_json(stats->broker));
    if (stats->front)
        json_object_set_new(object, "front", front_json(stats->front));
    if (stats->serve)
        json_object_set_new(object, "serve", serve_json(stats->serve));
    json_set_count(object, "denied", stats->has_denied, stats->denied);
    json_set_count(object, "limited_connections", stats->has_limited_connections,
                   stats->limited_connections);
    json_set_count(object, "limited_calls", stats->has_limited_calls, stats->limited_calls);
    json_set_count(object, "limited_bytes", stats->has_limited_bytes, stats->limited_bytes);
    json_set_count(object, "limited_rate", stats->has_limited_rate, stats->limited_rate);
    json_set_count(object, "limited_messages", stats->has_limited_messages,
                   stats->limited_messages);
    json_set_count(object, "held_bad", stats->has_held_bad, stats->held_bad);
    for (size_t i = 0; i < stats->n_method; i++) {
        if (wanted(watch, stats->method[i]))
            json_array_append_new(methods, method_json(stats->method[i]));
    }
    json_object_set_new(object, "methods", methods);
    json_print(cli->out, object, watch->on ? 0 : 2);
}

/* One question and its answer; what was answered becomes watch->last. */
static int round_once(struct cli *cli, struct watch *watch)
{
    Parley__StatsRequest stats = PARLEY__STATS_REQUEST__INIT;
    Parley__ControlRequest request = PARLEY__CONTROL_REQUEST__INIT;
    Parley__ControlReply *reply = NULL;
    request.body_case = PARLEY__CONTROL_REQUEST__BODY_STATS;
    request.stats = &stats;
    int code = control_ask(cli, &request, PARLEY__CONTROL_REPLY__BODY_STATS, &reply);
    if (code == CLI_EXIT_OK && cli->json)
        print_json(cli, watch, reply->stats);
    else if (code == CLI_EXIT_OK)
        print_table(cli, watch, reply->stats);
    wire_free(watch->last);
    watch->last = reply;
    return code;
}

static void separate(struct cli *cli)
{
    if (cli->json)
        return;
    if (isatty(fileno(cli->out)))
        fputs("\033[H\033[2J", cli->out); /* home, clear */
    else
        fputc('\n', cli->out);
}

static int watch_run(struct cli *cli, struct watch *watch)
{
    int code = CLI_EXIT_OK;
    if (stop_begin() < 0)
        return cli_complain(cli, CLI_EXIT_TROUBLE, "no descriptor is left to wait with: %s",
                            strerror(errno));
    for (uint64_t round = 0; !stop_requested(); round++) {
        if (round > 0) {
            stop_wait(watch->interval_ns);
            if (stop_requested())
                break;
            separate(cli);
        }
        code = round_once(cli, watch);
        /* A broker that comes back is asked again; anything else will not get better. */
        if (code != CLI_EXIT_OK && (code != CLI_EXIT_NO_BROKER || round == 0))
            break;
        if (fflush(cli->out) != 0 || round + 1 == watch->count)
            break;
    }
    bool stopped = stop_requested();
    stop_end();
    return stopped ? CLI_EXIT_OK : code;
}

static int run(struct cli *cli, int argc, char **argv)
{
    struct watch watch = {.interval_ns = NS_PER_S};
    const struct option_spec specs[] = {
        {"watch", 'w', OPTION_FLAG, NULL, "ask again every second, until Ctrl-C", &watch.on},
        {"interval", 'i', OPTION_DURATION, "DURATION", "how often with --watch; 1s",
         &watch.interval_ns},
        {"verbose", 'v', OPTION_FLAG, NULL,
         "also how endpoints wait, what is on the bus, and the broker", &watch.verbose},
        {"count", 'n', OPTION_COUNT, "N", "end after N rounds of --watch", &watch.count},
    };
    int code;
    if (!options_take(cli, specs, 4, &argc, argv, &code))
        return code;
    if (argc > 1)
        return cli_usage(cli, "stats takes one interface; '%s' is one too many", argv[1]);
    if (argc == 1 && schema_check_interface_name(argv[0]) < 0)
        return cli_usage(cli, "'%s' is no name of an interface (1 to 63 of a-z 0-9 _ . -)",
                         argv[0]);
    watch.interface = argc == 1 ? argv[0] : NULL;
    code = watch.on ? watch_run(cli, &watch) : round_once(cli, &watch);
    wire_free(watch.last);
    return code;
}

const struct cli_command cmd_stats = {
    .name = "stats",
    .usage = "[--watch] [--json] [INTERFACE]",
    .summary = "calls, errors and latency of every method",
    .details =
        "Prints what the endpoints have counted since they started, for each side (client\n"
        "or service), interface, method and pair of versions (ASKED>SERVED where the call\n"
        "was translated). Latencies of clients are from the call to its end; those of\n"
        "services from the request's arrival to the answer. Below, if there were any: how\n"
        "often a message found its ring full, and replies that came after their calls had\n"
        "ended, of all endpoints together. --verbose adds how endpoints wait, what is on the\n"
        "bus, and how the broker is. A fault (in JSON) is an error that was not the caller's.\n"
        "With --watch --json each round is one line.\n",
    .example = "  parley stats --watch catalog\n"
               "  parley stats --json | jq '.methods[] | select(.side == \"client\") | .calls'\n",
    .run = run,
};
