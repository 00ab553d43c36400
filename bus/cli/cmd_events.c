/*
 * parley events: what happens on the bus, as it happens.
 *
 * The broker publishes TOPIC '\n' packed Event; a TOPIC argument is a prefix of the topic. We
 * subscribe to everything and choose here: libnng 1.5 may hang in nng_close() on a SUB socket that
 * has received a message which it was not subscribed to (seen one time in thirty), and events are
 * few. A message that is no event (something else publishes at this URL) is reported and passed
 * over: the next may be good. PUB/SUB says nothing while nothing happens, so the wait is in slices,
 * and between two of them Ctrl-C is looked at.
 *
 * What happened before is asked of the control API, once we have subscribed, so that nothing is
 * missed in between; what comes both ways is shown once.
 */
#include "cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "cli/json.h"
#include "control/nng.h"
#include "report/report.h"
#include "wire/wire.h"

#define EVENTS_TOPIC_MAX 16
#define EVENTS_TOPIC_BYTES_MAX 64
#define EVENTS_LAST 10 /* with --follow */
#define EVENTS_SLICE_NS (200 * NS_PER_MS)

static void print_time(FILE *out, uint64_t unix_ns)
{
    time_t seconds = (time_t)(unix_ns / NS_PER_S);
    struct tm parts;
    char text[32] = "-";
    if (localtime_r(&seconds, &parts))
        strftime(text, sizeof(text), "%H:%M:%S", &parts);
    fprintf(out, "%s.%03u", text, (unsigned)(unix_ns % NS_PER_S / NS_PER_MS));
}

static void print_word(FILE *out, const char *text)
{
    if (!text || !*text)
        return;
    fputc(' ', out);
    text_print(out, text);
}

static void print_text(FILE *out, const Parley__Event *event)
{
    print_time(out, event->time_unix_ns);
    print_word(out, event->topic ? event->topic : "-");
    print_word(out, event->interface);
    print_word(out, event->version);
    if (event->has_instance_id)
        fprintf(out, " instance %016" PRIx64, event->instance_id);
    if (event->has_pid)
        fprintf(out, " pid %" PRIu32, event->pid);
    if (event->has_uid)
        fprintf(out, " uid %" PRIu32, event->uid);
    print_word(out, event->program);
    if (event->text && *event->text) {
        fputc(':', out);
        print_word(out, event->text);
    }
    fputc('\n', out);
}

struct topics {
    const char *const *prefixes;
    size_t count; /* 0: all */
};

static bool wanted(const struct topics *topics, const uint8_t *data, size_t bytes)
{
    static const char again[] = "json."; /* the same event for who has no protobuf */
    if (bytes >= sizeof(again) - 1 && memcmp(data, again, sizeof(again) - 1) == 0)
        return false;
    for (size_t i = 0; i < topics->count; i++) {
        size_t length = strlen(topics->prefixes[i]);
        if (length <= bytes && memcmp(data, topics->prefixes[i], length) == 0)
            return true;
    }
    return topics->count == 0;
}

static void print_event(struct cli *cli, const Parley__Event *event)
{
    if (cli->json)
        json_print(cli->out, report_event(event), 0);
    else
        print_text(cli->out, event);
}

/* The last of those that were asked for. */
struct seen {
    uint64_t sequence, time_unix_ns; /* 0: none */
};

/* Return: whether it was an event, and a new one. */
static bool show(struct cli *cli, const uint8_t *data, size_t bytes, const struct seen *seen)
{
    struct error_text error;
    ProtobufCMessage *message;
    size_t head = bytes < EVENTS_TOPIC_BYTES_MAX ? bytes : EVENTS_TOPIC_BYTES_MAX;
    const uint8_t *newline = bytes > 0 ? memchr(data, '\n', head) : NULL;
    if (!newline) {
        cli_complain(cli, 0, "passed over %zu bytes without a topic: no event of a broker", bytes);
        return false;
    }
    newline++;
    if (wire_unpack(&parley__event__descriptor, newline, bytes - (size_t)(newline - data), NULL,
                    &message, &error) < 0) {
        cli_complain(cli, 0, "passed over an event that cannot be read: %s", error.text);
        return false;
    }
    const Parley__Event *event = (const Parley__Event *)message;
    /* By both: a new broker counts from 1 again. */
    bool again = event->has_sequence && event->sequence <= seen->sequence &&
                 event->time_unix_ns <= seen->time_unix_ns;
    if (!again)
        print_event(cli, event);
    wire_free(message);
    return !again;
}

static bool topic_wanted(const struct topics *topics, const char *topic)
{
    const char *text = topic ? topic : "";
    return wanted(topics, (const uint8_t *)text, strlen(text));
}

/* Prints the last @max events that the broker has kept of these topics. Return: an exit code. */
static int show_kept(struct cli *cli, const struct topics *topics, uint64_t max,
                     struct seen *ret_seen)
{
    Parley__EventsRequest events = PARLEY__EVENTS_REQUEST__INIT;
    Parley__ControlRequest request = PARLEY__CONTROL_REQUEST__INIT;
    Parley__ControlReply *reply;
    request.body_case = PARLEY__CONTROL_REQUEST__BODY_EVENTS;
    request.events = &events;
    int code = control_ask(cli, &request, PARLEY__CONTROL_REPLY__BODY_EVENTS, &reply);
    if (code != CLI_EXIT_OK)
        return code;
    size_t count = reply->events->n_event, first = count;
    for (uint64_t left = max; first > 0 && left > 0; first--)
        left -= topic_wanted(topics, reply->events->event[first - 1]->topic);
    for (size_t i = first; i < count; i++)
        if (topic_wanted(topics, reply->events->event[i]->topic))
            print_event(cli, reply->events->event[i]);
    if (count > 0)
        *ret_seen = (struct seen){reply->events->event[count - 1]->sequence,
                                  reply->events->event[count - 1]->time_unix_ns};
    wire_free(reply);
    return CLI_EXIT_OK;
}

