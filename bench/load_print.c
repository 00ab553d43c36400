/*
 * What was measured, as tables of rates and subjects, as rows of JSON, and as a page with curves.
 *
 * A curve ends where its subject is saturated: from there on latency is how long the test lasted.
 */
#include "load.h"

#include <inttypes.h>

#include "chart.h"

struct shown {
    int percentile;
    const char *name, *title;
};

static const struct shown shown[] = {
    {BENCH_P50, "p50", "Latency under offered load, 64 bytes: p50"},
    {BENCH_P99, "p99", "Latency under offered load, 64 bytes: p99"},
    {BENCH_P999, "p999", "Latency under offered load, 64 bytes: p99.9"},
};
#define SHOWN_COUNT (sizeof(shown) / sizeof(shown[0]))

/* Whether any of its rates is in that state, or a better one. */
static bool has_state(const struct bench_result *results, size_t column, enum load_state least)
{
    for (size_t i = 0; i < load_rates.count; i++) {
        if (load_state(results, column, i) >= least)
            return true;
    }
    return false;
}

static bool is_asked_for(const struct bench_result *results, size_t column)
{
    return has_state(results, column, LOAD_SATURATED);
}

/* "12.3 us", "-" or "saturated". */
static const char *cell(const struct bench_result *results, size_t column, size_t rate,
                        int percentile, char text[16])
{
    enum load_state state = load_state(results, column, rate);
    double ns = results[load_subject(column, rate)].ns[percentile];
    if (state == LOAD_NOT_TRIED)
        return "-";
    if (state == LOAD_SATURATED)
        return "saturated";
    if (ns < 10e3)
        (void)snprintf(text, 16, "%.0f ns", ns);
    else if (ns < 10e6)
        (void)snprintf(text, 16, "%.1f us", ns / 1e3);
    else
        (void)snprintf(text, 16, "%.1f ms", ns / 1e6);
    return text;
}

/* ---- The tables ---- */

static void print_table(const struct bench_result *results, const struct shown *what)
{
    char text[16];
    printf("%-12s", what->percentile == BENCH_P999 ? "p99.9" : what->name);
    for (size_t column = 0; column < load_column_count(); column++) {
        if (is_asked_for(results, column))
            printf(" %12s", load_name(column));
    }
    printf("\n");
    for (size_t i = 0; i < load_rates.count; i++) {
        printf("%10u/s", load_rates.rates[i]);
        for (size_t column = 0; column < load_column_count(); column++) {
            if (is_asked_for(results, column))
                printf(" %12s", cell(results, column, i, what->percentile, text));
        }
        printf("\n");
    }
    printf("\n");
}

/* Where a subject was saturated, how many calls it did there. */
static void print_most(const struct bench_result *results)
{
    for (size_t column = 0; column < load_column_count(); column++) {
        for (size_t i = 0; i < load_rates.count; i++) {
            if (load_state(results, column, i) == LOAD_SATURATED)
                printf("%s did %.0f of %u calls a second.\n", load_name(column),
                       results[load_subject(column, i)].per_s, load_rates.rates[i]);
        }
        if (load_skipped(column))
            printf("skipped: %s\n", load_skipped(column));
    }
}

void load_print(const struct bench_result *results)
{
    printf("64 bytes, one client, one service; latency from when a call should have begun; "
           "--seed %" PRIu64 "\n\n",
           load_seed);
    for (size_t i = 0; i < SHOWN_COUNT; i++)
        print_table(results, &shown[i]);
    print_most(results);
}

/* ---- JSON ---- */

static void write_floors(const struct bench_result *results, FILE *file)
{
    const char *separator = "";
    fprintf(file, "\"floors\":{\"cache_line_ns\":%.1f,\"schedule_ns\":{", results[0].ns[BENCH_P50]);
    for (size_t i = 0; i < load_rates.count; i++) {
        if (load_state(results, 0, i) == LOAD_NOT_TRIED)
            continue;
        fprintf(file, "%s\"%u\":%.1f", separator, load_rates.rates[i],
                results[load_subject(0, i)].ns[BENCH_P50]);
        separator = ",";
    }
    fprintf(file, "}}");
}

static void write_row(const struct bench_result *results, size_t column, size_t rate, FILE *file)
{
    const struct bench_result *result = &results[load_subject(column, rate)];
    const double *ns = result->ns;
    fprintf(file,
            "{\"bench\":\"load\",\"peer\":\"%s\",\"mode\":\"open-loop\",\"rate\":%u,\"bytes\":%d,"
            "\"clients\":1,\"p50_ns\":%.0f,\"p90_ns\":%.0f,\"p99_ns\":%.0f,\"p999_ns\":%.0f,"
            "\"calls_per_s\":%.0f,\"saturated\":%s}",
            load_peer(column)->name, load_rates.rates[rate], LOAD_BYTES, ns[BENCH_P50],
            ns[BENCH_P90], ns[BENCH_P99], ns[BENCH_P999], result->per_s,
            load_state(results, column, rate) == LOAD_SATURATED ? "true" : "false");
}

