/*
 * A client whose requests refer to its memory as no library does: every value of a share wrong in
 * turn, at its limit and past it. The service ends that channel or refuses that request, and goes
 * on serving everybody else; what is odd but possible it answers.
 */
#include "support/test.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support/beside.h"
#include "support/rogue.h"
#include "wire/wire.h"

#define RESPONSE_WAIT_MS 10000
#define FIELD_BYTES (2 + FRAME_STAND_IN_BYTES)

/* ---- A request with shares ---- */

struct request {
    struct rogue rogue;
    struct frame_header header;
    uint8_t payload[(FRAME_SHARES_MAX + 1) * FIELD_BYTES];
    struct share {
        struct frame_stand_in in; /* written where its field is, whatever its place says */
        uint32_t place;
    } shares[FRAME_SHARES_MAX + 1];
    size_t share_count;                      /* that are written, whatever the header says */
    bool other_stand_ins;                    /* @payload has them already */
    uint32_t returns[FRAME_RETURNS_MAX + 1]; /* the same */
    size_t return_count;
};

/* Field 1 of an echo, @count times; each refers to 100 bytes of the first further arena. */
static void request_init(struct request *request, size_t count)
{
    struct error_text error = {""};
    int fd = -1;
    *request = (struct request){.share_count = count};
    rogue_attach(&request->rogue, &bus);
    atomic_store(&request->rogue.segment.cells->asleep, 1); /* and so we are rung */
    assert_int_equal(arena_grow(&request->rogue.segment, 65536, &fd, &error), 0);
    rogue_send_arena(&request->rogue, fd);
    request->header = (struct frame_header){.call_id = 1,
                                            .payload_bytes = (uint32_t)(count * FIELD_BYTES),
                                            .time_left_us = 5000000,
                                            .version_tag = FRAME_TAG_CLIENT,
                                            .kind = FRAME_REQUEST,
                                            .share_count = (uint8_t)count};
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *field = request->payload + i * FIELD_BYTES;
        field[0] = 0x0a;
        field[1] = FRAME_STAND_IN_BYTES;
        request->shares[i].place = i * FIELD_BYTES + 2;
        request->shares[i].in = (struct frame_stand_in){
            .block = 1000 + i, .segment = 1, .offset = 64 * i, .bytes = 100};
    }
}

/* Those of the places; all of them must be below 65,536 if the payload has no byte more. */
static uint8_t *put_places(uint8_t *pos, const struct request *request)
{
    for (size_t i = 0; i < request->share_count; i++) {
        const uint32_t place = request->shares[i].place;
        const uint16_t near = (uint16_t)place;
        const bool far = request->header.payload_bytes > UINT16_MAX;
        memcpy(pos, far ? (const void *)&place : &near, far ? sizeof(place) : sizeof(near));
        pos += far ? sizeof(place) : sizeof(near);
    }
    return pos;
}

static void ring_bell(struct request *request)
{
    static const uint8_t kind = BELL_RING;
    assert_int_equal(send(request->rogue.bell, &kind, 1, MSG_NOSIGNAL), 1);
}

static void request_send(struct request *request)
{
    const uint32_t payload_bytes = request->header.payload_bytes;
    const size_t returns_bytes = request->return_count * sizeof(request->returns[0]);
    const size_t bytes = sizeof(request->header) + payload_bytes +
                         frame_places_bytes(payload_bytes, (uint32_t)request->share_count) +
                         returns_bytes;
    void *record;
    for (size_t i = 0; i < request->share_count && !request->other_stand_ins; i++)
        memcpy(request->payload + i * FIELD_BYTES + 2, &request->shares[i].in,
               FRAME_STAND_IN_BYTES);
    assert_int_equal(
        ring_reserve(&request->rogue.segment, &request->rogue.peer, (uint32_t)bytes, &record), 0);
    uint8_t *pos = record;
    memcpy(pos, &request->header, sizeof(request->header));
    memcpy(pos + sizeof(request->header), request->payload, payload_bytes);
    pos = put_places(pos + sizeof(request->header) + payload_bytes, request);
    memcpy(pos, request->returns, returns_bytes);
    ring_commit(&request->rogue.segment, (uint32_t)bytes);
    ring_bell(request);
}

