/*
 * The command line: a table of options, and what each does to the settings.
 */
#include "broker/settings.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/rate.h"

static const char usage[] =
    "Usage: parleyd [OPTION]...\n"
    "The broker of a Parley bus.\n"
    "\n"
    "  -d, --dir DIR          folder of its sockets (default: $PARLEY_DIR, else /run/parley for\n"
    "                         root, $XDG_RUNTIME_DIR/parley, /tmp/parley-UID); made if missing\n"
    "  -s, --socket PATH      where endpoints connect (default: DIR/parleyd.sock)\n"
    "  -c, --control URL      answer the control API there, too (default: ipc://DIR/control.ipc);\n"
    "                         any NNG URL, as tcp://127.0.0.1:7400; may be repeated\n"
    "  -e, --events URL       publish events there, too (default: ipc://DIR/events.ipc)\n"
    "      --bus URL          take calls of any NNG program there, too (default: "
    "ipc://DIR/bus.ipc);\n"
    "                         may be repeated\n"
    "      --health URL       answer NNG surveys of how instances are there, too (default:\n"
    "                         ipc://DIR/health.ipc)\n"
    "  -S, --schemas DIR      know the descriptor sets in that folder, too (*.binpb, *.pb, *.set); "
    "it\n"
    "                         is watched\n"
    "      --rollouts DIR     run the rollouts in that folder (*.yaml, *.yml); it is watched\n"
    "      --state DIR        what outlives the broker: how far rollouts are (default: DIR/state)\n"
    "      --http URL         answer /metrics (Prometheus), /stats (JSON), /healthz and /readyz "
    "there:\n"
    "                         http://127.0.0.1:7480, say (default: none)\n"
    "      --insecure-http    let that URL be one that other machines reach\n"
    "      --allow-control    let who reaches that URL pause, promote and roll back rollouts\n"
    "      --allow-calls      let who reaches that URL call: POST /call/INTERFACE/METHOD, with "
    "JSON\n"
    "      --eject SETTINGS   how instances that fail or are slow are ejected: on (default), off, "
    "or\n"
    "                         KEY=VALUE with commas between\n"
    "      --audit FILE       write there who was refused what, a line of JSON each; SIGHUP opens\n"
    "                         it anew\n"
    "      --policy FILE      who may call, publish, look and control (YAML); SIGHUP reads it "
    "anew\n"
    "      --limit LIMITS     of one peer of the bus URLs: KEY=VALUE with commas between: "
    "message,\n"
    "                         bytes, connections, calls, user-calls, rate, burst, bad\n"
    "      --tls-cert FILE    our certificate and its chain (PEM), for tls+tcp:// URLs\n"
    "      --tls-key FILE     its key (default: in the same file)\n"
    "      --tls-ca FILE      whose certificates of clients are believed\n"
    "      --tls-optional     let clients come without a certificate\n"
    "      --insecure         listen without TLS even where other machines reach us\n"
    "  -m, --mode OCTAL       of the socket files (default: 660)\n"
    "      --trace RATE       trace that per cent of calls, as 1 or 0.05%, and those that are "
    "marked;\n"
    "                         0: marked ones only (default: none)\n"
    "      --otlp URL         send spans there, as http://127.0.0.1:4318/v1/traces\n"
    "  -l, --log-level LEVEL  error, warn, info or debug (default: info)\n"
    "  -h, --help             this text\n"
    "  -V, --version\n"
    "\n"
    "When it is ready it prints a line that begins with \"parleyd: ready\", and tells\n"
    "$NOTIFY_SOCKET. SIGTERM and SIGINT end it. See parleyd(1).\n";

static int complain(const char *format, const char *what)
{
    (void)fprintf(stderr, "parleyd: ");
    (void)fprintf(stderr, format, what);
    (void)fprintf(stderr, "; try 'parleyd --help'\n");
    return MAIN_EXIT_USAGE;
}

/* ---- Values ---- */

static int add_url(const char **urls, size_t *count, const char *url)
{
    if (*count >= SETTINGS_URL_MAX - 1) /* one place is the default's */
        return complain("one URL too many: %s", url);
    urls[(*count)++] = url;
    return 0;
}

static int parse_mode(struct settings *settings, const char *text)
{
    char *end;
    unsigned long mode = strtoul(text, &end, 8);
    if (*text == '\0' || *end != '\0' || mode > 0777)
        return complain("'%s' is no mode of a file; one looks like 660", text);
    settings->mode = (unsigned)mode;
    return 0;
}

static int parse_trace(struct settings *settings, const char *text)
{
    if (rate_parse(text, &settings->trace_rate) < 0)
        return complain("'%s' is no rate of calls; one looks like 1 or 0.05%, in per cent", text);
    settings->trace = true;
    return 0;
}

