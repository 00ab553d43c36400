/*
 * A client that has joined the bus correctly, and then gives a service bad memory: segments that
 * are none, and records that no library writes. The service tells it what is wrong, writes a line
 * to its log, and goes on serving everybody else.
 */
#include "support/test.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "echo.parley.h"
#include "support/beside.h"
#include "support/rogue.h"

#define ECHO_METHOD 0
#define RESPONSE_WAIT_MS 10000

/* ---- Memory that is no segment ---- */

/* Offers @segment_fd, which is closed, and expects to be turned away. */
static void assert_turned_away(int segment_fd, const char *text)
{
    struct rogue rogue;
    int bells[2];
    assert_true(segment_fd >= 0);
    rogue_open(&rogue, &bus);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, bells), 0);
    rogue_say_connect(&rogue, segment_fd, bells[1]);
    close(bells[1]);
    close(segment_fd);
    struct bell_packet packet = rogue_bell(bells[0], NULL);
    assert_int_equal(packet.kind, BELL_REJECT);
    assert_int_not_equal(packet.status, PARLEY_OK);
    if (!strstr(packet.text, text))
        fail_msg("expected '%s' in what the service says: %s", text, packet.text);
    assert_int_equal(rogue_bell(bells[0], NULL).kind, 0);
    close(bells[0]);
    rogue_leave(&rogue);
    steady_expect_log(&steady, text);
    steady_check(&steady);
}

