/*
 * dpkg-query's view of the packages.
 *
 * One run of `dpkg-query -W` with a format of our own: fields end with a unit separator (0x1f),
 * packages with a record separator (0x1e). Values may have newlines (Description does), but no
 * control characters besides.
 *
 * The strings of the packages point into what was read; only ids and the arrays of Depends are
 * allocated.
 */
#include "truth.h"

#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <wchar.h>

#define US "\x1f"
#define RS "\x1e"

enum { NAME, ARCHITECTURE, STATUS, VERSION, SECTION, PRIORITY, SIZE, MAINTAINER, HOMEPAGE, BUGS,
       ORIGIN, SOURCE, DEPENDS, ESSENTIAL, SUMMARY, DESCRIPTION, COLUMNS };

static const char format[] =
    "${Package}" US "${Architecture}" US "${db:Status-Status}" US "${Version}" US "${Section}" US
    "${Priority}" US "${Installed-Size}" US "${Maintainer}" US "${Homepage}" US "${Bugs}" US
    "${Origin}" US "${source:Package}" US "${Depends}" US "${Essential}" US "${binary:Summary}" US
    "${Description}" RS;

/* ---- The run ---- */

static void exec_query(const char *admindir, int out)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* nobody would read what it says */
    dup2(out, STDOUT_FILENO);
    setenv("LC_ALL", "C.UTF-8", 1);
    setenv("DPKG_PAGER", "cat", 1);
    char *arguments[8] = {(char *)"dpkg-query"};
    int count = 1;
    if (admindir) {
        arguments[count++] = (char *)"--admindir";
        arguments[count++] = (char *)admindir;
    }
    arguments[count++] = (char *)"-W";
    arguments[count++] = (char *)"-f";
    arguments[count++] = (char *)format;
    execvp(arguments[0], arguments);
    _exit(127);
}

/* All that dpkg-query prints, NUL-terminated; the caller frees it. */
static int query(const char *admindir, char **ret_text, size_t *ret_bytes, int *ret_status)
{
    int ends[2];
    if (pipe(ends) < 0)
        return -errno;
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[0]);
        exec_query(admindir, ends[1]);
    }
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return -errno;
    }
    FILE *in = fdopen(ends[0], "r");
    *ret_text = NULL;
    size_t room = 0;
    ssize_t bytes = getdelim(ret_text, &room, '\0', in);
    *ret_bytes = bytes > 0 ? (size_t)bytes : 0;
    fclose(in);
    while (waitpid(pid, ret_status, 0) < 0 && errno == EINTR)
        continue;
    return 0;
}

/* ---- What it says ---- */

static void question_marks(char *text)
{
    mbstate_t state = {0};
    for (size_t left = strlen(text); left;) {
        size_t bytes = mbrlen(text, left, &state);
        if (bytes == (size_t)-1 || bytes == (size_t)-2 || bytes == 0) {
            *text = '?';
            memset(&state, 0, sizeof(state));
            bytes = 1;
        }
        text += bytes;
        left -= bytes;
    }
}

static char *chomp(char *text)
{
    text += strspn(text, " \t\n");
    for (size_t bytes = strlen(text); bytes && strchr(" \t\n", text[bytes - 1]); bytes--)
        text[bytes - 1] = '\0';
    return text;
}

/* Removes the first line and the others' indents, " ." for an empty one, in place. */
static char *long_text(char *text)
{
    char *rest = strchr(text, '\n');
    if (!rest)
        return text + strlen(text);
    char *start = ++rest, *out = rest;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
        line += *line == ' ' || *line == '\t';
        if (strcmp(line, ".") != 0) {
            size_t bytes = strlen(line);
            memmove(out, line, bytes);
            out += bytes;
        }
        *out++ = '\n';
    }
    out[-1] = '\0';
    return start;
}

static int parts(char *text, struct truth_package *package)
{
    size_t commas = 1;
    for (const char *c = text; *c; c++)
        commas += *c == ',';
    package->depends = calloc(commas, sizeof(char *));
    if (!package->depends)
        return -ENOMEM;
    for (char *part; (part = strsep(&text, ",")) != NULL;) {
        part = chomp(part);
        if (*part)
            package->depends[package->depends_count++] = part;
    }
    return 0;
}