static void request_end(struct request *request)
{
    rogue_leave(&request->rogue);
    steady_check(&steady);
}

static void assert_broken(struct request *request, const char *text)
{
    request_send(request);
    rogue_expect_broken(&request->rogue, text);
    steady_expect_log(&steady, text);
    request_end(request);
}

static struct frame_ref rogue_was_lent; /* with the last response that was in the arena */

/* Its payload, in @said, and the names that it gives back, in @returned. */
static struct frame_header receive(struct rogue *rogue, uint8_t *said, size_t said_bytes,
                                   uint32_t *returned)
{
    const void *record;
    uint32_t bytes;
    while (ring_peek(&rogue->peer, &record, &bytes) != 0) {
        struct pollfd fd = {.fd = rogue->bell, .events = POLLIN};
        uint8_t packet[256];
        if (poll(&fd, 1, RESPONSE_WAIT_MS) != 1)
            fail_msg("no response");
        if (recv(rogue->bell, packet, sizeof(packet), 0) <= 0 ||
            (packet[0] != BELL_RING && packet[0] != BELL_GROW))
            fail_msg("the channel ended instead of a response");
    }
    struct frame_header header;
    memcpy(&header, record, sizeof(header));
    memset(said, 0, said_bytes);
    memcpy(said, (const uint8_t *)record + sizeof(header),
           header.payload_bytes < said_bytes ? header.payload_bytes : said_bytes - 1);
    if (header.flags & FRAME_IN_ARENA)
        memcpy(&rogue_was_lent, (const uint8_t *)record + sizeof(header), sizeof(rogue_was_lent));
    assert_true(header.return_count <= FRAME_RETURNS_MAX);
    memcpy(returned, (const uint8_t *)record + bytes - header.return_count * sizeof(*returned),
           header.return_count * sizeof(*returned));
    ring_consume(&rogue->peer, &rogue->segment);
    return header;
}

/* And all names come back, each once: with the response, or through the release ring. */
static void assert_answered(struct request *request, enum parley_status status, const char *text)
{
    uint8_t said[512];
    uint32_t returned[FRAME_RETURNS_MAX];
    request_send(request);
    struct frame_header response = receive(&request->rogue, said, sizeof(said), returned);
    assert_string_equal(parley_status_name((enum parley_status)response.status),
                        parley_status_name(status));
    if (text && !strstr((const char *)said, text))
        fail_msg("expected '%s' in the response: %s", text, (const char *)said);
    const struct peer_segment *peer = &request->rogue.peer;
    while (atomic_load(&peer->cells->released) + response.return_count < request->share_count)
        ; /* by the end of the handler, which comes at once */
    assert_int_equal(atomic_load(&peer->cells->released) + response.return_count,
                     request->share_count);
    for (size_t i = 0; i < request->share_count; i++) {
        uint32_t name = response.return_count ? returned[i] : atomic_load(&peer->release[i]);
        assert_int_equal(name, request->shares[i].in.block);
    }
    request_end(request);
}

/* ---- Limits ---- */

static void test_as_many_shares_as_there_may_be_are_answered(void **state)
{
    (void)state;
    struct request request;
    request_init(&request, 1);
    assert_answered(&request, PARLEY_OK, NULL);
    request_init(&request, FRAME_SHARES_MAX);
    assert_answered(&request, PARLEY_OK, NULL);
}

static void test_one_share_more_ends_the_channel(void **state)
{
    (void)state;
    struct request request;
    request_init(&request, FRAME_SHARES_MAX + 1);
    assert_broken(&request, "17 shares and 0 returns is too large");
    request_init(&request, 1);
    request.header.share_count = UINT8_MAX;
    assert_broken(&request, "255 shares and 0 returns is too large");
}

static void test_shares_that_are_not_there_end_the_channel(void **state)
{
    (void)state;
    struct request request;
    request_init(&request, 1);
    request.header.share_count = 2;
    assert_broken(&request, "lengths do not fit");
    request_init(&request, 1);
    request.share_count = 0;
    assert_broken(&request, "lengths do not fit");
}

