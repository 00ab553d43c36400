/* What parleyd is told to be: its command line, with defaults for the rest. */
#ifndef PARLEY_BROKER_SETTINGS_H
#define PARLEY_BROKER_SETTINGS_H

#include "base/paths.h"
#include "broker/broker.h"

#define SETTINGS_URL_MAX 16

#define MAIN_EXIT_FAILED 1
#define MAIN_EXIT_USAGE 2

struct settings {
    char dir[PATHS_BYTES_MAX];
    char socket[PATHS_BYTES_MAX];
    char control[PATHS_BYTES_MAX + 8];
    char events[PATHS_BYTES_MAX + 8];
    char bus[PATHS_BYTES_MAX + 8];
    const char *control_urls[SETTINGS_URL_MAX];
    size_t control_count;
    const char *event_urls[SETTINGS_URL_MAX];
    size_t event_count;
    char health[PATHS_BYTES_MAX + 8];
    const char *health_urls[SETTINGS_URL_MAX];
    size_t health_count;
    const char *bus_urls[SETTINGS_URL_MAX];
    size_t bus_count;
    unsigned mode;
    const char *dir_given, *socket_given;
    const char *schemas;  /* NULL: none */
    const char *rollouts; /* NULL: none */
    const char *state_given;
    char state[PATHS_BYTES_MAX];
    const char *http; /* NULL: none */
    bool http_insecure;
    bool allow_control;
    bool allow_calls;
    const char *otlp; /* where spans are sent; NULL: nowhere */
    bool trace;
    uint32_t trace_rate; /* per 100,000 */
    struct eject_settings eject;
    const char *audit;  /* NULL: none */
    const char *policy; /* NULL: none */
    struct quota_settings quota;
    bool insecure;
    struct tls_settings tls;
};

/* Texts stay those of @argv. Return: -1: go on; else the exit code, and it has been said why. */
int settings_parse(struct settings *settings, int argc, char **argv);
/* Defaults for what was not given. Return: 0; -errno, and it has been said why. */
int settings_fill_in(struct settings *settings);

#endif
