#include "support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "control/link.h"
#include "support/fds.h"
#include "wire/wire.h"

/* ---- Help ---- */

/* One end a link, the other a bare socket, to send what no link would. */
struct pair {
    struct link *link;
    int raw;
    unsigned fds_before;
};

static void pair_open(struct pair *pair)
{
    int fds[2];
    pair->fds_before = open_fd_count();
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(link_new(fds[0], &pair->link), 0);
    pair->raw = fds[1];
}

/* Whatever a test did: nothing may stay open. */
static void pair_close(struct pair *pair)
{
    link_free(pair->link);
    pair->raw = fd_close(pair->raw);
    assert_int_equal(open_fd_count(), pair->fds_before);
}

static int two_links(struct link **a, struct link **b)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(link_new(fds[0], a), 0);
    assert_int_equal(link_new(fds[1], b), 0);
    return 0;
}

static void raw_send(int fd, const void *data, size_t bytes, const int *fds, size_t fd_count)
{
    struct iovec vector = {.iov_base = (void *)(uintptr_t)data, .iov_len = bytes};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    _Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(int) * 64)];
    if (fd_count > 0) {
        memset(control, 0, sizeof(control));
        message.msg_control = control;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
        memcpy(CMSG_DATA(header), fds, sizeof(int) * fd_count);
    }
    assert_true(sendmsg(fd, &message, MSG_NOSIGNAL) >= 0);
}

static size_t pack_close(uint64_t contract_id, uint8_t *buffer)
{
    Parley__Close body = PARLEY__CLOSE__INIT;
    body.has_contract_id = 1;
    body.contract_id = contract_id;
    Parley__LinkMessage message = PARLEY__LINK_MESSAGE__INIT;
    message.body_case = PARLEY__LINK_MESSAGE__BODY_CLOSE;
    message.close = &body;
    return parley__link_message__pack(&message, buffer);
}

static int send_close(struct link *link, uint64_t contract_id, const int *fds, size_t fd_count)
{
    Parley__Close body = PARLEY__CLOSE__INIT;
    body.has_contract_id = 1;
    body.contract_id = contract_id;
    Parley__LinkMessage message = PARLEY__LINK_MESSAGE__INIT;
    message.body_case = PARLEY__LINK_MESSAGE__BODY_CLOSE;
    message.close = &body;
    return link_send(link, &message, fds, fd_count);
}

/* A Plan whose packed LinkMessage has exactly @bytes. */
static int send_plan_of(struct link *link, size_t bytes, const int *fds, size_t fd_count)
{
    Parley__Plan body = PARLEY__PLAN__INIT;
    Parley__LinkMessage message = PARLEY__LINK_MESSAGE__INIT;
    message.body_case = PARLEY__LINK_MESSAGE__BODY_PLAN;
    message.plan = &body;
    body.has_program = 1;
    body.program.len = bytes - 12;
    while (parley__link_message__get_packed_size(&message) < bytes)
        body.program.len++;
    assert_int_equal(parley__link_message__get_packed_size(&message), bytes);
    body.program.data = malloc(body.program.len);
    assert_non_null(body.program.data);
    for (size_t i = 0; i < body.program.len; i++)
        body.program.data[i] = (uint8_t)(i * 31);
    int r = link_send(link, &message, fds, fd_count);
    free(body.program.data);
    return r;
}

static void expect_refused(struct pair *pair, const char *part)
{
    Parley__LinkMessage *message = NULL;
    int fds[LINK_FD_MAX] = {77, 77};
    size_t fd_count = 99;
    struct error_text error = {""};
    assert_int_equal(link_receive(pair->link, &message, fds, &fd_count, &error), -EBADMSG);
    if (!strstr(error.text, part))
        fail_msg("\"%s\" does not say \"%s\"", error.text, part);
    assert_null(message); /* outputs are untouched */
    assert_int_equal(fds[0], 77);
    assert_int_equal(fd_count, 99);
}

