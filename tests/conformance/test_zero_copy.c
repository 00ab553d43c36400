/*
 * Bytes that travel as references, against a real broker and services in processes of their own:
 * what arrives, whether it was copied, how long it stays. Run once for each wait backend.
 */
#include "support/test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "blob_v1.parley.h"
#include "conformance/blobs.h"
#include "rpc/rpc.h"
#include "shm/layout.h"
#include "support/allocations.h"
#include "support/bus.h"

#define MIB ((size_t)1 << 20)

static struct bus bus;
static struct parley_endpoint *endpoint;
static struct parley_client *client;
static pid_t service;

static void connect_client(const char *version)
{
    service = bus_fork(&bus, blobs_serve, (void *)(uintptr_t)version);
    endpoint = bus_endpoint(&bus, "test");
    if (parley_client_new(endpoint, &blob__v1__store__interface, NULL, &client) != PARLEY_OK)
        fail_msg("%s", parley_error_text());
    for (int i = 0; i < 5000 && parley_client_channel_count(client) < 1; i++)
        parley_dispatch(endpoint, 2000000);
    assert_int_equal(parley_client_channel_count(client), 1);
}

static int setup(void **state)
{
    (void)state;
    bus_start(&bus);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    endpoint = parley_endpoint_free(endpoint);
    client = NULL;
    bus_stop(&bus);
    return 0;
}

static struct parley_buffer *buffer_new(size_t bytes, uint8_t first)
{
    struct parley_buffer *buffer;
    if (parley_buffer_new(client, bytes, &buffer) != PARLEY_OK)
        fail_msg("%s", parley_error_text());
    blob_fill(parley_buffer_data(buffer), bytes, first);
    return buffer;
}

static ProtobufCBinaryData bytes_of(const struct parley_buffer *buffer, size_t bytes)
{
    return (ProtobufCBinaryData){bytes, parley_buffer_data(buffer)};
}

