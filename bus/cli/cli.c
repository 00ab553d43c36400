/*
 * The table of commands, and the way from the arguments to one of them.
 */
#include "cli/cli.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "base/nearest.h"

static const struct cli_command *const commands[] = {
    &cmd_ls, &cmd_stats, &cmd_describe, &cmd_call, &cmd_diff, &cmd_route,
    &cmd_drain, &cmd_rollout, &cmd_schemas, &cmd_events, &cmd_health, &cmd_top, &cmd_trace,
    &cmd_publish, &cmd_withdraw,
};
#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

static void complain(struct cli *cli, const char *format, va_list args)
{
    /* The sentence may quote what a peer or a user wrote. */
    char text[2048];
    vsnprintf(text, sizeof(text), format, args);
    for (char *line = text, *end; line; line = end) {
        end = strchr(line, '\n');
        if (end)
            *end++ = '\0';
        fputs(line == text ? "parley: " : "        ", cli->err);
        text_print(cli->err, line);
        fputc('\n', cli->err);
    }
}

int cli_complain(struct cli *cli, int code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    complain(cli, format, args);
    va_end(args);
    return code;
}

int cli_usage(struct cli *cli, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    complain(cli, format, args);
    va_end(args);
    if (cli->command)
        fprintf(cli->err, "Usage: parley %s %s\nSee parley %s --help.\n", cli->command->name,
                cli->command->usage, cli->command->name);
    else
        fprintf(cli->err, "See parley --help.\n");
    return CLI_EXIT_USAGE;
}

static void print_overview(struct cli *cli, FILE *out)
{
    fputs("Usage: parley [OPTION...] COMMAND [ARGUMENT...]\n\n"
          "Looks at a Parley bus and acts on it, through its broker.\n\nCommands:\n",
          out);
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        fprintf(out, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
    fputs("\nOptions, before or behind the command:\n", out);
    options_print_global(cli, out);
    fputs("\nparley COMMAND --help explains a command. See parley(1) and parley(7).\n", out);
}

static int find_command(struct cli *cli, const char *name)
{
    const char *names[COMMAND_COUNT];
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        names[i] = commands[i]->name;
        if (strcmp(name, names[i]) == 0) {
            cli->command = commands[i];
            return CLI_EXIT_OK;
        }
    }
    const char *near = nearest(name, names, COMMAND_COUNT);
    if (near)
        return cli_usage(cli, "'%s' is no command; did you mean '%s'?", name, near);
    return cli_usage(cli, "'%s' is no command", name);
}

static int run(struct cli *cli, int argc, char **argv)
{
    int taken = options_take_global(cli, argc, argv);
    if (taken < 0)
        return CLI_EXIT_USAGE;
    argc -= taken;
    argv += taken;
    if (cli->version) {
        fputs("parley " PARLEY_VERSION "\n", cli->out);
        return CLI_EXIT_OK;
    }
    if (argc > 0 && strcmp(argv[0], "help") == 0) {
        cli->help = true;
        taken = options_take_global(cli, argc - 1, argv + 1);
        if (taken < 0)
            return CLI_EXIT_USAGE;
        argc -= 1 + taken;
        argv += 1 + taken;
    }
    if (argc == 0) {
        print_overview(cli, cli->help ? cli->out : cli->err);
        return cli->help ? CLI_EXIT_OK : CLI_EXIT_USAGE;
    }
    int code = find_command(cli, argv[0]);
    if (code != CLI_EXIT_OK)
        return code;
    return cli->command->run(cli, argc - 1, argv + 1);
}

int cli_main(int argc, char **argv, FILE *in, FILE *out, FILE *err)
{
    struct cli cli = {.in = in, .out = out, .err = err};
    int code = argc > 0 ? run(&cli, argc - 1, argv + 1) : CLI_EXIT_USAGE;
    if ((fflush(out) != 0 || ferror(out)) && code == CLI_EXIT_OK)
        code = cli_complain(&cli, CLI_EXIT_TROUBLE, "the output could not be written: %s",
                            strerror(errno));
    return code;
}
