/*
 * Log lines.
 *
 * The library is silent unless PARLEY_LOG=error|warn|info|debug is set, or the program that embeds
 * it sets a sink; the programs (parleyd, ...) set their level at start. One line an event, to
 * stderr by default, with the program's name and the level, as syslog's readers expect. Where
 * stderr goes to systemd's journal the level is the entry's priority instead.
 */
#ifndef PARLEY_BASE_LOG_H
#define PARLEY_BASE_LOG_H

enum log_level {
    LOG_LEVEL_NONE = 0,
    LOG_LEVEL_ERROR,
    LOG_LEVEL_WARN,
    LOG_LEVEL_INFO,
    LOG_LEVEL_DEBUG,
};

typedef void (*log_sink)(enum log_level level, const char *line, void *userdata);

/* Process-wide; call before threads start. A NULL sink means stderr. */
void log_set_sink(log_sink sink, void *userdata);
void log_set_level(enum log_level level);
enum log_level log_level(void);
/* "error", "warn", "info", "debug", "none"; returns -EINVAL for any other name. */
int log_level_parse(const char *name, enum log_level *ret_level);

void log_write(enum log_level level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...) log_write(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...) log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)                                                                             \
    do {                                                                                           \
        if (log_level() >= LOG_LEVEL_DEBUG)                                                        \
            log_write(LOG_LEVEL_DEBUG, __VA_ARGS__);                                               \
    } while (0)

#endif
