/*
 * Calls without pause.
 *
 * With a window of 1 the program calls as most programs do: the generated stub, which waits. With
 * a larger one it keeps that many calls in flight through protobuf-c's own client functions, whose
 * closures run in parley_dispatch(). Either way a call ends in judge(), once, which says whether
 * it ended as it had to, and whether the reply is what dpkg says.
 *
 * What counts as failed: any status but the one that the question has to end with. One exception,
 * with --chaos, where instances are killed on purpose: a Visit may end as UNAVAILABLE if the
 * service did not answer it (executed "no" or "unknown"), for Visit must not be repeated. Those
 * are counted apart. Get, List and Search never may: the library has to repeat them elsewhere. With
 * --illness, where a version is made to fail on purpose, its INTERNAL is counted apart, too.
 *
 * Totals go to stdout, one line of JSON at a time; with --control, lines on stdin ask for one
 * ("mark 7") or end the program ("quit", or the end of stdin).
 */
#include "load.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "join.h"
#include "tally.h"

#define CONTROL_NS UINT64_C(2000000) /* between two looks at stdin */
#define WINDOW_MAX 64

struct load;

/* A call in flight. */
struct slot {
    struct load *load;
    struct query query;
    uint64_t start_ns;
    bool busy;
};

struct load {
    const struct load_version *version;
    /* options */
    const char *name, *admindir, *accept;
    unsigned window, visit_per_cent;
    uint64_t seconds, report_ns, timeout_ns, dice;
    bool control, chaos, illness;
    /* the rest */
    struct truth truth;
    struct parley_endpoint *endpoint;
    struct parley_client *client;
    struct tally tally;
    struct slot slots[WINDOW_MAX];
    unsigned in_flight;
    uint64_t end_ns, next_report_ns, next_control_ns;
    char command[64]; /* a line of stdin that has not ended yet */
    size_t command_bytes;
    bool stop;
};

static volatile sig_atomic_t signalled;