static int some_file(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static void mark_packet(uint8_t packet[9], uint64_t bytes)
{
    packet[0] = 0;
    for (unsigned i = 0; i < 8; i++)
        packet[1 + i] = (uint8_t)(bytes >> (8 * i));
}

static int memfd_with(const uint8_t *data, size_t bytes, int seals)
{
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, bytes), bytes);
    if (seals)
        assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

#define ALL_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)

/* ---- Messages ---- */

static void test_message_and_descriptors_arrive(void **state)
{
    (void)state;
    unsigned before = open_fd_count();
    struct link *a;
    struct link *b;
    two_links(&a, &b);
    int ours[2];
    assert_int_equal(pipe(ours), 0);
    assert_int_equal(send_close(a, 42, ours, 2), 0);

    Parley__LinkMessage *message;
    int fds[LINK_FD_MAX];
    size_t fd_count;
    struct error_text error;
    assert_int_equal(link_receive(b, &message, fds, &fd_count, &error), 0);
    assert_int_equal(message->body_case, PARLEY__LINK_MESSAGE__BODY_CLOSE);
    assert_int_equal(message->close->contract_id, 42);
    assert_int_equal(fd_count, 2);
    assert_true(fcntl(fds[0], F_GETFD) & FD_CLOEXEC);
    assert_int_equal(write(ours[1], "x", 1), 1);
    char byte = 0;
    assert_int_equal(read(fds[0], &byte, 1), 1); /* the same pipe */
    assert_int_equal(byte, 'x');
    wire_free(message);

    assert_int_equal(link_receive(b, &message, fds, &fd_count, &error), LINK_E_AGAIN);
    close(fds[0]);
    close(fds[1]);
    close(ours[0]);
    close(ours[1]);
    link_free(a);
    link_free(b);
    assert_int_equal(open_fd_count(), before);
}

static void receive_plan_of(struct link *link, size_t bytes, size_t expect_fds)
{
    Parley__LinkMessage *message;
    int fds[LINK_FD_MAX];
    size_t fd_count;
    struct error_text error = {""};
    int r = link_receive(link, &message, fds, &fd_count, &error);
    if (r != 0)
        fail_msg("link_receive(): %d, %s", r, error.text);
    assert_int_equal(message->body_case, PARLEY__LINK_MESSAGE__BODY_PLAN);
    assert_int_equal(parley__link_message__get_packed_size(message), bytes);
    for (size_t i = 0; i < message->plan->program.len; i++)
        if (message->plan->program.data[i] != (uint8_t)(i * 31))
            fail_msg("byte %zu differs", i);
    assert_int_equal(fd_count, expect_fds);
    for (size_t i = 0; i < LINK_FD_MAX; i++) {
        if (i >= expect_fds)
            assert_int_equal(fds[i], -1);
        fd_close(fds[i]);
    }
    wire_free(message);
}

static void test_messages_up_to_the_limit_arrive_whole(void **state)
{
    (void)state;
    const size_t sizes[] = {LINK_INLINE_BYTES_MAX, LINK_INLINE_BYTES_MAX + 1, 1000000,
                            LINK_MESSAGE_BYTES_MAX};
    unsigned before = open_fd_count();
    struct link *a;
    struct link *b;
    two_links(&a, &b);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        int fd = some_file();
        assert_int_equal(send_plan_of(a, sizes[i], &fd, 1), 0);
        close(fd);
        receive_plan_of(b, sizes[i], 1);
    }
    link_free(a);
    link_free(b);
    assert_int_equal(open_fd_count(), before);
}

static void test_one_byte_past_the_limit_is_not_sent(void **state)
{
    (void)state;
    struct pair pair;
    pair_open(&pair);
    assert_int_equal(send_plan_of(pair.link, (size_t)LINK_MESSAGE_BYTES_MAX + 1, NULL, 0),
                     -EMSGSIZE);
    pair_close(&pair);
}

static void test_large_message_leaves_room_for_one_descriptor(void **state)
{
    (void)state;
    struct pair pair;
    pair_open(&pair);
    int fds[3] = {some_file(), some_file(), some_file()};
    assert_int_equal(send_plan_of(pair.link, LINK_INLINE_BYTES_MAX, fds, 2), 0);
    assert_int_equal(send_plan_of(pair.link, LINK_INLINE_BYTES_MAX + 1, fds, 2), -EMSGSIZE);
    assert_int_equal(send_close(pair.link, 1, fds, 3), -EMSGSIZE);
    for (size_t i = 0; i < 3; i++)
        close(fds[i]);
    pair_close(&pair);
}

