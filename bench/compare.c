/*
 * The frame for cases in one process: checks, rounds, ratios, table and rows.
 *
 * A sample is the mean time of a batch, which is made long enough (SAMPLE_NS) that looking at the
 * clock does not count. Of a round's samples p50, p99 and the mean are kept; of all rounds, the
 * medians are shown. A ratio is made of the p50 of two cases in one round, and of those ratios the
 * median is shown: it moves far less than either time on a machine that is shared.
 */
#include "compare.h"
#include "names.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

#define ROUND_COUNT_DEFAULT 51
#define ROUND_COUNT_MAX 1000
#define SAMPLE_NS 4000
#define WARM_UP_SHARE 8
#define ROUND_NS 4000000 /* about, for each case: where a sample is long, there are fewer */
#define ALLOCATION_RUNS 64

struct figures {
    double mean_ns, p50_ns, p99_ns;
};

struct measured {
    uint32_t batch, sample_count;
    double allocs; /* for one message */
    struct figures *rounds;
    struct figures median;
};

struct session {
    const struct compare *compare;
    uint32_t round_count;
    const char *json_path, *only;
    bool check_only;
    struct measured cases[COMPARE_CASE_MAX];
};

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

static bool wants(const struct session *session, size_t index)
{
    return !session->only || names_list(session->only, session->compare->cases[index].name);
}

/* ---- Measuring ---- */

static void pin(void)
{
    cpu_set_t set;
    int cpu = sched_getcpu();
    if (cpu < 0)
        return;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    (void)sched_setaffinity(0, sizeof(set), &set); /* unpinned figures are better than none */
}

static uint64_t time_batch(const struct compare_case *compared, uint32_t count)
{
    uint64_t start = clock_now_ns();
    compared->run(compared->data, count);
    return clock_now_ns() - start;
}

static void calibrate(const struct compare_case *compared, struct measured *measured)
{
    for (uint32_t count = 1;; count *= 2) {
        uint64_t least = UINT64_MAX;
        for (int i = 0; i < 8; i++) {
            uint64_t ns = time_batch(compared, count);
            least = ns < least ? ns : least;
        }
        if (least < SAMPLE_NS / 2 && count < UINT32_C(1) << 20)
            continue;
        measured->batch = least >= SAMPLE_NS ? count : 2 * count;
        measured->sample_count = (uint32_t)(ROUND_NS / (least + 1)) + 1;
        if (measured->sample_count > COMPARE_SAMPLES)
            measured->sample_count = COMPARE_SAMPLES;
        return;
    }
}