static void on_signal(int number)
{
    signalled = number;
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* ---- What became of a call ---- */

static void note_failure(struct load *load, const struct query *query,
                         const struct parley_call *call)
{
    char question[160];
    load->tally.failed++;
    if (load->tally.failure[0])
        return;
    query_text(query, question, sizeof(question));
    snprintf(load->tally.failure, sizeof(load->tally.failure),
             "%s: %s ended as %s, executed: %s, attempts: %u, has to end as %s. %s", load->name,
             question, parley_status_name(call->status), parley_executed_name(call->executed),
             call->attempts, parley_status_name(query_status(query)), call->error);
}

static void note_wrong(struct load *load, const struct query *query,
                       const struct parley_call *call, const char *difference)
{
    char question[160];
    load->tally.wrong++;
    if (load->tally.difference[0])
        return;
    query_text(query, question, sizeof(question));
    snprintf(load->tally.difference, sizeof(load->tally.difference),
             "%s: %s, served by %s: %s", load->name, question, call->version, difference);
}

static void check(struct load *load, const struct query *query, const ProtobufCMessage *reply,
                  const struct parley_call *call)
{
    bool other = strcmp(call->version, load->version->interface->version) != 0;
    struct difference difference = {0};
    if (call->executed != PARLEY_EXECUTED_YES)
        note_wrong(load, query, call, "it was answered, yet not executed");
    else if (!call->version[0] || call->translated != other)
        note_wrong(load, query, call, "the version and \"translated\" contradict each other");
    else if (call->status == PARLEY_OK)
        load->version->check(query, reply, call, &difference);
    if (difference.found)
        note_wrong(load, query, call, difference.text);
}

/* Nobody may repeat a Visit, so one that was in a killed instance ends. */
static bool is_casualty(const struct load *load, const struct query *query,
                        const struct parley_call *call)
{
    return load->chaos && query->kind == QUERY_VISIT && call->status == PARLEY_UNAVAILABLE &&
           call->executed != PARLEY_EXECUTED_YES;
}

static void note_casualty(struct tally *tally, const struct parley_call *call, uint64_t took_ns)
{
    if (call->executed == PARLEY_EXECUTED_NO)
        tally->unavailable_no++;
    else
        tally->unavailable_unknown++;
    if (took_ns > tally->unavailable_ns_max)
        tally->unavailable_ns_max = took_ns;
}

static void judge(struct load *load, const struct query *query, const ProtobufCMessage *reply,
                  const struct parley_call *call, uint64_t took_ns)
{
    struct tally *tally = &load->tally;
    tally->calls++;
    tally->translated += call->translated;
    tally->retried += call->attempts > 1;
    if (load->window == 1)
        tally_latency(tally, took_ns);
    if (call->version[0])
        tally_served(tally, call->version);
    if (call->status == PARLEY_OK && query->kind == QUERY_VISIT)
        tally->visits++;
    if (call->status == query_status(query))
        check(load, query, reply, call);
    else if (load->illness && call->status == PARLEY_INTERNAL && call->version[0])
        tally->ill++;
    else if (is_casualty(load, query, call))
        note_casualty(tally, call, took_ns);
    else
        note_failure(load, query, call);
}

/* ---- Talking to whoever started us ---- */

static void report(struct load *load, long long mark, bool final)
{
    json_t *json = tally_to_json(&load->tally);
    json_object_set_new(json, "name", json_string(load->name));
    json_object_set_new(json, "channels",
                        json_integer((json_int_t)parley_client_channel_count(load->client)));
    if (mark >= 0)
        json_object_set_new(json, "mark", json_integer(mark));
    if (final)
        json_object_set_new(json, "final", json_true());
    json_dumpf(json, stdout, JSON_COMPACT);
    putchar('\n');
    fflush(stdout);
    json_decref(json);
}

static void obey(struct load *load, const char *command)
{
    long long mark;
    if (strcmp(command, "quit") == 0)
        load->stop = true;
    else if (sscanf(command, "mark %lld", &mark) == 1 && mark >= 0)
        report(load, mark, false);
    else
        fprintf(stderr, "%s: \"%s\" is no command: \"mark NUMBER\" or \"quit\"\n", load->name,
                command);
}

static void listen_to_stdin(struct load *load)
{
    char bytes[64];
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    if (poll(&in, 1, 0) <= 0)
        return;
    ssize_t count = read(STDIN_FILENO, bytes, sizeof(bytes));
    if (count == 0 || (count < 0 && errno != EINTR && errno != EAGAIN))
        load->stop = true;
    for (ssize_t i = 0; i < count; i++) {
        if (bytes[i] == '\n') {
            load->command[load->command_bytes] = '\0';
            load->command_bytes = 0;
            obey(load, load->command);
        } else if (load->command_bytes < sizeof(load->command) - 1) {
            load->command[load->command_bytes++] = bytes[i];
        }
    }
}

/* What is due at @now: after each call, so cheap when nothing is. */
static void tick(struct load *load, uint64_t now)
{
    if (signalled || now >= load->end_ns)
        load->stop = true;
    if (load->control && now >= load->next_control_ns) {
        load->next_control_ns = now + CONTROL_NS;
        listen_to_stdin(load);
    }
    if (now >= load->next_report_ns) {
        load->next_report_ns = now + load->report_ns;
        report(load, -1, false);
    }
}

/* A client that cannot reach anybody would otherwise fail a million times a second. */
static void breathe(const struct parley_call *call)
{
    if (call->status == PARLEY_UNAVAILABLE || call->status == PARLEY_RESOURCE_EXHAUSTED)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

/* ---- One call after the other ---- */

static void run_one_by_one(struct load *load)
{
    uint64_t now = now_ns();
    while (!load->stop) {
        struct query query;
        query_make(&query, &load->truth, &load->dice, load->visit_per_cent);
        struct parley_call call = {.timeout_ns = load->timeout_ns};
        ProtobufCMessage *reply = NULL;
        uint64_t start_ns = now_ns();
        load->version->call(load->client, &query, &reply, &call);
        now = now_ns();
        judge(load, &query, reply, &call, now - start_ns);
        parley_reply_free(reply);
        breathe(&call);
        tick(load, now);
    }
}

/* ---- Several at once ---- */

static void on_reply(const ProtobufCMessage *reply, void *data)
{
    struct slot *slot = data;
    struct load *load = slot->load;
    judge(load, &slot->query, reply, parley_call_current(), now_ns() - slot->start_ns);
    slot->busy = false;
    load->in_flight--;
}

static void fill_window(struct load *load)
{
    ProtobufCService *service = parley_client_service(load->client);
    for (unsigned i = 0; i < load->window; i++) {
        struct slot *slot = &load->slots[i];
        if (slot->busy)
            continue;
        *slot = (struct slot){.load = load, .busy = true, .start_ns = now_ns()};
        query_make(&slot->query, &load->truth, &load->dice, load->visit_per_cent);
        load->in_flight++;
        load->version->start(service, &slot->query, on_reply, slot);
    }
}

static void run_window(struct load *load)
{
    while (!load->stop) {
        fill_window(load);
        parley_dispatch(load->endpoint, CONTROL_NS);
        tick(load, now_ns());
    }
    uint64_t deadline_ns = now_ns() + load->timeout_ns + 1000000000;
    while (load->in_flight && now_ns() < deadline_ns)
        parley_dispatch(load->endpoint, CONTROL_NS);
    if (load->in_flight) {
        struct parley_call hung = {.status = PARLEY_DEADLINE_EXCEEDED,
                                   .error = "It had not ended a second after its deadline."};
        for (unsigned i = 0; i < load->window; i++)
            if (load->slots[i].busy)
                note_failure(load, &load->slots[i].query, &hung);
    }
}

/* ---- The program ---- */

static void usage(FILE *out, const struct load_version *version)
{
    fprintf(out,
            "Usage: %s [OPTION]...\n"
            "Calls the interface \"catalog\" without pause as a client of version %s, and\n"
            "compares every reply with what dpkg-query says. Prints totals as lines of JSON.\n"
            "\n"
            "  --seconds N       how long; without it until SIGTERM\n"
            "  --window N        calls in flight, 1 (default) to %d\n"
            "  --visit PER_CENT  calls of Visit, which may not be repeated (1)\n"
            "  --accept RANGES   versions to accept, \"~2.0, ~1.0\" (any)\n"
            "  --timeout-ms N    deadline of a call (10000)\n"
            "  --report-ms N     between two lines (1000)\n"
            "  --chaos           instances are killed: a Visit may end as UNAVAILABLE\n"
            "  --illness         a version is made ill: its calls may end as INTERNAL\n"
            "  --control         take \"mark N\" and \"quit\" from stdin; its end is \"quit\"\n"
            "  --admindir DIR    dpkg's database\n"
            "  --name NAME       what `parley ls` shows (%s)\n"
            "  --seed N          of the random calls\n"
            "  --help            this\n"
            "\n"
            "Exit status: 0 if no call failed and no reply was wrong, else 1; 2 for a wrong\n"
            "option.\n",
            version->program, version->interface->version, WINDOW_MAX, version->program);
}

static uint64_t number(const struct load *load, const char *option, const char *text,
                       uint64_t min, uint64_t max)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno || end == text || *end || *text == '-' || value < min || value > max) {
        fprintf(stderr, "%s: --%s takes a number from %" PRIu64 " to %" PRIu64 ", not \"%s\"\n",
                load->version->program, option, min, max, text);
        exit(2);
    }
    return value;
}

