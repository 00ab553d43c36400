/*
 * A page of what was measured: charts that gnuplot draws, and the goals' figures as a table.
 *
 * For each chart there are two files in the folder, what gnuplot is told (with the data in it) and
 * what it drew, so that a chart can be drawn again in another way. Without gnuplot the page has the
 * table only, and says so. gnuplot has a minute; it works in the folder, by names without a path.
 */
#include "peers.h"

#include <errno.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define GNUPLOT_S 60
#define PATH_BYTES 512

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

static FILE *open_in(const char *folder, const char *name, const char *ending)
{
    char path[PATH_BYTES];
    FILE *file = NULL;
    errno = ENAMETOOLONG;
    if (snprintf(path, sizeof(path), "%s/%s.%s", folder, name, ending) < (int)sizeof(path))
        file = fopen(path, "we");
    if (!file)
        fprintf(stderr, "cannot write %s/%s.%s: %s\n", folder, name, ending, strerror(errno));
    return file;
}

static int close_written(FILE *file)
{
    return fclose(file) == 0 ? 0 : 1;
}

/* ---- What gnuplot is told ---- */

static void write_head(FILE *file, const char *name, const char *title, int height)
{
    fprintf(file,
            "set terminal svg size 960,%d font 'sans,13' background '#ffffff'\n"
            "set output '%s.svg'\nset title \"%s\"\nset grid ytics lc rgb '#dddddd'\n"
            "set logscale y\nset format y '%%.0s %%c'\n",
            height, name, title);
}

static int write_bars(const struct bench_result *results, const char *folder,
                      const struct chart *chart)
{
    FILE *file = open_in(folder, chart->name, "gp");
    if (!file)
        return 1;
    const bool rate = chart->mode == PEERS_PIPELINED;
    write_head(file, chart->name, chart->title, 480);
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
    return close_written(file);
}

/* Latency against how rare it is: a tenth, a hundredth, ... of all calls are slower. */
static int write_curves(const struct bench_result *results, const char *folder)
{
    int count = 0;
    FILE *file = open_in(folder, "curves", "gp");
    if (!file)
        return 1;
    write_head(file, "curves", "Awake, 64 bytes: latency by percentile", 560);
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
    fprintf(file,
            "EOD\nplot for [i=0:%d] $data index i using 1:2 with linespoints pt 7 ps 0.4"
            " lw 1.5 lt i%%8+1 dt i/8+1 title columnheader(1)\n",
            count - 1);
    return close_written(file);
}

static int write_sizes(const struct bench_result *results, const char *folder)
{
    int count = 0;
    FILE *file = open_in(folder, "sizes", "gp");
    if (!file)
        return 1;
    write_head(file, "sizes", "Awake, by the message's size: p50", 480);
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
    fprintf(file,
            "EOD\nplot for [i=0:%d] $data index i using 1:2 with linespoints pt 7 ps 0.6"
            " lw 1.5 lt i%%8+1 dt i/8+1 title columnheader(1)\n",
            count - 1);
    return close_written(file);
}

/* ---- gnuplot ---- */

static int draw(const char *folder, const char *name)
{
    char script[64];
    int status = 0;
    (void)snprintf(script, sizeof(script), "%s.gp", name);
    pid_t pid = fork();
    if (pid == 0) {
        (void)alarm(GNUPLOT_S); /* which outlives exec */
        if (chdir(folder) == 0)
            (void)execlp("gnuplot", "gnuplot", script, (char *)NULL);
        _exit(127);
    }
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return pid > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

/* Return: what is to be said on the page about charts that are not there; NULL if they are. */
static const char *draw_all(const char *folder)
{
    int r = draw(folder, "curves");
    if (r == 127)
        return "skipped: charts: gnuplot-nox is not installed";
    r |= draw(folder, "sizes");
    for (size_t i = 0; i < CHART_COUNT; i++)
        r |= draw(folder, charts[i].name);
    return r == 0 ? NULL : "gnuplot could not draw all charts";
}

/* ---- The page ---- */

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
    FILE *file = open_in(folder, "index", "html");
    if (!file)
        return 1;
    bench_cpu_name(processor, sizeof(processor));
    fprintf(file,
            "<!doctype html><meta charset=utf-8><title>Parley and its peers</title>\n"
            "<style>body{font:15px sans-serif;max-width:1000px;margin:2em auto}"
            "td,th{padding:2px 8px;text-align:right}td:first-child,th:first-child{text-align:left}"
            "tr:nth-child(even){background:#f4f4f4}</style>\n"
            "<h1>Parley and its peers</h1><p>%u rounds, medians; %s. Each peer where it is placed"
            " best. The vertical axes are logarithmic.</p>\n",
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
    return close_written(file);
}

int peers_write_report(const struct bench_result *results, const char *folder)
{
    if (mkdir(folder, 0777) != 0 && errno != EEXIST) {
        fprintf(stderr, "cannot make the folder %s: %s\n", folder, strerror(errno));
        return 1;
    }
    int r = write_curves(results, folder) | write_sizes(results, folder);
    for (size_t i = 0; i < CHART_COUNT; i++)
        r |= write_bars(results, folder, &charts[i]);
    const char *words = r == 0 ? draw_all(folder) : "the charts could not be written";
    if (words)
        fprintf(stderr, "%s\n", words);
    return r | write_page(results, folder, words);
}
