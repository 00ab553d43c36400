/*
 * How `parley top` reads: lines of text, each with a tone for terminals that have more than one.
 * The same lines are on the screen and in --batch.
 */
#include "cli/top.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

static const char *or_dash(const char *text)
{
    return text && *text ? text : "-";
}

/* ---- Lines ---- */

/* Takes @text over. */
static void add_line(struct top_lines *lines, enum top_tone tone, char *text)
{
    if (lines->count == lines->room) {
        size_t room = lines->room ? 2 * lines->room : 32;
        struct top_line *items = text_alloc(room * sizeof(*items));
        if (lines->count > 0)
            memcpy(items, lines->items, lines->count * sizeof(*items));
        free(lines->items);
        lines->items = items;
        lines->room = room;
    }
    lines->items[lines->count++] = (struct top_line){text, tone};
}

void top_lines_free(struct top_lines *lines)
{
    for (size_t i = 0; i < lines->count; i++)
        free(lines->items[i].text);
    free(lines->items);
    *lines = (struct top_lines){0};
}

/* @tones: of the rows, without the titles. Frees @table. */
static void add_table(struct top_lines *lines, struct table *table, const enum top_tone *tones)
{
    char *text = NULL;
    size_t bytes;
    FILE *stream = open_memstream(&text, &bytes);
    if (stream) {
        table_print(table, stream);
        (void)fclose(stream);
    }
    table_free(table);
    char *rest = text;
    for (size_t i = 0; rest && *rest; i++) {
        char *line = strsep(&rest, "\n");
        add_line(lines, i == 0 ? TOP_TITLE : tones[i - 1], text_format("%s", line));
    }
    free(text);
}

/* What came from a peer, as the cells of a table (text.c): nothing that a terminal obeys. */
static char *clean_text(const char *text)
{
    char *copy = NULL;
    size_t bytes;
    FILE *stream = open_memstream(&copy, &bytes);
    if (!stream)
        return text_format("?");
    text_print(stream, text);
    (void)fclose(stream);
    return copy;
}

/* ---- Versions ---- */

static void add_percent(struct table *table, double percent)
{
    if (percent < 0)
        table_cell(table, "-");
    else if (percent > 0 && percent < 0.01)
        table_cell(table, "<0.01 %%");
    else
        table_cell(table, "%.*f %%",
                   percent == 0 || percent >= 99.95 ? 0
                   : percent < 1                    ? 2
                                                    : 1,
                   percent);
}

static void add_rate(struct table *table, double rate)
{
    if (rate < 0)
        table_cell(table, "-");
    else
        table_cell(table, "%.*f", rate > 0 && rate < 9.95 ? 1 : 0, rate);
}

static void add_duration(struct table *table, uint64_t ns)
{
    char buffer[TEXT_DURATION_BYTES];
    table_cell(table, "%s", ns ? text_duration(ns, buffer) : "-");
}

static void add_instances(struct table *table, const struct top_row *row)
{
    if (row->draining)
        table_cell(table, "%" PRIu32 "+%" PRIu32, row->up, row->draining);
    else
        table_cell(table, "%" PRIu32, row->up);
}

static void add_versions(struct top_lines *lines, const struct top *top)
{
    static const char *const titles[] = {"INTERFACE", "VERSION", ">SHARE", ">SET TO",
                                         ">CALLS/S",  ">ERRORS", ">P50",   ">P99",
                                         ">FLIGHT",   ">INST",   NULL};
    if (top->row_count == 0) {
        add_line(lines, TOP_PLAIN, text_format("Nothing is published."));
        return;
    }
    struct table *table = table_new(titles);
    enum top_tone *tones = text_alloc(top->row_count * sizeof(*tones));
    for (size_t i = 0; i < top->row_count; i++) {
        const struct top_row *row = &top->rows[i];
        table_cell(table, "%s", or_dash(row->interface));
        table_cell(table, "%s", or_dash(row->version));
        add_percent(table, row->share_percent);
        add_percent(table, row->set_percent);
        add_rate(table, row->rate);
        add_percent(table, row->error_percent);
        add_duration(table, row->p50_ns);
        add_duration(table, row->p99_ns);
        table_cell(table, "%" PRIu64, row->in_flight);
        add_instances(table, row);
        tones[i] = row->error_percent >= 1 || row->up == 0 ? TOP_BAD : TOP_PLAIN;
    }
    add_table(lines, table, tones);
    free(tones);
}

/* ---- Rollouts ---- */

static enum top_tone tone_of(const char *phase)
{
    if (strcmp(phase, "RolledBack") == 0)
        return TOP_BAD;
    if (strcmp(phase, "Completed") == 0)
        return TOP_GOOD;
    return strcmp(phase, "Progressing") == 0 ? TOP_BUSY : TOP_PLAIN;
}

