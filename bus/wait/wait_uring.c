/*
 * Waiting with io_uring: one multishot poll for each descriptor, so that events arrive in memory
 * that is mapped here and wait_poll(0) is two loads while nothing happens.
 *
 * Invariants. The submission queue is empty whenever the caller has control: add, modify and remove
 * submit at once, and the poll that re-arms submits before it returns. A registration that was only
 * queued would not make wait_fd() readable, and a removal that was only queued would keep the
 * caller's socket open after he closed it, so that its peer would see no hang-up. No request but
 * the polls outlives a call: time-outs go in io_uring_enter's extended argument, not in an entry
 * that would have to be found and cancelled.
 *
 * A multishot poll can end by itself: its completion comes without IORING_CQE_F_MORE (the
 * completion queue was full; the thread that armed it has exited). It is then armed again, which
 * also reports what is ready by now, so nothing is lost. If that fails, for memory say, the slot is
 * marked and the next wait_poll() tries again. Completions that do not fit in the queue are kept by
 * the kernel (IORING_FEAT_NODROP) and fetched when we see its overflow flag.
 *
 * Set-up flags, tried on Linux 6.18 with a socketpair ping-pong between two processes: all of
 * {none, COOP_TASKRUN, + SINGLE_ISSUER, + DEFER_TASKRUN} make 66 to 71 us a round trip, within the
 * noise of each other and of epoll's 72. So what counts is what they change besides:
 * - COOP_TASKRUN | TASKRUN_FLAG, used where it exists: completions do not interrupt a computing
 *   thread; a flag in the ring says that there are some, and io_uring_enter fetches them.
 * - DEFER_TASKRUN, not used: completions appear only in io_uring_enter. A foreign epoll never saw
 *   the ring fd become readable (within a second, data waiting), and after wait_remove() and
 *   close() the file stayed referenced until the next wait: the peer saw no hang-up.
 * - SINGLE_ISSUER, not used: it gains nothing without DEFER_TASKRUN, and forbids a program to make
 *   an endpoint in one thread and hand it to another.
 * The price: the kernel interrupts the thread's other sleeping system calls to post completions.
 * Most restart by themselves; epoll_wait() returns EINTR, as wait.h says.
 */
#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/call_path.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "wait/wait_ops.h"

#define SQ_ENTRIES 64
#define CQ_ENTRIES 512 /* bursts: one for each descriptor, more only when they overflow */
#define KEY_WORD (UINT64_C(1) << 31) /* in a registration's key: the word that it watches */
#define KEY_TURN_SHIFT 16 /* with it: which one, for several may be cancelled between two polls */
#define KEY_TURN_MASK (UINT64_C(0xff) << KEY_TURN_SHIFT)
static_assert(WAIT_FD_MAX <= 1 << KEY_TURN_SHIFT, "a descriptor is below it in the key");
#define MOVES_MAX 16        /* from thread to thread; then it is a habit, and costs too much */
#define KEY_NONE UINT64_MAX /* of requests whose completion says nothing: no descriptor has it */

struct wait_uring {
    struct wait wait;
    struct io_uring ring;
    bool skip_success;  /* requests without news can do without a completion (5.17) */
    bool can_watch;     /* words (6.7) */
    bool any_unarmed;   /* some slot is to be armed again */
    const void *thread; /* this_thread() of who has armed all of them; NULL: several have */
    unsigned moves;     /* to other threads: MOVES_MAX */
    int broken;         /* -errno: the kernel will not even poll our own eventfd */
};

static struct wait_uring *uring_of(struct wait *wait)
{
    return (struct wait_uring *)wait;
}

/* ---- Set-up ---- */

/* Another thread that runs has another one. */
static const void *this_thread(void)
{
    static __attribute__((tls_model("initial-exec"))) _Thread_local char here;
    return &here;
}

static int init_ring(struct io_uring *ring, struct io_uring_params *params)
{
    /* The newest first; a kernel that does not know a flag says -EINVAL. */
    const unsigned flags[] = {IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG, 0};
    int r = -EINVAL;
    for (size_t i = 0; r == -EINVAL && i < sizeof(flags) / sizeof(flags[0]); i++) {
        *params = (struct io_uring_params){
            .flags = flags[i] | IORING_SETUP_CQSIZE,
            .cq_entries = CQ_ENTRIES,
        };
        r = io_uring_queue_init_params(SQ_ENTRIES, ring, params);
    }
    return r;
}

/* liburing names these from 2.6 on. */
#define OP_FUTEX_WAIT 51
#define FUTEX_WORD_OF_32_BITS 2

static void prepare_watch(struct io_uring_sqe *sqe, const void *word, uint64_t key)
{
    io_uring_prep_rw(OP_FUTEX_WAIT, sqe, FUTEX_WORD_OF_32_BITS, word, 0, 0); /* while it is 0 */
    sqe->addr3 = UINT32_MAX;                                                 /* whoever wakes it */
    sqe->user_data = key;
}

