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

const double bench_percentiles[BENCH_PERCENTILES] = {
    [BENCH_P1] = 0.01,    [BENCH_P10] = 0.1,    [BENCH_P25] = 0.25,     [BENCH_P50] = 0.5,
    [BENCH_P75] = 0.75,   [BENCH_P90] = 0.9,    [BENCH_P95] = 0.95,     [BENCH_P99] = 0.99,
    [BENCH_P995] = 0.995, [BENCH_P999] = 0.999, [BENCH_P9995] = 0.9995, [BENCH_P9999] = 0.9999,
};

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
        ret_figures->ns[i] = samples[(uint32_t)(bench_percentiles[i] * (count - 1))];
}

static double median(double *values, uint32_t count)
{
    qsort(values, count, sizeof(*values), compare_doubles);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static double median_ratio(const double *values, const double *of, uint32_t count)
{
    double ratios[ROUND_COUNT_MAX];
    for (uint32_t i = 0; i < count; i++)
        ratios[i] = values[i] / of[i];
    return median(ratios, count);
}

double bench_ratio(const struct bench_result *result, const struct bench_result *of)
{
    return median_ratio(result->p50_of_round, of->p50_of_round, result->round_count);
}

double bench_rate_ratio(const struct bench_result *result, const struct bench_result *of)
{
    return median_ratio(result->per_s_of_round, of->per_s_of_round, result->round_count);
}

static struct bench_result summarize(const struct session *session, size_t subject)
{
    static double p50_of_round[BENCH_SUBJECT_MAX][ROUND_COUNT_MAX];
    static double per_s_of_round[BENCH_SUBJECT_MAX][ROUND_COUNT_MAX];
    struct bench_result result = {.p50_of_round = p50_of_round[subject],
                                  .per_s_of_round = per_s_of_round[subject]};
    const struct figures *figures[ROUND_COUNT_MAX];
    double values[ROUND_COUNT_MAX];
    uint32_t rounds = 0;
    for (uint32_t round = 0; round < session->rounds_done; round++) {
        const struct figures *found = &session->figures[subject][round];
        if (!found->measured)
            continue;
        p50_of_round[subject][rounds] = found->ns[BENCH_P50];
        values[rounds] = per_s_of_round[subject][rounds] = found->per_s;
        result.behind_count += found->behind;
        figures[rounds++] = found;
    }
    result.measured = rounds > 0;
    result.round_count = rounds;
    result.per_s = rounds ? median(values, rounds) : 0;
    for (int i = 0; i < BENCH_PERCENTILES && result.measured; i++) {
        for (uint32_t round = 0; round < rounds; round++)
            values[round] = figures[round]->ns[i];
        result.ns[i] = median(values, rounds); /* which sorts them */
        if (i == BENCH_P50) {
            result.p50_least = values[0];
            result.p50_most = values[rounds - 1];
        }
    }
    return result;
}

/* ---- Output ---- */

void bench_cpu_name(char *buffer, size_t bytes)
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
    for (char *c = buffer; *c; c++) {
        if (*c == '"' || *c == '\\' || (unsigned char)*c < 0x20)
            *c = ' ';
    }
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

static const int shown[] = {BENCH_P50, BENCH_P90, BENCH_P99, BENCH_P999, BENCH_P9999};
#define SHOWN_COUNT (sizeof(shown) / sizeof(shown[0]))

static void print_head(const struct session *session)
{
    char processor[128];
    bench_cpu_name(processor, sizeof(processor));
    printf("%s\n%u round%s", session->bench->question, session->rounds_done,
           session->rounds_done == 1 ? "" : "s");
    if (session->repeated)
        printf(" (%u more were disturbed and repeated)", session->repeated);
    if (session->one_core)
        printf(", ONE CORE: both sides share it, these are figures of the scheduler");
    else
        printf(", cores %d and %d", session->cpus[0], session->cpus[1]);
    printf(", %s\n\n", processor);
}

static void print_table(const struct session *session, const struct bench_result *results)
{
    printf("%-39s %11s %11s %11s %11s %11s   p50 of the rounds\n", "", "p50", "p90", "p99", "p99.9",
           "p99.99");
    for (size_t i = 0; i < session->bench->subject_count; i++) {
        if (!results[i].measured)
            continue;
        printf("%-39s", session->bench->subjects[i].about);
        for (size_t k = 0; k < SHOWN_COUNT; k++)
            print_duration(results[i].ns[shown[k]]);
        printf("   %.0f to %.0f\n", results[i].p50_least, results[i].p50_most);
    }
}

static void print_foot(const struct session *session)
{
    if (session->disturbed)
        printf("\nThe machine was busy: in some rounds the floor moved by more than %.1f times, and"
               " repeating did not help. Do not trust small differences.\n",
               FLOOR_RATIO_MAX);
    printf("\n");
}

static void write_rows(const struct session *session, const struct bench_result *results,
                       FILE *file)
{
    const char *separator = "\n";
    fprintf(file, "\"rows\":[");
    for (size_t i = 0; i < session->bench->subject_count; i++) {
        const double *ns = results[i].ns;
        if (!results[i].measured)
            continue;
        fprintf(file,
                "%s{\"name\":\"%s\",\"p50_ns\":%.1f,\"p90_ns\":%.1f,\"p99_ns\":%.1f,"
                "\"p999_ns\":%.1f,\"p9999_ns\":%.1f,\"p50_least_ns\":%.1f,\"p50_most_ns\":%.1f}",
                separator, session->bench->subjects[i].name, ns[BENCH_P50], ns[BENCH_P90],
                ns[BENCH_P99], ns[BENCH_P999], ns[BENCH_P9999], results[i].p50_least,
                results[i].p50_most);
        separator = ",\n";
    }
    fprintf(file, "\n]");
}

static int write_json(const struct session *session, const struct bench_result *results)
{
    char processor[128];
    FILE *file = fopen(session->json_path, "we");
    if (!file) {
        fprintf(stderr, "cannot write %s: %s\n", session->json_path, strerror(errno));
        return 1;
    }
    bench_cpu_name(processor, sizeof(processor));
    fprintf(file,
            "{\"bench\":\"%s\",\"processor\":\"%s\",\"cores\":%d,\"rounds\":%u,"
            "\"repeated\":%u,\"disturbed\":%s,",
            session->bench->name, processor, session->one_core ? 1 : 2, session->rounds_done,
            session->repeated, session->disturbed ? "true" : "false");
    if (session->bench->write_rows)
        session->bench->write_rows(results, file);
    else
        write_rows(session, results, file);
    fprintf(file, "}\n");
    if (fclose(file) != 0) {
        fprintf(stderr, "cannot write %s: %s\n", session->json_path, strerror(errno));
        return 1;
    }
    return 0;
}

int session_report(const struct session *session)
{
    static struct bench_result results[BENCH_SUBJECT_MAX];
    const struct bench *bench = session->bench;
    memset(results, 0, sizeof(results));
    for (size_t i = 0; i < bench->subject_count; i++) {
        if (session_wants(session, i))
            results[i] = summarize(session, i);
    }
    print_head(session);
    if (bench->print)
        bench->print(results);
    else
        print_table(session, results);
    print_foot(session);
    int r = session->json_path ? write_json(session, results) : 0;
    if (session->report_path)
        r |= bench->write_report(results, session->report_path);
    if (bench->conclude && (!session->only || bench->partial))
        r |= bench->conclude(results);
    return r | session->any_failed;
}