static void assert_same(ProtobufCBinaryData a, ProtobufCBinaryData b)
{
    assert_int_equal(a.len, b.len);
    assert_true(a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static Blob__V1__Blob *look(const Blob__V1__Blob *request)
{
    Blob__V1__Blob *reply = NULL;
    if (blob__v1__store__look_call(client, request, &reply, NULL) != PARLEY_OK)
        fail_msg("%s", parley_error_text());
    return reply;
}

/* ---- Requests ---- */

/* Return: what the service says was live. */
static uint32_t look_at(ProtobufCBinaryData data)
{
    Blob__V1__Blob request = BLOB__V1__BLOB__INIT;
    request.data = data;
    Blob__V1__Blob *reply = look(&request);
    assert_same(reply->data, data);
    uint32_t number = reply->number;
    parley_reply_free(reply);
    return number;
}

static void test_bytes_of_a_buffer_arrive_as_a_pointer_into_it(void **state)
{
    (void)state;
    connect_client("1");
    static const size_t sizes[] = {PARLEY_BUFFER_BYTES_MIN, 65536, MIB, 16 * MIB, 20000001};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct parley_buffer *buffer = buffer_new(sizes[i], (uint8_t)i);
        assert_int_equal(look_at(bytes_of(buffer, sizes[i])), BLOB_DATA);
        parley_buffer_free(buffer);
    }
}

static void test_short_bytes_and_other_memory_are_copied(void **state)
{
    (void)state;
    connect_client("1");
    struct parley_buffer *buffer = buffer_new(2 * PARLEY_BUFFER_BYTES_MIN, 0);
    assert_int_equal(look_at(bytes_of(buffer, PARLEY_BUFFER_BYTES_MIN - 1)), 0);
    uint8_t *plain = malloc(MIB);
    blob_fill(plain, MIB, 3);
    assert_int_equal(look_at((ProtobufCBinaryData){MIB, plain}), 0);
    free(plain);
    parley_buffer_free(buffer);
}

static void test_a_part_of_a_buffer_is_referred_to_and_what_reaches_out_is_not(void **state)
{
    (void)state;
    connect_client("1");
    struct parley_buffer *buffer = buffer_new(3 * MIB, 0);
    uint8_t *data = parley_buffer_data(buffer);
    assert_int_equal(look_at((ProtobufCBinaryData){MIB + 1, data + 4097}), BLOB_DATA);
    assert_int_equal(look_at((ProtobufCBinaryData){MIB, data + 2 * MIB}), BLOB_DATA);
    struct parley_buffer *small = buffer_new(8192, 0);
    assert_int_equal(look_at((ProtobufCBinaryData){8192 - 64, data - 64}), 0);
    parley_buffer_free(small);
    parley_buffer_free(buffer);
}

static void test_a_buffer_serves_many_calls(void **state)
{
    (void)state;
    connect_client("1");
    struct parley_buffer *buffer = buffer_new(65536, 0);
    for (unsigned i = 0; i < 500; i++) {
        ((uint8_t *)parley_buffer_data(buffer))[i] = (uint8_t)i;
        assert_int_equal(look_at(bytes_of(buffer, 65536)), BLOB_DATA);
    }
    parley_buffer_free(buffer);
    for (unsigned i = 0; i < 500; i++) {
        buffer = buffer_new(MIB, (uint8_t)i);
        assert_int_equal(look_at(bytes_of(buffer, MIB)), BLOB_DATA);
        parley_buffer_free(buffer);
    }
}

static void test_every_field_may_be_a_reference(void **state)
{
    (void)state;
    connect_client("1");
    struct parley_buffer *buffer = buffer_new(MIB, 1);
    ProtobufCBinaryData more[3];
    Blob__V1__Piece piece = BLOB__V1__PIECE__INIT;
    Blob__V1__Blob request = BLOB__V1__BLOB__INIT;
    request.data = request.gone = request.coded = piece.content = bytes_of(buffer, 200000);
    request.piece = &piece;
    request.either_case = BLOB__V1__BLOB__EITHER_LEFT;
    request.left = request.data;
    for (size_t i = 0; i < 3; i++)
        more[i] = bytes_of(buffer, 5000 + i);
    request.n_more = 3;
    request.more = more;
    Blob__V1__Blob *reply = look(&request);
    assert_int_equal(reply->number,
                     BLOB_DATA | BLOB_GONE | BLOB_CODED | BLOB_PIECE | BLOB_LEFT | 3 * BLOB_MORE);
    assert_same(reply->piece->content, piece.content);
    assert_same(reply->left, request.left);
    for (size_t i = 0; i < 3; i++)
        assert_same(reply->more[i], more[i]);
    parley_reply_free(reply);
    parley_buffer_free(buffer);
}

/* A reference behind so many bytes of the message's own. */
static void look_behind(size_t bytes, const struct parley_buffer *buffer, uint8_t *plain)
{
    Blob__V1__Blob request = BLOB__V1__BLOB__INIT;
    request.data = (ProtobufCBinaryData){bytes, plain};
    request.gone = bytes_of(buffer, MIB);
    Blob__V1__Blob *reply = look(&request);
    assert_int_equal(reply->number, BLOB_GONE);
    assert_same(reply->data, request.data);
    assert_same(reply->gone, request.gone);
    parley_reply_free(reply);
}

/* In the record's first line, in further ones, in the arena; places of two bytes, and of four. */
static void test_a_reference_may_be_behind_any_number_of_other_bytes(void **state)
{
    (void)state;
    connect_client("1");
    struct parley_buffer *buffer = buffer_new(MIB, 1);
    uint8_t *plain = malloc(200000);
    blob_fill(plain, 200000, 7);
    for (size_t bytes = 0; bytes < 500; bytes++) {
        look_behind(bytes, buffer, plain);
        look_behind(bytes % 3, buffer, plain); /* which is what the next one is taken for */
    }
    for (size_t bytes = UINT16_MAX - 40; bytes < UINT16_MAX + 3; bytes++)
        look_behind(bytes, buffer, plain);
    look_behind(200000, buffer, plain);
    free(plain);
    parley_buffer_free(buffer);
}

static void test_the_seventeenth_field_is_copied(void **state)
{
    (void)state;
    connect_client("1");
    struct parley_buffer *buffer = buffer_new(MIB, 1);
    ProtobufCBinaryData more[PARLEY_BUFFER_FIELDS_MAX + 1];
    Blob__V1__Blob request = BLOB__V1__BLOB__INIT;
    for (size_t i = 0; i < PARLEY_BUFFER_FIELDS_MAX + 1; i++)
        more[i] = bytes_of(buffer, 50000 + i);
    request.more = more;
    for (size_t i = 0; i < 2; i++) {
        request.n_more = PARLEY_BUFFER_FIELDS_MAX + i;
        Blob__V1__Blob *reply = look(&request);
        assert_int_equal(reply->number, PARLEY_BUFFER_FIELDS_MAX * BLOB_MORE);
        assert_int_equal(reply->n_more, request.n_more);
        for (size_t j = 0; j < reply->n_more; j++)
            assert_same(reply->more[j], more[j]);
        parley_reply_free(reply);
    }
    parley_buffer_free(buffer);
}

static void test_buffers_end_at_half_of_what_can_be_shared(void **state)
{
    (void)state;
    connect_client("1");
    struct parley_buffer *buffers[33];
    size_t count = 0;
    assert_int_equal(parley_buffer_new(client, 0, &buffers[0]), PARLEY_INVALID_ARGUMENT);
    assert_int_equal(parley_buffer_new(client, PARLEY_BUFFER_BYTES_MAX + 1, &buffers[0]),
                     PARLEY_INVALID_ARGUMENT);
    while (parley_buffer_new(client, 4096, &buffers[count]) == PARLEY_OK)
        assert_true(++count <= 32);
    assert_int_equal(count, 32);
    uint8_t *plain = calloc(1, MIB);
    assert_int_equal(look_at((ProtobufCBinaryData){MIB, plain}), 0); /* calls go on */
    free(plain);
    while (count > 0)
        parley_buffer_free(buffers[--count]);
    for (; count < 2; count++)
        assert_int_equal(parley_buffer_new(client, PARLEY_BUFFER_BYTES_MAX, &buffers[count]),
                         PARLEY_OK);
    assert_int_equal(parley_buffer_new(client, 4096, &buffers[2]), PARLEY_RESOURCE_EXHAUSTED);
    while (count > 0)
        parley_buffer_free(buffers[--count]);
    buffers[0] = buffer_new(4096, 0);
    parley_buffer_free(buffers[0]);
}

/* Freed ones keep their memory only for as long as nobody else needs it. */
static void test_freed_buffers_make_room_for_others_of_any_size(void **state)
{
    (void)state;
    connect_client("1");
    for (unsigned i = 0; i < 2; i++) {
        struct parley_buffer *large[2];
        for (size_t j = 0; j < 2; j++)
            large[j] = buffer_new(PARLEY_BUFFER_BYTES_MAX, (uint8_t)i);
        for (size_t j = 0; j < 2; j++)
            parley_buffer_free(large[j]); /* half of all bytes */
        for (size_t bytes = 4096; bytes < PARLEY_BUFFER_BYTES_MAX; bytes *= 4) {
            struct parley_buffer *buffer = buffer_new(bytes, (uint8_t)i);
            assert_int_equal(look_at(bytes_of(buffer, bytes)), BLOB_DATA);
            parley_buffer_free(buffer);
        }
    }
}

/* As long as it is about as large; and it is not written over what is read still. */
static void test_a_freed_buffer_is_the_next_one(void **state)
{
    (void)state;
    connect_client("1");
    struct parley_buffer *buffer = buffer_new(MIB, 1), *other = buffer_new(MIB, 1);
    uint8_t *data = parley_buffer_data(buffer);
    assert_true(data != parley_buffer_data(other));
    parley_buffer_free(buffer);
    static const size_t sizes[] = {MIB, MIB - 1, MIB - MIB / 8};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        buffer = buffer_new(sizes[i], 1);
        assert_ptr_equal(parley_buffer_data(buffer), data);
        assert_int_equal(look_at(bytes_of(buffer, sizes[i])), BLOB_DATA);
        if (sizes[i] < MIB) /* one past it; behind a whole MiB nothing may be mapped */
            assert_int_equal(look_at((ProtobufCBinaryData){sizes[i] + 1, data}), 0);
        parley_buffer_free(buffer);
    }
    static const size_t unlike[] = {MIB + 1, MIB - MIB / 8 - 1};
    for (size_t i = 0; i < sizeof(unlike) / sizeof(unlike[0]); i++) {
        buffer = buffer_new(unlike[i], 1);
        assert_ptr_not_equal(parley_buffer_data(buffer), data);
        parley_buffer_free(buffer);
    }
    parley_buffer_free(other);
}