enum { SECONDS = 256, WINDOW, VISIT, ACCEPT, TIMEOUT, REPORT, CHAOS, ILLNESS, CONTROL, ADMINDIR, NAME, SEED,
       HELP };

static const struct option longs[] = {
    {"seconds", required_argument, NULL, SECONDS},
    {"window", required_argument, NULL, WINDOW},
    {"visit", required_argument, NULL, VISIT},
    {"accept", required_argument, NULL, ACCEPT},
    {"timeout-ms", required_argument, NULL, TIMEOUT},
    {"report-ms", required_argument, NULL, REPORT},
    {"chaos", no_argument, NULL, CHAOS},
    {"illness", no_argument, NULL, ILLNESS},
    {"control", no_argument, NULL, CONTROL},
    {"admindir", required_argument, NULL, ADMINDIR},
    {"name", required_argument, NULL, NAME},
    {"seed", required_argument, NULL, SEED},
    {"help", no_argument, NULL, HELP},
    {0},
};

static void set_option(struct load *load, int option, const char *name)
{
    switch (option) {
    case SECONDS:
        load->seconds = number(load, name, optarg, 1, 86400);
        break;
    case WINDOW:
        load->window = (unsigned)number(load, name, optarg, 1, WINDOW_MAX);
        break;
    case VISIT:
        load->visit_per_cent = (unsigned)number(load, name, optarg, 0, 100);
        break;
    case ACCEPT:
        load->accept = optarg;
        break;
    case TIMEOUT:
        load->timeout_ns = number(load, name, optarg, 1, 3600000) * 1000000;
        break;
    case REPORT:
        load->report_ns = number(load, name, optarg, 1, 3600000) * 1000000;
        break;
    case CHAOS:
        load->chaos = true;
        break;
    case ILLNESS:
        load->illness = true;
        break;
    case CONTROL:
        load->control = true;
        break;
    case ADMINDIR:
        load->admindir = optarg;
        break;
    case NAME:
        load->name = optarg;
        break;
    case SEED:
        load->dice = number(load, name, optarg, 1, UINT64_MAX);
        break;
    case HELP:
        usage(stdout, load->version);
        exit(0);
    default:
        fprintf(stderr, "%s: try --help\n", load->version->program);
        exit(2);
    }
}

