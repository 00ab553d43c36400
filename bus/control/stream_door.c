/*
 * Where connections of the stream backend come from: a socket that listens, or an address that is
 * dialled, and dialled again, later each time, when there is nobody or the connection is lost.
 *
 * A host's name is looked up before it is dialled for the first time, and again whenever that has
 * failed, for it may have moved. Nobody waits for it (stream_lookup.c): while it hangs, what it was
 * before is dialled, if it was anything.
 *
 * A socket file that nobody listens on is left over and replaced. What is removed at the end is the
 * file that was made here, known by its inode, and nobody else's.
 */
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/random.h"
#include "control/stream.h"

#define BACKLOG 512
#define ACCEPTS_AT_ONCE                                                                            \
    8 /* who connects without end holds up those who are there no longer than that */
#define PAUSE_NS (100 * NS_PER_MS) /* until it is listened again, if there were no descriptors */
#define REDIAL_NS_MIN (20 * NS_PER_MS)
#define REDIAL_NS_MAX (2 * NS_PER_S)

static const char *path_of(const struct stream_door *door)
{
    return door->parsed.address.path.sun_path;
}

const struct stream_protocol stream_rep = {0x31, 0x30, STREAM_HOPS_MAX, "it is no REQ socket"};
const struct stream_protocol stream_req = {0x30, 0x31, 1, "it is no REP socket"};
const struct stream_protocol stream_pub = {0x20, 0x21, 0, "it is no SUB socket"};
const struct stream_protocol stream_respondent = {0x63, 0x62, STREAM_HOPS_MAX,
                                                  "it is no SURVEYOR socket"};

/* Who is on the other side, as the kernel says. */
void stream_line_describe(struct stream_line *line)
{
    struct replier_peer *peer = &line->peer;
    union stream_address address = {.any.sa_family = AF_UNSPEC};
    socklen_t bytes = sizeof(address);
    struct ucred who;
    socklen_t who_bytes = sizeof(who);
    (void)snprintf(peer->text, sizeof(peer->text), "an unknown peer");
    peer->off_host = true;
    if (line->door->parsed.ipc &&
        getsockopt(line->fd, SOL_SOCKET, SO_PEERCRED, &who, &who_bytes) == 0) {
        peer->uid = who.uid;
        peer->gid = who.gid;
        peer->pid = who.pid;
        replier_peer_local(peer);
    } else if (getpeername(line->fd, &address.any, &bytes) == 0) {
        replier_peer_address(peer, &address.any);
    }
    peer->connection = replier_connection_number();
}

/* ---- Listening ---- */

