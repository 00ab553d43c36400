/*
 * Listening for links.
 *
 * Two brokers on one path would each serve half of the bus, so the right to a path is a lock:
 * PATH.lock, held with flock() for as long as the listener lives, and gone with the process however
 * it ends. Whoever holds it may judge the socket file: one that refuses connections is what a
 * killed broker left, and is replaced; one that accepts belongs to a program that knows nothing of
 * the lock, and is left alone. With a grace: a broker that waited with io_uring and was killed is
 * gone, its lock with it, while the kernel still takes its ring apart, and that holds the listening
 * socket for some milliseconds more; on a busy machine for seconds, so we are patient while the
 * process that made the socket is gone. The lock file is removed on the way out while the lock is
 * held; an opener who raced with that finds that the file it locked is not the one at the path, and
 * tries again.
 *
 * accept() keeps one spare descriptor: with none left, a connection could be neither taken nor
 * refused, and a level-triggered loop would spin on it. The spare makes it possible to hang up.
 */
#include "control/link.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

#include "base/cleanup.h"

#define LISTEN_LOCK_TRIES 16
#define LISTEN_PROBES 300 /* of a socket that accepts, 10 ms apart */
#define LISTEN_PROBES_GONE 3000 /* if the process that made it is gone */
#define LISTEN_PROBE_NS 10000000

struct link_listener {
    int fd;
    int lock_fd;
    int spare_fd;
    dev_t device;
    ino_t inode;
    struct sockaddr_un address;
    char lock_path[sizeof(((struct sockaddr_un *)0)->sun_path) + sizeof(".lock")];
};

static bool same_file(int fd, const char *path)
{
    struct stat held;
    struct stat there;
    return fstat(fd, &held) == 0 && lstat(path, &there) == 0 && held.st_dev == there.st_dev &&
           held.st_ino == there.st_ino;
}

/* Return: 0, -EADDRINUSE, -errno. */
static int take_lock(const char *path, int *ret_fd)
{
    for (unsigned i = 0; i < LISTEN_LOCK_TRIES; i++) {
        _cleanup_(fd_closep) int fd =
            open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0600);
        if (fd < 0)
            return -errno;
        if (flock(fd, LOCK_EX | LOCK_NB) < 0)
            return errno == EWOULDBLOCK ? -EADDRINUSE : -errno;
        if (same_file(fd, path)) {
            *ret_fd = steal_fd(&fd);
            return 0;
        }
    }
    return -EADDRINUSE;
}

/* The kernel keeps who called listen(). A process that we cannot see has number 0. */
static bool maker_is_gone(int fd)
{
    struct ucred maker;
    socklen_t length = sizeof(maker);
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &maker, &length) == 0 && maker.pid > 0 &&
           kill(maker.pid, 0) < 0 && errno == ESRCH;
}

/* Return: 0 if somebody accepts, -ECONNREFUSED if nobody does, -ENOENT, -EPROTOTYPE, -errno.
 * @ret_gone: written if it did accept */
static int probe(const struct sockaddr_un *address, bool *ret_gone)
{
    _cleanup_(fd_closep) int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0)
        *ret_gone = maker_is_gone(fd);
    else if (errno != EAGAIN) /* it would, but its backlog is full */
        return -errno;
    return 0;
}

/* With the lock held: makes room at the path, or refuses. */
static int clear_path(const struct sockaddr_un *address, struct error_text *error)
{
    const char *path = address->sun_path;
    struct stat status;
    if (lstat(path, &status) < 0)
        return errno == ENOENT ? 0 : error_set(error, -errno, "%s: %s", path, strerror(errno));
    if (!S_ISSOCK(status.st_mode))
        return error_set(error, -EEXIST, "%s exists and is no socket: move it out of the way",
                         path);
    bool gone = false;
    int r = probe(address, &gone);
    for (unsigned i = 1; r == 0 && i < (gone ? LISTEN_PROBES_GONE : LISTEN_PROBES); i++) {
        (void)nanosleep(&(struct timespec){.tv_nsec = LISTEN_PROBE_NS}, NULL);
        r = probe(address, &gone);
    }
    if (r != -ECONNREFUSED && r != -ENOENT)
        return error_set(error, -EADDRINUSE,
                         "another program listens on %s: stop it, or choose another path", path);
    if (unlink(path) < 0 && errno != ENOENT)
        return error_set(error, -errno, "cannot remove the stale socket %s: %s", path,
                         strerror(errno));
    return 0;
}