/* Whether the kernel will tell us that a word that is not 0 is not 0. */
static bool try_watch(struct io_uring *ring)
{
    static const uint32_t word = 1;
    struct io_uring_cqe *cqe;
    prepare_watch(io_uring_get_sqe(ring), &word, KEY_NONE);
    if (io_uring_submit_and_wait(ring, 1) != 1 || io_uring_peek_cqe(ring, &cqe) != 0)
        return false;
    bool can = cqe->res == -EAGAIN;
    io_uring_cqe_seen(ring, cqe);
    return can;
}

static int uring_new(struct wait **ret_wait, struct error_text *error)
{
    struct wait_uring *uring = calloc(1, sizeof(*uring));
    if (!uring)
        return error_set(error, -ENOMEM, "out of memory");
    struct io_uring_params params;
    int r = init_ring(&uring->ring, &params);
    if (r < 0) {
        free(uring);
        return error_set(error, r, "io_uring_setup: %s", strerror(-r));
    }
    const unsigned needed = IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG;
    if ((params.features & needed) != needed) {
        io_uring_queue_exit(&uring->ring);
        free(uring);
        return error_set(error, -ENOSYS, "the kernel's io_uring is too old (before Linux 5.11)");
    }
    (void)io_uring_ring_dontfork(&uring->ring); /* a child would take the parent's completions */
    uring->can_watch = try_watch(&uring->ring);
    uring->skip_success = params.features & IORING_FEAT_CQE_SKIP;
    uring->thread = this_thread();
    *ret_wait = &uring->wait;
    return 0;
}

static void uring_free(struct wait *wait)
{
    io_uring_queue_exit(&uring_of(wait)->ring);
    free(wait);
}

/* The ring is not mapped here, and what may be by now is not ours. */
static void uring_forget(struct wait *wait)
{
    fd_close(uring_of(wait)->ring.ring_fd);
    free(wait);
}

static int uring_fd(const struct wait *wait)
{
    return ((const struct wait_uring *)wait)->ring.ring_fd;
}

/* ---- Requests ---- */

CALL_PATH static int submit(struct wait_uring *uring)
{
    /* A kernel stops at a request that it refuses, having reported it: hence the loop. */
    while (io_uring_sq_ready(&uring->ring) > 0) {
        int r = io_uring_submit(&uring->ring);
        if (r < 0 && r != -EINTR)
            return r;
        if (r == 0)
            return -EBUSY;
    }
    return 0;
}

/* Submits the one request that is queued, or, if that cannot be done, makes nothing of it. */
static int submit_one(struct wait_uring *uring, struct io_uring_sqe *sqe)
{
    int r = submit(uring);
    if (r < 0) {
        io_uring_prep_nop(sqe); /* it is still in the queue, and goes with the next submission */
        sqe->user_data = KEY_NONE;
    }
    return r;
}

static void prepare_arm(struct io_uring_sqe *sqe, int fd, uint32_t events, uint64_t key)
{
    io_uring_prep_poll_multishot(sqe, fd, wait_poll_mask(events));
    sqe->user_data = key;
}

static void armed_here(struct wait_uring *uring)
{
    if (uring->thread != this_thread())
        uring->thread = NULL;
}

static int uring_arm(struct wait *wait, int fd, uint32_t events, uint64_t key)
{
    struct wait_uring *uring = uring_of(wait);
    struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);
    if (!sqe)
        return -EBUSY; /* full of requests that could not be submitted: out of memory */
    prepare_arm(sqe, fd, events, key);
    armed_here(uring);
    return submit_one(uring, sqe);
}

/* The registration that a completion says something about; NULL: none that is there. */
static struct wait_slot *subject_of(struct wait *wait, const struct io_uring_cqe *cqe)
{
    if (cqe->user_data == KEY_NONE)
        return NULL;
    return wait_slot_of(wait, cqe->user_data & ~(KEY_WORD | KEY_TURN_MASK));
}

/* So that what is left of a removed registration does not make wait_fd() readable. */
static void drop_stale(struct wait_uring *uring)
{
    unsigned head, stale = 0;
    struct io_uring_cqe *cqe;
    io_uring_for_each_cqe(&uring->ring, head, cqe)
    {
        if (subject_of(&uring->wait, cqe))
            break;
        stale++;
    }
    io_uring_cq_advance(&uring->ring, stale);
}

static struct io_uring_sqe *get_sqe(struct wait_uring *uring)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);
    if (!sqe && submit(uring) == 0)
        sqe = io_uring_get_sqe(&uring->ring);
    return sqe;
}

