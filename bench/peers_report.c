/* A page of what was measured: charts that gnuplot draws, and the goals' figures as a table. */
#include "chart.h"
#include "peers.h"

/* A chart of one mode: bars of p50, or of calls a second. */
struct chart {
    const char *name, *title;
    enum peers_mode mode;
    uint64_t pause_ns;
};

static const struct chart charts[] = {
    {"awake", "Awake, 64 bytes there and back: p50", PEERS_AWAKE, 0},
    {"asleep", "Asleep, a call a millisecond: p50", PEERS_ASLEEP, PEERS_OFTEN_NS},
    {"pipelined", "Pipelined, 2,048 in flight: calls a second", PEERS_PIPELINED, 0},
};
#define CHART_COUNT (sizeof(charts) / sizeof(charts[0]))

/* ---- What gnuplot is told ---- */

static int write_bars(const struct bench_result *results, const char *folder,
                      const struct chart *chart)
{
    FILE *file = chart_open(folder, chart->name, "gp");
    if (!file)
        return 1;
    const bool rate = chart->mode == PEERS_PIPELINED;
    chart_head(file, chart->name, chart->title, 480);
    fprintf(file,
            "set ylabel '%s'\nset style fill solid 0.85\nset boxwidth 0.7\nunset key\n"
            "set xtics rotate by -30 nomirror\nset rmargin 9\nset yrange [*:*]\nset offsets 0.3, "
            "0.3, graph 0.1, 0\n$data << EOD\n",
            rate ? "calls a second" : "seconds");
    for (size_t i = 0; i < peers_count; i++) {
        size_t best = peers_best(results, peers[i], chart->mode, 64, chart->pause_ns);
        if (best != SIZE_MAX)
            fprintf(file, "\"%s\" %g %d\n", peers[i]->about,
                    rate ? results[best].per_s : results[best].ns[BENCH_P50] / 1e9,
                    strncmp(peers[i]->name, "parley", 6) == 0 ? 0xc0392b : 0x34608c);
    }
    fprintf(file, "EOD\nplot $data using 0:2:3:xtic(1) with boxes lc rgb variable, \\\n"
                  "  $data using 0:2:(sprintf('%%s', gprintf('%%.1s %%c', $2))) with labels"
                  " offset 0,0.7\n");
    return chart_close(file);
}

/* Latency against how rare it is: a tenth, a hundredth, ... of all calls are slower. */
static int write_curves(const struct bench_result *results, const char *folder)
{
    int count = 0;
    FILE *file = chart_open(folder, "curves", "gp");
    if (!file)
        return 1;
    chart_head(file, "curves", "Awake, 64 bytes: latency by percentile", 560);
    fprintf(file, "set ylabel 'seconds'\nset logscale x\nset key outside right\n"
                  "set xtics ('1%%%%' 1.0101, '50%%%%' 2, '90%%%%' 10, '99%%%%' 100,"
                  " '99.9%%%%' 1000, '99.99%%%%' 10000)\n$data << EOD\n");
    for (size_t i = 0; i < peers_count; i++) {
        size_t best = peers_best(results, peers[i], PEERS_AWAKE, 64, 0);
        if (best == SIZE_MAX)
            continue;
        fprintf(file, "%s\"%s\"\n", count++ ? "\n\n" : "", peers[i]->about);
        for (int k = 0; k < BENCH_PERCENTILES; k++)
            fprintf(file, "%g %g\n", 1 / (1 - bench_percentiles[k]), results[best].ns[k] / 1e9);
    }
    fprintf(file, "EOD\n");
    chart_lines(file, count, 0.4);
    return chart_close(file);
}