static void test_a_buffer_of_another_client_is_copied(void **state)
{
    (void)state;
    connect_client("1");
    struct parley_client *other;
    assert_int_equal(parley_client_new(endpoint, &blob__v1__store__interface, NULL, &other),
                     PARLEY_OK);
    for (int i = 0; i < 5000 && parley_client_channel_count(other) < 1; i++)
        parley_dispatch(endpoint, 2000000);
    struct parley_buffer *buffer;
    assert_int_equal(parley_buffer_new(other, MIB, &buffer), PARLEY_OK);
    blob_fill(parley_buffer_data(buffer), MIB, 9);
    assert_int_equal(look_at(bytes_of(buffer, MIB)), 0);
    parley_client_free(other);
    assert_int_equal(look_at(bytes_of(buffer, MIB)), 0); /* the memory is still there */
    parley_buffer_free(buffer);
}

static void ended(const Blob__V1__Blob *reply, void *data)
{
    (void)reply;
    *(bool *)data = true;
}

static bool is_true(void *flag)
{
    return *(bool *)flag;
}

static void test_what_an_expired_call_refers_to_stays_until_its_handler_answers(void **state)
{
    (void)state;
    connect_client("1");
    Blob__V1__Blob request = BLOB__V1__BLOB__INIT;
    Blob__V1__Blob *reply = NULL;
    struct parley_call call = {.timeout_ns = 20000000};
    struct parley_buffer *buffer = buffer_new(MIB, 1);
    uint8_t *before = malloc(MIB);
    request.data = bytes_of(buffer, MIB);
    parley_bytes_copy(request.data, before);
    assert_int_equal(blob__v1__store__hold_call(client, &request, &reply, &call),
                     PARLEY_DEADLINE_EXCEEDED);
    parley_buffer_free(buffer);
    /* Others are not in its place. */
    struct parley_buffer *others[8];
    for (uint8_t i = 0; i < 8; i++)
        others[i] = buffer_new(MIB, (uint8_t)(2 + i));
    request.data.len = 0;
    assert_int_equal(blob__v1__store__tell_call(client, &request, &reply, NULL), PARLEY_OK);
    assert_int_equal(reply->number, BLOB_DATA);
    assert_same(reply->data, (ProtobufCBinaryData){MIB, before});
    parley_reply_free(reply);
    for (size_t i = 0; i < 8; i++)
        parley_buffer_free(others[i]);
    free(before);
}