/* Whose completion says nothing. */
static void finish_silently(const struct wait_uring *uring, struct io_uring_sqe *sqe)
{
    sqe->user_data = KEY_NONE;
    if (uring->skip_success)
        sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
}

static uint64_t word_key(int fd, const struct wait_slot *slot)
{
    return wait_key(fd, slot->generation) | KEY_WORD | (uint64_t)slot->turn << KEY_TURN_SHIFT;
}

/* Queued. */
static void unwatch(struct wait_uring *uring, uint64_t key)
{
    struct io_uring_sqe *sqe = get_sqe(uring);
    if (!sqe)
        return; /* it wakes us once too often */
    io_uring_prep_rw(IORING_OP_ASYNC_CANCEL, sqe, -1, NULL, 0, 0);
    sqe->addr = key;
    finish_silently(uring, sqe);
}

static int uring_watch(struct wait *wait, int fd, struct wait_slot *slot, const void *word)
{
    struct wait_uring *uring = uring_of(wait);
    if (!uring->can_watch)
        return -ENOSYS;
    if (slot->word)
        unwatch(uring, word_key(fd, slot));
    struct io_uring_sqe *sqe = get_sqe(uring);
    if (!sqe)
        return -EBUSY;
    slot->turn++;
    prepare_watch(sqe, word, word_key(fd, slot));
    return 0;
}

static void uring_disarm(struct wait *wait, int fd, uint64_t key)
{
    struct wait_uring *uring = uring_of(wait);
    if (wait->slots[fd].word)
        unwatch(uring, word_key(fd, &wait->slots[fd]));
    struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);
    if (!sqe)
        return; /* its events find no slot; the file is let go of with the ring */
    io_uring_prep_poll_remove(sqe, key);
    finish_silently(uring, sqe);
    (void)submit(uring); /* left in the queue, it goes with the next submission */
    drop_stale(uring);
}

/* ---- Collecting ---- */

/* Queues polls for the slots that lost theirs; they are submitted together. */
static int rearm(struct wait_uring *uring)
{
    struct wait *wait = &uring->wait;
    for (uint32_t fd = 0; fd < wait->slot_count; fd++) {
        struct wait_slot *slot = &wait->slots[fd];
        if (!slot->used || !slot->unarmed)
            continue;
        struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);
        if (!sqe) {
            int r = submit(uring);
            if (r < 0)
                return r;
            sqe = io_uring_get_sqe(&uring->ring);
        }
        if (!sqe)
            return -EBUSY;
        slot->unarmed = false;
        prepare_arm(sqe, (int)fd, slot->events, wait_key((int)fd, slot->generation));
    }
    uring->any_unarmed = false;
    armed_here(uring);
    return 0;
}

/* Returns false if there was no room for its event: the completion stays. */
static bool take_word(struct wait_uring *uring, struct wait_slot *slot,
                      const struct io_uring_cqe *cqe)
{
    if (!slot->word || slot->turn != (cqe->user_data & KEY_TURN_MASK) >> KEY_TURN_SHIFT)
        return true; /* another is watched by now */
    /* Cancelled without us: the thread that watched it has exited. Who asked looks for himself. */
    const int expected[] = {-EAGAIN, -EINTR, -ECANCELED};
    bool good = cqe->res >= 0;
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
        good |= cqe->res == expected[i];
    uring->can_watch &= good;
    return wait_report_word(&uring->wait, slot);
}

/* As take_word(). */
static bool take(struct wait_uring *uring, const struct io_uring_cqe *cqe)
{
    struct wait *wait = &uring->wait;
    struct wait_slot *slot = subject_of(wait, cqe);
    if (!slot)
        return true;
    if (cqe->user_data & KEY_WORD)
        return take_word(uring, slot, cqe);
    if (cqe->res < 0 && cqe->res != -ECANCELED) { /* it cannot be polled: we do not ask again */
        if (wait_is_wake(wait, slot))
            uring->broken = cqe->res;
        return wait_report(wait, slot, POLLERR);
    }
    if (cqe->res > 0 && !wait_report(wait, slot, (uint32_t)cqe->res))
        return false;
    if (!(cqe->flags & IORING_CQE_F_MORE)) {
        slot->unarmed = true;
        uring->any_unarmed = true;
    }
    return true;
}

static void reap(struct wait_uring *uring)
{
    unsigned head, taken = 0;
    struct io_uring_cqe *cqe;
    io_uring_for_each_cqe(&uring->ring, head, cqe)
    {
        if (!take(uring, cqe))
            break;
        taken++;
    }
    io_uring_cq_advance(&uring->ring, taken);
}

/* What the kernel has for us but not in the queue yet: it says so in the flags. */
static bool kernel_has_more(const struct wait_uring *uring)
{
    return IO_URING_READ_ONCE(*uring->ring.sq.kflags) & (IORING_SQ_CQ_OVERFLOW | IORING_SQ_TASKRUN);
}