/* ---- Places ---- */

static void test_places_outside_of_the_payload_end_the_channel(void **state)
{
    (void)state;
    static const uint32_t places[] = {3, FIELD_BYTES, UINT16_MAX, UINT16_MAX - 15};
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        struct request request;
        request_init(&request, 1);
        request.shares[0].place = places[i];
        assert_broken(&request, "a share of byte");
    }
}

static void test_places_that_overlap_or_descend_end_the_channel(void **state)
{
    (void)state;
    struct request request;
    request_init(&request, 2);
    request.shares[1].place = request.shares[0].place + FRAME_STAND_IN_BYTES - 1;
    assert_broken(&request, "a share of byte");
    request_init(&request, 2);
    request.shares[1].place = request.shares[0].place;
    assert_broken(&request, "a share of byte");
    request_init(&request, 2);
    struct share first = request.shares[0];
    request.shares[0] = request.shares[1];
    request.shares[1] = first;
    assert_broken(&request, "a share of byte");
}

static void test_a_place_that_is_no_field_is_refused(void **state)
{
    (void)state;
    static const uint8_t field[] = {0x0a, FRAME_STAND_IN_BYTES + 2};
    for (uint32_t place = 0; place < 5; place++) { /* 2 to 4: a part of the content */
        struct request request;
        request_init(&request, 1);
        memset(request.payload, 0, sizeof(request.payload));
        memcpy(request.payload, field, sizeof(field));
        memcpy(request.payload + place, &request.shares[0].in, FRAME_STAND_IN_BYTES);
        request.other_stand_ins = true;
        request.header.payload_bytes = sizeof(field) + field[1];
        request.shares[0].place = place;
        assert_answered(&request, PARLEY_INVALID_ARGUMENT, "a reference that is no field's value");
    }
}

static void test_a_stand_in_that_is_none_ends_the_channel(void **state)
{
    (void)state;
    struct request request;
    request_init(&request, 1);
    memset(request.payload + 2, 'x', FRAME_STAND_IN_BYTES);
    request.other_stand_ins = true;
    assert_broken(&request, "a share of 2021161080 bytes is too large");
}

static void test_two_stand_ins_that_are_alike_are_answered(void **state)
{
    (void)state;
    struct request request;
    request_init(&request, 2);
    request.shares[1].in = request.shares[0].in;
    assert_answered(&request, PARLEY_OK, NULL);
}

/* ---- Places in a payload that is in the arena ---- */

#define TEXT_HEAD_BYTES 4 /* a tag, and a length from 16,384 on */

/* Puts a text before the fields, so that it is so many bytes in all, and all of it in an arena. The
 * places go with the fields. */
static void send_by_arena(struct request *request, uint32_t payload_bytes)
{
    struct error_text error = {""};
    struct frame_ref ref;
    uint8_t *data;
    int fd = -1;
    struct segment *segment = &request->rogue.segment;
    const uint32_t fields_bytes = request->header.payload_bytes;
    const uint32_t text_bytes = payload_bytes - fields_bytes - TEXT_HEAD_BYTES;
    assert_int_equal(arena_grow(segment, 2 * UINT16_MAX, &fd, &error), 0);
    rogue_send_arena(&request->rogue, fd);
    assert_int_equal(arena_alloc(segment, payload_bytes + 100, &ref, (void **)&data), 0);
    uint8_t *pos = wire_write_varint(wire_write_tag(data, 3, WIRE_BYTES), text_bytes);
    assert_int_equal(pos - data, TEXT_HEAD_BYTES);
    memset(pos, 'x', text_bytes);
    for (size_t i = 0; i < request->share_count; i++) {
        memcpy(request->payload + i * FIELD_BYTES + 2, &request->shares[i].in,
               FRAME_STAND_IN_BYTES);
        request->shares[i].place += TEXT_HEAD_BYTES + text_bytes;
    }
    memcpy(pos + text_bytes, request->payload, fields_bytes);
    request->header.payload_bytes = payload_bytes;
    request->header.flags = FRAME_IN_ARENA;
    (void)put_places(data + payload_bytes, request);
    void *record;
    assert_int_equal(
        ring_reserve(segment, &request->rogue.peer, sizeof(request->header) + sizeof(ref), &record),
        0);
    memcpy(record, &request->header, sizeof(request->header));
    memcpy((uint8_t *)record + sizeof(request->header), &ref, sizeof(ref));
    ring_commit(segment, sizeof(request->header) + sizeof(ref));
    ring_bell(request);
}