/* Waits for the next message, in slices. Return: CLI_EXIT_OK with @ret_data NULL if asked to stop.
 */
static int next_message(struct cli *cli, struct nng_subscriber *subscriber, uint64_t deadline,
                        uint8_t **ret_data, size_t *ret_bytes)
{
    *ret_data = NULL;
    while (!stop_requested()) {
        uint64_t left = clock_left(deadline, clock_now_ns());
        if (left == 0)
            return cli_complain(cli, CLI_EXIT_NO_BROKER, "no event came from %s in time",
                                control_events_url(cli));
        int r = nng_subscriber_receive(subscriber, left < EVENTS_SLICE_NS ? left : EVENTS_SLICE_NS,
                                       ret_data, ret_bytes);
        if (r == 0)
            return CLI_EXIT_OK;
        if (r != -ETIMEDOUT)
            return cli_complain(cli, CLI_EXIT_NO_BROKER, "no more events from %s: %s",
                                control_events_url(cli), strerror(-r));
    }
    return CLI_EXIT_OK;
}

static uint64_t deadline_of(const struct cli *cli)
{
    return cli->timeout_ns ? clock_add(clock_now_ns(), cli->timeout_ns) : CLOCK_NEVER;
}

static int follow(struct cli *cli, struct nng_subscriber *subscriber, const struct topics *topics,
                  uint64_t count, const struct seen *seen)
{
    uint64_t shown = 0, deadline = deadline_of(cli);
    while (count == 0 || shown < count) {
        uint8_t *data;
        size_t bytes;
        int code = next_message(cli, subscriber, deadline, &data, &bytes);
        if (code != CLI_EXIT_OK || !data)
            return code;
        if (wanted(topics, data, bytes) && show(cli, data, bytes, seen)) {
            shown++;
            deadline = deadline_of(cli);
        }
        free(data);
        if (fflush(cli->out) != 0)
            return CLI_EXIT_OK; /* cli_main() says so */
    }
    return CLI_EXIT_OK;
}

struct events_options {
    uint64_t count; /* 0: until Ctrl-C */
    uint64_t last;  /* 0: not given */
    bool follow;
};

static int watch(struct cli *cli, const struct topics *topics, const struct events_options *options)
{
    struct nng_subscriber *subscriber;
    struct error_text error;
    struct seen seen = {0};
    const char *url = control_events_url(cli);
    if (!url)
        return CLI_EXIT_USAGE;
    int r = control_subscriber_new(cli, url, &subscriber, &error);
    if (r < 0)
        return r == -EINVAL ? cli_usage(cli, "%s", error.text)
                            : cli_complain(cli, CLI_EXIT_NO_BROKER, "%s", error.text);
    int code = CLI_EXIT_OK;
    if (stop_begin() < 0)
        code = cli_complain(cli, CLI_EXIT_TROUBLE, "no descriptor is left to wait with: %s",
                            strerror(errno));
    if (code == CLI_EXIT_OK && options->follow)
        code = show_kept(cli, topics, options->last ? options->last : EVENTS_LAST, &seen);
    if (code == CLI_EXIT_OK && fflush(cli->out) == 0)
        code = follow(cli, subscriber, topics, options->count, &seen);
    stop_end();
    nng_subscriber_free(subscriber);
    return code;
}

static int run(struct cli *cli, int argc, char **argv)
{
    struct events_options options = {0};
    struct seen seen;
    const struct option_spec specs[] = {
        {"follow", 'f', OPTION_FLAG, NULL, "first the last 10, then what happens", &options.follow},
        {"last", 'l', OPTION_COUNT, "N", "the last N that the broker has kept, and no more",
         &options.last},
        {"count", 'n', OPTION_COUNT, "N", "end after N events that happen", &options.count},
    };
    int code;
    if (!options_take(cli, specs, sizeof(specs) / sizeof(specs[0]), &argc, argv, &code))
        return code;
    if (argc > EVENTS_TOPIC_MAX)
        return cli_usage(cli, "more than %d topics", EVENTS_TOPIC_MAX);
    const struct topics topics = {(const char *const *)argv, (size_t)argc};
    if (options.last && !options.follow)
        return show_kept(cli, &topics, options.last, &seen);
    return watch(cli, &topics, &options);
}

const struct cli_command cmd_events = {
    .name = "events",
    .usage = "[--follow] [--last N] [--count N] [--json] [TOPIC...]",
    .summary = "follow what happens on the bus",
    .details =
        "Prints a line for each event until Ctrl-C; with --follow first the last 10 that the\n"
        "broker has kept (or as many as --last says), with --last alone only those. The broker\n"
        "keeps 256 at most. Topics are broker, instance.up, instance.gone, instance.drain,\n"
        "instance.drained, instance.ejected, instance.restored, route, rollout.*,\n"
        "mirror.differs, schema, folder, policy, policy.bad, refused, audit.* and trace; a\n"
        "TOPIC stands for all that begin with it, and none for all. --timeout ends it when no\n"
        "event came for so long.\n",
    .example = "  parley events instance route\n"
               "  parley events --follow --last 50\n"
               "  parley events --count 1 --timeout 10s instance.up\n",
    .run = run,
};