/* Whether nobody listens on a socket file. */
static bool left_over(const struct stream_door *door)
{
    _cleanup_(fd_closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return false;
    return connect(fd, &door->parsed.address.any, door->parsed.address_bytes) < 0 &&
           errno == ECONNREFUSED;
}

static int bind_it(struct stream_door *door)
{
    const struct stream_url *url = &door->parsed;
    const int on = 1;
    if (!url->ipc)
        (void)setsockopt(door->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(door->fd, &url->address.any, url->address_bytes) == 0)
        return 0;
    if (errno != EADDRINUSE || !url->ipc || !left_over(door))
        return -errno;
    struct stat status;
    if (lstat(path_of(door), &status) < 0 || !S_ISSOCK(status.st_mode) || unlink(path_of(door)) < 0)
        return -EADDRINUSE;
    return bind(door->fd, &url->address.any, url->address_bytes) < 0 ? -errno : 0;
}

static int refuse(struct error_text *error, int r, const char *url)
{
    const char *advice = "";
    if (r == -EADDRINUSE)
        advice = ": stop the program that listens there, or choose another URL";
    else if (r == -ENOENT)
        advice = ": make the folder first";
    else if (r == -EADDRNOTAVAIL)
        advice = ": this machine has no such address";
    return error_set(error, r, "cannot listen on %s: %s%s", url, strerror(-r), advice);
}

static int listen_there(struct stream_door *door, unsigned mode)
{
    door->fd =
        socket(door->parsed.address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (door->fd < 0)
        return -errno;
    int r = bind_it(door);
    if (r < 0)
        return r;
    struct stat status;
    if (door->parsed.ipc) { /* nobody can connect before listen() */
        if (lstat(path_of(door), &status) < 0)
            return -errno;
        door->device = status.st_dev;
        door->inode = status.st_ino;
        if (mode && chmod(path_of(door), mode) < 0)
            return -errno;
    }
    if (listen(door->fd, BACKLOG) < 0)
        return -errno;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = door};
    return epoll_ctl(door->part->set, EPOLL_CTL_ADD, door->fd, &event) < 0 ? -errno : 0;
}

/* With the port that it has. */
static int name_port(struct stream_door *door)
{
    union stream_address address;
    socklen_t bytes = sizeof(address);
    const char *colon = strrchr(door->url, ':');
    if (door->parsed.ipc || getsockname(door->fd, &address.any, &bytes) < 0)
        return 0;
    unsigned port =
        ntohs(address.any.sa_family == AF_INET ? address.v4.sin_port : address.v6.sin6_port);
    char *url;
    if (asprintf(&url, "%.*s:%u", (int)(colon - door->url), door->url, port) < 0)
        return -ENOMEM;
    free(door->url);
    door->url = url;
    return 0;
}

static void pause_it(struct stream_door *door)
{
    struct epoll_event event = {.events = 0, .data.ptr = door};
    (void)epoll_ctl(door->part->set, EPOLL_CTL_MOD, door->fd, &event);
    door->paused = true;
    door->resume_ns = clock_now_ns() + PAUSE_NS;
    stream_check_at(door->part, door->resume_ns);
}

void stream_door_ready(struct stream_door *door)
{
    struct stream_part *part = door->part;
    for (int i = 0; i < ACCEPTS_AT_ONCE; i++) {
        int fd = accept4(door->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)) {
            log_warn("%s: cannot take a connection: %s", door->url, strerror(errno));
            pause_it(door);
            return;
        }
        if (fd < 0)
            return; /* none, or one that is gone already; more of them make another event */
        if (part->line_count >= part->options.connections_max) {
            part->counts.refused++;
            fd_close(fd);
            continue;
        }
        int r = stream_line_new(door, fd, true);
        if (r < 0)
            log_warn("%s: cannot take a connection: %s", door->url, strerror(-r));
    }
}

/* ---- Dialling ---- */

static void dial_later(struct stream_door *door)
{
    uint64_t wait_ns = REDIAL_NS_MIN << (door->failures < 7 ? door->failures : 7);
    wait_ns = wait_ns < REDIAL_NS_MAX ? wait_ns : REDIAL_NS_MAX;
    wait_ns = wait_ns / 2 + random_below(&door->part->random, (uint32_t)(wait_ns / 2));
    door->resume_ns = clock_now_ns() + wait_ns;
    door->failures++;
    stream_check_at(door->part, door->resume_ns);
}

static int dial(struct stream_door *door)
{
    int fd =
        socket(door->parsed.address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    bool connected = connect(fd, &door->parsed.address.any, door->parsed.address_bytes) == 0;
    if (!connected && errno != EINPROGRESS) { /* EAGAIN: a unix socket whose backlog is full */
        int r = -errno;
        fd_close(fd);
        return r;
    }
    int r = stream_line_new(door, fd, connected);
    if (r == 0) /* the youngest; it may have ended already */
        door->line =
            door->part->lines && door->part->lines->door == door ? door->part->lines : NULL;
    return r;
}

/* One that has lasted is no failure; else somebody may be hanging up on all. */
void stream_door_lost(struct stream_door *door, bool was_open, const char *why)
{
    door->line = NULL;
    (void)snprintf(door->why, sizeof(door->why), "%s", why);
    if (was_open && clock_now_ns() - door->opened_ns >= REDIAL_NS_MAX)
        door->failures = 0;
    dial_later(door);
}

static void dial_now(struct stream_door *door)
{
    int r = dial(door);
    if (r < 0)
        (void)snprintf(door->why, sizeof(door->why), "%s", strerror(-r));
    door->error = r;
    if (r < 0 || !door->line)
        dial_later(door);
}

/* Where it is: it may have moved, or have no address yet. */
static int look_up(struct stream_door *door)
{
    if (door->lookup || !door->parsed.named ||
        (door->failures == 0 && door->parsed.address_bytes > 0))
        return 0;
    int r = stream_lookup_new(&door->parsed, &door->lookup);
    if (r < 0)
        return r;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &door->lookup_kind};
    if (epoll_ctl(door->part->set, EPOLL_CTL_ADD, stream_lookup_fd(door->lookup), &event) == 0)
        return 0;
    r = -errno;
    door->lookup = stream_lookup_free(door->lookup);
    return r;
}

