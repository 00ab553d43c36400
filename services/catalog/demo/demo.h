/*
 * The demo's own header: one struct that its files share.
 *
 * main.c      options, the beginning and the end
 * children.c  processes: starting, listening, asking for totals, ending; the one poll()
 * tools.c     what an operator types: parley rollout, parley ls, parley stats
 * steps.c     the script of the rollout
 * chaos.c     what --chaos adds to it
 * rollback.c  the script of --rollback
 * display.c   what a person sees meanwhile
 * report.c    the summary, and the JSON
 */
#ifndef CATALOG_DEMO_H
#define CATALOG_DEMO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include <jansson.h>

#include "tally.h"

#define CHILD_MAX 32
#define STEP_COUNT 3
#define LINE_BYTES_MAX 65536
#define SECOND UINT64_C(1000000000)
#define MILLISECOND UINT64_C(1000000)

enum child_kind { CHILD_BROKER, CHILD_SERVICE_V1, CHILD_SERVICE_V2, CHILD_CLIENT, CHILD_TOOL };

struct child {
    enum child_kind kind;
    char name[24];
    pid_t pid;        /* 0: it has ended and been reaped */
    int in, out;      /* pipes to its stdin and from its stdout; -1: none */
    bool expected;    /* it was told to end */
    bool ready;       /* it has said that it serves, or calls */
    bool final;       /* a client's last totals have come */
    int status;       /* of waitpid(), once pid is 0 */
    long long asked;  /* the last mark that it was asked for, -1: none */
    long long mark;   /* the last one that it answered, -1: none */
    struct tally tally;
    char *line;       /* what it printed since its last newline; a tool: all of it */
    size_t line_bytes;
};

/* The share of calls that version 2 got while it was to get @weight per cent. */
struct step {
    double weight, share;
    uint64_t calls;
};

struct chaos_result {
    unsigned broker_kills, instances_killed;
    uint64_t failed_while_away, calls_while_away, away_ns;
    uint64_t casualties_outside; /* calls that ended as UNAVAILABLE when nothing had been killed */
    struct step shares[8];       /* behind each restart */
    unsigned share_count;
};

struct rollback_result {
    bool rolled_back;
    uint64_t exposed_calls; /* that version 2 served from when it fell ill to when it had no share */
    uint64_t ill_calls;     /* of these, that failed */
    uint64_t took_ns;       /* until the clients' calls all went to version 1 again */
    char reason[256];       /* as the rollout has it */
};

/* How a rollout stands. */
struct rollout_status {
    char phase[24];
    unsigned step; /* from 1 */
    double weight; /* per cent, of the canary */
    char reason[256];
};

struct demo {
    /* options */
    bool json, chaos, rollback, shortened, keep;
    const char *admindir, *parleyd, *parley, *programs;
    /* processes */
    char folder[64];
    struct child children[CHILD_MAX];
    unsigned child_count;
    int signal_fd;
    long long mark;
    /* time */
    uint64_t start_ns, end_ns;
    uint64_t part_ns;  /* how long each part of the script takes */
    uint64_t alarm_ns; /* when the demo gives up */
    uint64_t progress_ns, progress_calls; /* when the clients' totals last grew, and to what */
    /* results */
    struct step steps[STEP_COUNT];
    unsigned step_count;
    uint64_t v2_client_on_v1; /* calls of the version 2 client before there was a version 2 */
    struct chaos_result after;
    struct rollback_result rollback_result;
    char problem[512]; /* the first thing that went wrong; "": nothing */
    /* display */
    FILE *out;
    bool live, color;
    char phase[96];
    uint64_t next_draw_ns;
    unsigned drawn_lines;
    struct {
        uint64_t ns;
        struct tally tally;
    } recent[8]; /* samples of the totals, for rates; the newest at recent_next - 1 */
    unsigned recent_next;
};

uint64_t now_ns(void);
/* Keeps the first problem. Returns -1. */
int demo_fail(struct demo *demo, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- children.c ---- */

/* @argv: NULL-terminated, argv[0] the path. Returns NULL after demo_fail(). */
struct child *child_start(struct demo *demo, enum child_kind kind, const char *name,
                          const char *const *argv);
void child_signal(struct child *child, int number);
/* Waits until it has ended. Return: 0, or -1 after demo_fail(), also if it takes longer. */
int child_wait(struct demo *demo, struct child *child, uint64_t timeout_ns);
bool child_succeeded(const struct child *child);
/* Of one that has ended: "ended with status 1". Until the next call. */
const char *child_end(const struct child *child);

/* One turn of the loop: reads, reaps, draws. Return: 0, or -1 once the demo is to end. */
int demo_turn(struct demo *demo, uint64_t timeout_ns);
int demo_run_for(struct demo *demo, uint64_t ns);
/* Until all children of @kind are ready. */
int demo_wait_ready(struct demo *demo, enum child_kind kind);
/* The clients' totals, asked of each now. */
int demo_totals(struct demo *demo, struct tally *ret_total);
/* The clients' totals as they last reported them. */
void demo_last_totals(const struct demo *demo, struct tally *ret_total);
/* Lets the clients finish; ends services and broker. What went wrong becomes the problem. */
int demo_end_clients(struct demo *demo);
int demo_end_services(struct demo *demo);
/* Kills and reaps whatever is left. */
void demo_kill_all(struct demo *demo);

/* ---- tools.c ---- */

/* parley rollout apply: writes the document into the demo's folder first. */
int tool_rollout_apply(struct demo *demo, const char *document);
/* parley rollout promote catalog, ... */
int tool_rollout(struct demo *demo, const char *verb);
/* parley rollout show --json catalog */
int tool_rollout_status(struct demo *demo, struct rollout_status *ret_status);
/* Waits until `parley ls` shows every service and every client. */
int tool_wait_for_all(struct demo *demo);

/* Waits until `parley stats` has as many calls as the clients counted, on either side. */
int tool_compare_stats(struct demo *demo, uint64_t calls);

/* ---- steps.c ---- */

int start_broker(struct demo *demo);
/* Measures the share of version 2 during @ns. */
int measure_share(struct demo *demo, double weight, uint64_t ns, struct step *ret_step);
/* Until clients are served by version 1 and know version 2. */
int script_begin(struct demo *demo);
int script_finish(struct demo *demo);
int run_script(struct demo *demo);

/* ---- rollback.c ---- */

int run_rollback(struct demo *demo);

/* ---- chaos.c ---- */

/* Kills the broker, waits a while, starts it again, and waits until it knows everybody. */
int chaos_broker(struct demo *demo, uint64_t away_ns);
/* Kills one instance of version 2 while calls are in it. */
int chaos_instance(struct demo *demo);
/* 0..@ns, random. */
uint64_t chaos_moment(uint64_t ns);

/* ---- display.c ---- */

void display_phase(struct demo *demo, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void display_note(struct demo *demo, const char *format, ...) __attribute__((format(printf, 2, 3)));
void display_tick(struct demo *demo);
void display_end(struct demo *demo);

/* ---- report.c ---- */

/* Prints the summary, or the JSON. Return: the exit status. */
int report(struct demo *demo);

#endif
