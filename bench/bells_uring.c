/*
 * Waiting with io_uring, in each way that it has: a poll, a receive that is posted before the ring
 * comes, and its futex operations; each once, or multishot.
 *
 * One io_uring_enter() submits what is queued (a wait, and the ring of the other's doorbell if the
 * contender rings with the ring) and waits for a completion. Requests whose success is no news make
 * no completion, or the wait would end with theirs.
 *
 * Newer operations than Debian 12's header has are here by number, their entries filled by hand;
 * the kernel is asked whether it has them.
 */
#include "bells.h"

#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"

#define SQ_ENTRIES 64
#define CQ_ENTRIES 512 /* as the library's */
#define BUFFER_COUNT 64
#define BUFFER_GROUP 0

enum tag { TAG_SILENT, TAG_IDLE, TAG_RANG };
enum { FILE_IN, FILE_OUT };          /* registered files */
enum { BYTES_RECEIVED, BYTES_SENT }; /* registered buffers */

static bool has(const struct bell_side *side, unsigned option)
{
    return side->what->uring & option;
}

static struct io_uring_sqe *next_entry(struct bell_side *side)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&side->uring);
    if (sqe)
        return sqe;
    (void)io_uring_submit(&side->uring); /* full: only where many doorbells are armed, once */
    return io_uring_get_sqe(&side->uring);
}

/* @file: FILE_IN or FILE_OUT, if it is of one of them. */
static void use_registered(const struct bell_side *side, struct io_uring_sqe *sqe, int file)
{
    if (!has(side, URING_FIXED_FILES))
        return;
    sqe->fd = file;
    sqe->flags |= IOSQE_FIXED_FILE;
}

/* Of a wait for doorbell @index, of which the first is registered. */
static void tag_wait(const struct bell_side *side, struct io_uring_sqe *sqe, uint32_t index,
                     enum tag tag)
{
    sqe->user_data = tag;
    if (index == 0)
        use_registered(side, sqe, FILE_IN);
}

/* ---- Set-up ---- */

static int provide_buffers(struct bell_side *side)
{
    struct io_uring_buf_reg reg = {.ring_entries = BUFFER_COUNT, .bgid = BUFFER_GROUP};
    void *memory = NULL;
    int r = posix_memalign(&memory, 4096, BUFFER_COUNT * sizeof(struct io_uring_buf));
    if (r != 0)
        return -r;
    reg.ring_addr = (uintptr_t)memory;
    r = io_uring_register_buf_ring(&side->uring, &reg, 0);
    if (r < 0)
        return r;
    side->buffers = memory;
    io_uring_buf_ring_init(side->buffers);
    for (unsigned short i = 0; i < BUFFER_COUNT; i++)
        io_uring_buf_ring_add(side->buffers, side->received + i * sizeof(uint64_t),
                              sizeof(uint64_t), i, io_uring_buf_ring_mask(BUFFER_COUNT), i);
    io_uring_buf_ring_advance(side->buffers, BUFFER_COUNT);
    return 0;
}

static int register_all(struct bell_side *side)
{
    const int files[] = {[FILE_IN] = side->in, [FILE_OUT] = side->out};
    const struct iovec bytes[] = {[BYTES_RECEIVED] = {side->received, sizeof(side->received)},
                                  [BYTES_SENT] = {side->sent, sizeof(side->sent)}};
    int r = has(side, URING_FIXED_FILES) ? io_uring_register_files(&side->uring, files, 2) : 0;
    if (r >= 0 && has(side, URING_FIXED_BYTES))
        r = io_uring_register_buffers(&side->uring, bytes, 2);
    if (r >= 0 && has(side, URING_FIXED_RING))
        r = io_uring_register_ring_fd(&side->uring);
    if (r >= 0 && side->what->waiter == &uring_receive_multi)
        r = provide_buffers(side);
    return r < 0 ? r : 0;
}

