/* The command line of a benchmark. */
#include "names.h"
#include "session.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUND_COUNT_DEFAULT 5
#define OPTION_WIDTH 16
#define OPTION_MAX (6 + BENCH_OPTION_MAX)
#define OWN_OPTION 256 /* beyond any letter */

bool session_wants(const struct session *session, size_t index)
{
    const struct bench_subject *subject = &session->bench->subjects[index];
    if (index == 0)
        return true;
    return !subject->skipped && !session->failed[index] &&
           (!session->only || names_list(session->only, subject->name));
}

static uint32_t default_rounds(const struct bench *bench)
{
    return bench->round_count ? bench->round_count : ROUND_COUNT_DEFAULT;
}

/* Each first part of a name once: those of one are neighbours. */
static void print_names(FILE *file, const struct bench *bench)
{
    const char *last = "/";
    for (size_t i = 0; i < bench->subject_count; i++) {
        const char *name = bench->subjects[i].name;
        size_t bytes = strcspn(name, "/");
        if (!names_is(last, name, bytes))
            fprintf(file, " %.*s", (int)bytes, name);
        last = name;
    }
}

static void print_own(FILE *file, const struct bench *bench)
{
    for (size_t i = 0; i < bench->option_count; i++) {
        const struct bench_option *option = &bench->options[i];
        int width = fprintf(file, "  --%s %s", option->name, option->argument);
        fprintf(file, "%*s%s\n", width < OPTION_WIDTH ? OPTION_WIDTH - width : 1, "",
                option->about);
    }
}

static void print_usage(FILE *file, const struct bench *bench)
{
    fprintf(file, "usage: %s [--rounds N] [--only NAMES] [--json FILE]%s",
            program_invocation_short_name, bench->write_report ? " [--report DIR]" : "");
    for (size_t i = 0; i < bench->option_count; i++)
        fprintf(file, " [--%s %s]", bench->options[i].name, bench->options[i].argument);
    fprintf(file,
            "\n\n%s\n\n"
            "  --rounds N    1 to %d; %u by default\n"
            "  --only NAMES  measure these, with commas between them, and the first:",
            bench->question, ROUND_COUNT_MAX, default_rounds(bench));
    print_names(file, bench);
    fprintf(file,
            "\n  --json FILE   write one object with the rows to FILE as well, in nanoseconds\n");
    if (bench->write_report)
        fprintf(file, "  --report DIR  write a page with charts into DIR, drawn by gnuplot\n");
    print_own(file, bench);
    fprintf(file, "  --help        this\n");
}

static const char *name_of(const void *data, size_t index)
{
    const struct bench *bench = data;
    return bench->subjects[index].name;
}

static int bad_option(const struct bench *bench, const char *what, const char *value)
{
    fprintf(stderr, "%s: %s\n", what, value);
    print_usage(stderr, bench);
    return 2;
}

static int take_rounds(struct session *session, const char *text)
{
    char *end = NULL;
    long rounds = strtol(text, &end, 10);
    if (*end != '\0' || end == text || rounds < 1 || rounds > ROUND_COUNT_MAX)
        return bad_option(session->bench, "no such number of rounds", text);
    session->round_count = (uint32_t)rounds;
    return -1;
}

static int take_own(const struct session *session, const struct bench_option *option,
                    const char *value)
{
    struct error_text error = {""};
    return option->take(value, &error) == 0 ? -1 : bad_option(session->bench, error.text, value);
}

static int take_option(struct session *session, int option, char *value)
{
    switch (option) {
    case 'r':
        return take_rounds(session, value);
    case 'o':
        session->only = value;
        return -1;
    case 'j':
        session->json_path = value;
        return -1;
    case 'p':
        session->report_path = value;
        return -1;
    case 'h':
        print_usage(stdout, session->bench);
        return 0;
    default:
        if (option >= OWN_OPTION)
            return take_own(session, &session->bench->options[option - OWN_OPTION], value);
        print_usage(stderr, session->bench);
        return 2;
    }
}

/* @ret_options: ends with one of zeros */
static void list_options(const struct bench *bench, struct option ret_options[OPTION_MAX])
{
    const struct option common[] = {
        {"rounds", required_argument, NULL, 'r'},
        {"only", required_argument, NULL, 'o'},
        {"json", required_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
    };
    size_t count = sizeof(common) / sizeof(common[0]);
    assert(bench->option_count <= BENCH_OPTION_MAX);
    memset(ret_options, 0, OPTION_MAX * sizeof(*ret_options));
    memcpy(ret_options, common, sizeof(common));
    if (bench->write_report)
        ret_options[count++] = (struct option){"report", required_argument, NULL, 'p'};
    for (size_t i = 0; i < bench->option_count; i++)
        ret_options[count++] =
            (struct option){bench->options[i].name, required_argument, NULL, OWN_OPTION + (int)i};
}

int session_parse_options(struct session *session, int argc, char **argv)
{
    struct option options[OPTION_MAX];
    int option;
    list_options(session->bench, options);
    session->round_count = default_rounds(session->bench);
    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        int r = take_option(session, option, optarg);
        if (r >= 0)
            return r;
    }
    if (optind < argc)
        return bad_option(session->bench, "not an option", argv[optind]);
    /* By now, for options of its own may change what the subjects are. */
    if (session->only &&
        !names_known(session->only, name_of, session->bench, session->bench->subject_count))
        return bad_option(session->bench, "no such subject", session->only);
    return -1;
}
