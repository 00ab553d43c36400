/*
 * Do gates send the bad canaries back, and only them?
 *
 * Rollouts by the thousand, on a virtual clock (gates_sim.c): with faults of known size and
 * without, at high and at low traffic, quiet and with noise that is common to both versions. No
 * figure here is a time of this machine.
 */
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gates_sim.h"
#include "names.h"

#define ROLLOUTS_DEFAULT 1000
#define ROLLOUTS_MAX 1000000
#define CAUGHT_GOAL 0.993 /* of those with a fault, at least, before they carry 30 % */
#define ALARM_GOAL 0.01   /* of those without, at most */

struct result {
    uint32_t count, rolled_back, caught, completed;
    double *seconds, *exposed; /* of each that ended, in order of size */
    uint32_t ended;
};

static int by_size(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static void run(const struct sim_scenario *scenario, uint32_t count, uint64_t seed,
                struct result *result)
{
    *result = (struct result){
        .count = count,
        .seconds = calloc(count, sizeof(double)),
        .exposed = calloc(count, sizeof(double)),
    };
    if (!result->seconds || !result->exposed)
        abort();
    for (uint32_t i = 0; i < count; i++) {
        struct sim_outcome outcome = sim_run(scenario, seed + i * UINT64_C(0x632be59bd9b4e019));
        result->rolled_back += outcome.rolled_back;
        result->caught += outcome.rolled_back && !outcome.late;
        result->completed += outcome.completed;
        bool counts = scenario->fault == SIM_HEALTHY ? outcome.completed
                                                     : outcome.rolled_back && !outcome.late;
        if (!counts)
            continue;
        result->seconds[result->ended] = outcome.seconds;
        result->exposed[result->ended++] = outcome.exposed;
    }
    qsort(result->seconds, result->ended, sizeof(double), by_size);
    qsort(result->exposed, result->ended, sizeof(double), by_size);
}

static double quantile(const double *values, uint32_t count, double q)
{
    return count > 0 ? values[(uint32_t)(q * (count - 1))] : 0;
}

static double share(uint32_t part, uint32_t count)
{
    return (double)part / (double)count;
}

static bool is_met(const struct sim_scenario *scenario, const struct result *result)
{
    if (scenario->fault == SIM_HEALTHY)
        return share(result->rolled_back, result->count) <= ALARM_GOAL;
    return share(result->caught, result->count) >= CAUGHT_GOAL;
}

static const char *duration(double seconds, char text[16])
{
    if (seconds < 120)
        (void)snprintf(text, 16, "%.0f s", seconds);
    else if (seconds < 7200)
        (void)snprintf(text, 16, "%.0f min", seconds / 60);
    else
        (void)snprintf(text, 16, "%.1f h", seconds / 3600);
    return text;
}

static void print_row(const struct sim_scenario *scenario, const struct result *result)
{
    char half[16], most[16];
    bool healthy = scenario->fault == SIM_HEALTHY;
    uint32_t back = healthy ? result->rolled_back : result->caught;
    const char *goal = scenario->cluster > 1 ? "-" : healthy ? "<= 1 %" : ">= 99.3 %";
    printf("%-22s %6u %9.2f %% %8s %8.0f %9.0f %9s %9s  %s\n", scenario->name, result->count,
           100 * share(back, result->count), goal, quantile(result->exposed, result->ended, 0.5),
           quantile(result->exposed, result->ended, 0.99),
           duration(quantile(result->seconds, result->ended, 0.5), half),
           duration(quantile(result->seconds, result->ended, 0.99), most),
           scenario->cluster > 1 || is_met(scenario, result) ? "" : "MISSED");
    (void)fflush(stdout);
}

static json_t *row_to_json(const struct sim_scenario *scenario, const struct result *result)
{
    return json_pack(
        "{s:s, s:s, s:i, s:i, s:i, s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:b}", "name", scenario->name,
        "about", scenario->about, "rollouts", (int)result->count, "rolled_back",
        (int)result->rolled_back, "rolled_back_before_30_percent", (int)result->caught, "completed",
        (int)result->completed, "exposed_calls_p50", quantile(result->exposed, result->ended, 0.5),
        "exposed_calls_p90", quantile(result->exposed, result->ended, 0.9), "exposed_calls_p99",
        quantile(result->exposed, result->ended, 0.99), "seconds_p50",
        quantile(result->seconds, result->ended, 0.5), "seconds_p90",
        quantile(result->seconds, result->ended, 0.9), "seconds_p99",
        quantile(result->seconds, result->ended, 0.99), "goal_met", (int)is_met(scenario, result));
}

/* ---- The command line ---- */

struct options {
    uint32_t rollouts, rounds;
    uint64_t seed;
    const char *only, *json;
};

static void print_usage(FILE *file)
{
    fprintf(
        file,
        "usage: bench_gates [--rollouts N] [--rounds N] [--seed S] [--only NAMES] [--json FILE]\n"
        "\n"
        "Do gates send the bad canaries back, and only them?\n"
        "\n"
        "  --rollouts N  simulated in each scenario and round; %d by default\n"
        "  --rounds N    1 by default\n"
        "  --seed S      of all chance; 1 by default\n"
        "  --only NAMES  these scenarios, with commas between them: high-even high-noisy\n"
        "                middle-even middle-noisy low-even low-noisy, or one of them with "
        "/healthy,\n"
        "                /errors, /slow, /tail\n"
        "  --json FILE   write one object with the rows to FILE as well\n"
        "  --help        this\n",
        ROLLOUTS_DEFAULT);
}

static bool take_number(const char *text, uint64_t max, uint64_t *ret)
{
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end || value < 1 || value > max || text[0] == '-') {
        fprintf(stderr, "not a number from 1 to %llu: %s\n", (unsigned long long)max, text);
        return false;
    }
    *ret = value;
    return true;
}