static void test_message_without_a_body_is_not_sent(void **state)
{
    (void)state;
    struct pair pair;
    pair_open(&pair);
    Parley__LinkMessage message = PARLEY__LINK_MESSAGE__INIT;
    assert_int_equal(link_send(pair.link, &message, NULL, 0), -EINVAL);
    pair_close(&pair);
}

/* ---- Bad input ---- */

static void test_garbage_is_refused(void **state)
{
    (void)state;
    struct pair pair;
    pair_open(&pair);
    int fd = some_file();
    raw_send(pair.raw, "\x0a\xff\xff\xff\xff\xff", 6, &fd, 1);
    close(fd);
    expect_refused(&pair, "no message");
    pair_close(&pair);
}

static void test_truncated_message_is_refused(void **state)
{
    (void)state;
    uint8_t whole[32];
    size_t bytes = pack_close(UINT64_MAX, whole);
    for (size_t cut = 1; cut < bytes; cut++) {
        struct pair pair;
        pair_open(&pair);
        raw_send(pair.raw, whole, cut, NULL, 0);
        expect_refused(&pair, "no message");
        pair_close(&pair);
    }
}

static void test_message_of_an_unknown_kind_is_refused(void **state)
{
    (void)state;
    struct pair pair;
    pair_open(&pair);
    raw_send(pair.raw, "\xfa\x01\x00", 3, NULL, 0); /* field 31, empty */
    expect_refused(&pair, "protocol 1");
    pair_close(&pair);
}

static void test_packet_past_the_inline_limit_is_refused(void **state)
{
    (void)state;
    struct pair pair;
    pair_open(&pair);
    uint8_t *data = calloc(1, LINK_INLINE_BYTES_MAX + 1);
    assert_non_null(data);
    data[0] = 0x0a;
    int fd = some_file();
    raw_send(pair.raw, data, LINK_INLINE_BYTES_MAX + 1, &fd, 1);
    close(fd);
    free(data);
    expect_refused(&pair, "longer than");
    pair_close(&pair);
}

static void test_too_many_descriptors_are_refused_and_closed(void **state)
{
    (void)state;
    uint8_t whole[32];
    size_t bytes = pack_close(1, whole);
    const size_t counts[] = {LINK_FD_MAX + 1, LINK_FD_MAX + 2, 40};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        struct pair pair;
        pair_open(&pair);
        int fds[40];
        for (size_t k = 0; k < counts[i]; k++)
            fds[k] = some_file();
        raw_send(pair.raw, whole, bytes, fds, counts[i]);
        for (size_t k = 0; k < counts[i]; k++)
            close(fds[k]);
        expect_refused(&pair, "more than 2 descriptors");
        pair_close(&pair);
    }
}

static void test_descriptors_that_find_no_room_are_refused(void **state)
{
    (void)state;
    struct pair pair;
    pair_open(&pair);
    int fds[2] = {some_file(), some_file()};
    uint8_t whole[32];
    size_t bytes = pack_close(1, whole);
    raw_send(pair.raw, whole, bytes, fds, 2);
    close(fds[1]);
    struct rlimit old;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    int lowest = fcntl(0, F_DUPFD_CLOEXEC, 0); /* the lowest free number */
    struct rlimit tight = {.rlim_cur = (rlim_t)lowest + 1, .rlim_max = old.rlim_max};
    close(lowest);
    /* At most one of the two fits: the kernel cuts (MSG_CTRUNC). */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    expect_refused(&pair, "no room");
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    close(fds[0]);
    pair_close(&pair);
}

static void test_descriptors_without_a_message_are_refused(void **state)
{
    (void)state;
    struct pair pair;
    pair_open(&pair);
    int fd = some_file();
    raw_send(pair.raw, "", 0, &fd, 1);
    close(fd);
    expect_refused(&pair, "without a message");
    pair_close(&pair);
}