void load_write_rows(const struct bench_result *results, FILE *file)
{
    const char *separator = "";
    fprintf(file, "\"seed\":%" PRIu64 ",", load_seed);
    write_floors(results, file);
    fprintf(file, ",\"skipped\":[");
    for (size_t column = 1; column < load_column_count(); column++) {
        if (load_skipped(column))
            fprintf(file, "%s\"%s\"", separator, load_skipped(column));
        separator = load_skipped(column) ? "," : separator;
    }
    fprintf(file, "],\"rows\":[");
    separator = "\n";
    for (size_t column = 1; column < load_column_count(); column++) {
        for (size_t i = 0; i < load_rates.count; i++) {
            if (load_state(results, column, i) == LOAD_NOT_TRIED)
                continue;
            fprintf(file, "%s", separator);
            write_row(results, column, i, file);
            separator = ",\n";
        }
    }
    fprintf(file, "\n]");
}

/* ---- The page ---- */

static int write_curves(const struct bench_result *results, const char *folder,
                        const struct shown *what)
{
    int count = 0;
    FILE *file = chart_open(folder, what->name, "gp");
    if (!file)
        return 1;
    chart_head(file, what->name, what->title, 480);
    fprintf(file, "set ylabel 'seconds'\nset xlabel 'calls offered a second'\nset logscale x\n"
                  "set format x '%%.0s %%c'\nset key outside right\n$data << EOD\n");
    for (size_t column = 0; column < load_column_count(); column++) {
        if (!has_state(results, column, LOAD_KEPT_UP))
            continue;
        fprintf(file, "%s\"%s\"\n", count++ ? "\n\n" : "", load_name(column));
        for (size_t i = 0; i < load_rates.count; i++) {
            if (load_state(results, column, i) == LOAD_KEPT_UP)
                fprintf(file, "%u %g\n", load_rates.rates[i],
                        results[load_subject(column, i)].ns[what->percentile] / 1e9);
        }
    }
    fprintf(file, "EOD\n");
    chart_lines(file, count, 0.6);
    return chart_close(file);
}

static void write_table(FILE *file, const struct bench_result *results, const struct shown *what)
{
    char text[16];
    fprintf(file, "<table><tr><th>%s<br>calls a second", what->name);
    for (size_t column = 0; column < load_column_count(); column++) {
        if (is_asked_for(results, column))
            fprintf(file, "<th>%s", load_name(column));
    }
    for (size_t i = 0; i < load_rates.count; i++) {
        fprintf(file, "\n<tr><td>%u", load_rates.rates[i]);
        for (size_t column = 0; column < load_column_count(); column++) {
            if (is_asked_for(results, column))
                fprintf(file, "<td>%s", cell(results, column, i, what->percentile, text));
        }
    }
    fprintf(file, "\n</table>\n");
}

static int write_page(const struct bench_result *results, const char *folder, const char *words)
{
    char processor[128];
    FILE *file = chart_open(folder, "index", "html");
    if (!file)
        return 1;
    bench_cpu_name(processor, sizeof(processor));
    chart_page(file, "Parley and its peers under offered load");
    fprintf(file,
            "<p>%u rounds, medians; %s; seed %" PRIu64 ". Calls of 64 bytes begin at random times,"
            " whatever the replies do; latency is from when a call should have begun. A curve ends"
            " where its subject is saturated. Both axes are logarithmic.</p>\n",
            results[0].round_count, processor, load_seed);
    if (words)
        fprintf(file, "<p>%s</p>\n", words);
    for (size_t i = 0; i < SHOWN_COUNT; i++) {
        if (!words)
            fprintf(file, "<img src=%s.svg alt=\"%s\">\n", shown[i].name, shown[i].title);
        write_table(file, results, &shown[i]);
    }
    for (size_t column = 0; column < load_column_count(); column++) {
        if (load_skipped(column))
            fprintf(file, "<p>skipped: %s</p>\n", load_skipped(column));
    }
    return chart_close(file);
}

int load_write_report(const struct bench_result *results, const char *folder)
{
    int r = 0, drawn = 0;
    if (chart_folder(folder) != 0)
        return 1;
    for (size_t i = 0; r == 0 && i < SHOWN_COUNT; i++)
        r = write_curves(results, folder, &shown[i]);
    for (size_t i = 0; r == 0 && i < SHOWN_COUNT; i++)
        drawn |= chart_draw(folder, shown[i].name);
    const char *words = r == 0 ? chart_words(drawn) : "the charts could not be written";
    if (words)
        fprintf(stderr, "%s\n", words);
    return r | write_page(results, folder, words);
}