static int begin(struct bell_side *side, void (*arm)(struct bell_side *, uint32_t index, enum tag))
{
    struct io_uring_params params = {
        .flags = side->what->setup | IORING_SETUP_CQSIZE,
        .cq_entries = CQ_ENTRIES,
        .sq_thread_idle = 100, /* ms, of SQPOLL */
    };
    int r = io_uring_queue_init_params(SQ_ENTRIES, &side->uring, &params);
    if (r == 0)
        r = register_all(side);
    for (uint32_t i = 1; r == 0 && arm && i < bell_watched(side->what); i++)
        arm(side, i, TAG_IDLE);
    if (r == 0)
        r = io_uring_submit(&side->uring);
    return r < 0 ? r : 0;
}

/* ---- One ring and one wait ---- */

static void queue_write(struct bell_side *side, struct io_uring_sqe *sqe)
{
    const unsigned bytes = bell_bytes(side->what);
    if (has(side, URING_FIXED_BYTES))
        io_uring_prep_write_fixed(sqe, side->out, side->sent, bytes, 0, BYTES_SENT);
    else if (bell_is_socket(side->what))
        io_uring_prep_send(sqe, side->out, side->sent, bytes, MSG_NOSIGNAL | MSG_WAITALL);
    else
        io_uring_prep_write(sqe, side->out, side->sent, bytes, 0);
    sqe->user_data = TAG_SILENT;
    use_registered(side, sqe, FILE_OUT);
}

static void queue_futex(struct io_uring_sqe *sqe, int opcode, const _Atomic uint32_t *word,
                        uint32_t value)
{
    io_uring_prep_rw(opcode, sqe, FUTEX_32, (const void *)word, 0, 0);
    sqe->addr2 = value;
    sqe->addr3 = FUTEX_BITSET_MATCH_ANY;
}

static int ring(struct bell_side *side)
{
    if (!has(side, URING_RINGS))
        return bell_ring(side);
    struct io_uring_sqe *sqe = next_entry(side);
    if (!sqe)
        return -EBUSY;
    if (side->what->kind == BELL_WORD)
        queue_futex(sqe, BELLS_OP_FUTEX_WAKE, side->ours, 1);
    else
        queue_write(side, sqe);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    return 0; /* wait() submits it */
}

static int enter(struct bell_side *side)
{
    struct __kernel_timespec ts = {.tv_sec = BELLS_TIMEOUT_NS / NS_PER_S};
    struct io_uring_cqe *cqe;
    int r = side->what->timeout == TIMEOUT_ARGUMENT
                ? io_uring_submit_and_wait_timeout(&side->uring, &cqe, 1, &ts, NULL)
                : io_uring_submit_and_wait(&side->uring, 1);
    return r < 0 && r != -EINTR ? r : 0;
}

static void give_buffer_back(struct bell_side *side, unsigned flags)
{
    unsigned short id = (unsigned short)(flags >> IORING_CQE_BUFFER_SHIFT);
    io_uring_buf_ring_add(side->buffers, side->received + id * sizeof(uint64_t), sizeof(uint64_t),
                          id, io_uring_buf_ring_mask(BUFFER_COUNT), 0);
    io_uring_buf_ring_advance(side->buffers, 1);
}

/* Return: 1, it rang; 0; -errno. -EAGAIN is a futex's that had changed before. */
static int take(struct bell_side *side, const struct io_uring_cqe *cqe)
{
    if (cqe->user_data != TAG_RANG)
        return cqe->res < 0 && cqe->res != -ECANCELED ? cqe->res : 0;
    if (!(cqe->flags & IORING_CQE_F_MORE))
        side->armed = false;
    if (cqe->res < 0)
        return cqe->res == -EAGAIN ? 1 : cqe->res;
    if (cqe->flags & IORING_CQE_F_BUFFER)
        give_buffer_back(side, cqe->flags);
    if (side->what->waiter != &uring_receive)
        return 1;
    side->received_bytes += (uint32_t)cqe->res;
    if (side->received_bytes < bell_bytes(side->what))
        return cqe->res == 0 ? -EPIPE : 0;
    side->received_bytes = 0;
    return 1;
}

