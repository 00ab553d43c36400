/* /proc, read line by line: proc(5). */
#include "proc.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static FILE *open_proc(pid_t pid, const char *what)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, what);
    return fopen(path, "re");
}

/* The number behind "key:" in a file of such lines; -1: not there. */
static double number_of(pid_t pid, const char *file_name, const char *key)
{
    char line[256];
    double number = -1;
    const size_t bytes = strlen(key);
    FILE *file = open_proc(pid, file_name);
    while (file && number < 0 && fgets(line, sizeof(line), file)) {
        if (strncmp(line, key, bytes) == 0 && line[bytes] == ':')
            number = strtod(line + bytes + 1, NULL);
    }
    if (file)
        (void)fclose(file);
    return number;
}

double proc_private_bytes(pid_t pid)
{
    double kib = number_of(pid, "status", "RssAnon");
    return kib < 0 ? -1 : kib * 1024;
}

double proc_memfd_bytes(pid_t pid, const char *name)
{
    char line[512], wanted[64];
    double bytes = 0;
    bool ours = false;
    (void)snprintf(wanted, sizeof(wanted), "/memfd:%s ", name);
    FILE *file = open_proc(pid, "smaps");
    while (file && fgets(line, sizeof(line), file)) {
        if (strchr(line, '-') && strchr(line, '-') < strchr(line, ' '))
            ours = strstr(line, wanted) != NULL; /* a mapping's first line */
        else if (ours && strncmp(line, "Rss:", 4) == 0)
            bytes += strtod(line + 4, NULL) * 1024;
    }
    if (!file)
        return -1;
    (void)fclose(file);
    return bytes;
}

double proc_sleeps(pid_t pid)
{
    char name[64];
    double sum = 0;
    (void)snprintf(name, sizeof(name), "/proc/%d/task", (int)pid);
    DIR *dir = opendir(name);
    const struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
        if (entry->d_name[0] == '.')
            continue;
        (void)snprintf(name, sizeof(name), "task/%.32s/status", entry->d_name);
        double sleeps = number_of(pid, name, "voluntary_ctxt_switches");
        sum += sleeps > 0 ? sleeps : 0;
    }
    if (!dir)
        return -1;
    (void)closedir(dir);
    return sum;
}

int proc_slices_open(pid_t tid)
{
    char path[64];
    (void)snprintf(path, sizeof(path), "/proc/%d/schedstat", (int)tid);
    return open(path, O_RDONLY | O_CLOEXEC);
}

uint64_t proc_slices(int fd)
{
    char line[96] = "";
    if (pread(fd, line, sizeof(line) - 1, 0) <= 0)
        return 0;
    const char *last = strrchr(line, ' ');
    return last ? strtoull(last, NULL, 10) : 0;
}