/* Return: -1 to go on, else the exit status. */
static int take_options(int argc, char **argv, struct options *options)
{
    static const struct option names[] = {
        {"rollouts", required_argument, NULL, 'n'},
        {"rounds", required_argument, NULL, 'r'},
        {"seed", required_argument, NULL, 's'},
        {"only", required_argument, NULL, 'o'},
        {"json", required_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    uint64_t value = 0;
    for (int c; (c = getopt_long(argc, argv, "", names, NULL)) >= 0;) {
        bool number = c == 'n' || c == 'r' || c == 's';
        if (number && !take_number(optarg, c == 's' ? UINT64_MAX : ROLLOUTS_MAX, &value))
            return 2;
        if (c == 'n')
            options->rollouts = (uint32_t)value;
        else if (c == 'r')
            options->rounds = (uint32_t)value;
        else if (c == 's')
            options->seed = value;
        else if (c == 'o')
            options->only = optarg;
        else if (c == 'j')
            options->json = optarg;
        else {
            print_usage(c == 'h' ? stdout : stderr);
            return c == 'h' ? 0 : 2;
        }
    }
    return -1;
}

int main(int argc, char **argv)
{
    struct options options = {.rollouts = ROLLOUTS_DEFAULT, .rounds = 1, .seed = 1};
    int status = take_options(argc, argv, &options);
    if (status >= 0)
        return status;
    json_t *rows = json_array();
    printf("%-22s %6s %11s %8s %8s %9s %9s %9s\n", "", "", "rolled", "", "exposed", "", "time", "");
    printf("%-22s %6s %11s %8s %8s %9s %9s %9s\n", "scenario", "of", "back", "goal", "p50", "p99",
           "p50", "p99");
    for (unsigned i = 0; i < sim_scenario_count; i++) {
        const struct sim_scenario *scenario = &sim_scenarios[i];
        struct result result;
        if (options.only && !names_list(options.only, scenario->name))
            continue;
        run(scenario, options.rollouts * options.rounds, options.seed, &result);
        print_row(scenario, &result);
        (void)json_array_append_new(rows, row_to_json(scenario, &result));
        free(result.seconds);
        free(result.exposed);
    }
    printf("\nrolled back: of those with a fault, before they carry 30 %%. exposed: calls that the "
           "canary served;\ntime: until the rollback, or, without a fault, until all is done\n");
    json_t *report = json_pack("{s:s, s:o}", "bench", "gates", "rows", rows);
    if (options.json && json_dump_file(report, options.json, JSON_INDENT(2)) < 0) {
        fprintf(stderr, "cannot write %s\n", options.json);
        status = 1;
    }
    json_decref(report);
    return status > 0 ? 1 : 0;
}