static void refuse_memfd(const uint8_t *packet, size_t packet_bytes, int memfd, const char *part)
{
    struct pair pair;
    pair_open(&pair);
    int fds[2] = {some_file(), memfd};
    raw_send(pair.raw, packet, packet_bytes, fds, 2);
    close(fds[0]);
    expect_refused(&pair, part);
    pair_close(&pair);
}

static void test_large_message_that_is_not_sealed_is_refused(void **state)
{
    (void)state;
    uint8_t body[32];
    size_t bytes = pack_close(5, body);
    uint8_t packet[9];
    mark_packet(packet, bytes);
    const int seals[] = {0, F_SEAL_SHRINK | F_SEAL_GROW, F_SEAL_WRITE | F_SEAL_GROW,
                         F_SEAL_WRITE | F_SEAL_SHRINK};
    for (size_t i = 0; i < sizeof(seals) / sizeof(seals[0]); i++) {
        int memfd = memfd_with(body, bytes, seals[i]);
        refuse_memfd(packet, sizeof(packet), memfd, "not sealed");
        close(memfd);
    }
    int null = some_file();
    refuse_memfd(packet, sizeof(packet), null, "not sealed");
    close(null);
}

static void test_large_message_of_another_length_is_refused(void **state)
{
    (void)state;
    uint8_t body[32];
    size_t bytes = pack_close(5, body);
    int memfd = memfd_with(body, bytes, ALL_SEALS);
    uint8_t packet[9];
    mark_packet(packet, bytes + 1);
    refuse_memfd(packet, sizeof(packet), memfd, "in a file of");
    mark_packet(packet, bytes - 1);
    refuse_memfd(packet, sizeof(packet), memfd, "in a file of");
    mark_packet(packet, 0);
    refuse_memfd(packet, sizeof(packet), memfd, "are allowed");
    mark_packet(packet, (uint64_t)LINK_MESSAGE_BYTES_MAX + 1);
    refuse_memfd(packet, sizeof(packet), memfd, "are allowed");
    mark_packet(packet, UINT64_MAX);
    refuse_memfd(packet, sizeof(packet), memfd, "are allowed");
    mark_packet(packet, bytes);
    refuse_memfd(packet, 8, memfd, "no message");
    refuse_memfd(packet, 1, memfd, "no message");
    close(memfd);
}

static void test_large_message_that_is_garbage_is_refused(void **state)
{
    (void)state;
    int memfd = memfd_with((const uint8_t *)"\x0a\xff\xff", 3, ALL_SEALS);
    uint8_t packet[9];
    mark_packet(packet, 3);
    refuse_memfd(packet, sizeof(packet), memfd, "no message");
    close(memfd);
}

static void test_large_message_without_its_file_is_refused(void **state)
{
    (void)state;
    struct pair pair;
    pair_open(&pair);
    uint8_t packet[9];
    mark_packet(packet, 100);
    raw_send(pair.raw, packet, sizeof(packet), NULL, 0);
    expect_refused(&pair, "no message");
    pair_close(&pair);
}

/* ---- The peer is gone ---- */

static void test_gone_peer_is_epipe_and_no_signal(void **state)
{
    (void)state;
    struct pair pair;
    pair_open(&pair);
    pair.raw = fd_close(pair.raw);
    Parley__LinkMessage *message;
    int fds[LINK_FD_MAX];
    size_t fd_count;
    struct error_text error;
    assert_int_equal(link_receive(pair.link, &message, fds, &fd_count, &error), -EPIPE);
    assert_int_equal(send_close(pair.link, 1, NULL, 0), -EPIPE);
    pair_close(&pair);
}

static void test_last_words_of_a_peer_that_did_not_listen_arrive(void **state)
{
    (void)state;
    struct pair pair;
    pair_open(&pair);
    assert_int_equal(send_close(pair.link, 1, NULL, 0), 0); /* never read by the peer */
    uint8_t whole[32];
    raw_send(pair.raw, whole, pack_close(7, whole), NULL, 0);
    pair.raw = fd_close(pair.raw);

    Parley__LinkMessage *message;
    int fds[LINK_FD_MAX];
    size_t fd_count;
    struct error_text error;
    assert_int_equal(link_receive(pair.link, &message, fds, &fd_count, &error), 0);
    assert_int_equal(message->close->contract_id, 7);
    wire_free(message);
    assert_int_equal(link_receive(pair.link, &message, fds, &fd_count, &error), -EPIPE);
    pair_close(&pair);
}

