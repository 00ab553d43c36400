/*
 * Figures, table and JSON.
 *
 * A percentile is taken of one round's samples, and of those of all rounds the median: so a round
 * that something disturbed does not show, and none is of a mixture.
 */
#include "session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double percentiles[BENCH_PERCENTILES] = {0.5, 0.9, 0.99, 0.999};

bool session_wants(const struct session *session, size_t subject)
{
    return subject == 0 || !session->only ||
           strcmp(session->only, session->bench->subjects[subject].name) == 0;
}

/* ---- Figures ---- */

static int compare_samples(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void figures_compute(uint32_t *samples, uint32_t count, struct figures *ret_figures)
{
    qsort(samples, count, sizeof(*samples), compare_samples);
    for (int i = 0; i < BENCH_PERCENTILES; i++)
        ret_figures->ns[i] = samples[(uint32_t)(percentiles[i] * (count - 1))];
}

static double median(double *values, uint32_t count)
{
    qsort(values, count, sizeof(*values), compare_doubles);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

double bench_ratio(const struct bench_result *result, const struct bench_result *of)
{
    double ratios[ROUND_COUNT_MAX];
    for (uint32_t i = 0; i < result->round_count; i++)
        ratios[i] = result->p50_of_round[i] / of->p50_of_round[i];
    return median(ratios, result->round_count);
}

static struct bench_result summarize(const struct session *session, size_t subject)
{
    static double p50_of_round[BENCH_SUBJECT_MAX][ROUND_COUNT_MAX];
    struct bench_result result = {.measured = session->rounds_done > 0,
                                  .p50_of_round = p50_of_round[subject],
                                  .round_count = session->rounds_done};
    double values[ROUND_COUNT_MAX];
    for (uint32_t round = 0; round < session->rounds_done; round++)
        p50_of_round[subject][round] = session->figures[subject][round].ns[BENCH_P50];
    for (int i = BENCH_PERCENTILES - 1; i >= 0 && result.measured; i--) {
        for (uint32_t round = 0; round < session->rounds_done; round++)
            values[round] = session->figures[subject][round].ns[i];
        result.ns[i] = median(values, session->rounds_done);
        result.p50_least = values[0]; /* median() sorts, and P50 comes last */
        result.p50_most = values[session->rounds_done - 1];
    }
    return result;
}

/* ---- Output ---- */

static void cpu_name(char *buffer, size_t bytes)
{
    char line[256];
    FILE *file = fopen("/proc/cpuinfo", "re");
    (void)snprintf(buffer, bytes, "unknown processor");
    while (file && fgets(line, sizeof(line), file)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) == 0 && colon) {
            line[strcspn(line, "\n")] = '\0';
            (void)snprintf(buffer, bytes, "%s", colon + 2);
            break;
        }
    }
    if (file)
        (void)fclose(file);
}

static void print_duration(double ns)
{
    if (ns < 10000)
        printf(" %8.0f ns", ns);
    else if (ns < 10e6)
        printf(" %8.1f us", ns / 1e3);
    else
        printf(" %8.1f ms", ns / 1e6);
}

static void print_table(const struct session *session, const struct bench_result *results)
{
    char processor[128];
    cpu_name(processor, sizeof(processor));
    printf("%s\n%u round%s", session->bench->question, session->rounds_done,
           session->rounds_done == 1 ? "" : "s");
    if (session->repeated)
        printf(" (%u more were disturbed and repeated)", session->repeated);
    if (session->one_core)
        printf(", ONE CORE: both sides share it, these are figures of the scheduler");
    else
        printf(", cores %d and %d", session->cpus[0], session->cpus[1]);
    printf(", %s\n\n%-39s %11s %11s %11s %11s   p50 of the rounds\n", processor, "", "p50", "p90",
           "p99", "p99.9");
    for (size_t i = 0; i < session->bench->subject_count; i++) {
        if (!session_wants(session, i))
            continue;
        printf("%-39s", session->bench->subjects[i].about);
        for (int k = 0; k < BENCH_PERCENTILES; k++)
            print_duration(results[i].ns[k]);
        printf("   %.0f to %.0f\n", results[i].p50_least, results[i].p50_most);
    }
    if (session->disturbed)
        printf("\nThe machine was busy: in some rounds the floor moved by more than %.1f times, and"
               " repeating did not help. Do not trust small differences.\n",
               FLOOR_RATIO_MAX);
    printf("\n");
}

static int write_json(const struct session *session, const struct bench_result *results)
{
    char processor[128];
    FILE *file = fopen(session->json_path, "we");
    if (!file) {
        fprintf(stderr, "cannot write %s: %s\n", session->json_path, strerror(errno));
        return 1;
    }
    cpu_name(processor, sizeof(processor));
    for (char *c = processor; *c; c++) {
        if (*c == '"' || *c == '\\' || (unsigned char)*c < 0x20)
            *c = ' ';
    }
    fprintf(file,
            "{\"bench\":\"%s\",\"processor\":\"%s\",\"cores\":%d,\"rounds\":%u,"
            "\"repeated\":%u,\"disturbed\":%s,\"rows\":[",
            session->bench->name, processor, session->one_core ? 1 : 2, session->rounds_done,
            session->repeated, session->disturbed ? "true" : "false");
    const char *separator = "\n";
    for (size_t i = 0; i < session->bench->subject_count; i++) {
        if (!session_wants(session, i))
            continue;
        fprintf(file,
                "%s{\"name\":\"%s\",\"p50_ns\":%.1f,\"p90_ns\":%.1f,\"p99_ns\":%.1f,"
                "\"p999_ns\":%.1f,\"p50_least_ns\":%.1f,\"p50_most_ns\":%.1f}",
                separator, session->bench->subjects[i].name, results[i].ns[BENCH_P50],
                results[i].ns[BENCH_P90], results[i].ns[BENCH_P99], results[i].ns[BENCH_P999],
                results[i].p50_least, results[i].p50_most);
        separator = ",\n";
    }
    fprintf(file, "\n]}\n");
    if (fclose(file) != 0) {
        fprintf(stderr, "cannot write %s: %s\n", session->json_path, strerror(errno));
        return 1;
    }
    return 0;
}

int session_report(const struct session *session)
{
    struct bench_result results[BENCH_SUBJECT_MAX] = {0};
    for (size_t i = 0; i < session->bench->subject_count; i++) {
        if (session_wants(session, i))
            results[i] = summarize(session, i);
    }
    print_table(session, results);
    int r = session->json_path ? write_json(session, results) : 0;
    if (session->bench->conclude && !session->only)
        r |= session->bench->conclude(results);
    return r;
}
