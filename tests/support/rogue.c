/*
 * The rogue builds on the link and shm rooms, whose own checks it must not use on its own behalf:
 * raw packets go out by sendmsg(), frames are written into the ring as the test says.
 */
#include "support/test.h"

#include "support/rogue.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/random.h"
#include "echo.parley.h"
#include "wire/wire.h"

#define ROGUE_WATCHDOG_MS 10000
#define ROGUE_RAW_FD_MAX 8
#define ROGUE_CONTRACT 77

static void drop_message(struct rogue *rogue)
{
    rogue->message = wire_free(rogue->message);
    for (size_t i = 0; i < LINK_FD_MAX; i++)
        rogue->fds[i] = fd_close(rogue->fds[i]);
}

void rogue_connect(struct rogue *rogue, const struct bus *bus)
{
    struct error_text error = {.text = ""};
    *rogue = (struct rogue){.stats = REGION_NONE, .fds = {-1, -1}, .bell = -1};
    rogue->segment.region = REGION_NONE;
    rogue->peer.region = REGION_NONE;
    if (link_connect(bus->socket, &rogue->link, &error) != 0)
        fail_msg("%s", error.text);
}

Parley__Hello rogue_hello(struct rogue *rogue)
{
    Parley__Hello hello = PARLEY__HELLO__INIT;
    struct error_text error = {.text = ""};
    hello.has_protocol = true;
    hello.protocol = LINK_PROTOCOL;
    hello.has_endpoint_id = true;
    hello.endpoint_id = random_id();
    hello.name = (char *)"rogue";
    if (rogue->stats.base)
        return hello;
    size_t bytes = STATS_REGION_BYTES;
    if (region_create(&rogue->stats, "rogue", bytes, &error) != 0)
        fail_msg("%s", error.text);
    struct stats_header *header = rogue->stats.base;
    header->magic = STATS_MAGIC;
    header->version = LAYOUT_VERSION;
    header->cell_bytes = sizeof(struct stats_cell);
    header->cell_max = STATS_CELL_MAX;
    header->endpoint_id = hello.endpoint_id;
    return hello;
}

void rogue_say_hello(struct rogue *rogue, Parley__Hello *hello, const int *fds, size_t fd_count)
{
    Parley__LinkMessage message = PARLEY__LINK_MESSAGE__INIT;
    message.body_case = PARLEY__LINK_MESSAGE__BODY_HELLO;
    message.hello = hello;
    rogue_send(rogue, &message, fds, fd_count);
}

void rogue_send(struct rogue *rogue, const Parley__LinkMessage *message, const int *fds,
                size_t fd_count)
{
    assert_int_equal(link_send(rogue->link, message, fds, fd_count), 0);
    assert_false(link_queued(rogue->link));
}

void rogue_send_raw(struct rogue *rogue, const void *data, size_t bytes, const int *fds,
                    size_t fd_count)
{
    union {
        struct cmsghdr align;
        char buffer[CMSG_SPACE(ROGUE_RAW_FD_MAX * sizeof(int))];
    } control = {0};
    struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = bytes};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    if (fd_count > 0) {
        message.msg_control = control.buffer;
        message.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
        struct cmsghdr *cmsg = CMSG_FIRSTHDR(&message);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
        memcpy(CMSG_DATA(cmsg), fds, fd_count * sizeof(int));
    }
    assert_int_equal(sendmsg(link_fd(rogue->link), &message, MSG_NOSIGNAL), bytes);
}

Parley__LinkMessage__BodyCase rogue_receive(struct rogue *rogue)
{
    drop_message(rogue);
    for (;;) {
        struct error_text error = {.text = ""};
        struct pollfd fd = {.fd = link_fd(rogue->link), .events = POLLIN};
        size_t fd_count;
        int r = link_receive(rogue->link, &rogue->message, rogue->fds, &fd_count, &error);
        if (r == 0)
            return rogue->message->body_case;
        if (r == -EPIPE)
            return PARLEY__LINK_MESSAGE__BODY__NOT_SET;
        if (r != LINK_E_AGAIN)
            fail_msg("the broker sent what no broker sends: %s", error.text);
        if (poll(&fd, 1, ROGUE_WATCHDOG_MS) != 1)
            fail_msg("the broker does not answer");
    }
}