/* Names go out and do not come back. The message is large even so, and packed in place. */
static void test_a_service_that_keeps_requests_is_sent_copies_in_the_end(void **state)
{
    (void)state;
    connect_client("1");
    struct parley_buffer *buffer = buffer_new(MIB, 1);
    uint8_t *plain = malloc(100000);
    ProtobufCBinaryData more[3] = {bytes_of(buffer, 5000), bytes_of(buffer, 6000),
                                   bytes_of(buffer, 7000)};
    blob_fill(plain, 100000, 2);
    for (unsigned i = 0; i < SEGMENT_RELEASE_SLOTS_MIN; i++) {
        Blob__V1__Blob request = BLOB__V1__BLOB__INIT;
        Blob__V1__Blob *reply = NULL;
        struct parley_call call = {.timeout_ns = 1000000};
        request.data = (ProtobufCBinaryData){100000, plain};
        request.more = more;
        request.n_more = 3;
        reply = look(&request);
        assert_same(reply->data, request.data);
        assert_int_equal(reply->n_more, 3);
        assert_same(reply->more[2], more[2]);
        parley_reply_free(reply);
        request.data = more[0];
        request.n_more = 0;
        assert_int_equal(blob__v1__store__hold_call(client, &request, &reply, &call),
                         PARLEY_DEADLINE_EXCEEDED);
    }
    parley_buffer_free(buffer);
    free(plain);
}

static void test_a_started_call_copies_and_its_buffer_may_go_at_once(void **state)
{
    (void)state;
    connect_client("1");
    struct parley_buffer *buffer = buffer_new(MIB, 1);
    Blob__V1__Blob request = BLOB__V1__BLOB__INIT;
    bool done = false;
    request.data = bytes_of(buffer, MIB);
    blob__v1__store__look(parley_client_service(client), &request, ended, &done);
    parley_buffer_free(buffer);
    assert_true(bus_wait(endpoint, is_true, &done));
}

/* ---- Replies ---- */

static Blob__V1__Blob *make(size_t bytes, uint8_t first, bool all)
{
    Blob__V1__Blob request = BLOB__V1__BLOB__INIT;
    Blob__V1__Blob *reply = NULL;
    request.number = (uint32_t)bytes;
    request.data = (ProtobufCBinaryData){1, &first};
    if (all) {
        request.either_case = BLOB__V1__BLOB__EITHER_LEFT;
        request.left = request.data;
    }
    if (blob__v1__store__make_call(client, &request, &reply, NULL) != PARLEY_OK)
        fail_msg("%s", parley_error_text());
    return reply;
}

