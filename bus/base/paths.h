/*
 * Where a broker's sockets are, by default.
 *
 * The folder is $PARLEY_DIR, else /run/parley for root, else $XDG_RUNTIME_DIR/parley, else
 * /tmp/parley-UID. In it: parleyd.sock (endpoints), control.ipc and events.ipc (NNG).
 */
#ifndef PARLEY_BASE_PATHS_H
#define PARLEY_BASE_PATHS_H

#include <stddef.h>

#define PATHS_HOST_DIR "/run/parley" /* root's, and where the unit for systemd has it */
#define PATHS_BYTES_MAX 108 /* sun_path: a longer one cannot be a socket's */

/* Each writes a NUL-terminated string; returns 0, or -ENAMETOOLONG. @dir NULL: the default. */
int paths_dir(char *buffer, size_t bytes);
/* $PARLEY_BROKER if set, else DIR/parleyd.sock */
int paths_broker(const char *dir, char *buffer, size_t bytes);
/* $PARLEY_CONTROL if set, else ipc://DIR/control.ipc */
int paths_control_url(const char *dir, char *buffer, size_t bytes);
/* $PARLEY_BUS if set, else ipc://DIR/bus.ipc */
int paths_bus_url(const char *dir, char *buffer, size_t bytes);
/* $PARLEY_HEALTH if set, else ipc://DIR/health.ipc */
int paths_health_url(const char *dir, char *buffer, size_t bytes);
/* $PARLEY_EVENTS if set, else ipc://DIR/events.ipc */
int paths_events_url(const char *dir, char *buffer, size_t bytes);

#define PATHS_HINT_BYTES 256
/**
 * paths_hint() - how a sentence ends that says that there is no broker at @used
 * @host_dir: PATHS_HOST_DIR; who is not root does not look there without being told
 *
 * Return: @buffer: that there is one in @host_dir, if so; else "".
 */
const char *paths_hint(const char *used, const char *host_dir, char *buffer, size_t bytes);

#endif