static int write_sizes(const struct bench_result *results, const char *folder)
{
    int count = 0;
    FILE *file = chart_open(folder, "sizes", "gp");
    if (!file)
        return 1;
    chart_head(file, "sizes", "Awake, by the message's size: p50", 480);
    fprintf(file, "set ylabel 'seconds'\nset logscale x 2\nset key outside right\n"
                  "set xtics ('64 B' 64, '4 KiB' 4096, '64 KiB' 65536, '1 MiB' 1048576)\n"
                  "$data << EOD\n");
    for (size_t i = 0; i < peers_count; i++) {
        if (peers[i]->bytes_max < PEER_BYTES_MAX ||
            peers_best(results, peers[i], PEERS_AWAKE, 64, 0) == SIZE_MAX)
            continue;
        fprintf(file, "%s\"%s\"\n", count++ ? "\n\n" : "", peers[i]->about);
        for (size_t k = 0; k < PEERS_SIZE_COUNT; k++) {
            size_t best = peers_best(results, peers[i], PEERS_AWAKE, peers_sizes[k], 0);
            if (best != SIZE_MAX)
                fprintf(file, "%u %g\n", peers_sizes[k], results[best].ns[BENCH_P50] / 1e9);
        }
    }
    fprintf(file, "EOD\n");
    chart_lines(file, count, 0.6);
    return chart_close(file);
}

/* ---- The page ---- */

static const char *draw_all(const char *folder)
{
    int r = chart_draw(folder, "curves");
    r |= chart_draw(folder, "sizes");
    for (size_t i = 0; i < CHART_COUNT; i++)
        r |= chart_draw(folder, charts[i].name);
    return chart_words(r);
}

static void write_table_row(FILE *file, const struct bench_result *results, size_t index)
{
    static const int shown[] = {BENCH_P50, BENCH_P90, BENCH_P99, BENCH_P999, BENCH_P9999};
    const struct peers_case *measured = &peers_cases[index];
    const struct bench_subject *subject = &peers_subjects[index];
    fprintf(file, "<tr><td>%s<td>%s%s<td>%u<td>%s", measured->peer->about,
            peers_mode_name(measured->mode),
            subject->load.pause_ns == PEERS_RARE_NS ? ", a call a second" : "", subject->load.bytes,
            peers_place_name(subject->placement));
    for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++)
        fprintf(file, "<td>%.2f", results[index].ns[shown[i]] / 1e3);
    if (results[index].per_s > 0)
        fprintf(file, "<td>%.0f\n", results[index].per_s);
    else
        fprintf(file, "<td>\n");
}

static void write_table(FILE *file, const struct bench_result *results)
{
    fprintf(file, "<table><tr><th>peer<th>mode<th>bytes<th>placement<th>p50 us<th>p90<th>p99"
                  "<th>p99.9<th>p99.99<th>calls/s\n");
    for (size_t i = 0; i < peers_subject_count; i++) {
        const struct peers_case *measured = &peers_cases[i];
        const struct bench_load *load = &peers_subjects[i].load;
        if (measured->peer &&
            peers_best(results, measured->peer, measured->mode, load->bytes, load->pause_ns) == i)
            write_table_row(file, results, i);
    }
    fprintf(file, "</table>\n");
}

static int write_page(const struct bench_result *results, const char *folder, const char *words)
{
    char processor[128];
    FILE *file = chart_open(folder, "index", "html");
    if (!file)
        return 1;
    bench_cpu_name(processor, sizeof(processor));
    chart_page(file, "Parley and its peers");
    fprintf(file,
            "<p>%u rounds, medians; %s. Each peer where it is placed best. The vertical axes are"
            " logarithmic.</p>\n",
            results[FLOOR_INDEX_LINE].round_count, processor);
    if (words)
        fprintf(file, "<p>%s</p>\n", words);
    for (size_t i = 0; !words && i < CHART_COUNT; i++)
        fprintf(file, "<img src=%s.svg alt=\"%s\">\n", charts[i].name, charts[i].title);
    if (!words)
        fprintf(file, "<img src=curves.svg alt=\"latency by percentile\">\n"
                      "<img src=sizes.svg alt=\"latency by size\">\n");
    write_table(file, results);
    for (size_t i = 0; i < peers_count; i++) {
        if (peers_skipped(peers[i]))
            fprintf(file, "<p>skipped: %s</p>\n", peers_skipped(peers[i]));
    }
    return chart_close(file);
}

int peers_write_report(const struct bench_result *results, const char *folder)
{
    if (chart_folder(folder) != 0)
        return 1;
    int r = write_curves(results, folder) | write_sizes(results, folder);
    for (size_t i = 0; i < CHART_COUNT; i++)
        r |= write_bars(results, folder, &charts[i]);
    const char *words = r == 0 ? draw_all(folder) : "the charts could not be written";
    if (words)
        fprintf(stderr, "%s\n", words);
    return r | write_page(results, folder, words);
}