static int reap(struct bell_side *side)
{
    unsigned head, count = 0;
    struct io_uring_cqe *cqe;
    int rang = 0;
    io_uring_for_each_cqe(&side->uring, head, cqe)
    {
        int r = take(side, cqe);
        rang = r < 0 || rang < 0 ? (r < 0 ? r : rang) : rang | r;
        count++;
    }
    io_uring_cq_advance(&side->uring, count);
    return rang;
}

static int wait_with(struct bell_side *side, void (*arm)(struct bell_side *, uint32_t, enum tag))
{
    for (;;) {
        if (!side->armed)
            arm(side, 0, TAG_RANG);
        side->armed = true;
        int r = enter(side);
        if (r == 0)
            r = reap(side);
        if (r != 0)
            return r < 0 ? r : 0;
    }
}

/* ---- A poll, and a read ---- */

static int fd_of(const struct bell_side *side, uint32_t index)
{
    return index == 0 ? side->in : side->idle[index - 1];
}

static void arm_poll(struct bell_side *side, uint32_t index, enum tag tag)
{
    struct io_uring_sqe *sqe = next_entry(side);
    io_uring_prep_poll_add(sqe, fd_of(side, index), POLLIN);
    tag_wait(side, sqe, index, tag);
}

static int begin_poll(struct bell_side *side)
{
    return begin(side, arm_poll);
}

static int wait_poll_once(struct bell_side *side)
{
    int r = wait_with(side, arm_poll);
    return r < 0 ? r : bell_drain(side);
}

const struct bell_waiter uring_poll = {begin_poll, ring, wait_poll_once, true};

static void arm_poll_multi(struct bell_side *side, uint32_t index, enum tag tag)
{
    struct io_uring_sqe *sqe = next_entry(side);
    io_uring_prep_poll_multishot(sqe, fd_of(side, index), POLLIN);
    tag_wait(side, sqe, index, tag);
}

static int begin_poll_multi(struct bell_side *side)
{
    return begin(side, arm_poll_multi);
}

static int wait_poll_multi(struct bell_side *side)
{
    int r = wait_with(side, arm_poll_multi);
    return r < 0 ? r : bell_drain(side);
}

const struct bell_waiter uring_poll_multi = {begin_poll_multi, ring, wait_poll_multi, true};

/* ---- A receive that is there before the ring ---- */

static void link_timeout(struct bell_side *side, struct io_uring_sqe *waiting)
{
    static struct __kernel_timespec ts = {.tv_sec = BELLS_TIMEOUT_NS / NS_PER_S};
    struct io_uring_sqe *sqe = next_entry(side);
    waiting->flags |= IOSQE_IO_LINK;
    io_uring_prep_link_timeout(sqe, &ts, 0);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    sqe->user_data = TAG_SILENT;
}

static void arm_receive(struct bell_side *side, uint32_t index, enum tag tag)
{
    struct io_uring_sqe *sqe = next_entry(side);
    const int fd = fd_of(side, index);
    const unsigned done = side->received_bytes;
    const unsigned bytes = bell_bytes(side->what) - done;
    if (has(side, URING_FIXED_BYTES))
        io_uring_prep_read_fixed(sqe, fd, side->received + done, bytes, 0, BYTES_RECEIVED);
    else if (bell_is_socket(side->what))
        io_uring_prep_recv(sqe, fd, side->received + done, bytes, MSG_WAITALL);
    else
        io_uring_prep_read(sqe, fd, side->received + done, bytes, 0);
    if (has(side, URING_POLL_FIRST))
        sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
    tag_wait(side, sqe, index, tag);
    if (side->what->timeout == TIMEOUT_LINKED)
        link_timeout(side, sqe);
}

static int begin_receive(struct bell_side *side)
{
    return begin(side, arm_receive);
}

static int wait_receive(struct bell_side *side)
{
    return wait_with(side, arm_receive);
}

const struct bell_waiter uring_receive = {begin_receive, ring, wait_receive, true};

