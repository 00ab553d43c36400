#include "base/paths.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int check(int n, size_t bytes)
{
    return n < 0 || (size_t)n >= bytes ? -ENAMETOOLONG : 0;
}

int paths_dir(char *buffer, size_t bytes)
{
    const char *dir = getenv("PARLEY_DIR");
    if (dir && *dir)
        return check(snprintf(buffer, bytes, "%s", dir), bytes);
    if (geteuid() == 0)
        return check(snprintf(buffer, bytes, PATHS_HOST_DIR), bytes);
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    if (runtime && *runtime)
        return check(snprintf(buffer, bytes, "%s/parley", runtime), bytes);
    return check(snprintf(buffer, bytes, "/tmp/parley-%u", (unsigned)geteuid()), bytes);
}

static int in_dir(const char *variable, const char *scheme, const char *dir, const char *name,
                  char *buffer, size_t bytes)
{
    const char *set = getenv(variable);
    if (!dir && set && *set)
        return check(snprintf(buffer, bytes, "%s", set), bytes);
    char fallback[PATHS_BYTES_MAX];
    if (!dir) {
        int r = paths_dir(fallback, sizeof(fallback));
        if (r < 0)
            return r;
        dir = fallback;
    }
    return check(snprintf(buffer, bytes, "%s%s/%s", scheme, dir, name), bytes);
}

int paths_broker(const char *dir, char *buffer, size_t bytes)
{
    return in_dir("PARLEY_BROKER", "", dir, "parleyd.sock", buffer, bytes);
}

int paths_control_url(const char *dir, char *buffer, size_t bytes)
{
    return in_dir("PARLEY_CONTROL", "ipc://", dir, "control.ipc", buffer, bytes);
}

int paths_bus_url(const char *dir, char *buffer, size_t bytes)
{
    return in_dir("PARLEY_BUS", "ipc://", dir, "bus.ipc", buffer, bytes);
}

int paths_health_url(const char *dir, char *buffer, size_t bytes)
{
    return in_dir("PARLEY_HEALTH", "ipc://", dir, "health.ipc", buffer, bytes);
}

int paths_events_url(const char *dir, char *buffer, size_t bytes)
{
    return in_dir("PARLEY_EVENTS", "ipc://", dir, "events.ipc", buffer, bytes);
}

const char *paths_hint(const char *used, const char *host_dir, char *buffer, size_t bytes)
{
    char socket[PATHS_BYTES_MAX];
    buffer[0] = '\0';
    if (!strstr(used, host_dir) &&
        check(snprintf(socket, sizeof(socket), "%s/parleyd.sock", host_dir), sizeof(socket)) == 0 &&
        access(socket, F_OK) == 0)
        (void)snprintf(buffer, bytes, "; there is one in %s: PARLEY_DIR=%s", host_dir, host_dir);
    return buffer;
}