static void parse(struct load *load, int argc, char **argv)
{
    int index = 0;
    for (int option; (option = getopt_long(argc, argv, "", longs, &index)) != -1;)
        set_option(load, option, longs[index].name);
    if (optind < argc) {
        fprintf(stderr, "%s: \"%s\" is no option; try --help\n", load->version->program,
                argv[optind]);
        exit(2);
    }
}

/* Connects and negotiates; while the broker or the services are not there yet it says so, and
 * waits. */
static enum parley_status attach(struct load *load)
{
    struct parley_client_options client_options = {
        .accept = load->accept,
        .wait_ns = JOIN_FIRST_NS,
        .timeout_ns = load->timeout_ns,
    };
    uint64_t deadline_ns = now_ns() + JOIN_NS;
    enum parley_status status = join(load->name, &load->endpoint);
    while (status == PARLEY_OK) {
        status = parley_client_new(load->endpoint, load->version->interface, &client_options,
                                   &load->client);
        if (status != PARLEY_UNAVAILABLE || now_ns() >= deadline_ns || signalled)
            break;
        if (client_options.wait_ns != JOIN_NS)
            join_say(load->name);
        client_options.wait_ns = JOIN_NS;
        parley_dispatch(load->endpoint, 10000000);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        status = PARLEY_OK;
    }
    return status;
}

static void say_attached(const struct load *load)
{
    printf("{\"attached\":true,\"name\":\"%s\",\"packages\":%zu,\"wait\":\"%s\"}\n", load->name,
           load->truth.count, parley_wait_backend(load->endpoint));
    fflush(stdout);
}

static void run(struct load *load)
{
    uint64_t now = now_ns();
    load->end_ns = load->seconds ? now + load->seconds * 1000000000 : UINT64_MAX;
    load->next_report_ns = now + load->report_ns;
    say_attached(load);
    if (load->window == 1)
        run_one_by_one(load);
    else
        run_window(load);
    report(load, -1, true);
    if (load->tally.failed)
        fprintf(stderr, "%s\n", load->tally.failure);
    if (load->tally.wrong)
        fprintf(stderr, "%s\n", load->tally.difference);
}

int load_main(int argc, char **argv, const struct load_version *version)
{
    static struct load load;
    char error[256];
    load = (struct load){
        .version = version,
        .name = version->program,
        .window = 1,
        .visit_per_cent = 1,
        .report_ns = 1000000000,
        .timeout_ns = UINT64_C(10) * 1000000000,
        .dice = now_ns() * 2654435761u + (uint64_t)getpid(),
    };
    parse(&load, argc, argv);
    load.dice |= 1;
    sigaction(SIGTERM, &(struct sigaction){.sa_handler = on_signal}, NULL);
    sigaction(SIGINT, &(struct sigaction){.sa_handler = on_signal}, NULL);
    signal(SIGPIPE, SIG_IGN);
    if (truth_ask(load.admindir, &load.truth, error) < 0) {
        fprintf(stderr, "%s: %s\n", load.name, error);
        return 1;
    }
    enum parley_status status = attach(&load);
    if (status == PARLEY_OK)
        run(&load);
    else
        fprintf(stderr, "%s: %s\n", load.name, parley_error_text());
    parley_client_free(load.client);
    parley_endpoint_free(load.endpoint);
    truth_deinit(&load.truth);
    return status == PARLEY_OK && load.tally.failed == 0 && load.tally.wrong == 0 ? 0 : 1;
}