static void assert_filled(ProtobufCBinaryData data, size_t bytes, uint8_t first)
{
    uint8_t *expected = malloc(bytes);
    blob_fill(expected, bytes, first);
    assert_same(data, (ProtobufCBinaryData){bytes, expected});
    free(expected);
}

static void test_bytes_of_a_reply_s_buffer_arrive_as_a_pointer_into_it(void **state)
{
    (void)state;
    connect_client("1");
    static const size_t sizes[] = {PARLEY_BUFFER_BYTES_MIN, 65536, MIB, 16 * MIB};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        Blob__V1__Blob *reply = make(sizes[i], (uint8_t)i, false);
        ProtobufCBinaryData data = reply->data;
        assert_int_equal(reply->number, 1);
        assert_true(parley_bytes_is_live(data));
        assert_filled(data, sizes[i], (uint8_t)i);
        parley_reply_free(reply);
    }
}

static void test_every_field_of_a_reply_may_be_a_reference(void **state)
{
    (void)state;
    connect_client("1");
    Blob__V1__Blob *reply = make(70000, 5, true);
    assert_true(parley_bytes_is_live(reply->gone));
    assert_true(parley_bytes_is_live(reply->piece->content));
    assert_true(parley_bytes_is_live(reply->left));
    assert_true(parley_bytes_is_live(reply->more[0]));
    assert_filled(reply->left, 70000, 5);
    parley_reply_free(reply);
}

static void test_a_reply_s_memory_is_used_again_when_it_is_freed(void **state)
{
    (void)state;
    connect_client("1");
    for (unsigned i = 0; i < 500; i++) {
        Blob__V1__Blob *reply = make(MIB, (uint8_t)i, false);
        assert_int_equal(reply->number, 1);
        assert_true(parley_bytes_is_live(reply->data));
        parley_reply_free(reply);
    }
}

static void test_replies_that_are_kept_hold_up_no_call(void **state)
{
    (void)state;
    connect_client("1");
    Blob__V1__Blob *replies[100];
    size_t shared = 0;
    for (size_t i = 0; i < 100; i++) {
        replies[i] = make(MIB / 2, (uint8_t)i, false);
        shared += replies[i]->number;
        assert_int_equal(parley_bytes_is_live(replies[i]->data), replies[i]->number);
    }
    assert_int_equal(shared, 32);
    for (size_t i = 0; i < 100; i++) {
        assert_filled(replies[i]->data, MIB / 2, (uint8_t)i);
        parley_reply_free(replies[i]);
    }
    Blob__V1__Blob *reply = make(MIB / 2, 0, false);
    assert_int_equal(reply->number, 1);
    parley_reply_free(reply);
}

/* ---- Names come back in frames, through the release ring, or when the client sleeps ---- */

#define MIXED_STEPS 600
#define MIXED_KEPT 12
#define MIXED_STARTED 6

struct mixed {
    uint64_t random;
    Blob__V1__Blob *kept[MIXED_KEPT];
    size_t bytes[MIXED_KEPT];
    unsigned started, ended;
};

static void mixed_replied(const Blob__V1__Blob *reply, void *data)
{
    struct mixed *mixed = data;
    assert_non_null(reply);
    assert_filled(reply->data, reply->data.len, (uint8_t)reply->data.len);
    mixed->ended++;
}

static bool all_ended(void *data)
{
    const struct mixed *mixed = data;
    return mixed->started == mixed->ended;
}

/* A reply in the place of one that is freed, in whatever order. */
static void mixed_keep(struct mixed *mixed, size_t i, size_t bytes)
{
    if (mixed->kept[i]) {
        assert_filled(mixed->kept[i]->data, mixed->bytes[i], (uint8_t)mixed->bytes[i]);
        parley_reply_free(mixed->kept[i]);
    }
    mixed->kept[i] = bytes ? make(bytes, (uint8_t)bytes, false) : NULL;
    mixed->bytes[i] = bytes;
}

static void mixed_start(struct mixed *mixed, size_t bytes)
{
    Blob__V1__Blob request = BLOB__V1__BLOB__INIT;
    uint8_t first = (uint8_t)bytes;
    request.number = (uint32_t)bytes;
    request.data = (ProtobufCBinaryData){1, &first};
    mixed->started++;
    blob__v1__store__make(parley_client_service(client), &request, mixed_replied, mixed);
}

