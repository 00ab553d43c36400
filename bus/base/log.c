#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_LINE_BYTES_MAX 1024

static const char *const level_names[] = {"none", "error", "warn", "info", "debug"};
static const char level_priorities[] = "?3467"; /* syslog(3)'s */

static struct {
    _Atomic int level; /* -1: not read from the environment yet */
    log_sink sink;
    void *userdata;
} state = {.level = -1};

void log_set_sink(log_sink sink, void *userdata)
{
    state.sink = sink;
    state.userdata = userdata;
}

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&state.level, (int)level, memory_order_relaxed);
}

int log_level_parse(const char *name, enum log_level *ret_level)
{
    for (unsigned i = 0; i < sizeof(level_names) / sizeof(level_names[0]); i++) {
        if (strcmp(name, level_names[i]) == 0) {
            *ret_level = (enum log_level)i;
            return 0;
        }
    }
    return -EINVAL;
}

enum log_level log_level(void)
{
    int level = atomic_load_explicit(&state.level, memory_order_relaxed);
    if (level >= 0)
        return (enum log_level)level;
    enum log_level parsed = LOG_LEVEL_NONE;
    const char *name = getenv("PARLEY_LOG");
    if (name && log_level_parse(name, &parsed) < 0)
        parsed = LOG_LEVEL_INFO;
    log_set_level(parsed);
    return parsed;
}

/* Whether stderr is the journal's stream, as systemd.exec(5) has one find out. */
static bool to_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    struct stat status;
    char here[48];
    if (!stream || fstat(STDERR_FILENO, &status) < 0)
        return false;
    (void)snprintf(here, sizeof(here), "%ju:%ju", (uintmax_t)status.st_dev,
                   (uintmax_t)status.st_ino);
    return strcmp(stream, here) == 0;
}

void log_write(enum log_level level, const char *format, ...)
{
    if (level > log_level())
        return;
    int saved_errno = errno;
    char line[LOG_LINE_BYTES_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    /* A peer's text may be in the line: it must not be able to forge another line. */
    for (char *c = line; *c; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = ' ';
    }
    if (state.sink)
        state.sink(level, line, state.userdata);
    else if (to_journal()) /* it knows the program, and sd-daemon(3)'s prefix for the level */
        fprintf(stderr, "<%c>%s\n", level_priorities[level], line);
    else
        fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, level_names[level], line);
    errno = saved_errno;
}