static void test_places_take_two_bytes_up_to_a_payload_of_64_kib_and_then_four(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {60000, UINT16_MAX, UINT16_MAX + 1, 2 * UINT16_MAX - 1000};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct request request;
        uint8_t said[512];
        uint32_t returned[FRAME_RETURNS_MAX];
        request_init(&request, 2);
        send_by_arena(&request, sizes[i]);
        assert_int_equal(receive(&request.rogue, said, sizeof(said), returned).status, PARLEY_OK);
        request_end(&request);
    }
}

static void test_far_places_outside_of_the_payload_end_the_channel(void **state)
{
    (void)state;
    static const uint32_t places[] = {70000 - FRAME_STAND_IN_BYTES + 1, 70000, UINT32_MAX,
                                      UINT32_MAX - 15};
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        struct request request;
        request_init(&request, 1);
        request.shares[0].place = places[i] - (70000 - FIELD_BYTES);
        send_by_arena(&request, 70000);
        rogue_expect_broken(&request.rogue, "a share of byte");
        steady_expect_log(&steady, "a share of byte");
        request_end(&request);
    }
}

static void test_a_reference_in_a_text_is_checked_as_a_text(void **state)
{
    (void)state;
    struct request request;
    request_init(&request, 1);
    request.payload[0] = 0x1a; /* field 3; the arena is full of NULs */
    assert_answered(&request, PARLEY_INVALID_ARGUMENT, "the request is not a echo.v1.Message");
}

/* ---- Memory ---- */

static void test_bytes_up_to_the_arena_s_end_are_answered_and_one_more_is_not(void **state)
{
    (void)state;
    struct request request;
    request_init(&request, 1);
    request.shares[0].in.offset = 65536 - 100;
    assert_answered(&request, PARLEY_OK, NULL);
    request_init(&request, 1);
    request.shares[0].in.offset = 65536 - 99;
    assert_broken(&request, "outside of the arena");
    request_init(&request, 1);
    request.shares[0].in.offset = UINT32_MAX - 50;
    assert_broken(&request, "outside of the arena");
}

static void test_no_bytes_at_all_are_answered(void **state)
{
    (void)state;
    struct request request;
    request_init(&request, 1);
    request.shares[0].in.offset = 65536;
    request.shares[0].in.bytes = 0;
    assert_answered(&request, PARLEY_OK, NULL);
}

static void test_too_many_bytes_end_the_channel(void **state)
{
    (void)state;
    struct request request;
    request_init(&request, 1);
    request.shares[0].in.bytes = WIRE_MESSAGE_BYTES_MAX;
    assert_broken(&request, "outside of the arena");
    request_init(&request, 1);
    request.shares[0].in.bytes = WIRE_MESSAGE_BYTES_MAX + 1;
    assert_broken(&request, "a share of 67108865 bytes is too large");
}

static void test_arenas_that_were_never_sent_end_the_channel(void **state)
{
    (void)state;
    static const uint32_t segments[] = {2, ARENA_SEGMENT_MAX, ARENA_SEGMENT_MAX + 1, UINT32_MAX};
    for (size_t i = 0; i < sizeof(segments) / sizeof(segments[0]); i++) {
        struct request request;
        request_init(&request, 1);
        request.shares[0].in.segment = segments[i];
        assert_broken(&request, "outside of the arena");
    }
}

/* ---- Names that come back in a frame ---- */

static void give_back(struct request *request, uint32_t name, size_t count)
{
    for (size_t i = 0; i < count; i++)
        request->returns[i] = name;
    request->return_count = count;
    request->header.return_count = (uint8_t)count;
}

