/* `parley top`: what it knows (top_data.c), how that reads (top_text.c), and where (cmd_top.c). */
#ifndef PARLEY_CLI_TOP_H
#define PARLEY_CLI_TOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "cli/cli.h"
#include "control/nng.h"

#define TOP_EVENT_MAX 64   /* that are remembered */
#define TOP_ROLLOUT_MAX 64 /* whose gates are asked for */

/* One version of one interface, as its callers saw it between the last two answers. */
struct top_row {
    const char *interface, *version; /* of the last answer */
    double set_percent;              /* -1: nothing publishes it */
    double share_percent;            /* -1: no calls */
    double rate;                     /* calls a second; -1: not known yet */
    double error_percent;            /* the faults that count in gates; -1: no calls */
    uint64_t p50_ns, p99_ns;         /* 0: no calls */
    uint64_t in_flight;
    uint32_t up, draining; /* instances */
};

enum top_sort { TOP_BY_NAME, TOP_BY_SHARE, TOP_BY_RATE, TOP_BY_ERRORS, TOP_BY_P99, TOP_BY_FLIGHT };
#define TOP_SORT_COUNT 6
extern const char *const top_sort_names[TOP_SORT_COUNT];

struct top {
    struct cli *cli;
    struct nng_asker *asker;                     /* NULL: to be made */
    struct error_text trouble;                   /* why there is no answer; "": there is one */
    int failed;                                  /* -errno of that */
    bool foreign;                                /* what answers is no broker of our kind */
    bool restarted;                              /* another broker than at first */
    Parley__ControlReply *list, *stats, *before; /* the last answers; `before`: the stats before */
    Parley__ControlReply *rollouts;              /* NULL: this broker has none */
    json_t *documents;                           /* of these, by name: with status and gates */
    uint64_t broker_id;                          /* of the last answer; 0: none yet */
    Parley__Event *events[TOP_EVENT_MAX];        /* oldest first */
    size_t event_count;
    uint64_t event_last;
    enum top_sort sort;
    struct top_row *rows;
    size_t row_count;
    double rate, error_percent; /* of the whole bus; -1: not known */
    uint64_t in_flight;
};

/* Asks for everything. Return: whether the broker answered; if not, top->trouble says why, and what
 * was known stays. */
bool top_ask(struct top *top, uint64_t timeout_ns);
void top_sort(struct top *top);
void top_deinit(struct top *top);
json_t *top_json(const struct top *top);

/* ---- top_text.c ---- */

enum top_tone { TOP_PLAIN, TOP_TITLE, TOP_GOOD, TOP_BAD, TOP_BUSY };

struct top_line {
    char *text; /* without control characters */
    enum top_tone tone;
};
struct top_lines {
    struct top_line *items;
    size_t count, room;
};

/* The first line, which says how the whole bus is. free() */
char *top_head(const struct top *top);
/* Everything below it. @event_max: of the last events. top_lines_free() */
struct top_lines top_body(const struct top *top, size_t event_max);
void top_lines_free(struct top_lines *lines);

#endif
