/*
 * Sockets that a library of this process holds are found among the process's descriptors: those
 * whose own address is the one that is listened on. Each is known by its inode, since numbers of
 * descriptors are used again at once.
 *
 * The library closes its descriptors whenever it likes, in threads of its own. So we look at none
 * of them but through a duplicate: what a duplicate is, is what is hung up on, whatever has become
 * of the number it was made of. Hanging up is shutdown(2): the library sees its peer gone, and does
 * the closing itself.
 *
 * That one has come cannot be learned by polling the listening socket: if the library accepts it
 * before we look, there was nothing. So it tells by a signal (O_ASYNC), one that means nothing to a
 * program that does not know it (SIGURG; SIGIO is what the kernel falls back to), sent to this
 * thread and read from a descriptor.
 */
#include "control/connections.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define CONNECTIONS_AGAIN_NS (100 * NS_PER_MS) /* to a look at one that is not accepted yet */

struct connection {
    ino_t inode;
    int fd; /* the library's: only a hint */
    uint64_t since_ns;
    bool seen; /* in this sweep */
};

struct connections {
    struct sockaddr_storage address;
    uint32_t count_max;
    uint64_t life_ns;
    int listener; /* a duplicate */
    int signals;
    sigset_t mask_before;
    uint32_t count;
    struct connection open[CONNECTIONS_MAX];
};

/* ---- Whose socket is it ---- */

static bool any_v6(const struct in6_addr *address)
{
    return memcmp(address, &in6addr_any, sizeof(*address)) == 0;
}

static bool is_here(const struct connections *connections, int fd)
{
    struct sockaddr_storage own = {0};
    socklen_t bytes = sizeof(own);
    if (getsockname(fd, (struct sockaddr *)&own, &bytes) < 0 ||
        own.ss_family != connections->address.ss_family)
        return false;
    if (own.ss_family == AF_INET) {
        const struct sockaddr_in *a = (const struct sockaddr_in *)&own;
        const struct sockaddr_in *b = (const struct sockaddr_in *)&connections->address;
        return a->sin_port == b->sin_port && (b->sin_addr.s_addr == htonl(INADDR_ANY) ||
                                              a->sin_addr.s_addr == b->sin_addr.s_addr);
    }
    if (own.ss_family == AF_INET6) {
        const struct sockaddr_in6 *a = (const struct sockaddr_in6 *)&own;
        const struct sockaddr_in6 *b = (const struct sockaddr_in6 *)&connections->address;
        return a->sin6_port == b->sin6_port &&
               (any_v6(&b->sin6_addr) || memcmp(&a->sin6_addr, &b->sin6_addr, 16) == 0);
    }
    return false;
}

static bool listens(int fd)
{
    int on = 0;
    socklen_t bytes = sizeof(on);
    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &bytes) == 0 && on;
}

/* A duplicate of a descriptor of another thread; -1: it is none of ours, or none any more. */
static int pin(const struct connections *connections, int fd, ino_t *ret_inode)
{
    if (!is_here(connections, fd)) /* most are not: ask before duplicating */
        return -1;
    _cleanup_(fd_closep) int pinned = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    struct stat status;
    if (pinned < 0 || !is_here(connections, pinned) || fstat(pinned, &status) < 0)
        return -1;
    *ret_inode = status.st_ino;
    return steal_fd(&pinned);
}

/* ---- Walking over the descriptors ---- */

/* What is done with each. Return: whether the walk goes on. */
typedef bool visit_fn(struct connections *connections, int fd, int pinned, ino_t inode,
                      uint64_t now_ns);

static int walk(struct connections *connections, visit_fn *visit, uint64_t now_ns)
{
    DIR *folder = opendir("/proc/self/fd");
    if (!folder)
        return -errno;
    const struct dirent *entry;
    bool go_on = true;
    while (go_on && (entry = readdir(folder)) != NULL) {
        char *end;
        long fd = strtol(entry->d_name, &end, 10);
        ino_t inode;
        if (end == entry->d_name || *end != '\0' || fd == connections->listener)
            continue;
        _cleanup_(fd_closep) int pinned = pin(connections, (int)fd, &inode);
        if (pinned >= 0)
            go_on = visit(connections, (int)fd, pinned, inode, now_ns);
    }
    closedir(folder);
    return 0;
}

static bool visit_listener(struct connections *connections, int fd, int pinned, ino_t inode,
                           uint64_t now_ns)
{
    (void)fd, (void)inode, (void)now_ns;
    if (!listens(pinned))
        return true;
    connections->listener = fcntl(pinned, F_DUPFD_CLOEXEC, 3);
    return connections->listener < 0;
}

/* ---- Sweeping ---- */

