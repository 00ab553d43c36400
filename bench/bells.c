/*
 * Two processes that ring each other in turns, whatever the doorbell and whoever waits.
 *
 * Each side's words are in a memfd of its own. Where a contender asks for it, that is sealed as
 * Parley's memfds are, so that the other side can map it only to read: a futex works there, too.
 */
#include "bells.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "peer.h"

/* ---- Ringing ---- */

int bell_ring(struct bell_side *side)
{
    const size_t bytes = bell_bytes(side->what);
    if (side->what->kind == BELL_WORD)
        return syscall(SYS_futex, side->ours, FUTEX_WAKE, 1, NULL, NULL, 0) < 0 ? -errno : 0;
    for (size_t done = 0; done < bytes;) {
        ssize_t n = bell_is_socket(side->what)
                        ? send(side->out, side->sent + done, bytes - done, MSG_NOSIGNAL)
                        : write(side->out, side->sent + done, bytes - done);
        if (n < 0)
            return -errno;
        done += (size_t)n;
    }
    return 0;
}

static ssize_t take(struct bell_side *side, void *to, size_t bytes, int flags)
{
    ssize_t n =
        bell_is_socket(side->what) ? recv(side->in, to, bytes, flags) : read(side->in, to, bytes);
    return n < 0 ? -errno : n == 0 ? -EPIPE : n;
}

int bell_take(struct bell_side *side)
{
    const size_t bytes = bell_bytes(side->what);
    for (size_t done = 0; done < bytes;) {
        ssize_t n = take(side, side->received + done, bytes - done, MSG_WAITALL);
        if (n < 0)
            return (int)n;
        done += (size_t)n;
    }
    return 0;
}

int bell_drain(struct bell_side *side)
{
    const bool seldom = side->what->drain == DRAIN_SELDOM;
    ssize_t n;
    if (side->what->drain == DRAIN_ONCE)
        return bell_take(side);
    if (seldom && (side->what->kind == BELL_EVENTFD || ++side->seldom % BELLS_SELDOM != 0))
        return 0;
    if (!bell_is_socket(side->what)) /* of what has no boundaries, one read takes all */
        return take(side, side->received, BELLS_SELDOM, 0) < 0 ? -errno : 0;
    do
        n = take(side, side->received, 1, MSG_DONTWAIT);
    while (n > 0);
    return n == -EAGAIN ? 0 : (int)n;
}

/* ---- Making both sides ---- */

static int make_words(struct bell_side *owner, struct bell_side *other)
{
    int fd = memfd_create("doorbells", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    const size_t bytes = BELLS_WORDS_MAX * sizeof(uint32_t);
    if (fd < 0 || ftruncate(fd, (off_t)bytes) != 0)
        return -1;
    const int protection = PROT_READ | PROT_WRITE;
    void *ours = mmap(NULL, bytes, protection, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (owner->what->read_only &&
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) !=
            0)
        return -1;
    void *theirs = mmap(NULL, bytes, owner->what->read_only ? PROT_READ : protection,
                        MAP_SHARED | MAP_POPULATE, fd, 0);
    close(fd);
    owner->ours = ours;
    other->theirs = theirs;
    return ours == MAP_FAILED || theirs == MAP_FAILED ? -1 : 0;
}

/* @ret_near: near.in, near.out. */
static int make_bell(enum bell_kind kind, int ret_near[2], int ret_far[2])
{
    int ends[2];
    switch (kind) {
    case BELL_WORD:
        return 0;
    case BELL_STREAM:
    case BELL_SEQPACKET:
        if (socketpair(AF_UNIX, (kind == BELL_STREAM ? SOCK_STREAM : SOCK_SEQPACKET) | SOCK_CLOEXEC,
                       0, ends) != 0)
            return -1;
        ret_near[0] = ret_near[1] = ends[0];
        ret_far[0] = ret_far[1] = ends[1];
        return 0;
    case BELL_EVENTFD:
        ret_near[0] = ret_far[1] = eventfd(0, EFD_CLOEXEC);
        ret_near[1] = ret_far[0] = eventfd(0, EFD_CLOEXEC);
        return ret_near[0] < 0 || ret_near[1] < 0 ? -1 : 0;
    case BELL_PIPE:
        if (pipe2(ends, O_CLOEXEC) != 0)
            return -1;
        ret_near[0] = ends[0];
        ret_far[1] = ends[1];
        if (pipe2(ends, O_CLOEXEC) != 0)
            return -1;
        ret_far[0] = ends[0];
        ret_near[1] = ends[1];
        return 0;
    }
    return -1;
}

static void raise_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

static int make_sides(struct bell_side *near, struct bell_side *far)
{
    int near_ends[2] = {-1, -1}, far_ends[2] = {-1, -1};
    const struct contender *what = near->what;
    if (make_words(near, far) != 0 || make_words(far, near) != 0 ||
        make_bell(what->kind, near_ends, far_ends) != 0)
        return -1;
    near->in = near_ends[0];
    near->out = near_ends[1];
    far->in = far_ends[0];
    far->out = far_ends[1];
    const uint64_t one = 1; /* what an eventfd is told; others do not care */
    memcpy(near->sent, &one, sizeof(one));
    memcpy(far->sent, &one, sizeof(one));
    raise_limit();
    for (uint32_t i = 0; i + 1 < bell_watched(what); i++) {
        if (make_bell(what->kind, near_ends, far_ends) != 0)
            return -1;
        near->idle[i] = near_ends[0];
        far->idle[i] = far_ends[0];
    }
    return 0;
}

/* ---- Turns ---- */

static int give_turn(struct bell_side *side, uint32_t turn)
{
    /* release: pairs with the acquire in await_turn() */
    atomic_store_explicit(side->ours, turn, memory_order_release);
    return side->what->waiter->ring(side);
}

static int await_turn(struct bell_side *side, uint32_t turn)
{
    int r;
    side->turn = turn;
    do /* and not: look, and wait if it has not come. The way to wait is what is measured. */
        r = side->what->waiter->wait(side);
    while (r == 0 && atomic_load_explicit(side->theirs, memory_order_acquire) != turn);
    return r;
}

struct bells {
    struct bell_side near, far;
};

static int serve(const struct bench_run *run, struct peer_place *place)
{
    struct bell_side *side = &((struct bells *)place->data)->far;
    int r = side->what->waiter->begin(side);
    if (r == 0)
        peer_ready(place);
    for (uint32_t turn = 1; r == 0; turn++) {
        r = await_turn(side, turn);
        if (r == 0)
            r = give_turn(side, turn);
    }
    fprintf(stderr, "%s: the other side: %s\n", run->name, strerror(-r));
    return -1;
}

static int call(struct bench_run *run, void *data, uint32_t i)
{
    struct bell_side *side = data;
    int r = give_turn(side, i + 1);
    if (r == 0)
        r = await_turn(side, i + 1);
    return r == 0 ? 0 : error_set(run->error, -1, "%s", strerror(-r));
}

static int ask(struct bench_run *run, struct peer_place *place)
{
    struct bell_side *side = &((struct bells *)place->data)->near;
    int r = side->what->waiter->begin(side);
    if (r != 0)
        return error_set(run->error, -1, "%s", strerror(-r));
    return peer_time(run, call, side);
}

int bells_run(struct bench_run *run, const struct contender *what)
{
    static struct bells bells;
    bells.near.what = bells.far.what = what;
    if (make_sides(&bells.near, &bells.far) != 0)
        return error_set(run->error, -1, "no doorbell: %s", strerror(errno));
    return peer_run(run, serve, ask, &bells);
}