static void mixed_step(struct mixed *mixed)
{
    static const size_t sizes[] = {4096, 5000, 65536, 70000};
    size_t bytes = sizes[random_below(&mixed->random, 4)] + random_below(&mixed->random, 200);
    struct parley_buffer *buffer;
    switch (random_below(&mixed->random, 4)) {
    case 0:
        buffer = buffer_new(bytes, (uint8_t)bytes);
        assert_int_equal(look_at(bytes_of(buffer, bytes)), BLOB_DATA);
        parley_buffer_free(buffer);
        break;
    case 1:
        if (mixed->started - mixed->ended < MIXED_STARTED)
            mixed_start(mixed, bytes);
        break;
    case 2:
        parley_dispatch(endpoint, random_below(&mixed->random, 2) * 100000); /* may sleep */
        break;
    default:
        mixed_keep(mixed, random_below(&mixed->random, MIXED_KEPT), bytes);
    }
}

static void test_every_name_comes_back_whichever_way_it_takes(void **state)
{
    (void)state;
    connect_client("1");
    struct mixed mixed = {.random = 1};
    for (unsigned i = 0; i < MIXED_STEPS; i++)
        mixed_step(&mixed);
    assert_true(bus_wait(endpoint, all_ended, &mixed));
    for (size_t i = 0; i < MIXED_KEPT; i++)
        mixed_keep(&mixed, i, 0);
    Blob__V1__Blob *replies[32];
    for (size_t i = 0; i < 32; i++) { /* as many as there can be */
        replies[i] = make(4096, 0, false);
        assert_int_equal(replies[i]->number, 1);
    }
    for (size_t i = 0; i < 32; i++)
        parley_reply_free(replies[i]);
    struct parley_buffer *buffer = buffer_new(MIB, 0);
    assert_int_equal(look_at(bytes_of(buffer, MIB)), BLOB_DATA);
    parley_buffer_free(buffer);
}

static bool has_no_channel(void *unused)
{
    (void)unused;
    return parley_client_channel_count(client) == 0;
}

static void test_a_reply_outlives_its_service_its_client_and_its_endpoint(void **state)
{
    (void)state;
    connect_client("1");
    Blob__V1__Blob *replies[4];
    for (uint8_t i = 0; i < 4; i++)
        replies[i] = make(MIB, i, false);
    kill(service, SIGKILL);
    assert_int_equal(bus_reap(&bus, service), -SIGKILL);
    assert_filled(replies[0]->data, MIB, 0);
    assert_true(bus_wait(endpoint, has_no_channel, NULL));
    assert_filled(replies[0]->data, MIB, 0);
    parley_reply_free(replies[0]);
    client = parley_client_free(client);
    assert_filled(replies[1]->data, MIB, 1);
    parley_reply_free(replies[1]);
    endpoint = parley_endpoint_free(endpoint);
    assert_true(parley_bytes_is_live(replies[2]->data));
    assert_filled(replies[2]->data, MIB, 2);
    assert_filled(replies[3]->data, MIB, 3);
    parley_reply_free(replies[2]);
    parley_reply_free(replies[3]);
}

static void test_a_service_that_dies_with_a_buffer_harms_nobody(void **state)
{
    (void)state;
    connect_client("1");
    struct parley_buffer *buffer = buffer_new(MIB, 4);
    Blob__V1__Blob request = BLOB__V1__BLOB__INIT;
    Blob__V1__Blob *reply = NULL;
    request.data = bytes_of(buffer, MIB);
    assert_int_equal(blob__v1__store__die_call(client, &request, &reply, NULL), PARLEY_UNAVAILABLE);
    assert_int_equal(bus_reap(&bus, service), -SIGKILL);
    assert_filled(request.data, MIB, 4);
    (void)bus_fork(&bus, blobs_serve, (void *)(uintptr_t) "1");
    for (int i = 0; i < 5000 && parley_client_channel_count(client) < 1; i++)
        parley_dispatch(endpoint, 2000000);
    assert_int_equal(look_at(request.data), 0); /* another instance */
    parley_buffer_free(buffer);
}

struct in_closure {
    bool done;
    size_t bytes;
};

static void reply_closure(const Blob__V1__Blob *reply, void *data)
{
    struct in_closure *in = data;
    assert_non_null(reply);
    assert_true(parley_bytes_is_live(reply->data));
    assert_filled(reply->data, in->bytes, 0);
    in->done = true;
}

