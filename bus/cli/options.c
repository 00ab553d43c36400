/*
 * Options.
 *
 * One parser for the program and its commands, because global options may stand on either side of
 * the command's name, getopt() keeps its place in globals that the tests would share, and a
 * message should name the option that was probably meant. It reads what getopt_long() reads:
 * --name, --name=value, --name value, -n, -nvalue, -n value, -abc, and "--" before operands that
 * begin with a dash; a lone "-" is an operand.
 */
#include "cli/cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/duration.h"
#include "base/nearest.h"

#define GLOBAL_COUNT 9
#define SPEC_MAX 24

static void global_specs(struct cli *cli, struct option_spec specs[GLOBAL_COUNT])
{
    const struct option_spec filled[GLOBAL_COUNT] = {
        {"url", 'u', OPTION_TEXT, "URL", "the broker's control socket, e.g. tcp://host:7400",
         &cli->url},
        {"events", 0, OPTION_TEXT, "URL", "the broker's events socket", &cli->events_url},
        {"tls-ca", 0, OPTION_TEXT, "FILE", "tls+tcp://: authorities that are believed",
         &cli->tls.ca},
        {"tls-cert", 0, OPTION_TEXT, "FILE", "tls+tcp://: the certificate to show",
         &cli->tls.certificate},
        {"tls-key", 0, OPTION_TEXT, "FILE", "tls+tcp://: its key, if not in the same file",
         &cli->tls.key},
        {"timeout", 't', OPTION_DURATION, "DURATION", "how long to wait: 5s, 200ms",
         &cli->timeout_ns},
        {"json", 0, OPTION_FLAG, NULL, "print JSON", &cli->json},
        {"help", 'h', OPTION_FLAG, NULL, "explain the command, with an example", &cli->help},
        {"version", 0, OPTION_FLAG, NULL, "print the version of this program", &cli->version},
    };
    memcpy(specs, filled, sizeof(filled));
}

int options_parse_duration(const char *text, uint64_t *ret_ns)
{
    return duration_parse(text, CLI_TIMEOUT_NS_MAX, ret_ns);
}

static int parse_count(const char *text, uint64_t *ret_count)
{
    if (strspn(text, "0123456789") != strlen(text) || *text == '\0')
        return -EINVAL;
    errno = 0;
    unsigned long long count = strtoull(text, NULL, 10);
    if (errno != 0 || count == 0)
        return -EINVAL;
    *ret_count = count;
    return 0;
}

/* The state of one run over the arguments. */
struct scan {
    struct cli *cli;
    struct option_spec specs[SPEC_MAX];
    size_t spec_count;
    int argc;
    char **argv;
    int next; /* the argument behind the one being read */
};

static int store_value(struct scan *scan, const struct option_spec *spec, const char *value)
{
    switch (spec->kind) {
    case OPTION_DURATION:
        if (options_parse_duration(value, spec->target) == 0)
            return 0;
        return cli_usage(scan->cli, "--%s: '%s' is no duration; write 5s, 200ms or 1.5, up to 1h",
                         spec->name, value);
    case OPTION_COUNT:
        if (parse_count(value, spec->target) == 0)
            return 0;
        return cli_usage(scan->cli, "--%s: '%s' is no whole number above 0", spec->name, value);
    case OPTION_LIST: {
        struct option_list *list = spec->target;
        if (list->count == OPTION_LIST_MAX)
            return cli_usage(scan->cli, "--%s was given more than %d times", spec->name,
                             OPTION_LIST_MAX);
        list->items[list->count++] = value;
        return 0;
    }
    case OPTION_TEXT:
    case OPTION_FLAG:
        break;
    }
    *(const char **)spec->target = value;
    return 0;
}

/* @value: what came in the same argument, or NULL. */
static int take_value(struct scan *scan, const struct option_spec *spec, const char *value)
{
    if (!value) {
        if (scan->next == scan->argc)
            return cli_usage(scan->cli, "--%s needs a value: --%s %s", spec->name, spec->name,
                             spec->argument);
        value = scan->argv[scan->next++];
    }
    return store_value(scan, spec, value);
}

static int unknown_long(struct scan *scan, const char *name)
{
    const char *names[SPEC_MAX];
    for (size_t i = 0; i < scan->spec_count; i++)
        names[i] = scan->specs[i].name;
    const char *near = nearest(name, names, scan->spec_count);
    if (near)
        return cli_usage(scan->cli, "unknown option --%s; did you mean --%s?", name, near);
    return cli_usage(scan->cli, "unknown option --%s", name);
}