static int parse_eject(struct settings *settings, const char *text)
{
    struct error_text error = {""};
    return eject_parse(text, &settings->eject, &error) < 0 ? complain("--eject: %s", error.text)
                                                           : 0;
}

static int parse_limit(struct settings *settings, const char *text)
{
    struct error_text error = {""};
    return quota_parse(text, &settings->quota, &error) < 0 ? complain("--limit: %s", error.text)
                                                           : 0;
}

static int parse_level(struct settings *settings, const char *text)
{
    (void)settings; /* it is the process's */
    enum log_level level;
    if (log_level_parse(text, &level) < 0)
        return complain("'%s' is no log level: error, warn, info or debug", text);
    log_set_level(level);
    return 0;
}

static int say_usage(struct settings *settings, const char *text)
{
    (void)settings;
    (void)text;
    (void)fputs(usage, stdout);
    return 0;
}

static int say_version(struct settings *settings, const char *text)
{
    (void)settings;
    (void)text;
    (void)puts("parleyd " PARLEY_VERSION);
    return 0;
}

/* ---- Options ---- */

/* What an option does. */
enum option_kind {
    OPTION_TEXT,  /* is kept */
    OPTION_FLAG,  /* sets a bool */
    OPTION_URL,   /* is one more of a list */
    OPTION_VALUE, /* is parsed. Return: 0, or the exit code */
    OPTION_END,   /* says something, and that is all */
};

#define AT(field) offsetof(struct settings, field)
#define URLS(name) OPTION_URL, AT(name##_urls), AT(name##_count), NULL

static const struct option_row {
    const char *name;
    char letter; /* 0: none */
    enum option_kind kind;
    size_t at, count_at; /* in the settings */
    int (*parse)(struct settings *settings, const char *text);
} rows[] = {
    {"dir", 'd', OPTION_TEXT, AT(dir_given), 0, NULL},
    {"socket", 's', OPTION_TEXT, AT(socket_given), 0, NULL},
    {"control", 'c', URLS(control)},
    {"events", 'e', URLS(event)},
    {"bus", 0, URLS(bus)},
    {"health", 0, URLS(health)},
    {"schemas", 'S', OPTION_TEXT, AT(schemas), 0, NULL},
    {"rollouts", 0, OPTION_TEXT, AT(rollouts), 0, NULL},
    {"state", 0, OPTION_TEXT, AT(state_given), 0, NULL},
    {"http", 0, OPTION_TEXT, AT(http), 0, NULL},
    {"insecure-http", 0, OPTION_FLAG, AT(http_insecure), 0, NULL},
    {"allow-control", 0, OPTION_FLAG, AT(allow_control), 0, NULL},
    {"allow-calls", 0, OPTION_FLAG, AT(allow_calls), 0, NULL},
    {"eject", 0, OPTION_VALUE, 0, 0, parse_eject},
    {"audit", 0, OPTION_TEXT, AT(audit), 0, NULL},
    {"policy", 0, OPTION_TEXT, AT(policy), 0, NULL},
    {"limit", 0, OPTION_VALUE, 0, 0, parse_limit},
    {"tls-cert", 0, OPTION_TEXT, AT(tls.certificate), 0, NULL},
    {"tls-key", 0, OPTION_TEXT, AT(tls.key), 0, NULL},
    {"tls-ca", 0, OPTION_TEXT, AT(tls.ca), 0, NULL},
    {"tls-optional", 0, OPTION_FLAG, AT(tls.optional), 0, NULL},
    {"insecure", 0, OPTION_FLAG, AT(insecure), 0, NULL},
    {"mode", 'm', OPTION_VALUE, 0, 0, parse_mode},
    {"trace", 0, OPTION_VALUE, 0, 0, parse_trace},
    {"otlp", 0, OPTION_TEXT, AT(otlp), 0, NULL},
    {"log-level", 'l', OPTION_VALUE, 0, 0, parse_level},
    {"help", 'h', OPTION_END, 0, 0, say_usage},
    {"version", 'V', OPTION_END, 0, 0, say_version},
};
#define ROW_COUNT (sizeof(rows) / sizeof(rows[0]))
#define ROW_FIRST 256 /* getopt_long()'s value for a row without a letter: this and its index */

static bool has_text(const struct option_row *row)
{
    return row->kind != OPTION_FLAG && row->kind != OPTION_END;
}

/* As getopt_long() wants them: names, and @letters. */
static void list_options(struct option options[ROW_COUNT + 1], char letters[2 * ROW_COUNT + 1])
{
    for (size_t i = 0; i < ROW_COUNT; i++) {
        const struct option_row *row = &rows[i];
        options[i] = (struct option){
            .name = row->name,
            .has_arg = has_text(row) ? required_argument : no_argument,
            .val = row->letter ? row->letter : ROW_FIRST + (int)i,
        };
        if (row->letter)
            *letters++ = row->letter;
        if (row->letter && has_text(row))
            *letters++ = ':';
    }
    options[ROW_COUNT] = (struct option){0};
    *letters = '\0';
}