/* ---- The queue ---- */

/* Fills socket and queue with Close messages. Return: how many were taken. */
static uint64_t fill(struct link *link, const int *fds, size_t fd_count)
{
    uint64_t sent = 0;
    for (;;) {
        int r = send_close(link, sent + 1, fds, fd_count);
        if (r == -ENOBUFS)
            return sent;
        assert_int_equal(r, 0);
        sent++;
        assert_true(sent < 100000);
    }
}

static void test_messages_wait_in_order_and_the_queue_is_bounded(void **state)
{
    (void)state;
    unsigned before = open_fd_count();
    struct link *a;
    struct link *b;
    two_links(&a, &b);
    uint64_t sent = fill(a, NULL, 0);
    assert_true(sent > LINK_QUEUE_MAX);
    assert_true(link_queued(a));

    uint64_t received = 0;
    while (received < sent) {
        Parley__LinkMessage *message;
        int fds[LINK_FD_MAX];
        size_t fd_count;
        struct error_text error;
        int r = link_receive(b, &message, fds, &fd_count, &error);
        if (r == LINK_E_AGAIN) {
            assert_int_equal(link_flush(a), 0);
            continue;
        }
        assert_int_equal(r, 0);
        assert_int_equal(message->close->contract_id, ++received);
        wire_free(message);
    }
    assert_false(link_queued(a));
    assert_int_equal(send_close(a, 1, NULL, 0), 0); /* room again */
    link_free(a);
    link_free(b);
    assert_int_equal(open_fd_count(), before);
}

static void test_queue_is_bounded_in_bytes(void **state)
{
    (void)state;
    unsigned before = open_fd_count();
    struct link *a;
    struct link *b;
    two_links(&a, &b);
    /* Inline ones: the socket takes some, the queue the rest. */
    unsigned taken = 0;
    int r;
    while ((r = send_plan_of(a, LINK_INLINE_BYTES_MAX, NULL, 0)) == 0)
        taken++;
    assert_int_equal(r, -ENOBUFS);
    unsigned queue_max = LINK_QUEUE_BYTES_MAX / LINK_INLINE_BYTES_MAX;
    assert_true(taken >= queue_max && taken < queue_max + 64);
    /* What lies in a memfd counts, too. */
    assert_int_equal(send_plan_of(a, LINK_MESSAGE_BYTES_MAX, NULL, 0), -ENOBUFS);
    link_free(a);
    link_free(b);
    assert_int_equal(open_fd_count(), before);
}

static void test_queued_descriptors_are_copies_and_are_closed(void **state)
{
    (void)state;
    unsigned before = open_fd_count();
    struct link *a;
    struct link *b;
    two_links(&a, &b);
    while (!link_queued(a))
        assert_int_equal(send_close(a, 1, NULL, 0), 0);
    int ours[2];
    assert_int_equal(pipe(ours), 0);
    assert_int_equal(send_close(a, 4711, ours, 2), 0);
    close(ours[0]);
    assert_int_equal(send_close(a, 4712, ours + 1, 1), 0);

    for (;;) {
        Parley__LinkMessage *message;
        int fds[LINK_FD_MAX];
        size_t fd_count;
        struct error_text error;
        int r = link_receive(b, &message, fds, &fd_count, &error);
        if (r == LINK_E_AGAIN) {
            assert_int_equal(link_flush(a), 0);
            continue;
        }
        assert_int_equal(r, 0);
        uint64_t id = message->close->contract_id;
        wire_free(message);
        if (id != 4711)
            continue;
        assert_int_equal(fd_count, 2);
        assert_int_equal(write(ours[1], "y", 1), 1);
        char byte = 0;
        assert_int_equal(read(fds[0], &byte, 1), 1);
        close(fds[0]);
        close(fds[1]);
        break;
    }
    close(ours[1]);
    link_free(a); /* the last message may still wait in it */
    link_free(b); /* or in the socket */
    assert_int_equal(open_fd_count(), before);
}