static int bind_and_listen(struct link_listener *listener, mode_t mode, struct error_text *error)
{
    const char *path = listener->address.sun_path;
    listener->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listener->fd < 0)
        return error_set(error, -errno, "cannot make a socket: %s", strerror(errno));
    /* The mode of the socket becomes that of the file, less the umask; chmod() adds what it took.
     * So the file is never wider open than asked for. */
    struct stat status;
    if (fchmod(listener->fd, mode) < 0 ||
        bind(listener->fd, (struct sockaddr *)&listener->address, sizeof(listener->address)) < 0)
        return error_set(error, -errno, "cannot listen on %s: %s", path, strerror(errno));
    if (lstat(path, &status) == 0) {
        listener->device = status.st_dev;
        listener->inode = status.st_ino;
    }
    if (chmod(path, mode) < 0 || listen(listener->fd, SOMAXCONN) < 0)
        return error_set(error, -errno, "cannot listen on %s: %s", path, strerror(errno));
    return 0;
}

static int start(struct link_listener *listener, mode_t mode, struct error_text *error)
{
    const char *path = listener->address.sun_path;
    int r = take_lock(listener->lock_path, &listener->lock_fd);
    if (r == -EADDRINUSE)
        return error_set(error, r,
                         "another parleyd listens on %s: stop it, or choose another folder", path);
    if (r < 0)
        return error_set(error, r, "cannot lock %s: %s: choose another folder", listener->lock_path,
                         strerror(-r));
    r = clear_path(&listener->address, error);
    if (r < 0)
        return r;
    return bind_and_listen(listener, mode, error);
}

int link_listen(const char *path, mode_t mode, struct link_listener **ret_listener,
                struct error_text *error)
{
    size_t bytes = strlen(path);
    if (bytes == 0 || bytes >= sizeof(((struct sockaddr_un *)0)->sun_path))
        return error_set(error, -ENAMETOOLONG,
                         "\"%s\" cannot be a socket's path: 1 to %zu bytes, use a shorter folder",
                         path, sizeof(((struct sockaddr_un *)0)->sun_path) - 1);
    struct link_listener *listener = calloc(1, sizeof(*listener));
    if (!listener)
        return -ENOMEM;
    listener->fd = -1;
    listener->lock_fd = -1;
    listener->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    listener->address.sun_family = AF_UNIX;
    memcpy(listener->address.sun_path, path, bytes + 1);
    memcpy(listener->lock_path, path, bytes);
    memcpy(listener->lock_path + bytes, ".lock", sizeof(".lock"));
    int r = start(listener, mode, error);
    if (r < 0) {
        link_listener_free(listener);
        return r;
    }
    *ret_listener = listener;
    return 0;
}

/* Only the file that we made: a path that another has taken since is not ours to remove. */
static void remove_socket(const struct link_listener *listener)
{
    struct stat status;
    if (lstat(listener->address.sun_path, &status) == 0 && status.st_ino == listener->inode &&
        status.st_dev == listener->device)
        unlink(listener->address.sun_path);
}

struct link_listener *link_listener_free(struct link_listener *listener)
{
    if (!listener)
        return NULL;
    if (listener->inode)
        remove_socket(listener);
    if (listener->lock_fd >= 0)
        unlink(listener->lock_path);
    fd_close(listener->fd);
    fd_close(listener->lock_fd);
    fd_close(listener->spare_fd);
    free(listener);
    return NULL;
}

int link_listener_fd(const struct link_listener *listener)
{
    return listener->fd;
}

static void hang_up_with_the_spare(struct link_listener *listener)
{
    listener->spare_fd = fd_close(listener->spare_fd);
    fd_close(accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC));
    listener->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

int link_accept(struct link_listener *listener, struct link **ret_link)
{
    for (;;) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            int r = link_new(fd, ret_link);
            if (r < 0)
                fd_close(fd);
            return r;
        }
        if (errno == EINTR || errno == ECONNABORTED)
            continue;
        if (errno == EAGAIN)
            return LINK_E_AGAIN;
        int r = -errno;
        if (r == -EMFILE || r == -ENFILE)
            hang_up_with_the_spare(listener);
        return r;
    }
}