static uint32_t kib(const char *text)
{
    unsigned long long value;
    char behind;
    if (strlen(text) > 10 || sscanf(text, "%llu%c", &value, &behind) != 1 || value > UINT32_MAX)
        return 0;
    return (uint32_t)value;
}

/* Cuts a record into columns. Return: 0, or -EBADMSG if it has another number of them. */
static int cut(char *record, char *column[COLUMNS])
{
    for (int i = 0; i < COLUMNS; i++) {
        column[i] = strsep(&record, US);
        if (!column[i])
            return -EBADMSG;
        question_marks(column[i]);
        column[i] = chomp(column[i]);
    }
    return record ? -EBADMSG : 0;
}

static int fill(char *column[COLUMNS], struct truth_package *package)
{
    *package = (struct truth_package){
        .name = column[NAME],
        .architecture = column[ARCHITECTURE],
        .version = column[VERSION],
        .section = column[SECTION],
        .priority = column[PRIORITY],
        .maintainer = column[MAINTAINER],
        .homepage = column[HOMEPAGE],
        .bugs = column[BUGS],
        .origin = column[ORIGIN],
        .source = column[SOURCE],
        .summary = column[SUMMARY],
        .description = long_text(column[DESCRIPTION]),
        .installed_kib = kib(column[SIZE]),
        .essential = strcmp(column[ESSENTIAL], "yes") == 0,
    };
    char *id;
    if (asprintf(&id, "%s:%s", package->name, package->architecture) < 0)
        return -ENOMEM;
    package->id = id;
    return parts(column[DEPENDS], package);
}

static int by_id(const void *a, const void *b)
{
    return strcmp(((const struct truth_package *)a)->id, ((const struct truth_package *)b)->id);
}

static void mark_twins(struct truth *truth)
{
    for (size_t i = 1; i < truth->count; i++)
        if (strcmp(truth->packages[i - 1].name, truth->packages[i].name) == 0)
            truth->packages[i - 1].twin = truth->packages[i].twin = true;
}

static int read_records(char *text, struct truth *truth)
{
    size_t records = 1;
    for (const char *c = text; *c; c++)
        records += *c == RS[0];
    truth->packages = calloc(records, sizeof(*truth->packages));
    if (!truth->packages)
        return -ENOMEM;
    for (char *record; (record = strsep(&text, RS)) != NULL;) {
        char *column[COLUMNS];
        if (!*record)
            continue;
        int r = cut(record, column);
        if (r == 0 && strcmp(column[STATUS], "installed") == 0)
            r = fill(column, &truth->packages[truth->count++]);
        if (r < 0)
            return r;
    }
    qsort(truth->packages, truth->count, sizeof(*truth->packages), by_id);
    mark_twins(truth);
    return 0;
}

int truth_ask(const char *admindir, struct truth *ret_truth, char *error)
{
    setlocale(LC_CTYPE, "C.UTF-8"); /* for mbrlen() */
    char *text = NULL;
    size_t bytes = 0;
    int status = 0;
    *ret_truth = (struct truth){0};
    int r = query(admindir, &text, &bytes, &status);
    if (r == 0 && (!WIFEXITED(status) || WEXITSTATUS(status) != 0))
        r = WIFEXITED(status) && WEXITSTATUS(status) == 127 ? -ENOENT : -EIO;
    if (r == 0 && bytes)
        r = read_records(text, ret_truth);
    if (r == 0 && ret_truth->count == 0)
        r = -ENODATA;
    if (r == 0) {
        ret_truth->text = text;
        return 0;
    }
    free(text);
    truth_deinit(ret_truth);
    snprintf(error, 256, "dpkg-query does not say which packages are installed: %s.",
             r == -ENOENT ? "there is no such program" : strerror(-r));
    return r;
}

void truth_deinit(struct truth *truth)
{
    for (size_t i = 0; i < truth->count; i++) {
        free((char *)truth->packages[i].id);
        free(truth->packages[i].depends);
    }
    free(truth->packages);
    free(truth->text);
    *truth = (struct truth){0};
}