static void dial_or_later(struct stream_door *door)
{
    door->resume_ns = CLOCK_NEVER;
    int r = look_up(door);
    if (door->parsed.address_bytes > 0) {
        dial_now(door);
        return;
    }
    door->error = r;
    if (r < 0) {
        (void)snprintf(door->why, sizeof(door->why), "cannot look up %.60s: %s", door->parsed.host,
                       strerror(-r));
        dial_later(door);
    } else { /* stream_door_found() goes on */
        (void)snprintf(door->why, sizeof(door->why),
                       "%.60s is still being looked up: does the name server answer?",
                       door->parsed.host);
    }
}

void stream_door_found(enum stream_kind *kind)
{
    struct stream_door *door =
        (struct stream_door *)((uint8_t *)kind - offsetof(struct stream_door, lookup_kind));
    int found;
    if (!stream_lookup_take(door->lookup, &door->parsed, &found))
        return;
    (void)epoll_ctl(door->part->set, EPOLL_CTL_DEL, stream_lookup_fd(door->lookup), NULL);
    door->lookup = stream_lookup_free(door->lookup);
    if (door->line || door->resume_ns != CLOCK_NEVER)
        return; /* what it was before is being dialled, or will be soon */
    if (found == 0) {
        dial_now(door);
        return;
    }
    door->error = -EHOSTUNREACH;
    (void)snprintf(door->why, sizeof(door->why), "cannot find %.60s: %s", door->parsed.host,
                   gai_strerror(found));
    dial_later(door);
}

void stream_door_check(struct stream_door *door, uint64_t now_ns)
{
    if (door->resume_ns > now_ns) {
        stream_check_at(door->part, door->resume_ns);
        return;
    }
    if (door->fd < 0) {
        dial_or_later(door);
        return;
    }
    door->resume_ns = CLOCK_NEVER;
    door->paused = false;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = door};
    (void)epoll_ctl(door->part->set, EPOLL_CTL_MOD, door->fd, &event);
}

/* ---- Life ---- */

static int set_up_tls(struct stream_door *door, const struct replier_options *options,
                      const char *url, struct error_text *error)
{
    if (!door->parsed.tls)
        return 0;
    if (!options->tls)
        return error_set(error, -EINVAL, "%s needs certificates: say where they are", url);
    const char *name = options->tls->server_name ? options->tls->server_name : door->parsed.host;
    return tls_context_new(options->tls, options->dial ? name : NULL, &door->tls, error);
}

int stream_door_open(struct stream_door *door, const struct replier_options *options,
                     const char *url, struct error_text *error)
{
    door->resume_ns = CLOCK_NEVER;
    door->lookup_kind = STREAM_LOOKUP;
    door->url = strdup(url);
    if (!door->url)
        return error_set(error, -ENOMEM, "out of memory");
    int r = stream_url_parse(url, !options->dial, &door->parsed, error);
    if (r == 0 && !options->dial && door->parsed.named)
        r = stream_url_find_own(&door->parsed, url, error);
    if (r == 0)
        r = set_up_tls(door, options, url, error);
    if (r < 0)
        return r;
    if (options->dial) {
        dial_or_later(door);
        return 0;
    }
    r = listen_there(door, options->mode);
    if (r == 0)
        r = name_port(door);
    return r < 0 ? refuse(error, r, url) : 0;
}

void stream_door_close(struct stream_door *door)
{
    struct stat status;
    if (door->inode && lstat(path_of(door), &status) == 0 && status.st_dev == door->device &&
        status.st_ino == door->inode)
        (void)unlink(path_of(door));
    fd_close(door->fd);
    stream_lookup_free(door->lookup);
    tls_context_free(door->tls);
    free(door->url);
}
