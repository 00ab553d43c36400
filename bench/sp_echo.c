/*
 * Is io_uring worth it for the broker's stream? A bare REP in two ways that differ in nothing but
 * how they read and write: epoll as replier_stream.c has it, and io_uring with a multishot receive
 * into provided buffers and, where the kernel can (not on unix sockets), a zero-copy send.
 *
 * An answer has the way back and the body of its request, so it is the same bytes. What one read
 * has brought is answered with one write, once it is whole.
 */
#include "sp_echo.h"

#include <endian.h>
#include <errno.h>
#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define HELLO_BYTES 8
#define MEMORY_BYTES (UINT32_C(8) << 20)
#define ROOM_BYTES (UINT32_C(2) << 20) /* more than a message and a read: then it is moved */
#define READ_BYTES (UINT32_C(1) << 16)
#define BUFFER_COUNT 16 /* of the ring, each of READ_BYTES; a power of two */
#define ZERO_COPY_BYTES (UINT32_C(1) << 14)
#define ENTRIES 16

/* One connection. In memory lie what is being sent, what is whole, and what is arriving. */
struct line {
    int fd;
    bool ipc;
    uint8_t *memory;
    size_t sent, whole, have;
};

static int listen_at(const char *url, bool *ret_ipc)
{
    struct sockaddr_un path = {.sun_family = AF_UNIX};
    struct sockaddr_in port = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int on = 1;
    *ret_ipc = strncmp(url, "ipc://", 6) == 0;
    const char *colon = strrchr(url, ':');
    port.sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
    if (*ret_ipc)
        (void)snprintf(path.sun_path, sizeof(path.sun_path), "%s", url + 6);
    int fd = socket(*ret_ipc ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
        return -1;
    int r = *ret_ipc ? bind(fd, (struct sockaddr *)&path, sizeof(path))
                     : bind(fd, (struct sockaddr *)&port, sizeof(port));
    return r == 0 && listen(fd, 8) == 0 ? fd : -1;
}

/* Greetings are exchanged by plain calls: they are not what is measured. */
static bool greet(const struct line *line)
{
    static const uint8_t ours[HELLO_BYTES] = {0, 'S', 'P', 0, 0, 0x31, 0, 0};
    uint8_t theirs[HELLO_BYTES];
    return send(line->fd, ours, sizeof(ours), MSG_NOSIGNAL) == sizeof(ours) &&
           recv(line->fd, theirs, sizeof(theirs), MSG_WAITALL) == sizeof(theirs) &&
           memcmp(theirs, "\0SP\0\0\x30\0\0", sizeof(theirs)) == 0;
}

/* After more has come. */
static void find_whole(struct line *line)
{
    const size_t head = (line->ipc ? 1 : 0) + sizeof(uint64_t);
    while (line->have - line->whole >= head) {
        uint64_t bytes;
        memcpy(&bytes, line->memory + line->whole + head - sizeof(bytes), sizeof(bytes));
        bytes = be64toh(bytes);
        if (line->have - line->whole - head < bytes)
            return;
        line->whole += head + bytes;
    }
}

/* Only when nothing is being sent. Return: whether there is room for what may come. */
static bool make_room(struct line *line)
{
    if (MEMORY_BYTES - line->have < ROOM_BYTES || line->sent == line->have) {
        memmove(line->memory, line->memory + line->sent, line->have - line->sent);
        line->have -= line->sent;
        line->whole -= line->sent;
        line->sent = 0;
    }
    return MEMORY_BYTES - line->have >= ROOM_BYTES / 2;
}

/* ---- epoll ---- */

/* Return: whether the line lives. */
static bool send_some(struct line *line)
{
    while (line->sent < line->whole) {
        ssize_t n = send(line->fd, line->memory + line->sent, line->whole - line->sent,
                         MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN;
        line->sent += (size_t)n;
    }
    return true;
}

static void serve_epoll(struct line *line)
{
    struct epoll_event event = {.events = EPOLLIN};
    int set = epoll_create1(EPOLL_CLOEXEC);
    if (set < 0 || epoll_ctl(set, EPOLL_CTL_ADD, line->fd, &event) < 0)
        return;
    while (make_room(line) && epoll_wait(set, &event, 1, -1) == 1) {
        uint32_t watched = line->sent < line->whole ? EPOLLIN | EPOLLOUT : EPOLLIN;
        if (event.events & ~(uint32_t)EPOLLOUT) {
            ssize_t n =
                recv(line->fd, line->memory + line->have, MEMORY_BYTES - line->have, MSG_DONTWAIT);
            if (n <= 0)
                break;
            line->have += (size_t)n;
            find_whole(line);
        }
        if (!send_some(line))
            break;
        event.events = line->sent < line->whole ? EPOLLIN | EPOLLOUT : EPOLLIN;
        if (event.events != watched && epoll_ctl(set, EPOLL_CTL_MOD, line->fd, &event) < 0)
            break;
    }
    (void)close(set);
}

/* ---- io_uring ---- */

enum tag { TAG_RECEIVED = 1, TAG_SENT };

struct ring {
    struct io_uring uring;
    struct io_uring_buf_ring *buffers;
    uint8_t *arena; /* BUFFER_COUNT times READ_BYTES */
    bool sending, receiving;
};

static void give_buffer(struct ring *ring, unsigned index)
{
    io_uring_buf_ring_add(ring->buffers, ring->arena + (size_t)index * READ_BYTES, READ_BYTES,
                          (unsigned short)index, io_uring_buf_ring_mask(BUFFER_COUNT), 0);
    io_uring_buf_ring_advance(ring->buffers, 1);
}

static int ring_begin(struct ring *ring)
{
    struct io_uring_params params = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
    };
    struct io_uring_buf_reg reg = {.ring_entries = BUFFER_COUNT};
    void *memory = NULL;
    ring->arena = malloc((size_t)BUFFER_COUNT * READ_BYTES);
    if (!ring->arena || posix_memalign(&memory, 4096, BUFFER_COUNT * sizeof(struct io_uring_buf)))
        return -ENOMEM;
    int r = io_uring_queue_init_params(ENTRIES, &ring->uring, &params);
    if (r < 0)
        return r;
    reg.ring_addr = (uintptr_t)memory;
    r = io_uring_register_buf_ring(&ring->uring, &reg, 0);
    if (r < 0)
        return r;
    ring->buffers = memory;
    io_uring_buf_ring_init(ring->buffers);
    for (unsigned i = 0; i < BUFFER_COUNT; i++)
        give_buffer(ring, i);
    return 0;
}

static void start_receive(struct ring *ring, const struct line *line)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);
    io_uring_prep_recv_multishot(sqe, line->fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->user_data = TAG_RECEIVED;
    ring->receiving = true;
}