static void test_a_closure_gets_live_bytes_too(void **state)
{
    (void)state;
    connect_client("1");
    for (unsigned i = 0; i < 100; i++) {
        struct in_closure in = {.bytes = 100000};
        Blob__V1__Blob request = BLOB__V1__BLOB__INIT;
        request.number = (uint32_t)in.bytes;
        blob__v1__store__make(parley_client_service(client), &request, reply_closure, &in);
        assert_true(bus_wait(endpoint, is_true, &in.done));
    }
}

static void raw_replied(const struct rpc_outcome *outcome, const uint8_t *payload, size_t bytes,
                        void *userdata)
{
    assert_int_equal(outcome->status, PARLEY_OK);
    Blob__V1__Blob *reply = blob__v1__blob__unpack(NULL, bytes, payload);
    assert_non_null(reply);
    assert_filled(reply->data, 300000, 0);
    assert_filled(reply->piece->content, 300000, 0);
    blob__v1__blob__free_unpacked(reply, NULL);
    *(bool *)userdata = true;
}

static void test_who_wants_a_reply_s_bytes_gets_them_whole(void **state)
{
    (void)state;
    connect_client("1");
    Blob__V1__Blob request = BLOB__V1__BLOB__INIT;
    uint8_t packed[64], zero[] = {0};
    bool done = false;
    request.number = 300000;
    request.either_case = BLOB__V1__BLOB__EITHER_LEFT;
    request.left = request.data = (ProtobufCBinaryData){1, zero};
    const struct rpc_call call = {
        .payload = packed,
        .payload_bytes = blob__v1__blob__pack(&request, packed),
        .replied = raw_replied,
        .userdata = &done,
    };
    assert_true(rpc_call_raw(client, 1, &call) != 0);
    assert_true(bus_wait(endpoint, is_true, &done));
}

/* ---- Translated ---- */

static void test_references_pass_through_rules_that_do_not_look_at_them(void **state)
{
    (void)state;
    connect_client("2");
    struct parley_buffer *buffer = buffer_new(16 * MIB, 6);
    Blob__V1__Piece piece = BLOB__V1__PIECE__INIT;
    Blob__V1__Blob request = BLOB__V1__BLOB__INIT;
    request.data = bytes_of(buffer, 16 * MIB);
    piece.content = bytes_of(buffer, 4096);
    request.piece = &piece;
    request.n_more = 1;
    request.more = &piece.content;
    request.either_case = BLOB__V1__BLOB__EITHER_LEFT;
    request.left = piece.content;
    Blob__V1__Blob *reply = look(&request);
    assert_int_equal(reply->number, BLOB_DATA | BLOB_PIECE | BLOB_LEFT | BLOB_MORE);
    assert_same(reply->data, request.data);
    assert_same(reply->piece->content, piece.content);
    assert_same(reply->left, piece.content);
    assert_same(reply->more[0], piece.content);
    parley_reply_free(reply);
    reply = make(MIB, 0, false);
    assert_int_equal(reply->number, 1);
    assert_true(parley_bytes_is_live(reply->data));
    assert_filled(reply->data, MIB, 0);
    parley_reply_free(reply);
    parley_buffer_free(buffer);
}

static void test_what_a_version_converts_or_lacks_is_copied_and_comes_back(void **state)
{
    (void)state;
    connect_client("2");
    struct parley_buffer *buffer = buffer_new(MIB, 6);
    Blob__V1__Blob request = BLOB__V1__BLOB__INIT;
    request.data = bytes_of(buffer, MIB);
    request.coded = bytes_of(buffer, 100000);
    Blob__V1__Blob *reply = look(&request);
    assert_int_equal(reply->number, 0); /* all of them, then */
    assert_same(reply->data, request.data);
    assert_same(reply->coded, request.coded);
    parley_reply_free(reply);
    request.coded.len = 0;
    request.gone = bytes_of(buffer, 200000);
    reply = look(&request);
    assert_int_equal(reply->number, 0);
    assert_same(reply->data, request.data);
    assert_same(reply->gone, request.gone);
    parley_reply_free(reply);
    assert_int_equal(look_at(bytes_of(buffer, MIB)), BLOB_DATA);
    parley_buffer_free(buffer);
}

/* ---- What it costs ---- */