void rogue_expect_farewell(struct rogue *rogue, enum parley_status status, const char *text)
{
    assert_int_equal(rogue_receive(rogue), PARLEY__LINK_MESSAGE__BODY_FAREWELL);
    const Parley__Farewell *farewell = rogue->message->farewell;
    assert_string_equal(parley_status_name((enum parley_status)farewell->status),
                        parley_status_name(status));
    if (!farewell->text || !strstr(farewell->text, text))
        fail_msg("expected '%s' in the farewell: %s", text, farewell->text ? farewell->text : "");
    assert_int_equal(rogue_receive(rogue), PARLEY__LINK_MESSAGE__BODY__NOT_SET);
}

void rogue_join(struct rogue *rogue, const struct bus *bus)
{
    rogue_connect(rogue, bus);
    Parley__Hello hello = rogue_hello(rogue);
    rogue_say_hello(rogue, &hello, &rogue->stats.fd, 1);
    assert_int_equal(rogue_receive(rogue), PARLEY__LINK_MESSAGE__BODY_WELCOME);
}

void rogue_open(struct rogue *rogue, const struct bus *bus)
{
    Parley__Open body = PARLEY__OPEN__INIT;
    Parley__LinkMessage message = PARLEY__LINK_MESSAGE__INIT;
    rogue_join(rogue, bus);
    message.body_case = PARLEY__LINK_MESSAGE__BODY_OPEN;
    message.open = &body;
    body.has_contract_id = true;
    body.contract_id = ROGUE_CONTRACT;
    body.interface = (char *)(uintptr_t)echo__v1__echo__interface.name;
    body.version = (char *)(uintptr_t)echo__v1__echo__interface.version;
    body.service = (char *)(uintptr_t)echo__v1__echo__interface.service->name;
    body.has_descriptor_set = true;
    body.descriptor_set.data = (uint8_t *)(uintptr_t)echo__v1__echo__interface.descriptor_set;
    body.descriptor_set.len = echo__v1__echo__interface.descriptor_set_bytes;
    rogue_send(rogue, &message, NULL, 0);
    do {
        /* UNAVAILABLE: a broker that has just started and hears of the service in a moment. */
        assert_int_equal(rogue_receive(rogue), PARLEY__LINK_MESSAGE__BODY_OPENED);
    } while (rogue->message->opened->status == PARLEY_UNAVAILABLE);
    assert_int_equal(rogue->message->opened->status, PARLEY_OK);
    assert_int_equal(rogue_receive(rogue), PARLEY__LINK_MESSAGE__BODY_INSTANCES);
    assert_true(rogue->message->instances->n_up > 0);
    rogue->instance_id = rogue->message->instances->up[0]->instance_id;
}

void rogue_say_connect(struct rogue *rogue, int segment_fd, int bell_fd)
{
    Parley__Connect body = PARLEY__CONNECT__INIT;
    Parley__LinkMessage message = PARLEY__LINK_MESSAGE__INIT;
    const int fds[] = {segment_fd, bell_fd};
    message.body_case = PARLEY__LINK_MESSAGE__BODY_CONNECT;
    message.connect = &body;
    body.has_contract_id = true;
    body.contract_id = ROGUE_CONTRACT;
    body.has_instance_id = true;
    body.instance_id = rogue->instance_id;
    rogue_send(rogue, &message, fds, 2);
}

