/* gnuplot is a program that may be missing: a page without charts has its tables, and says so. */
#include "chart.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define GNUPLOT_S 60
#define PATH_BYTES 512
#define NOT_INSTALLED 127

int chart_folder(const char *folder)
{
    if (mkdir(folder, 0777) == 0 || errno == EEXIST)
        return 0;
    fprintf(stderr, "cannot make the folder %s: %s\n", folder, strerror(errno));
    return 1;
}

FILE *chart_open(const char *folder, const char *name, const char *ending)
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

int chart_close(FILE *file)
{
    return fclose(file) == 0 ? 0 : 1;
}

void chart_head(FILE *file, const char *name, const char *title, int height)
{
    fprintf(file,
            "set terminal svg size 960,%d font 'sans,13' background '#ffffff'\n"
            "set output '%s.svg'\nset title \"%s\"\nset grid ytics lc rgb '#dddddd'\n"
            "set logscale y\nset format y '%%.0s %%c'\n",
            height, name, title);
}

void chart_lines(FILE *file, int count, double point_size)
{
    fprintf(file,
            "plot for [i=0:%d] $data index i using 1:2 with linespoints pt 7 ps %g"
            " lw 1.5 lt i%%8+1 dt i/8+1 title columnheader(1)\n",
            count - 1, point_size);
}

int chart_draw(const char *folder, const char *name)
{
    char script[64];
    int status = 0;
    (void)snprintf(script, sizeof(script), "%s.gp", name);
    pid_t pid = fork();
    if (pid == 0) {
        (void)alarm(GNUPLOT_S); /* which outlives exec */
        if (chdir(folder) == 0)
            (void)execlp("gnuplot", "gnuplot", script, (char *)NULL);
        _exit(NOT_INSTALLED);
    }
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return pid > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

const char *chart_words(int status)
{
    if (status == NOT_INSTALLED)
        return "skipped: charts: gnuplot-nox is not installed";
    return status == 0 ? NULL : "gnuplot could not draw all charts";
}

void chart_page(FILE *file, const char *title)
{
    fprintf(file,
            "<!doctype html><meta charset=utf-8><title>%s</title>\n"
            "<style>body{font:15px sans-serif;max-width:1000px;margin:2em auto}"
            "td,th{padding:2px 8px;text-align:right}td:first-child,th:first-child{text-align:left}"
            "tr:nth-child(even){background:#f4f4f4}</style>\n<h1>%s</h1>",
            title, title);
}
