/*
 * parley top: the bus at a glance, again and again.
 *
 * On a terminal a screen (top_screen.c); with --batch, or where there is no terminal, the same
 * lines one below the other; with --json one object a round. Everything is of the time between two
 * answers of the broker, so that the first one alone shows nothing: --once asks twice.
 */
#include "cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/json.h"
#include "cli/top.h"
#include "cli/top_screen.h"

#define TOP_TIMEOUT_NS NS_PER_S /* a broker that says nothing for so long is away */

struct top_options {
    uint64_t interval_ns, count;
    const char *sort;
    bool once, batch;
};

static uint64_t timeout_of(const struct cli *cli)
{
    return cli->timeout_ns ? cli->timeout_ns : TOP_TIMEOUT_NS;
}

static int no_answer(struct top *top)
{
    if (top->foreign)
        return cli_complain(top->cli, CLI_EXIT_BAD_REPLY, "%s", top->trouble.text);
    return control_no_broker(top->cli, top->failed, &top->trouble);
}

/* ---- Without a screen ---- */

static void print(struct top *top, bool once)
{
    FILE *out = top->cli->out;
    if (top->cli->json) {
        json_print(out, top_json(top), once ? 2 : 0);
        return;
    }
    struct top_lines lines = top_body(top, 10);
    char *head = top_head(top);
    fprintf(out, "%s\n\n", head);
    free(head);
    for (size_t i = 0; i < lines.count; i++)
        fprintf(out, "%s\n", lines.items[i].text);
    if (!once)
        fputc('\n', out);
    top_lines_free(&lines);
}

static int run_batch(struct top *top, const struct top_options *options)
{
    uint64_t rounds = options->once ? 1 : options->count;
    for (uint64_t round = 0; rounds == 0 || round < rounds; round++) {
        stop_wait(options->interval_ns);
        if (stop_requested())
            return CLI_EXIT_OK;
        if (top_ask(top, timeout_of(top->cli)))
            print(top, options->once);
        else if (options->once || top->foreign)
            return no_answer(top);
        else
            cli_complain(top->cli, 0, "%s",
                         top->trouble.text); /* a broker that comes back is asked again */
        if (fflush(top->cli->out) != 0)
            return CLI_EXIT_OK; /* cli_main() says so */
    }
    return CLI_EXIT_OK;
}

/* ---- With one ---- */

static void run_screen(struct top *top, struct screen *screen, const struct top_options *options)
{
    uint64_t next_ns = clock_add(clock_now_ns(), options->interval_ns), round = 0;
    screen_draw(screen, top);
    for (;;) {
        uint64_t now_ns = clock_now_ns();
        if (now_ns >= next_ns) {
            next_ns = clock_add(now_ns, options->interval_ns);
            if (!screen_paused(screen)) {
                (void)top_ask(top, timeout_of(top->cli));
                screen_draw(screen, top);
                if (++round == options->count)
                    return;
            }
        }
        switch (screen_wait(screen, top, clock_left(next_ns, clock_now_ns()))) {
        case SCREEN_QUIT:
            return;
        case SCREEN_SORT:
            top_sort(top);
            screen_draw(screen, top);
            break;
        case SCREEN_PAUSE:
        case SCREEN_REDRAW:
            screen_draw(screen, top);
            break;
        case SCREEN_NOTHING:
            break;
        }
    }
}

static bool on_terminal(const struct cli *cli)
{
    return isatty(fileno(cli->out)) == 1 && isatty(fileno(cli->in)) == 1;
}

/* SIGWINCH is blocked before libnng makes its threads: see top_screen.c. */
static int watch(struct top *top, const struct top_options *options)
{
    bool batch = options->batch || options->once || top->cli->json || !on_terminal(top->cli);
    struct screen *screen = NULL;
    sigset_t resize, before;
    sigemptyset(&resize);
    sigaddset(&resize, SIGWINCH);
    (void)pthread_sigmask(SIG_BLOCK, &resize, &before);
    int code = top_ask(top, timeout_of(top->cli)) ? CLI_EXIT_OK : no_answer(top);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (code != CLI_EXIT_OK)
        return code;
    if (batch)
        return run_batch(top, options);
    screen = screen_new(top->cli);
    if (!screen)
        return CLI_EXIT_TROUBLE;
    run_screen(top, screen, options);
    screen_free(screen);
    return CLI_EXIT_OK;
}

static bool parse_sort(struct top *top, const char *name)
{
    for (unsigned i = 0; name && i < TOP_SORT_COUNT; i++) {
        if (strcmp(name, top_sort_names[i]) == 0) {
            top->sort = (enum top_sort)i;
            return true;
        }
    }
    return !name;
}

static int run(struct cli *cli, int argc, char **argv)
{
    struct top top = {.cli = cli};
    struct top_options options = {.interval_ns = NS_PER_S};
    const struct option_spec specs[] = {
        {"interval", 'i', OPTION_DURATION, "DURATION", "how often to ask; 1s",
         &options.interval_ns},
        {"sort", 's', OPTION_TEXT, "KEY", "name, share, rate, errors, p99 or in-flight",
         &options.sort},
        {"once", '1', OPTION_FLAG, NULL, "print one interval, and end", &options.once},
        {"batch", 'b', OPTION_FLAG, NULL, "print each interval below the last, without a screen",
         &options.batch},
        {"count", 'n', OPTION_COUNT, "N", "end after N intervals", &options.count},
    };
    int code;
    if (!options_take(cli, specs, sizeof(specs) / sizeof(specs[0]), &argc, argv, &code))
        return code;
    if (argc > 0)
        return cli_usage(cli, "top takes no argument; '%s' is one too many", argv[0]);
    if (!parse_sort(&top, options.sort))
        return cli_usage(cli,
                         "'%s' is nothing to sort by: name, share, rate, errors, p99 or in-flight",
                         options.sort);
    if (stop_begin() < 0)
        return cli_complain(cli, CLI_EXIT_TROUBLE, "no descriptor is left to wait with: %s",
                            strerror(errno));
    code = watch(&top, &options);
    stop_end();
    top_deinit(&top);
    return code;
}

const struct cli_command cmd_top = {
    .name = "top",
    .usage = "[--once | --batch] [--sort KEY] [--json]",
    .summary = "versions, rollouts and events, live",
    .details =
        "Shows each version of each interface as its callers see it: share of the calls (and what\n"
        "it is set to), calls a second, errors that are the service's, latency, calls in flight,\n"
        "instances (UP+DRAINING); rollouts with their gates; the last events. Figures are of the\n"
        "time since the last look.\n"
        "On a terminal: q quits, p or space pauses, n s r e l f sort by name, share, rate,\n"
        "errors, p99 and calls in flight, arrows and page keys scroll. A broker that goes away is\n"
        "asked again until it is back. Without a terminal it prints as with --batch; with --json\n"
        "each interval is one line.\n",
    .example = "  parley top --sort errors\n"
               "  parley top --once --json | jq '.versions[] | {version, share_percent}'\n",
    .run = run,
};