/* A memfd with these seals. */
static int some_memfd(size_t bytes, int seals)
{
    int fd = memfd_create("rogue", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_true(fd >= 0);
    assert_int_equal(posix_fallocate(fd, 0, (off_t)bytes), 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

#define ALL_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL)

static void test_an_unsealed_memfd_is_no_segment(void **state)
{
    (void)state;
    assert_turned_away(some_memfd(1 << 20, 0), "lacks seals");
}

static void test_a_memfd_that_may_shrink_is_no_segment(void **state)
{
    (void)state;
    assert_turned_away(some_memfd(1 << 20, ALL_SEALS & ~F_SEAL_SHRINK), "lacks seals");
}

static void test_a_truncated_memfd_is_no_segment(void **state)
{
    (void)state;
    assert_turned_away(some_memfd(64, ALL_SEALS), "truncated");
}

static void test_a_device_is_no_segment(void **state)
{
    (void)state;
    assert_turned_away(open("/dev/zero", O_RDWR | O_CLOEXEC), "not a memfd");
}

static void test_sealed_zeros_are_no_segment(void **state)
{
    (void)state;
    assert_turned_away(some_memfd(1 << 20, ALL_SEALS), "segment");
}

/* A good segment but for its header, which @spoil changes before it is sent. */
static void assert_spoilt_header(void (*spoil)(struct segment_header *header), const char *text)
{
    struct segment segment;
    struct error_text error;
    assert_int_equal(segment_create(&segment, NULL, &error), 0);
    spoil(segment.region.base);
    assert_turned_away(dup(segment.region.fd), text);
    segment_deinit(&segment);
}

static void spoil_version(struct segment_header *header)
{
    header->version = LAYOUT_VERSION + 1;
}

static void spoil_lines(struct segment_header *header)
{
    header->ring_lines = SEGMENT_RING_LINES_MAX * 2;
}

static void spoil_ring(struct segment_header *header)
{
    header->ring_offset = UINT32_MAX - 63;
}

static void spoil_arena(struct segment_header *header)
{
    header->arena_bytes = UINT32_MAX;
}

static void test_an_impossible_header_is_no_segment(void **state)
{
    (void)state;
    assert_spoilt_header(spoil_version, "version");
    assert_spoilt_header(spoil_lines, "ring");
    assert_spoilt_header(spoil_ring, "ring");
    assert_spoilt_header(spoil_arena, "arena");
}

static void test_a_doorbell_that_is_no_socket_harms_nobody(void **state)
{
    (void)state;
    struct rogue rogue;
    struct segment segment;
    struct error_text error;
    rogue_open(&rogue, &bus);
    assert_int_equal(segment_create(&segment, NULL, &error), 0);
    int bell = open("/dev/null", O_RDWR | O_CLOEXEC);
    rogue_say_connect(&rogue, segment.region.fd, bell);
    close(bell);
    steady_expect_log(&steady, "turned away");
    steady_check(&steady);
    segment_deinit(&segment);
    rogue_leave(&rogue);
}

/* ---- Records that no library writes ---- */

static void ring_bell(struct rogue *rogue)
{
    static const uint8_t kind = BELL_RING;
    assert_int_equal(send(rogue->bell, &kind, 1, MSG_NOSIGNAL), 1);
}

static struct frame_header a_request(uint64_t call_id)
{
    return (struct frame_header){.call_id = call_id,
                                 .time_left_us = 5000000,
                                 .method = ECHO_METHOD,
                                 .version_tag = FRAME_TAG_CLIENT,
                                 .kind = FRAME_REQUEST};
}

/* Sends a record: the header, and @bytes behind it. */
static void send_record(struct rogue *rogue, const struct frame_header *header, const void *data,
                        size_t bytes)
{
    void *record;
    assert_int_equal(
        ring_reserve(&rogue->segment, &rogue->peer, (uint32_t)(sizeof(*header) + bytes), &record),
        0);
    memcpy(record, header, sizeof(*header));
    if (bytes > 0)
        memcpy((uint8_t *)record + sizeof(*header), data, bytes);
    ring_commit(&rogue->segment, (uint32_t)(sizeof(*header) + bytes));
    ring_bell(rogue);
}

/* A channel on which @spoil is done, and the end of it. */
static void assert_broken(void (*spoil)(struct rogue *rogue), const char *text)
{
    struct rogue rogue;
    rogue_attach(&rogue, &bus);
    spoil(&rogue);
    rogue_expect_broken(&rogue, text);
    rogue_leave(&rogue);
    steady_expect_log(&steady, text);
    steady_check(&steady);
}

static void unknown_tag(struct rogue *rogue)
{
    struct frame_header header = a_request(1);
    header.version_tag = 9;
    send_record(rogue, &header, NULL, 0);
}

static void test_an_unknown_version_tag_ends_the_channel(void **state)
{
    (void)state;
    assert_broken(unknown_tag, "unknown version tag 9");
}

static void unknown_kind(struct rogue *rogue)
{
    struct frame_header header = a_request(1);
    header.kind = 77;
    send_record(rogue, &header, NULL, 0);
}

static void test_an_unknown_kind_of_frame_ends_the_channel(void **state)
{
    (void)state;
    assert_broken(unknown_kind, "a frame of kind 77");
}

static void no_frame(struct rogue *rogue)
{
    void *record;
    assert_int_equal(ring_reserve(&rogue->segment, &rogue->peer, 5, &record), 0);
    memset(record, 'x', 5);
    ring_commit(&rogue->segment, 5);
    ring_bell(rogue);
}

static void test_a_record_too_short_for_a_frame_ends_the_channel(void **state)
{
    (void)state;
    assert_broken(no_frame, "a record of 5 bytes is no frame");
}

static void long_payload(struct rogue *rogue)
{
    struct frame_header header = a_request(1);
    header.payload_bytes = 4000;
    send_record(rogue, &header, "short", 5);
}

static void test_a_length_past_the_record_ends_the_channel(void **state)
{
    (void)state;
    assert_broken(long_payload, "lengths do not fit");
}

static void huge_payload(struct rogue *rogue)
{
    struct frame_header header = a_request(1);
    header.payload_bytes = UINT32_MAX;
    header.metadata_bytes = UINT16_MAX;
    send_record(rogue, &header, NULL, 0);
}

static void test_a_length_past_the_limit_ends_the_channel(void **state)
{
    (void)state;
    assert_broken(huge_payload, "too large");
}

/* Writes a prefix of its own at the ring's start. */
static void write_prefix(struct rogue *rogue, uint32_t sequence, uint32_t bytes)
{
    struct ring_prefix *prefix = (struct ring_prefix *)rogue->segment.ring;
    prefix->bytes = bytes;
    atomic_store_explicit(&prefix->sequence, sequence, memory_order_release);
    ring_bell(rogue);
}

static void huge_record(struct rogue *rogue)
{
    write_prefix(rogue, ring_sequence(0), UINT32_MAX - 2);
}

static void empty_record(struct rogue *rogue)
{
    write_prefix(rogue, ring_sequence(0), 0);
}

static void stray_pad(struct rogue *rogue)
{
    write_prefix(rogue, ring_sequence(0), RING_PAD);
}

static void wrong_sequence(struct rogue *rogue)
{
    write_prefix(rogue, ring_sequence(123456), 64);
}

static void test_an_impossible_record_ends_the_channel(void **state)
{
    (void)state;
    assert_broken(huge_record, "an impossible record");
    assert_broken(empty_record, "an impossible record");
    assert_broken(stray_pad, "an impossible record");
    assert_broken(wrong_sequence, "an impossible record");
}

static void outside_the_arena(struct rogue *rogue)
{
    struct frame_header header = a_request(1);
    const struct frame_ref ref = {.block = 1, .offset = UINT64_MAX - 4};
    header.flags = FRAME_IN_ARENA;
    header.payload_bytes = 4096;
    send_record(rogue, &header, &ref, sizeof(ref));
}

static void unknown_arena(struct rogue *rogue)
{
    struct frame_header header = a_request(1);
    const struct frame_ref ref = {.segment = 7};
    header.flags = FRAME_IN_ARENA;
    header.payload_bytes = 64;
    send_record(rogue, &header, &ref, sizeof(ref));
}

static void missing_reference(struct rogue *rogue)
{
    struct frame_header header = a_request(1);
    header.flags = FRAME_IN_ARENA;
    send_record(rogue, &header, NULL, 0);
}

static void test_a_reference_outside_of_the_arena_ends_the_channel(void **state)
{
    (void)state;
    assert_broken(outside_the_arena, "outside of the arena");
    assert_broken(unknown_arena, "outside of the arena");
    assert_broken(missing_reference, "without the reference");
}

/* Claims to have read what was never written; calls until the service needs to know. */
static void impossible_cursor(struct rogue *rogue)
{
    struct frame_header header = a_request(1);
    atomic_store(&rogue->segment.cells->consumed, UINT64_C(1) << 40);
    for (unsigned i = 0; i < 10000; i++) {
        struct pollfd fd = {.fd = rogue->bell, .events = POLLIN};
        void *record;
        if (ring_reserve(&rogue->segment, &rogue->peer, sizeof(header), &record) == 0) {
            memcpy(record, &header, sizeof(header));
            ring_commit(&rogue->segment, sizeof(header));
            ring_bell(rogue);
        }
        if (poll(&fd, 1, 1) == 1)
            return;
    }
}

static void test_a_ring_cursor_out_of_range_ends_the_channel(void **state)
{
    (void)state;
    assert_broken(impossible_cursor, "an impossible cursor");
}

static void test_bye_ends_the_channel_in_peace(void **state)
{
    (void)state;
    struct rogue rogue;
    struct frame_header bye = {.version_tag = FRAME_TAG_CLIENT, .kind = FRAME_BYE};
    rogue_attach(&rogue, &bus);
    send_record(&rogue, &bye, NULL, 0);
    assert_int_equal(rogue_bell(rogue.bell, NULL).kind, 0);
    rogue_leave(&rogue);
    steady_check(&steady);
}

/* ---- The doorbell ---- */

static void short_packet(struct rogue *rogue)
{
    assert_int_equal(send(rogue->bell, "garbage", 7, MSG_NOSIGNAL), 7);
}

static void unknown_packet(struct rogue *rogue)
{
    const struct bell_packet packet = {.kind = 99};
    assert_int_equal(send(rogue->bell, &packet, sizeof(packet), MSG_NOSIGNAL), sizeof(packet));
}

static void grow_without_memory(struct rogue *rogue)
{
    const struct bell_packet packet = {.kind = BELL_GROW};
    assert_int_equal(send(rogue->bell, &packet, sizeof(packet), MSG_NOSIGNAL), sizeof(packet));
}

static void test_garbage_on_the_doorbell_ends_the_channel(void **state)
{
    (void)state;
    assert_broken(short_packet, "a doorbell packet of the wrong form");
    assert_broken(unknown_packet, "a doorbell packet of unknown kind 99");
    assert_broken(grow_without_memory, "a doorbell packet of the wrong form");
}

static void send_memfd(struct rogue *rogue, int fd)
{
    rogue_send_arena(rogue, fd);
    close(fd);
}

static void unsealed_arena(struct rogue *rogue)
{
    send_memfd(rogue, some_memfd(1 << 20, 0));
}

static void truncated_arena(struct rogue *rogue)
{
    send_memfd(rogue, some_memfd(16, ALL_SEALS));
}

static void blank_arena(struct rogue *rogue)
{
    send_memfd(rogue, some_memfd(1 << 20, ALL_SEALS));
}

static void test_memory_that_is_no_arena_ends_the_channel(void **state)
{
    (void)state;
    assert_broken(unsealed_arena, "lacks seals");
    assert_broken(truncated_arena, "truncated");
    assert_broken(blank_arena, "arena");
}

static void unsealed_ring(struct rogue *rogue)
{
    int fd = some_memfd(1 << 20, 0);
    rogue_send_ring(rogue, fd);
    close(fd);
}

static void blank_ring(struct rogue *rogue)
{
    int fd = some_memfd(1 << 18, ALL_SEALS);
    rogue_send_ring(rogue, fd);
    close(fd);
}

static void send_good_ring(struct rogue *rogue)
{
    struct error_text error;
    int fd = -1;
    assert_int_equal(ring_grow(&rogue->segment, &fd, &error), 0);
    rogue_send_ring(rogue, fd);
}

static void two_rings(struct rogue *rogue)
{
    send_good_ring(rogue);
    rogue_send_ring(rogue, rogue->segment.further.fd);
}

static void say_moved(struct rogue *rogue)
{
    struct ring_prefix *prefix =
        (struct ring_prefix *)(uintptr_t)ring_our_word(&rogue->segment, rogue->segment.head);
    prefix->bytes = RING_MOVED;
    atomic_store(&prefix->sequence, ring_sequence(rogue->segment.head));
    assert_int_equal(send(rogue->bell, "\1", 1, MSG_NOSIGNAL), 1);
}

static void moved_again(struct rogue *rogue)
{
    send_good_ring(rogue);
    ring_move(&rogue->segment);
    say_moved(rogue);
}

static void test_a_ring_that_goes_on_nowhere_ends_the_channel(void **state)
{
    (void)state;
    assert_broken(unsealed_ring, "lacks seals");
    assert_broken(blank_ring, "no further ring");
    assert_broken(two_rings, "second further ring");
    assert_broken(say_moved, "goes on in one that it did not send");
    assert_broken(moved_again, "goes on in one that it did not send");
}

/* ---- Requests that are wrong, on a channel that is right ---- */

/* Waits for the next response; its text in @text. */
static struct frame_header receive_response(struct rogue *rogue, char *text, size_t text_bytes)
{
    for (;;) {
        const void *record;
        uint32_t bytes;
        int r = ring_peek(&rogue->peer, &record, &bytes);
        if (r == 0) {
            struct frame_header header;
            assert_true(bytes >= sizeof(header));
            memcpy(&header, record, sizeof(header));
            size_t length =
                header.payload_bytes < text_bytes ? header.payload_bytes : text_bytes - 1;
            memcpy(text, (const uint8_t *)record + sizeof(header), length);
            text[length] = '\0';
            ring_consume(&rogue->peer, &rogue->segment);
            return header;
        }
        assert_int_equal(r, RING_E_EMPTY);
        struct pollfd fd = {.fd = rogue->bell, .events = POLLIN};
        if (poll(&fd, 1, RESPONSE_WAIT_MS) != 1)
            fail_msg("no response");
        uint8_t packet[256];
        ssize_t n = recv(rogue->bell, packet, sizeof(packet), 0);
        if (n <= 0 || packet[0] != BELL_RING)
            fail_msg("the channel ended instead of a response");
    }
}

static void attach_to_sleep(struct rogue *rogue)
{
    rogue_attach(rogue, &bus);
    atomic_store(&rogue->segment.cells->asleep, 1); /* and so we are rung */
}

static void assert_refused(struct rogue *rogue, const struct frame_header *header, const void *data,
                           size_t bytes, enum parley_status status, const char *text)
{
    char said[512];
    send_record(rogue, header, data, bytes);
    struct frame_header response = receive_response(rogue, said, sizeof(said));
    assert_int_equal(response.kind, FRAME_RESPONSE);
    assert_int_equal(response.call_id, header->call_id);
    assert_string_equal(parley_status_name((enum parley_status)response.status),
                        parley_status_name(status));
    assert_int_equal(response.executed, PARLEY_EXECUTED_NO);
    if (!strstr(said, text))
        fail_msg("expected '%s' in the response: %s", text, said);
}

static void test_wrong_requests_are_refused_one_by_one(void **state)
{
    (void)state;
    struct rogue rogue;
    char said[512];
    attach_to_sleep(&rogue);
    struct frame_header header = a_request(1);

    header.method = 999;
    assert_refused(&rogue, &header, NULL, 0, PARLEY_UNIMPLEMENTED, "no method");
    header = a_request(2);
    header.payload_bytes = 4;
    assert_refused(&rogue, &header, "\xff\xff\xff\xff", 4, PARLEY_INVALID_ARGUMENT,
                   "the request is not a echo.v1.Message");
    header = a_request(3);
    header.payload_bytes = 4;
    assert_refused(&rogue, &header, "\x1a\x02\xc3\x28", 4, PARLEY_INVALID_ARGUMENT, "UTF-8");
    header = a_request(4);
    header.metadata_bytes = 3;
    assert_refused(&rogue, &header, "\xff\xff\xff", 3, PARLEY_INVALID_ARGUMENT, "metadata");
    steady_expect_log(&steady, "refused a call: UNIMPLEMENTED");

    /* One-way, the same get no answer: the next that comes is to the call after them. */
    header = a_request(4);
    header.kind = FRAME_ONE_WAY;
    header.method = 999;
    send_record(&rogue, &header, NULL, 0);
    header.method = ECHO_METHOD;
    header.payload_bytes = 4;
    send_record(&rogue, &header, "\x1a\x02\xc3\x28", 4);

    /* And the channel is as good as before: field 2, number 42, comes back. */
    header = a_request(5);
    header.payload_bytes = 2;
    send_record(&rogue, &header, "\x10\x2a", 2);
    struct frame_header response = receive_response(&rogue, said, sizeof(said));
    assert_int_equal(response.call_id, 5);
    assert_int_equal(response.status, PARLEY_OK);
    assert_int_equal(response.payload_bytes, 2);
    assert_memory_equal(said, "\x10\x2a", 2);
    rogue_leave(&rogue);
    steady_check(&steady);
}

static void test_a_client_that_dies_with_calls_in_flight_harms_nobody(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 8; i++) {
        struct rogue rogue;
        struct frame_header header = a_request(i);
        rogue_attach(&rogue, &bus);
        send_record(&rogue, &header, NULL, 0);
        rogue_leave(&rogue); /* at once, whatever the service is doing */
    }
    steady_check(&steady);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_unsealed_memfd_is_no_segment),
        cmocka_unit_test(test_a_memfd_that_may_shrink_is_no_segment),
        cmocka_unit_test(test_a_truncated_memfd_is_no_segment),
        cmocka_unit_test(test_a_device_is_no_segment),
        cmocka_unit_test(test_sealed_zeros_are_no_segment),
        cmocka_unit_test(test_an_impossible_header_is_no_segment),
        cmocka_unit_test(test_a_doorbell_that_is_no_socket_harms_nobody),
        cmocka_unit_test(test_an_unknown_version_tag_ends_the_channel),
        cmocka_unit_test(test_an_unknown_kind_of_frame_ends_the_channel),
        cmocka_unit_test(test_a_record_too_short_for_a_frame_ends_the_channel),
        cmocka_unit_test(test_a_length_past_the_record_ends_the_channel),
        cmocka_unit_test(test_a_length_past_the_limit_ends_the_channel),
        cmocka_unit_test(test_an_impossible_record_ends_the_channel),
        cmocka_unit_test(test_a_reference_outside_of_the_arena_ends_the_channel),
        cmocka_unit_test(test_a_ring_cursor_out_of_range_ends_the_channel),
        cmocka_unit_test(test_bye_ends_the_channel_in_peace),
        cmocka_unit_test(test_garbage_on_the_doorbell_ends_the_channel),
        cmocka_unit_test(test_memory_that_is_no_arena_ends_the_channel),
        cmocka_unit_test(test_a_ring_that_goes_on_nowhere_ends_the_channel),
        cmocka_unit_test(test_wrong_requests_are_refused_one_by_one),
        cmocka_unit_test(test_a_client_that_dies_with_calls_in_flight_harms_nobody),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