static double number_of(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static const char *verdict_of(const json_t *gate)
{
    const char *verdict = json_string_value(json_object_get(gate, "verdict"));
    return verdict ? verdict : "undecided";
}

/* "errors pass (0.04 %, stable 0.05 %)" */
static char *errors_gate(const json_t *gate)
{
    double canary = number_of(gate, "canary"), stable = number_of(gate, "stable");
    if (!isfinite(canary) || !isfinite(stable))
        return text_format("errors %s", verdict_of(gate));
    return text_format("errors %s (%.2f %%, stable %.2f %%)", verdict_of(gate), 100 * canary,
                       100 * stable);
}

static char *p99_gate(const json_t *gate)
{
    char ours[TEXT_DURATION_BYTES], theirs[TEXT_DURATION_BYTES];
    double canary = number_of(gate, "canary"), stable = number_of(gate, "stable");
    if (!isfinite(canary) || !isfinite(stable) || canary < 0 || stable < 0 || canary > 1e18 ||
        stable > 1e18)
        return text_format("p99 %s", verdict_of(gate));
    return text_format("p99 %s (%s, stable %s)", verdict_of(gate),
                       text_duration((uint64_t)canary, ours),
                       text_duration((uint64_t)stable, theirs));
}

static void add_gates(struct table *table, const json_t *document)
{
    const json_t *gates = json_object_get(json_object_get(document, "status"), "gates");
    if (!gates) {
        table_cell(table, "-");
        return;
    }
    char *errors = errors_gate(json_object_get(gates, "errorRate"));
    char *p99 = p99_gate(json_object_get(gates, "p99Ns"));
    table_cell(table, "%s, %s", errors, p99);
    free(errors);
    free(p99);
}

static void add_rollouts(struct top_lines *lines, const struct top *top)
{
    static const char *const titles[] = {"ROLLOUT", "INTERFACE", "PHASE", ">STEP",
                                         ">CANARY", "GATES",     NULL};
    const Parley__RolloutReply *reply = top->rollouts ? top->rollouts->rollout : NULL;
    if (!reply || reply->n_rollout == 0)
        return;
    add_line(lines, TOP_PLAIN, text_format("%s", ""));
    struct table *table = table_new(titles);
    enum top_tone *tones = text_alloc(reply->n_rollout * sizeof(*tones));
    for (size_t i = 0; i < reply->n_rollout; i++) {
        const Parley__RolloutInfo *rollout = reply->rollout[i];
        table_cell(table, "%s", or_dash(rollout->name));
        table_cell(table, "%s", or_dash(rollout->interface));
        table_cell(table, "%s", or_dash(rollout->phase));
        table_cell(table, "%" PRIu32 "/%" PRIu32, rollout->step, rollout->steps);
        add_percent(table, rollout->weight_per_100000 / 1000.0);
        add_gates(table, rollout->name ? json_object_get(top->documents, rollout->name) : NULL);
        tones[i] = tone_of(or_dash(rollout->phase));
    }
    add_table(lines, table, tones);
    free(tones);
}

/* ---- Events ---- */

static enum top_tone event_tone(const Parley__Event *event)
{
    const char *topic = or_dash(event->topic);
    if (strcmp(topic, "refused") == 0 || strcmp(topic, "instance.gone") == 0 ||
        strcmp(topic, "rollout.rollback") == 0)
        return TOP_BAD;
    return strncmp(topic, "ro", 2) == 0 ? TOP_BUSY : TOP_PLAIN; /* route, rollout */
}

static void add_events(struct top_lines *lines, const struct top *top, size_t max)
{
    size_t count = top->event_count < max ? top->event_count : max;
    if (count == 0)
        return;
    add_line(lines, TOP_PLAIN, text_format("%s", ""));
    add_line(lines, TOP_TITLE, text_format("LAST EVENTS"));
    for (size_t i = 0; i < count; i++) {
        const Parley__Event *event = top->events[top->event_count - 1 - i]; /* the newest first */
        time_t seconds = (time_t)(event->time_unix_ns / NS_PER_S);
        struct tm parts;
        char clock[16] = "-";
        if (localtime_r(&seconds, &parts))
            (void)strftime(clock, sizeof(clock), "%H:%M:%S", &parts);
        char *topic = clean_text(or_dash(event->topic)), *text = clean_text(or_dash(event->text));
        add_line(lines, event_tone(event), text_format("%s  %-18s  %s", clock, topic, text));
        free(topic);
        free(text);
    }
}

/* ---- The whole ---- */

/* "3 d 4 h", "5 min 12 s" */
static char *span(uint64_t ns)
{
    uint64_t s = ns / NS_PER_S;
    if (s >= 86400)
        return text_format("%" PRIu64 " d %" PRIu64 " h", s / 86400, s / 3600 % 24);
    if (s >= 3600)
        return text_format("%" PRIu64 " h %" PRIu64 " min", s / 3600, s / 60 % 60);
    if (s >= 60)
        return text_format("%" PRIu64 " min %" PRIu64 " s", s / 60, s % 60);
    return text_format("%" PRIu64 " s", s);
}

char *top_head(const struct top *top)
{
    if (top->trouble.text[0])
        return text_format("parley top: no answer; asking again: %s", top->trouble.text);
    if (!top->stats)
        return text_format("parley top: asking");
    char rate[32] = "-", errors[32] = "-";
    if (top->rate >= 0)
        (void)snprintf(rate, sizeof(rate), "%.0f", top->rate);
    if (top->error_percent >= 0)
        (void)snprintf(errors, sizeof(errors), "%.2f %%", top->error_percent);
    char *up = span(top->stats->stats->uptime_ns);
    char *head = text_format("parley top: %s calls/s, %s errors, %" PRIu64
                             " in flight, %zu endpoints, broker up %s",
                             rate, errors, top->in_flight, top->list->list->n_endpoint, up);
    free(up);
    return head;
}

struct top_lines top_body(const struct top *top, size_t event_max)
{
    struct top_lines lines = {0};
    if (!top->stats)
        return lines;
    add_versions(&lines, top);
    add_rollouts(&lines, top);
    add_events(&lines, top, event_max);
    return lines;
}
