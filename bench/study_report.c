/*
 * Figures and words of a study. Of all rounds the median is shown; of a ratio, the median of what
 * it was in each: what disturbs the machine for longer than a round disturbs both sides of it.
 */
#include "study_report.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct spread {
    double median, least, most; /* NAN: not measured */
};

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static struct spread spread_of(double *values, uint32_t count)
{
    if (count == 0)
        return (struct spread){NAN, NAN, NAN};
    qsort(values, count, sizeof(*values), compare_doubles);
    double median = count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
    return (struct spread){median, values[0], values[count - 1]};
}

static double value(const struct study_session *session, uint32_t round, size_t row, bool p99)
{
    const struct study_value *found = &session->values[round][row];
    return p99 ? found->p99 : found->p50;
}

/* Of the row, or, if @against is not STUDY_ALONE, of its ratio to that one. */
static struct spread spread(const struct study_session *session, size_t row, size_t against,
                            bool p99)
{
    double values[STUDY_ROUND_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < session->rounds_done; i++) {
        double x = value(session, i, row, p99);
        if (against != STUDY_ALONE)
            x /= value(session, i, against, p99);
        if (!isnan(x))
            values[count++] = x;
    }
    return spread_of(values, count);
}

/* ---- The table ---- */

static void print_value(double x, enum study_unit unit)
{
    if (isnan(x))
        printf(" %12s", "");
    else if (unit == STUDY_COUNT)
        printf(" %12.0f", x);
    else if (unit == STUDY_MB_S)
        printf(" %7.0f MB/s", x);
    else if (unit == STUDY_BYTES)
        printf(" %8.1f KiB", x / 1024);
    else if (x < 10000)
        printf(" %9.0f ns", x);
    else if (x < 10e6)
        printf(" %9.1f us", x / 1e3);
    else
        printf(" %9.1f ms", x / 1e6);
}

static void print_table(const struct study_session *session)
{
    const struct study *study = session->study;
    printf("%s\n%u round%s", study->question, session->rounds_done,
           session->rounds_done == 1 ? "" : "s");
    if (session->one_core)
        printf(", ONE CORE: all sides share it, these are figures of the scheduler");
    else
        printf(", cores %d and %d", session->cpus[0], session->cpus[1]);
    printf("\n\n%-46s %12s %12s   p50 of the rounds\n", "", "p50", "p99");
    for (size_t i = 0; i < study->row_count; i++) {
        struct spread p50 = spread(session, i, STUDY_ALONE, false);
        struct spread p99 = spread(session, i, STUDY_ALONE, true);
        if (isnan(p50.median))
            continue;
        printf("%-46s", study->rows[i].about);
        print_value(p50.median, study->rows[i].unit);
        print_value(p99.median, study->rows[i].unit);
        printf("   %.0f to %.0f\n", p50.least, p50.most);
    }
    printf("\n%s\n\n", study->method);
}

/* ---- Goals ---- */

static bool is_missed(const struct study_goal *goal, double x)
{
    return (goal->most > 0 && !(x <= goal->most)) || (goal->least > 0 && !(x >= goal->least));
}

/* A value's goal is in units that a person reads. */
static double scale(const struct study_session *session, const struct study_goal *goal,
                    const char **ret_unit)
{
    static const char *const units[] = {" us", " KiB", "", " MB/s"};
    static const double scales[] = {1e3, 1024, 1, 1};
    enum study_unit unit = session->study->rows[goal->row].unit;
    *ret_unit = goal->against == STUDY_ALONE ? units[unit] : " x";
    return goal->against == STUDY_ALONE ? scales[unit] : 1;
}

