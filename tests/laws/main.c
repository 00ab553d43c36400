/*
 * laws [--count N] [--seed S] [--verbose]
 * laws --write FOLDER --seed S       writes the case's versions, as .proto and as descriptor sets
 *
 * N cases (versions with rules, each with a handful of messages in both directions), beginning with
 * seed S. Counts go to stdout at the end, also after Ctrl-C; progress to stderr. The exit status is
 * 1 if a law was broken: that case is printed, shrunk, and `--count 1 --seed S` repeats it.
 */
#include "laws.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t stopped;

static void stop(int number)
{
    (void)number;
    stopped = 1;
}

static int try_message(struct law_case *c, uint64_t *random, struct law_counts *counts)
{
    int last = c->version_count - 1;
    int from = (int)random_below(random, (uint32_t)c->version_count), to = -1;
    if (random_below(random, 2) || last == 1)
        to = from == last || (from > 0 && random_below(random, 2)) ? from - 1 : from + 1;
    else
        from = random_below(random, 2) ? 0 : last; /* all the way */
    if (to < 0)
        to = from == 0 ? last : 0;
    struct buffer message = {0};
    struct law_failure failure = {0};
    message_random(schema_service(c->schemas[from])->methods[0].input, random_next(random),
                   random_below(random, 3) ? 0 : 10, &message);
    counts->messages++;
    int r = case_check(c, from, to, &message, random_next(random), counts, &failure);
    if (r < 0)
        shrink_and_print(c, &message, &failure);
    buffer_free(&message);
    return r;
}

static int try_case(uint64_t seed, struct law_counts *counts)
{
    static struct law_case c;
    struct law_failure failure = {0};
    struct buffer nothing = {0};
    uint64_t random = seed ^ UINT64_C(0x6c617773);
    case_plan(&c, seed);
    int r = case_build(&c, true, counts, &failure);
    if (r < 0)
        shrink_and_print(&c, &nothing, &failure);
    counts->cases++;
    for (int i = 0; i < 12 && r == 0; i++)
        r = try_message(&c, &random, counts);
    case_clear(&c);
    return r;
}

static void write_file(const char *folder, int version, const char *ending,
                       const struct version *proto)
{
    char path[4096];
    (void)snprintf(path, sizeof(path), "%s/v%d.%s", folder, version + 1, ending);
    FILE *file = fopen(path, "wb");
    if (!file)
        die("%s: %s", path, strerror(errno));
    struct buffer set = {0};
    if (strcmp(ending, "proto") == 0)
        describe_proto(proto, file);
    else
        describe_set(proto, &set);
    if (fwrite(set.data, 1, set.bytes, file) != set.bytes || fclose(file) != 0)
        die("%s: %s", path, strerror(errno));
    buffer_free(&set);
}

static int write_case(const char *folder, uint64_t seed)
{
    static struct law_case c;
    struct law_counts counts = {0};
    struct law_failure failure = {0};
    case_plan(&c, seed);
    int r = case_build(&c, true, &counts, &failure);
    for (int i = 0; i < c.version_count; i++) {
        write_file(folder, i, "proto", &c.versions[i]);
        write_file(folder, i, "set", &c.versions[i]);
    }
    case_clear(&c);
    return r;
}

static void print_counts(const struct law_counts *counts, bool verbose)
{
    (void)printf("laws: %llu cases, %llu messages, %llu translations, %llu values refused\n",
                 (unsigned long long)counts->cases, (unsigned long long)counts->messages,
                 (unsigned long long)counts->checks, (unsigned long long)counts->refused);
    for (unsigned i = 0; verbose && i < edit_kind_count(); i++)
        (void)printf("  %-20s %10llu, refused by the compiler %10llu\n", edit_kind_name(i),
                     (unsigned long long)counts->edits[i],
                     (unsigned long long)counts->edits_refused[i]);
}

/* A law that is never tried holds, too. */
static int check_counts(const struct law_counts *counts)
{
    if (counts->cases < 500)
        return 0;
    for (unsigned i = 0; i < edit_kind_count(); i++) {
        if (counts->edits[i] > counts->cases / 300)
            continue;
        (void)printf("BROKEN: the rule \"%s\" was applied %llu times only\n", edit_kind_name(i),
                     (unsigned long long)counts->edits[i]);
        return 1;
    }
    return 0;
}

static uint64_t number(const char *text)
{
    char *end;
    errno = 0;
    uint64_t value = text ? strtoull(text, &end, 0) : 0;
    if (!text || errno || end == text || *end) {
        (void)fprintf(stderr,
                      "laws: \"%s\" is no number; usage: laws [--count N] [--seed S] "
                      "[--verbose]\n",
                      text ? text : "");
        exit(2);
    }
    return value;
}

int main(int argc, char **argv)
{
    uint64_t count = 1000, seed = 1;
    bool verbose = false;
    const char *folder = NULL;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--count") == 0 && i + 1 < argc)
            count = number(argv[++i]);
        else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
            seed = number(argv[++i]);
        else if (strcmp(argv[i], "--write") == 0 && i + 1 < argc)
            folder = argv[++i];
        else if (strcmp(argv[i], "--verbose") == 0)
            verbose = true;
        else
            (void)number(NULL);
    }
    if (folder)
        return write_case(folder, seed) < 0;
    struct sigaction action = {.sa_handler = stop};
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    struct law_counts counts = {0};
    int broken = 0;
    time_t said = time(NULL);
    for (uint64_t i = 0; i < count && !broken && !stopped; i++) {
        broken = try_case(seed + i, &counts) < 0;
        if (time(NULL) - said < 2)
            continue;
        said = time(NULL);
        (void)fprintf(stderr, "laws: %llu of %llu cases\n", (unsigned long long)counts.cases,
                      (unsigned long long)count);
    }
    if (!broken && !stopped)
        broken = check_counts(&counts);
    print_counts(&counts, verbose);
    return broken;
}
