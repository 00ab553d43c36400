/*
 * The command line `parley`: what its commands share.
 *
 * A command is one cmd_*.c and one row in the table of main.c. It gets the arguments behind its
 * name, takes options out with options_take(), talks to the broker with control_*(), prints to
 * cli->out, and returns an exit code. Nothing here reads or writes a global, apart from the
 * signals in stop.c, so that the tests run commands in their own process.
 */
#ifndef PARLEY_CLI_CLI_H
#define PARLEY_CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"
#include "base/paths.h"
#include "control/tls.h"
#include "parley/control.pb-c.h"

/* parley(1) documents these. */
enum cli_exit {
    CLI_EXIT_OK = 0,
    CLI_EXIT_REFUSED = 1,   /* the bus said no: a status other than OK; diff: something breaks */
    CLI_EXIT_USAGE = 2,     /* the arguments make no sense; diff: or cannot be read */
    CLI_EXIT_NO_BROKER = 3, /* no broker, or nothing came in time */
    CLI_EXIT_BAD_REPLY = 4, /* what answered is no broker of our kind */
    CLI_EXIT_TROUBLE = 5,   /* here: a file that cannot be read, output that cannot be written */
};

#define CLI_CONTROL_TIMEOUT_NS (5 * NS_PER_S)
#define CLI_CALL_TIMEOUT_NS (10 * NS_PER_S)
#define CLI_TIMEOUT_NS_MAX (3600 * NS_PER_S)
#define CLI_URL_BYTES_MAX (PATHS_BYTES_MAX + 16)

struct cli_command;

struct cli {
    FILE *in, *out, *err;
    const struct cli_command *command; /* NULL: none yet */
    /* Global options; they may stand before or behind the command's name. */
    const char *url;         /* NULL: the default */
    const char *events_url;  /* NULL: the default */
    struct tls_settings tls; /* for URLs with TLS in them */
    uint64_t timeout_ns;     /* 0: not given */
    bool json;
    bool help;
    bool version;
    bool bus; /* a bus answers at the URL, not a control socket */
    char url_default[CLI_URL_BYTES_MAX];
    char events_url_default[CLI_URL_BYTES_MAX];
};

struct cli_command {
    const char *name;
    const char *usage;   /* behind the name: "INTERFACE [VERSION=WEIGHT...]" */
    const char *summary; /* one line, for the list of commands */
    const char *details; /* for --help: what it does, in full lines */
    const char *example; /* for --help: full lines, two spaces before each */
    int (*run)(struct cli *cli, int argc, char **argv);
};

extern const struct cli_command cmd_call, cmd_describe, cmd_diff, cmd_drain, cmd_events, cmd_health,
    cmd_ls, cmd_publish, cmd_rollout, cmd_route, cmd_schemas, cmd_stats, cmd_top, cmd_trace,
    cmd_withdraw;

/* All of the program but its process: argv[0] is its name. Return: an exit code. */
int cli_main(int argc, char **argv, FILE *in, FILE *out, FILE *err);