static void answer_in_a_buffer(Blob__V1__Store_Service *self, const Blob__V1__Blob *input,
                               Blob__V1__Blob_Closure closure, void *data)
{
    (void)self;
    Blob__V1__Blob reply = BLOB__V1__BLOB__INIT;
    void *buffer = NULL;
    reply.number = parley_bytes_is_live(input->data);
    if (parley_context_buffer(parley_context_current(), input->data.len, &buffer) == PARLEY_OK)
        reply.data = (ProtobufCBinaryData){input->data.len, buffer};
    closure(&reply, data);
}

static bool one_instance(void *argument)
{
    (void)argument;
    return parley_client_channel_count(client) == 1;
}

/* Client and service on one endpoint, so that what both allocate is counted here. */
static void test_warm_calls_with_references_both_ways_allocate_nothing(void **state)
{
    (void)state;
    allocations_are_counted();
    static Blob__V1__Store_Service service_here = {
        .base = {.descriptor = &blob__v1__store__descriptor,
                 .invoke = protobuf_c_service_invoke_internal},
        .make = answer_in_a_buffer};
    struct parley_service *served;
    endpoint = bus_endpoint(&bus, "test");
    assert_int_equal(blob__v1__store__serve(endpoint, &service_here, NULL, &served), PARLEY_OK);
    assert_int_equal(parley_client_new(endpoint, &blob__v1__store__interface, NULL, &client),
                     PARLEY_OK);
    assert_true(bus_wait(endpoint, one_instance, NULL));
    struct parley_buffer *buffer = buffer_new(MIB, 0);
    uint32_t before = 0;
    for (unsigned i = 0; i < 2000; i++) {
        Blob__V1__Blob request = BLOB__V1__BLOB__INIT, *reply = NULL;
        request.data = bytes_of(buffer, MIB);
        if (i == 1000)
            before = allocations;
        assert_int_equal(blob__v1__store__make_call(client, &request, &reply, NULL), PARLEY_OK);
        assert_int_equal(reply->number, 1);
        assert_int_equal(reply->data.len, MIB);
        parley_reply_free(reply);
    }
    assert_true(before > 0);
    assert_int_equal(allocations - before, 0);
    parley_buffer_free(buffer);
}

#define zero_copy_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    if (bus_must_skip())
        return BUS_EXIT_SKIP;
    const struct CMUnitTest tests[] = {
        zero_copy_test(test_bytes_of_a_buffer_arrive_as_a_pointer_into_it),
        zero_copy_test(test_short_bytes_and_other_memory_are_copied),
        zero_copy_test(test_a_part_of_a_buffer_is_referred_to_and_what_reaches_out_is_not),
        zero_copy_test(test_a_buffer_serves_many_calls),
        zero_copy_test(test_warm_calls_with_references_both_ways_allocate_nothing),
        zero_copy_test(test_every_field_may_be_a_reference),
        zero_copy_test(test_a_reference_may_be_behind_any_number_of_other_bytes),
        zero_copy_test(test_the_seventeenth_field_is_copied),
        zero_copy_test(test_buffers_end_at_half_of_what_can_be_shared),
        zero_copy_test(test_freed_buffers_make_room_for_others_of_any_size),
        zero_copy_test(test_a_freed_buffer_is_the_next_one),
        zero_copy_test(test_a_buffer_of_another_client_is_copied),
        zero_copy_test(test_what_an_expired_call_refers_to_stays_until_its_handler_answers),
        zero_copy_test(test_a_service_that_keeps_requests_is_sent_copies_in_the_end),
        zero_copy_test(test_a_started_call_copies_and_its_buffer_may_go_at_once),
        zero_copy_test(test_bytes_of_a_reply_s_buffer_arrive_as_a_pointer_into_it),
        zero_copy_test(test_every_field_of_a_reply_may_be_a_reference),
        zero_copy_test(test_a_reply_s_memory_is_used_again_when_it_is_freed),
        zero_copy_test(test_replies_that_are_kept_hold_up_no_call),
        zero_copy_test(test_every_name_comes_back_whichever_way_it_takes),
        zero_copy_test(test_a_reply_outlives_its_service_its_client_and_its_endpoint),
        zero_copy_test(test_a_service_that_dies_with_a_buffer_harms_nobody),
        zero_copy_test(test_a_closure_gets_live_bytes_too),
        zero_copy_test(test_who_wants_a_reply_s_bytes_gets_them_whole),
        zero_copy_test(test_references_pass_through_rules_that_do_not_look_at_them),
        zero_copy_test(test_what_a_version_converts_or_lacks_is_copied_and_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