void rogue_attach(struct rogue *rogue, const struct bus *bus)
{
    struct error_text error = {.text = ""};
    int bells[2], fd;
    rogue_open(rogue, bus);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, bells), 0);
    if (segment_create(&rogue->segment, NULL, &error) != 0)
        fail_msg("%s", error.text);
    rogue->bell = bells[0];
    rogue_say_connect(rogue, rogue->segment.region.fd, bells[1]);
    close(bells[1]);
    struct bell_packet packet = rogue_bell(rogue->bell, &fd);
    if (packet.kind != BELL_ACCEPT)
        fail_msg("the service did not accept: %d: %s", packet.kind, packet.text);
    if (peer_segment_map(&rogue->peer, fd, &error) != 0)
        fail_msg("%s", error.text);
    close(fd);
}

void rogue_leave(struct rogue *rogue)
{
    drop_message(rogue);
    rogue->link = link_free(rogue->link);
    rogue->bell = fd_close(rogue->bell);
    region_deinit(&rogue->stats);
    peer_segment_deinit(&rogue->peer);
    segment_deinit(&rogue->segment);
}

static int take_fd(struct msghdr *message)
{
    int fd = -1;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
            memcpy(&fd, CMSG_DATA(c), sizeof(int));
    }
    return fd;
}

struct bell_packet rogue_bell(int bell, int *ret_fd)
{
    for (;;) {
        struct bell_packet packet = {.kind = 0};
        union {
            struct cmsghdr align;
            char buffer[CMSG_SPACE(sizeof(int))];
        } control;
        struct iovec iov = {.iov_base = &packet, .iov_len = sizeof(packet)};
        struct msghdr message = {.msg_iov = &iov,
                                 .msg_iovlen = 1,
                                 .msg_control = control.buffer,
                                 .msg_controllen = sizeof(control.buffer)};
        struct pollfd poll_fd = {.fd = bell, .events = POLLIN};
        if (poll(&poll_fd, 1, ROGUE_WATCHDOG_MS) != 1)
            fail_msg("the service says nothing");
        ssize_t n = recvmsg(bell, &message, MSG_CMSG_CLOEXEC);
        if (n < 0 && errno == ECONNRESET)
            continue; /* said once: it closed without reading all of ours; what it sent is next */
        assert_true(n >= 0);
        if (packet.kind == BELL_RING)
            continue;
        packet.text[sizeof(packet.text) - 1] = '\0';
        int fd = n > 0 ? take_fd(&message) : -1;
        if (ret_fd)
            *ret_fd = fd;
        else
            fd_close(fd);
        return packet;
    }
}

void rogue_expect_broken(struct rogue *rogue, const char *text)
{
    struct bell_packet packet;
    do { /* BELL_GROW: of a response that was there before anybody looked at the bell */
        packet = rogue_bell(rogue->bell, NULL);
    } while (packet.kind == BELL_GROW);
    assert_int_equal(packet.kind, BELL_BROKEN);
    assert_string_equal(parley_status_name((enum parley_status)packet.status), "INTERNAL");
    if (!strstr(packet.text, text))
        fail_msg("expected '%s' in what the service says: %s", text, packet.text);
    assert_int_equal(rogue_bell(rogue->bell, NULL).kind, 0);
}

static void send_memory(struct rogue *rogue, enum bell_kind kind, int fd)
{
    const struct bell_packet packet = {.kind = (uint8_t)kind};
    union {
        struct cmsghdr align;
        char buffer[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec iov = {.iov_base = (void *)(uintptr_t)&packet, .iov_len = sizeof(packet)};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.buffer,
                             .msg_controllen = sizeof(control.buffer)};
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&message);
    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(cmsg), &fd, sizeof(int));
    assert_int_equal(sendmsg(rogue->bell, &message, MSG_NOSIGNAL), sizeof(packet));
}

void rogue_send_arena(struct rogue *rogue, int fd)
{
    send_memory(rogue, BELL_GROW, fd);
}

void rogue_send_ring(struct rogue *rogue, int fd)
{
    send_memory(rogue, BELL_GROW_RING, fd);
}