/* Of a response that is too large for the ring. */
static uint32_t be_lent_a_block(struct request *request)
{
    uint8_t said[512];
    uint32_t returned[FRAME_RETURNS_MAX];
    request->shares[0].in.bytes = 20000;
    rogue_was_lent = (struct frame_ref){0};
    request_send(request);
    struct frame_header response = receive(&request->rogue, said, sizeof(said), returned);
    assert_int_equal(response.status, PARLEY_OK);
    assert_int_not_equal(rogue_was_lent.block, 0);
    return rogue_was_lent.block;
}

static void test_a_name_that_was_lent_comes_back_in_a_frame_once(void **state)
{
    (void)state;
    struct request request;
    request_init(&request, 1);
    give_back(&request, be_lent_a_block(&request), 1);
    (void)be_lent_a_block(&request);
    assert_broken(&request, "gives back what it was not lent");
}

static void test_names_that_were_not_lent_end_the_channel(void **state)
{
    (void)state;
    static const uint32_t names[] = {0, 64, 1000, UINT32_MAX};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct request request;
        request_init(&request, 1);
        give_back(&request, names[i], 1);
        assert_broken(&request, "gives back what it was not lent");
    }
    struct request request;
    request_init(&request, 1);
    give_back(&request, be_lent_a_block(&request), FRAME_RETURNS_MAX); /* the same, 8 times */
    assert_broken(&request, "gives back what it was not lent");
}

static void test_more_names_than_a_frame_may_give_back_end_the_channel(void **state)
{
    (void)state;
    struct request request;
    request_init(&request, 1);
    give_back(&request, 64, FRAME_RETURNS_MAX + 1);
    assert_broken(&request, "1 shares and 9 returns is too large");
    request_init(&request, 1);
    request.header.return_count = UINT8_MAX;
    assert_broken(&request, "1 shares and 255 returns is too large");
}

static void test_names_that_are_not_there_end_the_channel(void **state)
{
    (void)state;
    for (uint8_t count = 1; count <= FRAME_RETURNS_MAX; count++) {
        struct request request;
        request_init(&request, 0);
        request.header.return_count = count;
        assert_broken(&request, "lengths do not fit");
    }
    struct request request;
    request_init(&request, 1);
    give_back(&request, 64, FRAME_RETURNS_MAX - 1);
    request.header.return_count = FRAME_RETURNS_MAX; /* the first would be of the last share */
    assert_broken(&request, "lengths do not fit");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_many_shares_as_there_may_be_are_answered),
        cmocka_unit_test(test_one_share_more_ends_the_channel),
        cmocka_unit_test(test_shares_that_are_not_there_end_the_channel),
        cmocka_unit_test(test_places_outside_of_the_payload_end_the_channel),
        cmocka_unit_test(test_places_that_overlap_or_descend_end_the_channel),
        cmocka_unit_test(test_a_place_that_is_no_field_is_refused),
        cmocka_unit_test(test_a_stand_in_that_is_none_ends_the_channel),
        cmocka_unit_test(test_two_stand_ins_that_are_alike_are_answered),
        cmocka_unit_test(test_places_take_two_bytes_up_to_a_payload_of_64_kib_and_then_four),
        cmocka_unit_test(test_far_places_outside_of_the_payload_end_the_channel),
        cmocka_unit_test(test_a_reference_in_a_text_is_checked_as_a_text),
        cmocka_unit_test(test_bytes_up_to_the_arena_s_end_are_answered_and_one_more_is_not),
        cmocka_unit_test(test_no_bytes_at_all_are_answered),
        cmocka_unit_test(test_too_many_bytes_end_the_channel),
        cmocka_unit_test(test_arenas_that_were_never_sent_end_the_channel),
        cmocka_unit_test(test_a_name_that_was_lent_comes_back_in_a_frame_once),
        cmocka_unit_test(test_names_that_were_not_lent_end_the_channel),
        cmocka_unit_test(test_more_names_than_a_frame_may_give_back_end_the_channel),
        cmocka_unit_test(test_names_that_are_not_there_end_the_channel),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
