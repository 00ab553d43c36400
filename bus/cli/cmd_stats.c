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
#include "report/report.h"
#include "wire/wire.h"

struct watch {
    const char *interface; /* NULL: all */
    bool on, verbose;
    uint64_t interval_ns;
    uint64_t count;             /* rounds; 0: until stopped */
    Parley__ControlReply *last; /* NULL: none yet, or the broker was away since */
};

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
    table_cell(table, "%" PRIu64, report_errors(method));
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
    if (stats->broker && stats->broker->folders_lost > 0)
        fprintf(cli->out,
                "\n%" PRIu32
                " of the broker's watched folders (--rollouts, --schemas) %s not there: "
                "see 'parley events --last 10 folder'.\n",
                stats->broker->folders_lost, stats->broker->folders_lost == 1 ? "is" : "are");
    if (watch->verbose)
        print_rest(cli, stats);
}

static void print_json(struct cli *cli, const struct watch *watch, const Parley__Stats *stats)
{
    json_t *object = report_stats(stats), *methods = json_array();
    for (size_t i = 0; i < stats->n_method; i++) {
        if (wanted(watch, stats->method[i]))
            json_array_append_new(methods, report_method(stats->method[i]));
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
    if (argc == 1 && !target_interface(cli, argv[0]))
        return CLI_EXIT_USAGE;
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