/* One at a time, so that they keep their order; MSG_WAITALL: all of it, however long that takes. */
static void start_send(struct ring *ring, const struct line *line)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);
    const uint8_t *data = line->memory + line->sent;
    size_t bytes = line->whole - line->sent;
    if (!line->ipc && bytes >= ZERO_COPY_BYTES)
        io_uring_prep_send_zc(sqe, line->fd, data, bytes, MSG_NOSIGNAL | MSG_WAITALL, 0);
    else
        io_uring_prep_send(sqe, line->fd, data, bytes, MSG_NOSIGNAL | MSG_WAITALL);
    sqe->user_data = TAG_SENT;
    ring->sending = true;
}

/* Return: whether the line lives. */
static bool completed(struct ring *ring, struct line *line, const struct io_uring_cqe *cqe)
{
    if (cqe->user_data == TAG_SENT) {
        if (cqe->flags & IORING_CQE_F_NOTIF) { /* now the memory is ours again */
            ring->sending = false;
            return true;
        }
        ring->sending = cqe->flags & IORING_CQE_F_MORE;
        line->sent += cqe->res > 0 ? (size_t)cqe->res : 0;
        return cqe->res > 0;
    }
    ring->receiving = cqe->flags & IORING_CQE_F_MORE;
    if (cqe->res == -ENOBUFS)
        return true;
    if (cqe->res <= 0 || (size_t)cqe->res > MEMORY_BYTES - line->have)
        return false;
    unsigned index = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
    memcpy(line->memory + line->have, ring->arena + (size_t)index * READ_BYTES, (size_t)cqe->res);
    line->have += (size_t)cqe->res;
    give_buffer(ring, index);
    return true;
}

static void serve_uring(struct line *line)
{
    struct ring ring = {0};
    bool lives = ring_begin(&ring) == 0;
    if (!lives)
        fprintf(stderr, "sp_echo: io_uring cannot do this here\n");
    while (lives) {
        struct io_uring_cqe *cqe;
        unsigned head, count = 0;
        if (!ring.receiving)
            start_receive(&ring, line);
        if (io_uring_submit_and_wait(&ring.uring, 1) < 0)
            break;
        io_uring_for_each_cqe(&ring.uring, head, cqe)
        {
            lives = lives && completed(&ring, line, cqe);
            count++;
        }
        io_uring_cq_advance(&ring.uring, count);
        find_whole(line);
        if (!ring.sending)
            lives = lives && make_room(line);
        if (!ring.sending && line->sent < line->whole)
            start_send(&ring, line);
    }
    if (ring.buffers)
        io_uring_queue_exit(&ring.uring);
    free(ring.buffers);
    free(ring.arena);
}

int sp_echo(const char *url, bool uring, int ready)
{
    struct line line;
    int fd = listen_at(url, &line.ipc);
    uint8_t *memory = malloc(MEMORY_BYTES);
    if (fd < 0 || !memory || write(ready, "r", 1) != 1)
        return -1;
    for (;;) {
        const int on = 1;
        line = (struct line){.fd = accept(fd, NULL, NULL), .ipc = line.ipc, .memory = memory};
        if (line.fd < 0)
            return -1;
        if (!line.ipc)
            (void)setsockopt(line.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        if (greet(&line)) {
            if (uring)
                serve_uring(&line);
            else
                serve_epoll(&line);
        }
        (void)close(line.fd);
    }
}