static double count_allocations(const struct compare_case *compared)
{
    /* What is only allocated once does not count, machine code among it. */
    compared->run(compared->data, 2 * ALLOCATION_RUNS);
    uint64_t before = allocations();
    compared->run(compared->data, ALLOCATION_RUNS);
    return (double)(allocations() - before) / ALLOCATION_RUNS;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(const struct compare_case *compared, struct measured *measured, uint32_t round)
{
    double samples[COMPARE_SAMPLES], sum = 0;
    const uint32_t count = measured->sample_count;
    for (uint32_t i = 0; i < count / WARM_UP_SHARE; i++)
        compared->run(compared->data, measured->batch);
    for (uint32_t i = 0; i < count; i++) {
        samples[i] = (double)time_batch(compared, measured->batch) / measured->batch;
        sum += samples[i];
    }
    qsort(samples, count, sizeof(*samples), compare_doubles);
    measured->rounds[round] = (struct figures){
        .mean_ns = sum / count,
        .p50_ns = samples[count / 2],
        .p99_ns = samples[count * 99 / 100],
    };
}

static void show_progress(const struct session *session, uint32_t round)
{
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r\033[Kround %u of %u", round + 1, session->round_count);
    else if (round == 0)
        fprintf(stderr, "%u rounds of %zu cases\n", session->round_count,
                session->compare->case_count);
}

/* Return: false if it was interrupted. */
static bool run_rounds(struct session *session)
{
    const size_t count = session->compare->case_count;
    for (uint32_t round = 0; round < session->round_count && !interrupted; round++) {
        show_progress(session, round);
        for (size_t i = 0; i < count && !interrupted; i++) {
            size_t index = (i + round) % count;
            if (wants(session, index))
                measure(&session->compare->cases[index], &session->cases[index], round);
        }
    }
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r\033[K");
    return !interrupted;
}

/* ---- Figures ---- */

static double median(double *values, uint32_t count)
{
    qsort(values, count, sizeof(*values), compare_doubles);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static void summarize(struct session *session, size_t index)
{
    static double mean[ROUND_COUNT_MAX], p50[ROUND_COUNT_MAX], p99[ROUND_COUNT_MAX];
    struct measured *measured = &session->cases[index];
    for (uint32_t i = 0; i < session->round_count; i++) {
        mean[i] = measured->rounds[i].mean_ns;
        p50[i] = measured->rounds[i].p50_ns;
        p99[i] = measured->rounds[i].p99_ns;
    }
    measured->median.mean_ns = median(mean, session->round_count);
    measured->median.p50_ns = median(p50, session->round_count);
    measured->median.p99_ns = median(p99, session->round_count);
}

static const struct compare_case *find_case(const struct session *session, const char *name)
{
    for (size_t i = 0; i < session->compare->case_count; i++) {
        if (strcmp(session->compare->cases[i].name, name) == 0)
            return &session->compare->cases[i];
    }
    return NULL;
}

/* How many times the time of the other; NAN if that was not measured. */
static double ratio(const struct session *session, size_t index, const char *other)
{
    static double ratios[ROUND_COUNT_MAX];
    const struct compare_case *found = find_case(session, other);
    size_t against = found ? (size_t)(found - session->compare->cases) : 0;
    if (!found || !wants(session, against))
        return NAN;
    for (uint32_t i = 0; i < session->round_count; i++)
        ratios[i] =
            session->cases[index].rounds[i].p50_ns / session->cases[against].rounds[i].p50_ns;
    return median(ratios, session->round_count);
}

static bool is_missed(const struct compare_against *against, double times)
{
    return (against->goal_most > 0 && times > against->goal_most) ||
           (against->goal_faster > 0 && times * against->goal_faster > 1);
}

/* ---- Output ---- */

static void print_table(const struct session *session)
{
    printf("%s\n%u rounds, all cases in turns; medians of the rounds; one core.\n\n",
           session->compare->question, session->round_count);
    printf("%-58s %7s %9s %9s %9s %9s %7s\n", "", "bytes", "ns", "p50", "p99", "MB/s", "allocs");
    for (size_t i = 0; i < session->compare->case_count; i++) {
        const struct compare_case *compared = &session->compare->cases[i];
        const struct measured *measured = &session->cases[i];
        if (!wants(session, i))
            continue;
        printf("%-58s %7zu %9.1f %9.1f %9.1f %9.0f", compared->about, compared->bytes,
               measured->median.mean_ns, measured->median.p50_ns, measured->median.p99_ns,
               (double)compared->bytes / measured->median.mean_ns * 1e3);
        if (allocations_counted())
            printf(" %7.4g\n", measured->allocs);
        else
            printf(" %7s\n", "?");
    }
    for (size_t i = 0; i < session->compare->skipped_count; i++)
        printf("Skipped: %s\n", session->compare->skipped[i]);
}

/* Return: whether a goal was missed. */
static bool print_ratio(const struct session *session, size_t index,
                        const struct compare_against *against)
{
    double times = ratio(session, index, against->name);
    if (isnan(times))
        return false;
    const struct compare_case *other = find_case(session, against->name);
    bool missed = is_missed(against, times);
    printf("%-58s ", session->compare->cases[index].about);
    if (against->goal_most > 0)
        printf("%6.2f x the time of   %-48s goal: at most %g: %s\n", times, other->about,
               against->goal_most, missed ? "MISSED" : "met");
    else if (against->goal_faster > 0)
        printf("%6.2f x as fast as    %-48s goal: at least %g: %s\n", 1 / times, other->about,
               against->goal_faster, missed ? "MISSED" : "met");
    else if (times >= 1)
        printf("%6.2f x the time of   %s\n", times, other->about);
    else
        printf("%6.2f x as fast as    %s\n", 1 / times, other->about);
    return missed;
}

/* Return: whether it was missed. */
static bool print_goal(const struct session *session, size_t index)
{
    const struct compare_case *compared = &session->compare->cases[index];
    double ns = session->cases[index].median.p99_ns;
    bool missed = ns > compared->goal_ns;
    printf("%-58s %9.3f ms at p99     goal: at most %g ms: %s\n", compared->about, ns / NS_PER_MS,
           compared->goal_ns / NS_PER_MS, missed ? "MISSED" : "met");
    return missed;
}

static bool print_ratios(const struct session *session)
{
    bool missed = false;
    printf("\n");
    for (size_t i = 0; i < session->compare->case_count; i++) {
        const struct compare_against *against = session->compare->cases[i].against;
        for (size_t k = 0; k < COMPARE_AGAINST_MAX && wants(session, i) && against[k].name; k++)
            missed |= print_ratio(session, i, &against[k]);
        if (wants(session, i) && session->compare->cases[i].goal_ns > 0)
            missed |= print_goal(session, i);
    }
    return missed;
}

/* One row for each thing that the case is held against, or one without. `ratio` is the case's time
 * over the other's. */
static void write_rows(const struct session *session, size_t index, const char **separator,
                       FILE *file)
{
    const struct compare_case *compared = &session->compare->cases[index];
    const struct measured *measured = &session->cases[index];
    size_t k = 0;
    do {
        const struct compare_against *against = &compared->against[k];
        double times = against->name ? ratio(session, index, against->name) : NAN;
        fprintf(file,
                "%s{\"bench\":\"%s\",\"case\":\"%s\",\"bytes\":%zu,\"ns\":%.1f,\"p50_ns\":%.1f,"
                "\"p99_ns\":%.1f,\"bytes_per_s\":%.0f",
                *separator, session->compare->name, compared->name, compared->bytes,
                measured->median.mean_ns, measured->median.p50_ns, measured->median.p99_ns,
                (double)compared->bytes / measured->median.mean_ns * 1e9);
        if (!isnan(times))
            fprintf(file, ",\"ratio_to\":\"%s\",\"ratio\":%.4f", against->name, times);
        if (!isnan(times) && against->goal_most > 0)
            fprintf(file, ",\"goal\":%.4f", against->goal_most);
        if (!isnan(times) && against->goal_faster > 0)
            fprintf(file, ",\"goal\":%.4f", 1 / against->goal_faster);
        if (compared->goal_ns > 0)
            fprintf(file, ",\"goal_ns\":%.0f", compared->goal_ns);
        if (allocations_counted())
            fprintf(file, ",\"allocs\":%.4g", measured->allocs);
        fprintf(file, "}");
        *separator = ",\n";
    } while (++k < COMPARE_AGAINST_MAX && compared->against[k].name);
}

static int write_json(const struct session *session)
{
    FILE *file = fopen(session->json_path, "we");
    if (!file) {
        fprintf(stderr, "cannot write %s: %s\n", session->json_path, strerror(errno));
        return 1;
    }
    const char *separator = "\n";
    fprintf(file, "{\"bench\":\"%s\",\"rounds\":%u,\"rows\":[", session->compare->name,
            session->round_count);
    for (size_t i = 0; i < session->compare->case_count; i++) {
        if (wants(session, i))
            write_rows(session, i, &separator, file);
    }
    fprintf(file, "\n]}\n");
    if (fclose(file) != 0) {
        fprintf(stderr, "cannot write %s: %s\n", session->json_path, strerror(errno));
        return 1;
    }
    return 0;
}

/* ---- The program ---- */

static void print_usage(FILE *file, const struct compare *compare)
{
    fprintf(file,
            "usage: %s [--rounds N] [--only NAMES] [--json FILE] [--check]\n\n%s\n\n"
            "  --rounds N     1 to %d; %d by default\n"
            "  --only NAMES   measure these, with commas between them, or all whose first parts "
            "they are:\n",
            program_invocation_short_name, compare->question, ROUND_COUNT_MAX, ROUND_COUNT_DEFAULT);
    for (size_t i = 0; i < compare->case_count; i++)
        fprintf(file, "                   %s\n", compare->cases[i].name);
    fprintf(
        file,
        "  --json FILE    write one object with the rows to FILE as well, in nanoseconds; `ratio`\n"
        "                 is the time over that of `ratio_to`, `goal` the most that it should be\n"
        "  --check        see whether all results are right, and measure nothing\n"
        "  --help         this\n");
}

static const char *name_of(const void *data, size_t index)
{
    const struct compare *compare = data;
    return compare->cases[index].name;
}

/* Return: -1 to go on, else the program's exit status. */
static int parse_options(struct session *session, int argc, char **argv)
{
    static const struct option options[] = {
        {"rounds", required_argument, NULL, 'r'}, {"only", required_argument, NULL, 'o'},
        {"json", required_argument, NULL, 'j'},   {"check", no_argument, NULL, 'c'},
        {"help", no_argument, NULL, 'h'},         {0},
    };
    char *end = NULL;
    long rounds;
    int option;
    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        switch (option) {
        case 'r':
            rounds = strtol(optarg, &end, 10);
            if (*end != '\0' || end == optarg || rounds < 1 || rounds > ROUND_COUNT_MAX) {
                fprintf(stderr, "no such number of rounds: %s\n", optarg);
                return 2;
            }
            session->round_count = (uint32_t)rounds;
            break;
        case 'o':
            session->only = optarg;
            if (!names_known(optarg, name_of, session->compare, session->compare->case_count)) {
                fprintf(stderr, "no such case: %s; see --help\n", optarg);
                return 2;
            }
            break;
        case 'j':
            session->json_path = optarg;
            break;
        case 'c':
            session->check_only = true;
            break;
        case 'h':
            print_usage(stdout, session->compare);
            return 0;
        default:
            print_usage(stderr, session->compare);
            return 2;
        }
    }
    if (optind == argc)
        return -1;
    fprintf(stderr, "not an option: %s\n", argv[optind]);
    return 2;
}

/* Checks, counts and calibrates. Return: whether everything is right. */
static bool prepare(struct session *session)
{
    bool right = true;
    for (size_t i = 0; i < session->compare->case_count; i++) {
        const struct compare_case *compared = &session->compare->cases[i];
        struct measured *measured = &session->cases[i];
        const char *wrong = compared->check ? compared->check(compared->data) : NULL;
        if (wrong) {
            fprintf(stderr, "%s gives a wrong result: %s\n", compared->name, wrong);
            right = false;
        }
        if (!wants(session, i) || !right || session->check_only)
            continue;
        measured->allocs = count_allocations(compared);
        calibrate(compared, measured);
        measured->rounds = calloc(session->round_count, sizeof(*measured->rounds));
        right = measured->rounds != NULL;
    }
    return right;
}

int compare_main(int argc, char **argv, const struct compare *compare)
{
    static struct session session;
    assert(compare->case_count <= COMPARE_CASE_MAX);
    session = (struct session){.compare = compare, .round_count = ROUND_COUNT_DEFAULT};
    int r = parse_options(&session, argc, argv);
    if (r >= 0)
        return r;
    struct sigaction action = {.sa_handler = on_signal};
    (void)sigaction(SIGINT, &action, NULL);
    pin();
    r = prepare(&session) ? 0 : 1;
    if (session.check_only || r != 0)
        return r;
    r = 1;
    if (run_rounds(&session)) {
        for (size_t i = 0; i < compare->case_count; i++) {
            if (wants(&session, i))
                summarize(&session, i);
        }
        print_table(&session);
        r = print_ratios(&session);
        if (session.json_path)
            r |= write_json(&session);
    }
    for (size_t i = 0; i < compare->case_count; i++)
        free(session.cases[i].rounds);
    return r;
}