/* Fetches what the kernel holds back, and submits what there is to submit, if that will not be
 * done by enter(); no wait. */
static int settle(struct wait_uring *uring, bool enters)
{
    int r = uring->any_unarmed ? rearm(uring) : 0;
    if (r == 0 && !enters)
        r = submit(uring);
    if (r == 0 && kernel_has_more(uring))
        r = io_uring_get_events(&uring->ring);
    /* -EBUSY and -EAGAIN: the kernel is short of memory or its backlog is full; what we take now
     * makes room. */
    return r == -EBUSY || r == -EAGAIN || r > 0 ? 0 : r;
}

CALL_PATH static bool uring_quiet(const struct wait *wait)
{
    const struct wait_uring *uring = (const struct wait_uring *)wait;
    /* relaxed: what is missed is found the next time */
    return !uring->any_unarmed && !uring->broken && io_uring_sq_ready(&uring->ring) == 0 &&
           !kernel_has_more(uring) &&
           IO_URING_READ_ONCE(*uring->ring.cq.ktail) == *uring->ring.cq.khead;
}

static int enter(struct wait_uring *uring, uint64_t timeout_ns)
{
    struct __kernel_timespec ts = {
        .tv_sec = (long long)(timeout_ns / NS_PER_S),
        .tv_nsec = (long long)(timeout_ns % NS_PER_S),
    };
    struct io_uring_cqe *cqe;
    int r = io_uring_submit_and_wait_timeout(&uring->ring, &cqe, 1,
                                             timeout_ns == WAIT_FOREVER ? NULL : &ts, NULL);
    return r == -EBUSY || r == -EAGAIN || r > 0 ? 0 : r;
}

static int uring_collect(struct wait *wait, int max, uint64_t timeout_ns)
{
    (void)max; /* wait_report() counts */
    struct wait_uring *uring = uring_of(wait);
    uint64_t deadline = timeout_ns == 0 ? 0 : clock_add(clock_now_ns(), timeout_ns);
    for (;;) {
        int r = settle(uring, timeout_ns > 0);
        if (r < 0)
            return r == -EINTR ? 0 : r;
        reap(uring);
        const bool enters = !wait_done(wait) && timeout_ns > 0 && !uring->broken;
        if (uring->any_unarmed || !enters)
            (void)settle(uring, enters); /* now: wait_fd() may be watched meanwhile */
        if (!enters)
            return uring->broken;
        r = enter(uring, timeout_ns);
        if (r == -ETIME)
            timeout_ns = 0; /* once more, without waiting */
        else if (r == -EINTR)
            return 0;
        else if (r < 0)
            return r;
        else
            timeout_ns = clock_left(deadline, clock_now_ns());
    }
}

/* ---- Its tail ---- */

/* Arms everything anew: the kernel interrupts the thread that armed a poll, and no other. */
static void move_here(struct wait_uring *uring)
{
    struct wait *wait = &uring->wait;
    for (uint32_t fd = 0; fd < wait->slot_count; fd++) {
        struct wait_slot *slot = &wait->slots[fd];
        if (!slot->used || slot->unarmed)
            continue;
        uring_disarm(wait, (int)fd, wait_key((int)fd, slot->generation));
        slot->word = NULL;
        slot->generation++;
        slot->unarmed = uring->any_unarmed = true;
    }
    uring->thread = this_thread();
    uring->moves++;
}

CALL_PATH static int uring_tail(struct wait *wait, const void **ret_word, uint32_t *ret_value)
{
    struct wait_uring *uring = uring_of(wait);
    const struct io_uring_cq *queue = &uring->ring.cq;
    if (__builtin_expect(uring->thread != this_thread(), 0)) {
        if (uring->moves == MOVES_MAX)
            return -ENOSYS;
        move_here(uring);
    }
    int r = uring->any_unarmed ? rearm(uring) : 0;
    if (r == 0)
        r = submit(uring);
    if (r < 0)
        return r == -EBUSY || r == -EAGAIN || r == -EINTR ? 1 : r;
    *ret_word = queue->ktail;
    *ret_value = *queue->khead;
    /* relaxed: who sleeps compares once more, and what is in the queue is read by who collects */
    return kernel_has_more(uring) || IO_URING_READ_ONCE(*queue->ktail) != *ret_value;
}

const struct wait_ops wait_uring_ops = {
    .name = "io_uring",
    .new = uring_new,
    .free = uring_free,
    .forget = uring_forget,
    .fd = uring_fd,
    .arm = uring_arm,
    .disarm = uring_disarm,
    .watch = uring_watch,
    .tail = uring_tail,
    .quiet = uring_quiet,
    .collect = uring_collect,
};