static void test_queue_is_bounded_in_descriptors(void **state)
{
    (void)state;
    struct pair pair;
    pair_open(&pair);
    while (!link_queued(pair.link))
        assert_int_equal(send_close(pair.link, 1, NULL, 0), 0);
    int fds[2] = {some_file(), some_file()};
    assert_int_equal(send_close(pair.link, 2, fds, 1), 0);
    for (unsigned i = 0; i < LINK_QUEUE_FD_MAX / 2 - 1; i++)
        assert_int_equal(send_close(pair.link, 2, fds, 2), 0);
    assert_int_equal(send_close(pair.link, 3, fds, 2), -ETOOMANYREFS);
    assert_int_equal(send_close(pair.link, 3, fds, 1), 0); /* the last one */
    assert_int_equal(send_close(pair.link, 3, fds, 1), -ETOOMANYREFS);
    assert_int_equal(send_close(pair.link, 3, NULL, 0), 0);
    close(fds[0]);
    close(fds[1]);
    pair_close(&pair);
}

static void test_freeing_a_link_closes_what_is_queued(void **state)
{
    (void)state;
    struct pair pair;
    pair_open(&pair);
    while (!link_queued(pair.link))
        assert_int_equal(send_close(pair.link, 1, NULL, 0), 0);
    for (unsigned i = 0; i < 20; i++) {
        int fd = some_file();
        assert_int_equal(send_close(pair.link, 2, &fd, 1), 0);
        close(fd);
    }
    assert_true(open_fd_count() >= pair.fds_before + 22);
    pair_close(&pair);
}

/* ---- Making, connecting, listening ---- */

static void test_only_seqpacket_sockets_become_links(void **state)
{
    (void)state;
    int fds[2];
    struct link *link;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_int_equal(link_new(fds[0], &link), -EPROTOTYPE);
    close(fds[0]); /* still ours */
    close(fds[1]);
    int fd = some_file();
    assert_int_equal(link_new(fd, &link), -ENOTSOCK);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_message_and_descriptors_arrive),
        cmocka_unit_test(test_messages_up_to_the_limit_arrive_whole),
        cmocka_unit_test(test_one_byte_past_the_limit_is_not_sent),
        cmocka_unit_test(test_large_message_leaves_room_for_one_descriptor),
        cmocka_unit_test(test_message_without_a_body_is_not_sent),
        cmocka_unit_test(test_garbage_is_refused),
        cmocka_unit_test(test_truncated_message_is_refused),
        cmocka_unit_test(test_message_of_an_unknown_kind_is_refused),
        cmocka_unit_test(test_packet_past_the_inline_limit_is_refused),
        cmocka_unit_test(test_too_many_descriptors_are_refused_and_closed),
        cmocka_unit_test(test_descriptors_that_find_no_room_are_refused),
        cmocka_unit_test(test_descriptors_without_a_message_are_refused),
        cmocka_unit_test(test_large_message_that_is_not_sealed_is_refused),
        cmocka_unit_test(test_large_message_of_another_length_is_refused),
        cmocka_unit_test(test_large_message_that_is_garbage_is_refused),
        cmocka_unit_test(test_large_message_without_its_file_is_refused),
        cmocka_unit_test(test_gone_peer_is_epipe_and_no_signal),
        cmocka_unit_test(test_last_words_of_a_peer_that_did_not_listen_arrive),
        cmocka_unit_test(test_messages_wait_in_order_and_the_queue_is_bounded),
        cmocka_unit_test(test_queue_is_bounded_in_bytes),
        cmocka_unit_test(test_queued_descriptors_are_copies_and_are_closed),
        cmocka_unit_test(test_queue_is_bounded_in_descriptors),
        cmocka_unit_test(test_freeing_a_link_closes_what_is_queued),
        cmocka_unit_test(test_only_seqpacket_sockets_become_links),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