static void arm_receive_multi(struct bell_side *side, uint32_t index, enum tag tag)
{
    struct io_uring_sqe *sqe = next_entry(side);
    if (bell_is_socket(side->what))
        io_uring_prep_recv_multishot(sqe, fd_of(side, index), NULL, 0, 0);
    else
        io_uring_prep_rw(BELLS_OP_READ_MULTISHOT, sqe, fd_of(side, index), NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = BUFFER_GROUP;
    if (has(side, URING_POLL_FIRST))
        sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
    tag_wait(side, sqe, index, tag);
}

static int begin_receive_multi(struct bell_side *side)
{
    return begin(side, arm_receive_multi);
}

static int wait_receive_multi(struct bell_side *side)
{
    return wait_with(side, arm_receive_multi);
}

const struct bell_waiter uring_receive_multi = {begin_receive_multi, ring, wait_receive_multi,
                                                true};

/* ---- Futexes ---- */

static void arm_futex(struct bell_side *side, uint32_t index, enum tag tag)
{
    struct io_uring_sqe *sqe = next_entry(side);
    queue_futex(sqe, BELLS_OP_FUTEX_WAIT, side->theirs + index, index == 0 ? side->turn - 1 : 0);
    sqe->user_data = tag;
}

static int begin_futex(struct bell_side *side)
{
    return begin(side, arm_futex);
}

static int wait_futex(struct bell_side *side)
{
    return wait_with(side, arm_futex);
}

const struct bell_waiter uring_futex = {begin_futex, ring, wait_futex, true};

/* One request for all words, so all of them are looked at for each ring. */
static void arm_futexv(struct bell_side *side, uint32_t index, enum tag tag)
{
    static struct futex_waitv words[FUTEX_WAITV_MAX];
    const uint32_t count = bell_watched(side->what);
    struct io_uring_sqe *sqe = next_entry(side);
    (void)index;
    for (uint32_t i = 0; i < count; i++)
        words[i] = (struct futex_waitv){
            .val = i == 0 ? side->turn - 1 : 0,
            .uaddr = (uintptr_t)(side->theirs + i),
            .flags = FUTEX_32,
        };
    io_uring_prep_rw(BELLS_OP_FUTEX_WAITV, sqe, 0, words, count, 0);
    sqe->user_data = tag;
}

static int begin_futexv(struct bell_side *side)
{
    return begin(side, NULL);
}

static int wait_futexv(struct bell_side *side)
{
    return wait_with(side, arm_futexv);
}

const struct bell_waiter uring_futexv = {begin_futexv, ring, wait_futexv, true};

/* ---- Both: epoll to sleep in, and a ring that watches nothing but the epoll descriptor ---- */

/* So that a look while awake is at the ring's memory, and sockets are held by epoll only. */
static int begin_over_epoll(struct bell_side *side)
{
    int r = bells_epoll.begin(side);
    if (r == 0)
        r = begin(side, NULL);
    if (r != 0)
        return r;
    struct io_uring_sqe *sqe = next_entry(side);
    io_uring_prep_poll_multishot(sqe, side->epoll, POLLIN);
    sqe->user_data = TAG_IDLE;
    r = io_uring_submit(&side->uring);
    return r < 0 ? r : 0;
}

static int wait_over_epoll(struct bell_side *side)
{
    int r;
    do /* what the ring has for us interrupts; the ring of the doorbell may come with it */
        r = bells_epoll.wait(side);
    while (r == -EINTR);
    io_uring_cq_advance(&side->uring, io_uring_cq_ready(&side->uring));
    return r;
}

const struct bell_waiter uring_over_epoll = {begin_over_epoll, ring, wait_over_epoll, true};

/* ---- What this kernel has ---- */

const char *bells_missing(const struct contender *what)
{
    static struct io_uring_probe *probe;
    struct io_uring ring;
    if (!what->waiter->uring)
        return NULL;
    if (io_uring_queue_init(1, &ring, 0) != 0)
        return "io_uring is not to be had here";
    io_uring_queue_exit(&ring);
    if (io_uring_queue_init(1, &ring, what->setup) != 0)
        return "this kernel's io_uring has no such set-up flags";
    io_uring_queue_exit(&ring);
    if (!probe)
        probe = io_uring_get_probe();
    if (what->opcode && (!probe || !io_uring_opcode_supported(probe, what->opcode)))
        return "this kernel's io_uring has no such operation";
    return NULL;
}
