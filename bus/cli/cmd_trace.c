/*
 * parley trace: the spans of sampled calls, as they end, or one trace as a tree.
 *
 * The broker keeps the newest spans and numbers them; following is asking for what has a higher
 * number than the last one seen, a few times a second. Parents are what endpoints say they are: a
 * span whose parent is not there stands at the left, and one that would be its own ancestor is
 * shown once.
 */
#include "cli/cli.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/rate.h"
#include "cli/json.h"
#include "parley/client.h"
#include "parley/status.h"
#include "wire/wire.h"

#define TRACE_FIRST_MAX 20 /* spans shown at once, before those that come */
#define TRACE_EVERY_NS (200 * NS_PER_MS)
#define TRACE_DEPTH_MAX 32 /* of indentation */

struct asked {
    const char *rate, *interface, *status;
    bool last, failed;
    uint64_t min_duration_ns, count;
    uint32_t status_code;
    uint8_t trace_id[16];
    bool one; /* a trace */
};

/* ---- Values ---- */

static const char *hex(const ProtobufCBinaryData *id, char out[33])
{
    out[0] = '\0';
    for (size_t i = 0; i < id->len && i < 16; i++)
        (void)snprintf(out + 2 * i, 3, "%02x", id->data[i]);
    return out;
}

static bool read_trace_id(const char *text, uint8_t out[16])
{
    if (strlen(text) != 32 || strspn(text, "0123456789abcdefABCDEF") != 32)
        return false;
    for (size_t i = 0; i < 16; i++) {
        const char pair[3] = {text[2 * i], text[2 * i + 1], '\0'};
        out[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
    return true;
}

static bool read_status(const char *text, uint32_t *ret_status)
{
    for (uint32_t i = 0; i < PARLEY_STATUS_COUNT; i++) {
        if (strcasecmp(text, parley_status_name((enum parley_status)i)) == 0) {
            *ret_status = i;
            return true;
        }
    }
    return false;
}

static const char *status_name(const Parley__Span *span)
{
    return span->status < PARLEY_STATUS_COUNT ? parley_status_name((enum parley_status)span->status)
                                              : "?";
}

static const char *translation_name(const Parley__Span *span)
{
    return span->translation <= PARLEY_LOSSY
               ? parley_translation_name((enum parley_translation)span->translation)
               : "?";
}

static const char *or_dash(const char *text)
{
    return text && *text ? text : "-";
}

/* ---- A span ---- */

static json_t *span_json(const Parley__Span *span)
{
    char id[33];
    json_t *object = json_object();
    json_object_set_new(object, "number", json_integer((json_int_t)span->number));
    json_set_text(object, "trace_id", hex(&span->trace_id, id));
    json_set_text(object, "span_id", hex(&span->span_id, id));
    json_set_text(object, "parent_id", span->has_parent_id ? hex(&span->parent_id, id) : NULL);
    json_set_text(object, "side", span->service ? "service" : "client");
    json_set_text(object, "interface", span->interface);
    json_set_text(object, "method", span->method);
    json_set_text(object, "asked", span->asked);
    json_set_text(object, "served", span->served);
    json_set_text(object, "translation", translation_name(span));
    json_object_set_new(object, "crossing_ns", json_integer((json_int_t)span->crossing_ns));
    json_object_set_new(object, "start_unix_ns", json_integer((json_int_t)span->start_unix_ns));
    json_object_set_new(object, "duration_ns", json_integer((json_int_t)span->duration_ns));
    json_set_text(object, "status", status_name(span));
    json_object_set_new(object, "attempts", json_integer(span->attempts));
    json_object_set_new(object, "one_way", json_boolean(span->one_way));
    json_set_text(object, "endpoint", span->endpoint);
    json_object_set_new(object, "pid", json_integer(span->pid));
    json_object_set_new(object, "peer_pid",
                        span->has_peer_pid ? json_integer(span->peer_pid) : json_null());
    return object;
}

static void print_line(FILE *out, const Parley__Span *span)
{
    char text[64] = "-", id[33], took[TEXT_DURATION_BYTES], crossed[TEXT_DURATION_BYTES];
    time_t seconds = (time_t)(span->start_unix_ns / NS_PER_S);
    struct tm parts;
    if (localtime_r(&seconds, &parts))
        (void)strftime(text, sizeof(text), "%H:%M:%S", &parts);
    fprintf(out, "%s.%06u %-7s ", text, (unsigned)(span->start_unix_ns % NS_PER_S / NS_PER_US),
            span->service ? "service" : "client");
    text_print(out, or_dash(span->interface));
    fputc('/', out);
    text_print(out, or_dash(span->method));
    fputc(' ', out);
    text_print(out, or_dash(span->asked));
    fputc('>', out);
    text_print(out, or_dash(span->served));
    fprintf(out, " %s %s, crossing %s, %s, ", translation_name(span),
            text_duration(span->duration_ns, took), text_duration(span->crossing_ns, crossed),
            status_name(span));
    text_print(out, or_dash(span->endpoint));
    fprintf(out, " (%" PRIu32 "), trace %s", span->pid, hex(&span->trace_id, id));
    fprintf(out, " span %s", hex(&span->span_id, id));
    if (span->has_parent_id)
        fprintf(out, " parent %s", hex(&span->parent_id, id));
    fputc('\n', out);
}

/* ---- Asking ---- */

/* @reply: wire_free(). */
static int ask(struct cli *cli, const struct asked *asked, Parley__TraceRequest *trace,
               Parley__ControlReply **ret_reply)
{
    Parley__ControlRequest request = PARLEY__CONTROL_REQUEST__INIT;
    request.body_case = PARLEY__CONTROL_REQUEST__BODY_TRACE;
    request.trace = trace;
    trace->interface = (char *)(uintptr_t)asked->interface;
    trace->has_status = asked->status != NULL;
    trace->status = asked->status_code;
    trace->has_failed = trace->failed = asked->failed;
    trace->has_min_duration_ns = asked->min_duration_ns > 0;
    trace->min_duration_ns = asked->min_duration_ns;
    Parley__ControlReply *reply;
    int code = control_ask(cli, &request, PARLEY__CONTROL_REPLY__BODY_TRACE, &reply);
    if (code != CLI_EXIT_OK)
        return code;
    for (size_t i = 0; i < reply->trace->n_span; i++) {
        const Parley__Span *span = reply->trace->span[i];
        if (span->trace_id.len == 16 && span->span_id.len == 8 &&
            (!span->has_parent_id || span->parent_id.len == 8))
            continue;
        wire_free(reply);
        return control_bad_reply(cli, "spans that have ids");
    }
    *ret_reply = reply;
    return CLI_EXIT_OK;
}

static void print_losses(struct cli *cli, const Parley__TraceReply *trace)
{
    if (trace->lost > 0)
        fprintf(cli->out, "%" PRIu64 " spans were lost: more came than the broker could read\n",
                trace->lost);
    if (trace->bad > 0)
        fprintf(cli->out, "%" PRIu64 " spans were refused: no endpoint of ours writes such\n",
                trace->bad);
    if (!trace->has_exported)
        return;
    fprintf(cli->out,
            "%" PRIu64 " spans were exported, %" PRIu64 " wait, %" PRIu64 " were lost on the way",
            trace->exported, trace->export_waiting, trace->export_lost);
    if (trace->export_error) {
        fputs("; last: ", cli->out);
        text_print(cli->out, trace->export_error);
    }
    fputc('\n', cli->out);
}

static void print_state(struct cli *cli, const Parley__TraceReply *trace)
{
    if (cli->json) {
        json_t *object = json_object();
        json_object_set_new(object, "on", json_boolean(trace->on));
        json_object_set_new(object, "rate_per_100000", json_integer(trace->rate_per_100000));
        json_object_set_new(object, "read", json_integer((json_int_t)trace->read));
        json_object_set_new(object, "lost", json_integer((json_int_t)trace->lost));
        json_object_set_new(object, "bad", json_integer((json_int_t)trace->bad));
        if (trace->has_exported) {
            json_object_set_new(object, "exported", json_integer((json_int_t)trace->exported));
            json_object_set_new(object, "export_lost",
                                json_integer((json_int_t)trace->export_lost));
            json_object_set_new(object, "export_failed",
                                json_integer((json_int_t)trace->export_failed));
            json_object_set_new(object, "export_waiting",
                                json_integer((json_int_t)trace->export_waiting));
            json_set_text(object, "export_error", trace->export_error);
        }
        json_print(cli->out, object, 0);
        return;
    }
    char share[TEXT_SHARE_BYTES];
    if (!trace->on)
        fputs("no call is traced\n", cli->out);
    else if (trace->rate_per_100000 == 0)
        fputs("calls that are marked are traced\n", cli->out);
    else
        fprintf(cli->out, "%s of calls are traced, and those that are marked\n",
                text_share(trace->rate_per_100000 * 100.0 / RATE_ALL, share));
    print_losses(cli, trace);
}

static int set_rate(struct cli *cli, const struct asked *asked)
{
    Parley__TraceRequest trace = PARLEY__TRACE_REQUEST__INIT;
    if (strcmp(asked->rate, "off") == 0)
        trace.has_off = trace.off = true;
    else if (rate_parse(asked->rate, &trace.rate_per_100000) == 0)
        trace.has_rate_per_100000 = true;
    else if (strcmp(asked->rate, "show") != 0)
        return cli_usage(cli, "'%s' is no rate of calls: per cent, as 1 or 0.05%%; or off, or show",
                         asked->rate);
    trace.has_limit = true;
    trace.limit = 1;
    Parley__ControlReply *reply;
    int code = ask(cli, asked, &trace, &reply);
    if (code != CLI_EXIT_OK)
        return code;
    print_state(cli, reply->trace);
    wire_free(reply);
    return CLI_EXIT_OK;
}

/* ---- Following ---- */

static bool print_spans(struct cli *cli, const Parley__TraceReply *trace, uint64_t max)
{
    for (size_t i = 0; i < trace->n_span && i < max; i++) {
        if (cli->json)
            json_print(cli->out, span_json(trace->span[i]), 0);
        else
            print_line(cli->out, trace->span[i]);
    }
    return fflush(cli->out) == 0;
}

static int follow(struct cli *cli, const struct asked *asked)
{
    uint64_t since = 0, seen = 0, max = asked->count ? asked->count : UINT64_MAX;
    bool first = true;
    while (!stop_requested()) {
        Parley__TraceRequest trace = PARLEY__TRACE_REQUEST__INIT;
        trace.has_limit = first && !asked->last;
        trace.limit = max < TRACE_FIRST_MAX ? (uint32_t)max : TRACE_FIRST_MAX;
        trace.has_since = !first;
        trace.since = since;
        Parley__ControlReply *reply;
        int code = ask(cli, asked, &trace, &reply);
        if (code != CLI_EXIT_OK)
            return code;
        if (first && !reply->trace->on)
            cli_complain(cli, 0,
                         "no call is traced: parley trace --rate 1 traces one in a hundred");
        else if (asked->last && reply->trace->n_span == 0)
            cli_complain(cli, 0, "no span is kept that was asked for");
        bool written = print_spans(cli, reply->trace, max - seen);
        seen += reply->trace->n_span;
        since = reply->trace->next;
        wire_free(reply);
        if (asked->last || seen >= max || !written)
            return CLI_EXIT_OK;
        first = false;
        stop_wait(TRACE_EVERY_NS);
    }
    return CLI_EXIT_OK;
}

/* ---- One trace ---- */

struct tree {
    Parley__Span **spans; /* by start */
    size_t count;
    bool *shown;
    struct table *table;
    uint64_t began_ns;
};

static bool same_id(const ProtobufCBinaryData *a, const ProtobufCBinaryData *b)
{
    return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

static void tree_row(const struct tree *tree, const Parley__Span *span, unsigned depth)
{
    char took[TEXT_DURATION_BYTES], crossed[TEXT_DURATION_BYTES], after[TEXT_DURATION_BYTES];
    unsigned indent = 2 * (depth < TRACE_DEPTH_MAX ? depth : TRACE_DEPTH_MAX);
    table_cell(tree->table, "%*s%s %s/%s", (int)indent, "", span->service ? "service" : "client",
               or_dash(span->interface), or_dash(span->method));
    table_cell(tree->table, "+%s", text_duration(span->start_unix_ns - tree->began_ns, after));
    table_cell(tree->table, "%s", text_duration(span->duration_ns, took));
    table_cell(tree->table, "%s", text_duration(span->crossing_ns, crossed));
    table_cell(tree->table, "%s>%s", or_dash(span->asked), or_dash(span->served));
    table_cell(tree->table, "%s", translation_name(span));
    table_cell(tree->table, "%s", status_name(span));
    table_cell(tree->table, "%s", or_dash(span->endpoint));
    table_cell(tree->table, "%" PRIu32, span->pid);
}

/* @parent NULL: those whose parents are not there. */
static void tree_children(struct tree *tree, const Parley__Span *parent, unsigned depth)
{
    for (size_t i = 0; i < tree->count; i++) {
        const Parley__Span *span = tree->spans[i];
        if (tree->shown[i])
            continue;
        bool here = parent && span->has_parent_id && same_id(&span->parent_id, &parent->span_id);
        if (!parent) {
            here = true;
            for (size_t j = 0; j < tree->count && span->has_parent_id && here; j++)
                here = j == i || !same_id(&span->parent_id, &tree->spans[j]->span_id);
        }
        if (!here)
            continue;
        tree->shown[i] = true;
        tree_row(tree, span, depth);
        tree_children(tree, span, depth + 1);
    }
}

static int compare_starts(const void *a, const void *b)
{
    const Parley__Span *x = *(Parley__Span *const *)a, *y = *(Parley__Span *const *)b;
    if (x->start_unix_ns != y->start_unix_ns)
        return x->start_unix_ns < y->start_unix_ns ? -1 : 1;
    return x->service - y->service;
}

static void print_tree(struct cli *cli, const Parley__TraceReply *trace)
{
    static const char *const titles[] = {"SPAN",     ">START",      ">DURATION", ">CROSSING",
                                         "VERSIONS", "TRANSLATION", "STATUS",    "ENDPOINT",
                                         ">PID",     NULL};
    struct tree tree = {.spans = trace->span, .count = trace->n_span};
    tree.shown = text_alloc(tree.count);
    tree.table = table_new(titles);
    tree.began_ns = tree.spans[0]->start_unix_ns;
    tree_children(&tree, NULL, 0);
    for (size_t i = 0; i < tree.count; i++) { /* in a ring of parents */
        if (tree.shown[i])
            continue;
        tree.shown[i] = true;
        tree_row(&tree, tree.spans[i], 0);
        tree_children(&tree, tree.spans[i], 1);
    }
    table_print(tree.table, cli->out);
    table_free(tree.table);
    free(tree.shown);
}

static int show_trace(struct cli *cli, const struct asked *asked)
{
    Parley__TraceRequest trace = PARLEY__TRACE_REQUEST__INIT;
    trace.has_trace_id = true;
    trace.trace_id = (ProtobufCBinaryData){16, (uint8_t *)(uintptr_t)asked->trace_id};
    Parley__ControlReply *reply;
    int code = ask(cli, asked, &trace, &reply);
    if (code != CLI_EXIT_OK)
        return code;
    if (reply->trace->n_span > 0)
        qsort(reply->trace->span, reply->trace->n_span, sizeof(reply->trace->span[0]),
              compare_starts);
    if (cli->json) {
        json_t *spans = json_array();
        for (size_t i = 0; i < reply->trace->n_span; i++)
            json_array_append_new(spans, span_json(reply->trace->span[i]));
        json_print(cli->out, json_pack("{s:o}", "spans", spans), 2);
    } else if (reply->trace->n_span > 0) {
        print_tree(cli, reply->trace);
    }
    if (reply->trace->n_span == 0)
        code = cli_complain(cli, CLI_EXIT_REFUSED,
                            "no span of that trace is kept: the broker has the last 4,096");
    wire_free(reply);
    return code;
}

/* ---- The command ---- */

static int check(struct cli *cli, struct asked *asked, int argc, char **argv)
{
    if (argc > 1)
        return cli_usage(cli, "trace takes one trace id; '%s' is one too many", argv[1]);
    asked->one = argc == 1;
    if (asked->one && !read_trace_id(argv[0], asked->trace_id))
        return cli_usage(cli, "'%s' is no trace id: 32 hexadecimal digits", argv[0]);
    if (asked->interface && !target_interface(cli, asked->interface))
        return CLI_EXIT_USAGE;
    if (asked->status && !read_status(asked->status, &asked->status_code))
        return cli_usage(cli, "'%s' is no status; one is UNAVAILABLE", asked->status);
    return CLI_EXIT_OK;
}

static int run(struct cli *cli, int argc, char **argv)
{
    struct asked asked = {0};
    const struct option_spec specs[] = {
        {"rate", 'r', OPTION_TEXT, "RATE", "trace that per cent of calls; off; show", &asked.rate},
        {"last", 'l', OPTION_FLAG, NULL, "print what is kept, and end", &asked.last},
        {"count", 'n', OPTION_COUNT, "N", "end after N spans", &asked.count},
        {"interface", 0, OPTION_TEXT, "NAME", "of that interface only", &asked.interface},
        {"status", 0, OPTION_TEXT, "STATUS", "with that status only", &asked.status},
        {"failed", 0, OPTION_FLAG, NULL, "with any status but OK", &asked.failed},
        {"min-duration", 0, OPTION_DURATION, "DURATION", "that took so long at least",
         &asked.min_duration_ns},
    };
    int code;
    if (!options_take(cli, specs, sizeof(specs) / sizeof(specs[0]), &argc, argv, &code))
        return code;
    code = check(cli, &asked, argc, argv);
    if (code != CLI_EXIT_OK)
        return code;
    if (asked.rate)
        return set_rate(cli, &asked);
    if (asked.one)
        return show_trace(cli, &asked);
    if (stop_begin() < 0)
        return cli_complain(cli, CLI_EXIT_TROUBLE, "no descriptor is left to wait with");
    code = follow(cli, &asked);
    stop_end();
    return code;
}

const struct cli_command cmd_trace = {
    .name = "trace",
    .usage = "[--rate RATE] [--last] [--json] [TRACE_ID]",
    .summary = "follow sampled calls, or show one trace as a tree",
    .details =
        "Prints a line for each span: one for the client's side of a sampled call, one for the\n"
        "service's, with the versions asked for and served, how it was translated, and how\n"
        "long reading and translating took. Begins with the newest 20 and goes on until\n"
        "Ctrl-C. With a TRACE_ID: all spans of that trace that the broker has kept, as a tree.\n"
        "--rate says how many calls are sampled, in per cent, from now on; 0 samples those\n"
        "alone that are marked: by metadata gray.trace=1, or by a traceparent that says so.\n"
        "off samples none, and show tells what is in force.\n",
    .example = "  parley trace --rate 1\n"
               "  parley trace --failed --interface catalog\n"
               "  parley trace 4bf92f3577b34da6a3ce929d0e0e4736\n",
    .run = run,
};