/* Return: whether it was missed. */
static bool print_goal(const struct study_session *session, const struct study_goal *goal)
{
    struct spread x = spread(session, goal->row, goal->against, goal->p99);
    const char *unit;
    double by = scale(session, goal, &unit);
    if (isnan(x.median))
        return false;
    printf("%s: %.2f%s (%.2f to %.2f)", goal->what, x.median / by, unit, x.least / by, x.most / by);
    if (goal->most > 0 || goal->least > 0)
        printf("; the goal, at %s %g%s, is %s", goal->most > 0 ? "most" : "least",
               (goal->most > 0 ? goal->most : goal->least) / by, unit,
               is_missed(goal, x.median) ? "MISSED" : "met");
    printf(".\n");
    return is_missed(goal, x.median);
}

/* ---- JSON ---- */

static void write_number(FILE *file, const char *key, double x)
{
    if (!isnan(x))
        fprintf(file, ",\"%s\":%.4f", key, x);
}

static void write_row(const struct study_session *session, size_t row, const char **separator,
                      FILE *file)
{
    static const char *const keys[] = {"p50_ns", "bytes", "count", "mb_per_s"};
    const struct study_row *about = &session->study->rows[row];
    struct spread p50 = spread(session, row, STUDY_ALONE, false);
    struct spread p99 = spread(session, row, STUDY_ALONE, true);
    if (isnan(p50.median))
        return;
    fprintf(file, "%s{\"bench\":\"%s\",\"row\":\"%s\"", *separator, session->study->name,
            about->name);
    if (about->json)
        fprintf(file, ",%s", about->json);
    fprintf(file, ",\"rounds\":%u", session->rounds_done);
    write_number(file, keys[about->unit], p50.median);
    write_number(file, "p99_ns", p99.median);
    write_number(file, "least", p50.least);
    write_number(file, "most", p50.most);
    fprintf(file, "}");
    *separator = ",\n";
}

static void write_goal(const struct study_session *session, const struct study_goal *goal,
                       const char **separator, FILE *file)
{
    const struct study_row *rows = session->study->rows;
    struct spread x = spread(session, goal->row, goal->against, goal->p99);
    if (isnan(x.median))
        return;
    fprintf(file, "%s{\"bench\":\"%s\",\"goal_of\":\"%s\",\"percentile\":%d", *separator,
            session->study->name, rows[goal->row].name, goal->p99 ? 99 : 50);
    if (goal->against != STUDY_ALONE)
        fprintf(file, ",\"ratio_to\":\"%s\",\"ratio\":%.4f", rows[goal->against].name, x.median);
    else
        fprintf(file, ",\"value\":%.4f", x.median);
    if (goal->most > 0)
        fprintf(file, ",\"at_most\":%g", goal->most);
    if (goal->least > 0)
        fprintf(file, ",\"at_least\":%g", goal->least);
    if (goal->most > 0 || goal->least > 0)
        fprintf(file, ",\"met\":%s", is_missed(goal, x.median) ? "false" : "true");
    fprintf(file, "}");
    *separator = ",\n";
}

static void write_rows(const struct study_session *session, FILE *file)
{
    const struct study *study = session->study;
    const char *separator = "\n";
    fprintf(file, "{\"bench\":\"%s\",\"rounds\":%u,\"rows\":[", study->name, session->rounds_done);
    for (size_t i = 0; i < study->row_count; i++)
        write_row(session, i, &separator, file);
    separator = "\n";
    fprintf(file, "\n],\"goals\":[");
    for (size_t i = 0; i < study->goal_count; i++)
        write_goal(session, &study->goals[i], &separator, file);
    fprintf(file, "\n]}\n");
}

static int write_json(const struct study_session *session)
{
    FILE *file = fopen(session->json_path, "we");
    if (file)
        write_rows(session, file);
    if (!file || fclose(file) != 0) {
        fprintf(stderr, "cannot write %s: %s\n", session->json_path, strerror(errno));
        return 1;
    }
    return 0;
}

int study_report(const struct study_session *session)
{
    bool missed = false;
    print_table(session);
    for (size_t i = 0; i < session->study->goal_count; i++)
        missed |= print_goal(session, &session->study->goals[i]);
    return (session->json_path ? write_json(session) : 0) | missed;
}