/* "parley: ..." on cli->err. Return: @code. */
int cli_complain(struct cli *cli, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same, and where to read how it is done. Return: CLI_EXIT_USAGE. */
int cli_usage(struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- options.c ---- */

enum option_kind {
    OPTION_FLAG,     /* bool */
    OPTION_TEXT,     /* const char * */
    OPTION_DURATION, /* uint64_t ns, 1..CLI_TIMEOUT_NS_MAX: "5s", "200ms", "1.5" (seconds) */
    OPTION_COUNT,    /* uint64_t, 1 or more */
    OPTION_LIST,     /* struct option_list: may be given several times */
};

#define OPTION_LIST_MAX 32

struct option_list {
    const char *items[OPTION_LIST_MAX];
    size_t count;
};

struct option_spec {
    const char *name; /* without the dashes */
    char letter;      /* 0: none */
    enum option_kind kind;
    const char *argument; /* for --help: "DURATION"; NULL for flags */
    const char *help;
    void *target; /* of the kind's type; untouched unless given */
};

/**
 * options_take() - take a command's options and the global ones out of its arguments
 * @argc, @argv: what is left afterwards are the operands, in order
 * @ret_exit:    set if it returns false
 *
 * Return: true: go on. False: --help was printed or the options make no sense: exit.
 */
bool options_take(struct cli *cli, const struct option_spec *specs, size_t spec_count, int *argc,
                  char **argv, int *ret_exit);
/* Takes global options until the first operand; returns how many arguments that were, or -1. */
int options_take_global(struct cli *cli, int argc, char **argv);
/* Those of --help, aligned. */
void options_print_global(struct cli *cli, FILE *out);
/* Return: 0, or -EINVAL. */
int options_parse_duration(const char *text, uint64_t *ret_ns);

/* ---- control.c ---- */

/* The URL in use; NULL after a complaint if the default cannot be made. */
const char *control_url(struct cli *cli);
/* The bus's: the same if --url was given, else $PARLEY_BUS or ipc://DIR/bus.ipc. */
const char *bus_url(struct cli *cli);
const char *control_events_url(struct cli *cli);
/* Complains of an answer that did not come. Return: an exit code. */
int control_no_broker(struct cli *cli, int code, const struct error_text *error);

/**
 * control_exchange() - ask the broker, whatever it answers
 * @timeout_ns: how long to wait for the answer
 * @ret_reply:  the caller's; wire_free()
 * Return: CLI_EXIT_OK, or an exit code after a complaint.
 */
int control_exchange(struct cli *cli, const Parley__ControlRequest *request, uint64_t timeout_ns,
                     Parley__ControlReply **ret_reply);
/* Ask, and accept only status OK with @body in it. */
int control_ask(struct cli *cli, const Parley__ControlRequest *request,
                Parley__ControlReply__BodyCase body, Parley__ControlReply **ret_reply);
/* The same. @refused: NULL, or what sees a reply that says no, before the complaint. */
typedef void control_refused_fn(struct cli *cli, const Parley__ControlReply *reply);
int control_ask_with(struct cli *cli, const Parley__ControlRequest *request,
                     Parley__ControlReply__BodyCase body, control_refused_fn *refused,
                     Parley__ControlReply **ret_reply);
/* Complains that a reply, though OK, does not hold what was asked for. */
int control_bad_reply(struct cli *cli, const char *what);

struct nng_asker;
/* Connected to @url, with what was said of TLS. As nng_asker_new(). */
int control_asker_new(const struct cli *cli, const char *url, uint64_t timeout_ns,
                      struct nng_asker **ret, struct error_text *error);

struct nng_subscriber;
/* Of everything, connected to @url in the same way. As nng_subscriber_new(). */
int control_subscriber_new(const struct cli *cli, const char *url, struct nng_subscriber **ret,
                           struct error_text *error);

struct schema;
/* Describes INTERFACE[@VERSION] (@version NULL: the one with the largest weight).
 * @refused: as control_ask_with() has it
 * @ret_reply: wire_free(); @ret_schema: schema_unref() */
int control_describe(struct cli *cli, const char *interface, const char *version,
                     control_refused_fn *refused, Parley__ControlReply **ret_reply,
                     struct schema **ret_schema);

/* ---- target.c: INTERFACE[@VERSION][/METHOD] ---- */

#define TARGET_BYTES_MAX 512

struct target {
    char buffer[TARGET_BYTES_MAX];
    const char *interface;
    const char *version; /* NULL: not given */
    const char *method;  /* NULL: not given */
};

/* Return: true, or false after a complaint. */
bool target_parse(struct cli *cli, const char *text, struct target *ret_target);

/* Return: whether that is an interface's name; false: after a complaint. */
bool target_interface(struct cli *cli, const char *name);

/* Compares two versions' names by precedence; what is no version comes last. */
int version_compare(const char *a, const char *b);
/* The interface has no such method: complains, with the nearest. Return: CLI_EXIT_USAGE. */
int method_unknown(struct cli *cli, const struct schema *schema, const struct target *target);

/* ---- proto.c ---- */

struct schema_method;
/* Proto-like text of the service, or of @method alone, with every message and enum in reach. */
void proto_print(FILE *out, const struct schema *schema, const char *interface, const char *version,
                 const struct schema_method *method);
/* Its methods, as JSON: cmd_describe.c. */
void describe_print_json(FILE *out, const struct schema *schema, const char *interface,
                         const char *version);

/* ---- stop.c: Ctrl-C, for what would else go on ---- */

int stop_begin(void);    /* SIGINT and SIGTERM ask to stop from now on; 0 or -errno */
void stop_end(void);     /* and no longer */
void stop_request(void); /* what the signals do */
bool stop_requested(void);
int stop_fd(void); /* readable once it was requested */
/* Sleeps, or returns earlier if asked to stop. */
void stop_wait(uint64_t ns);

/* ---- text.c ---- */

/* Never NULL: the program ends with CLI_EXIT_TROUBLE if there is no memory. */
void *text_alloc(size_t bytes);
char *text_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

struct table;
/* @titles: the columns, NULL at the end; a title that begins with '>' aligns to the right. */
struct table *table_new(const char *const *titles);
struct table *table_free(struct table *table);
/* Adds the next cell, row by row. Control characters are shown as '?'. */
void table_cell(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));
void table_number(struct table *table, bool has, uint32_t number); /* "-" if there is none */
void table_print(const struct table *table, FILE *out);

/* "850 ns", "1.23 us", "45.6 ms", "12.0 s"; three digits. */
#define TEXT_DURATION_BYTES 16
const char *text_duration(uint64_t ns, char buffer[TEXT_DURATION_BYTES]);
/* From a minute on as documents have it: "1h30m", "10m", "1m30s". Below, the same. */
const char *text_time(uint64_t ns, char buffer[TEXT_DURATION_BYTES]);
/* "5 %", "33.333 %", "<0.001 %" */
#define TEXT_SHARE_BYTES 32
const char *text_share(double percent, char buffer[TEXT_SHARE_BYTES]);
/* Prints what a peer sent: control characters as '?'. */
void text_print(FILE *out, const char *text);

#endif