static void hang_up(const struct connections *connections, const struct connection *connection)
{
    ino_t inode;
    _cleanup_(fd_closep) int pinned = pin(connections, connection->fd, &inode);
    if (pinned < 0 || inode != connection->inode)
        return;
    /* What waits for somebody who does not read is not kept for long: closing resets. */
    const struct linger none = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(pinned, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
    (void)shutdown(pinned, SHUT_RDWR);
}

static void drop(struct connections *connections, uint32_t index)
{
    connections->open[index] = connections->open[--connections->count];
}

static uint32_t oldest(const struct connections *connections)
{
    uint32_t found = 0;
    for (uint32_t i = 1; i < connections->count; i++)
        if (connections->open[i].since_ns < connections->open[found].since_ns)
            found = i;
    return found;
}

static bool visit_open(struct connections *connections, int fd, int pinned, ino_t inode,
                       uint64_t now_ns)
{
    if (listens(pinned))
        return true;
    for (uint32_t i = 0; i < connections->count; i++) {
        if (connections->open[i].inode != inode)
            continue;
        connections->open[i].seen = true;
        connections->open[i].fd = fd;
        return true;
    }
    if (connections->count == connections->count_max) {
        uint32_t index = oldest(connections);
        hang_up(connections, &connections->open[index]);
        drop(connections, index);
    }
    connections->open[connections->count++] =
        (struct connection){.inode = inode, .fd = fd, .since_ns = now_ns, .seen = true};
    return true;
}

static bool one_waits(const struct connections *connections)
{
    struct pollfd listener = {.fd = connections->listener, .events = POLLIN};
    return poll(&listener, 1, 0) > 0;
}

uint64_t connections_sweep(struct connections *connections, uint64_t now_ns)
{
    for (uint32_t i = 0; i < connections->count; i++)
        connections->open[i].seen = false;
    if (walk(connections, visit_open, now_ns) < 0)
        return now_ns + connections->life_ns; /* no descriptor left to look with: again later */
    uint64_t next_ns = one_waits(connections) ? now_ns + CONNECTIONS_AGAIN_NS : CLOCK_NEVER;
    for (uint32_t i = 0; i < connections->count;) {
        const struct connection *connection = &connections->open[i];
        uint64_t until_ns = connection->since_ns + connections->life_ns;
        if (connection->seen && until_ns > now_ns) {
            next_ns = until_ns < next_ns ? until_ns : next_ns;
            i++;
            continue;
        }
        if (connection->seen)
            hang_up(connections, connection);
        drop(connections, i);
    }
    return next_ns;
}

/* ---- Signals ---- */

static int open_signals(struct connections *connections)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGURG);
    sigaddset(&set, SIGIO);
    int signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals < 0)
        return -errno;
    int r = pthread_sigmask(SIG_BLOCK, &set, &connections->mask_before);
    if (r != 0) {
        fd_close(signals);
        return -r;
    }
    connections->signals = signals;
    const struct f_owner_ex owner = {.type = F_OWNER_TID, .pid = gettid()};
    int flags = fcntl(connections->listener, F_GETFL);
    if (flags < 0 || fcntl(connections->listener, F_SETSIG, SIGURG) < 0 ||
        fcntl(connections->listener, F_SETOWN_EX, &owner) < 0 ||
        fcntl(connections->listener, F_SETFL, flags | O_ASYNC) < 0)
        return -errno;
    return 0;
}

static void close_signals(struct connections *connections)
{
    int flags = fcntl(connections->listener, F_GETFL);
    if (flags >= 0)
        (void)fcntl(connections->listener, F_SETFL, flags & ~O_ASYNC);
    connections_heard(connections); /* none may be pending when it is not blocked any more */
    fd_close(connections->signals);
    (void)pthread_sigmask(SIG_SETMASK, &connections->mask_before, NULL);
}

int connections_fd(const struct connections *connections)
{
    return connections->signals;
}

void connections_heard(struct connections *connections)
{
    struct signalfd_siginfo info;
    while (read(connections->signals, &info, sizeof(info)) == sizeof(info))
        ;
}

/* ---- Life ---- */

int connections_new(const struct sockaddr *address, uint32_t count_max, uint64_t life_ns,
                    struct connections **ret_connections, struct error_text *error)
{
    struct connections *connections = calloc(1, sizeof(*connections));
    if (!connections)
        return error_set(error, -ENOMEM, "out of memory");
    memcpy(&connections->address, address,
           address->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                          : sizeof(struct sockaddr_in));
    connections->count_max = count_max < CONNECTIONS_MAX ? count_max : CONNECTIONS_MAX;
    connections->life_ns = life_ns;
    connections->listener = connections->signals = -1;
    int r = walk(connections, visit_listener, 0);
    if (r == 0 && connections->listener < 0)
        r = -ENOENT;
    if (r == 0)
        r = open_signals(connections);
    if (r < 0) {
        connections_free(connections);
        return error_set(error, r, "cannot watch over its connections (/proc/self/fd, O_ASYNC): %s",
                         strerror(-r));
    }
    *ret_connections = connections;
    return 0;
}

struct connections *connections_free(struct connections *connections)
{
    if (connections) {
        if (connections->signals >= 0)
            close_signals(connections);
        fd_close(connections->listener);
        free(connections);
    }
    return NULL;
}