static int take_long(struct scan *scan, const char *text)
{
    size_t length = strcspn(text, "=");
    const char *value = text[length] ? text + length + 1 : NULL;
    char name[64];
    snprintf(name, sizeof(name), "%.*s", (int)length, text);
    for (size_t i = 0; i < scan->spec_count; i++) {
        const struct option_spec *spec = &scan->specs[i];
        if (strcmp(spec->name, name) != 0)
            continue;
        if (spec->kind != OPTION_FLAG)
            return take_value(scan, spec, value);
        if (value)
            return cli_usage(scan->cli, "--%s takes no value", name);
        *(bool *)spec->target = true;
        return 0;
    }
    return unknown_long(scan, name);
}

static int take_letters(struct scan *scan, const char *letters)
{
    for (; *letters; letters++) {
        const struct option_spec *spec = NULL;
        for (size_t i = 0; i < scan->spec_count; i++) {
            if (scan->specs[i].letter == *letters)
                spec = &scan->specs[i];
        }
        if (!spec)
            return cli_usage(scan->cli, "unknown option -%c", *letters);
        if (spec->kind != OPTION_FLAG)
            return take_value(scan, spec, letters[1] ? letters + 1 : NULL);
        *(bool *)spec->target = true;
    }
    return 0;
}

static bool is_option(const char *argument)
{
    return argument[0] == '-' && argument[1] != '\0';
}

static int take_one(struct scan *scan, const char *argument)
{
    return argument[1] == '-' ? take_long(scan, argument + 2) : take_letters(scan, argument + 1);
}

static void scan_begin(struct scan *scan, struct cli *cli, const struct option_spec *specs,
                       size_t spec_count, int argc, char **argv)
{
    *scan = (struct scan){.cli = cli, .argc = argc, .argv = argv};
    if (spec_count > 0)
        memcpy(scan->specs, specs, spec_count * sizeof(*specs));
    global_specs(cli, scan->specs + spec_count);
    scan->spec_count = spec_count + GLOBAL_COUNT;
}

int options_take_global(struct cli *cli, int argc, char **argv)
{
    struct scan scan;
    scan_begin(&scan, cli, NULL, 0, argc, argv);
    while (scan.next < argc && is_option(argv[scan.next])) {
        const char *argument = argv[scan.next++];
        if (strcmp(argument, "--") == 0)
            break;
        if (take_one(&scan, argument) != 0)
            return -1;
    }
    return scan.next;
}

/* Aligned, a line each. */
static void print_options(FILE *out, const struct option_spec *specs, size_t spec_count)
{
    for (size_t i = 0; i < spec_count; i++) {
        char text[64], letter[8] = "";
        if (specs[i].letter)
            snprintf(letter, sizeof(letter), "-%c,", specs[i].letter);
        snprintf(text, sizeof(text), "%-3s --%s %s", letter, specs[i].name,
                 specs[i].argument ? specs[i].argument : "");
        fprintf(out, "  %-24s %s\n", text, specs[i].help);
    }
}

static void print_help(struct cli *cli, const struct option_spec *specs, size_t spec_count)
{
    const struct cli_command *command = cli->command;
    fprintf(cli->out, "Usage: parley %s %s\n\n%s\n", command->name, command->usage,
            command->details);
    if (spec_count > 0) {
        fputs("Options:\n", cli->out);
        print_options(cli->out, specs, spec_count);
        fputc('\n', cli->out);
    }
    fputs("Options of every command:\n", cli->out);
    options_print_global(cli, cli->out);
    fprintf(cli->out, "\nExample:\n%s", command->example);
}

bool options_take(struct cli *cli, const struct option_spec *specs, size_t spec_count, int *argc,
                  char **argv, int *ret_exit)
{
    struct scan scan;
    int operands = 0;
    bool only_operands = false;
    scan_begin(&scan, cli, specs, spec_count, *argc, argv);
    while (scan.next < scan.argc) {
        char *argument = argv[scan.next++];
        if (only_operands || !is_option(argument)) {
            argv[operands++] = argument;
        } else if (strcmp(argument, "--") == 0) {
            only_operands = true;
        } else if (take_one(&scan, argument) != 0) {
            *ret_exit = CLI_EXIT_USAGE;
            return false;
        }
    }
    *argc = operands;
    if (!cli->help)
        return true;
    print_help(cli, specs, spec_count);
    *ret_exit = CLI_EXIT_OK;
    return false;
}

void options_print_global(struct cli *cli, FILE *out)
{
    struct option_spec specs[GLOBAL_COUNT];
    global_specs(cli, specs);
    print_options(out, specs, GLOBAL_COUNT);
}