/* NULL: getopt_long() has complained. */
static const struct option_row *find_row(int option)
{
    for (size_t i = 0; i < ROW_COUNT; i++)
        if (option == (rows[i].letter ? rows[i].letter : ROW_FIRST + (int)i))
            return &rows[i];
    return NULL;
}

/* Return: -1: go on; else the exit code. */
static int take_option(struct settings *settings, const struct option_row *row, const char *text)
{
    char *field = (char *)settings + row->at;
    int code = 0;
    switch (row->kind) {
    case OPTION_TEXT:
        *(const char **)field = text;
        break;
    case OPTION_FLAG:
        *(bool *)field = true;
        break;
    case OPTION_URL:
        code = add_url((const char **)field, (size_t *)((char *)settings + row->count_at), text);
        break;
    case OPTION_VALUE:
        code = row->parse(settings, text);
        break;
    case OPTION_END:
        return row->parse(settings, text);
    }
    return code != 0 ? code : -1;
}

int settings_parse(struct settings *settings, int argc, char **argv)
{
    struct option options[ROW_COUNT + 1];
    char letters[2 * ROW_COUNT + 1];
    int option, code = -1;
    list_options(options, letters);
    while (code < 0 && (option = getopt_long(argc, argv, letters, options, NULL)) >= 0) {
        const struct option_row *row = find_row(option);
        if (!row) {
            (void)fprintf(stderr, "Try 'parleyd --help'.\n");
            return MAIN_EXIT_USAGE;
        }
        code = take_option(settings, row, optarg);
    }
    if (code < 0 && optind < argc)
        code = complain("'%s' is no option", argv[optind]);
    return code;
}

/* Takes over what was given. @given: NULL: nothing was. Return: 0, or -ENAMETOOLONG with a line. */
static int take_path(const char *option, const char *given, char *out, size_t room)
{
    if (!given || (size_t)snprintf(out, room, "%s", given) < room)
        return 0;
    log_error("%s is longer than the %zu bytes of a path that are possible here: use a shorter one",
              option, room - 1);
    return -ENAMETOOLONG;
}

/* What is in the folder, unless it was given. Return: 0, or -ENAMETOOLONG. */
static int fill_in_folder(struct settings *settings)
{
    const char *dir = settings->dir_given;
    int r = dir ? 0 : paths_dir(settings->dir, sizeof(settings->dir));
    if (r == 0 && !settings->socket_given)
        r = paths_broker(dir, settings->socket, sizeof(settings->socket));
    if (r == 0)
        r = paths_control_url(dir, settings->control, sizeof(settings->control));
    if (r == 0)
        r = paths_events_url(dir, settings->events, sizeof(settings->events));
    if (r == 0)
        r = paths_bus_url(dir, settings->bus, sizeof(settings->bus));
    if (r == 0)
        r = paths_health_url(dir, settings->health, sizeof(settings->health));
    if (r == 0 && !settings->state_given &&
        (size_t)snprintf(settings->state, sizeof(settings->state), "%s/state", settings->dir) >=
            sizeof(settings->state))
        r = -ENAMETOOLONG;
    return r;
}

static bool any_has_tls(const char *const *urls, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strncmp(urls[i], "tls+", 4) == 0 || strncmp(urls[i], "wss:", 4) == 0)
            return true;
    return false;
}

/* Who has certificates may think that all of it is encrypted. */
static void warn_of_unused_tls(const struct settings *settings)
{
    if ((settings->tls.certificate || settings->tls.ca) &&
        !any_has_tls(settings->bus_urls, settings->bus_count) &&
        !any_has_tls(settings->control_urls, settings->control_count) &&
        !any_has_tls(settings->event_urls, settings->event_count) &&
        !any_has_tls(settings->health_urls, settings->health_count))
        log_warn("no URL begins with tls+tcp:// or wss://, so that the certificates are not used");
}

int settings_fill_in(struct settings *settings)
{
    int r = take_path("--dir", settings->dir_given, settings->dir, sizeof(settings->dir));
    if (r == 0)
        r = take_path("--socket", settings->socket_given, settings->socket,
                      sizeof(settings->socket));
    if (r == 0)
        r = take_path("--state", settings->state_given, settings->state, sizeof(settings->state));
    if (r < 0)
        return r;
    r = fill_in_folder(settings);
    if (r < 0) {
        log_error("the folder's path is too long for sockets (%d bytes at most with their names): "
                  "use a shorter --dir",
                  PATHS_BYTES_MAX - 1);
        return r;
    }
    settings->control_urls[settings->control_count++] = settings->control;
    settings->event_urls[settings->event_count++] = settings->events;
    settings->bus_urls[settings->bus_count++] = settings->bus;
    settings->health_urls[settings->health_count++] = settings->health;
    warn_of_unused_tls(settings);
    return 0;
}
