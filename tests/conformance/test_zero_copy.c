/*
 * Requests whose bytes travel as references, against a real broker and services in processes of
 * their own: what arrives, whether it was copied, how long it stays; through translations, too. Run
 * once for each wait backend.
 */
#include "support/test.h"

#include <stdlib.h>
#include <string.h>

#include "conformance/blob_client.h"
#include "shm/layout.h"
#include "support/allocations.h"

/* ---- Requests ---- */

static void test_bytes_of_a_buffer_arrive_as_a_pointer_into_it(void **state)
{
    (void)state;
    blobs_connect("1");
    static const size_t sizes[] = {PARLEY_BUFFER_BYTES_MIN, 65536, MIB, 16 * MIB, 20000001};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct parley_buffer *buffer = blob_buffer(sizes[i], (uint8_t)i);
        assert_int_equal(blob_look_at(blob_bytes(buffer, sizes[i])), BLOB_DATA);
        parley_buffer_free(buffer);
    }
}

static void test_short_bytes_and_other_memory_are_copied(void **state)
{
    (void)state;
    blobs_connect("1");
    struct parley_buffer *buffer = blob_buffer(2 * PARLEY_BUFFER_BYTES_MIN, 0);
    assert_int_equal(blob_look_at(blob_bytes(buffer, PARLEY_BUFFER_BYTES_MIN - 1)), 0);
    uint8_t *plain = malloc(MIB);
    blob_fill(plain, MIB, 3);
    assert_int_equal(blob_look_at((ProtobufCBinaryData){MIB, plain}), 0);
    free(plain);
    parley_buffer_free(buffer);
}

static void test_a_part_of_a_buffer_is_referred_to_and_what_reaches_out_is_not(void **state)
{
    (void)state;
    blobs_connect("1");
    struct parley_buffer *buffer = blob_buffer(3 * MIB, 0);
    uint8_t *data = parley_buffer_data(buffer);
    assert_int_equal(blob_look_at((ProtobufCBinaryData){MIB + 1, data + 4097}), BLOB_DATA);
    assert_int_equal(blob_look_at((ProtobufCBinaryData){MIB, data + 2 * MIB}), BLOB_DATA);
    struct parley_buffer *small = blob_buffer(8192, 0);
    assert_int_equal(blob_look_at((ProtobufCBinaryData){8192 - 64, data - 64}), 0);
    parley_buffer_free(small);
    parley_buffer_free(buffer);
}

static void test_a_buffer_serves_many_calls(void **state)
{
    (void)state;
    blobs_connect("1");
    struct parley_buffer *buffer = blob_buffer(65536, 0);
    for (unsigned i = 0; i < 500; i++) {
        ((uint8_t *)parley_buffer_data(buffer))[i] = (uint8_t)i;
        assert_int_equal(blob_look_at(blob_bytes(buffer, 65536)), BLOB_DATA);
    }
    parley_buffer_free(buffer);
    for (unsigned i = 0; i < 500; i++) {
        buffer = blob_buffer(MIB, (uint8_t)i);
        assert_int_equal(blob_look_at(blob_bytes(buffer, MIB)), BLOB_DATA);
        parley_buffer_free(buffer);
    }
}

static void test_every_field_may_be_a_reference(void **state)
{
    (void)state;
    blobs_connect("1");
    struct parley_buffer *buffer = blob_buffer(MIB, 1);
    ProtobufCBinaryData more[3];
    Blob__V1__Piece piece = BLOB__V1__PIECE__INIT;
    Blob__V1__Blob request = BLOB__V1__BLOB__INIT;
    request.data = request.gone = request.coded = piece.content = blob_bytes(buffer, 200000);
    request.piece = &piece;
    request.either_case = BLOB__V1__BLOB__EITHER_LEFT;
    request.left = request.data;
    for (size_t i = 0; i < 3; i++)
        more[i] = blob_bytes(buffer, 5000 + i);
    request.n_more = 3;
    request.more = more;
    Blob__V1__Blob *reply = blob_look(&request);
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
    request.gone = blob_bytes(buffer, MIB);
    Blob__V1__Blob *reply = blob_look(&request);
    assert_int_equal(reply->number, BLOB_GONE);
    assert_same(reply->data, request.data);
    assert_same(reply->gone, request.gone);
    parley_reply_free(reply);
}

/* In the record's first line, in further ones, in the arena; places of two bytes, and of four. */
static void test_a_reference_may_be_behind_any_number_of_other_bytes(void **state)
{
    (void)state;
    blobs_connect("1");
    struct parley_buffer *buffer = blob_buffer(MIB, 1);
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
    blobs_connect("1");
    struct parley_buffer *buffer = blob_buffer(MIB, 1);
    ProtobufCBinaryData more[PARLEY_BUFFER_FIELDS_MAX + 1];
    Blob__V1__Blob request = BLOB__V1__BLOB__INIT;
    for (size_t i = 0; i < PARLEY_BUFFER_FIELDS_MAX + 1; i++)
        more[i] = blob_bytes(buffer, 50000 + i);
    request.more = more;
    for (size_t i = 0; i < 2; i++) {
        request.n_more = PARLEY_BUFFER_FIELDS_MAX + i;
        Blob__V1__Blob *reply = blob_look(&request);
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
    blobs_connect("1");
    struct parley_buffer *buffers[33];
    size_t count = 0;
    assert_int_equal(parley_buffer_new(client, 0, &buffers[0]), PARLEY_INVALID_ARGUMENT);
    assert_int_equal(parley_buffer_new(client, PARLEY_BUFFER_BYTES_MAX + 1, &buffers[0]),
                     PARLEY_INVALID_ARGUMENT);
    while (parley_buffer_new(client, 4096, &buffers[count]) == PARLEY_OK)
        assert_true(++count <= 32);
    assert_int_equal(count, 32);
    uint8_t *plain = calloc(1, MIB);
    assert_int_equal(blob_look_at((ProtobufCBinaryData){MIB, plain}), 0); /* calls go on */
    free(plain);
    while (count > 0)
        parley_buffer_free(buffers[--count]);
    for (; count < 2; count++)
        assert_int_equal(parley_buffer_new(client, PARLEY_BUFFER_BYTES_MAX, &buffers[count]),
                         PARLEY_OK);
    assert_int_equal(parley_buffer_new(client, 4096, &buffers[2]), PARLEY_RESOURCE_EXHAUSTED);
    while (count > 0)
        parley_buffer_free(buffers[--count]);
    buffers[0] = blob_buffer(4096, 0);
    parley_buffer_free(buffers[0]);
}

/* Freed ones keep their memory only for as long as nobody else needs it. */
static void test_freed_buffers_make_room_for_others_of_any_size(void **state)
{
    (void)state;
    blobs_connect("1");
    for (unsigned i = 0; i < 2; i++) {
        struct parley_buffer *large[2];
        for (size_t j = 0; j < 2; j++)
            large[j] = blob_buffer(PARLEY_BUFFER_BYTES_MAX, (uint8_t)i);
        for (size_t j = 0; j < 2; j++)
            parley_buffer_free(large[j]); /* half of all bytes */
        for (size_t bytes = 4096; bytes < PARLEY_BUFFER_BYTES_MAX; bytes *= 4) {
            struct parley_buffer *buffer = blob_buffer(bytes, (uint8_t)i);
            assert_int_equal(blob_look_at(blob_bytes(buffer, bytes)), BLOB_DATA);
            parley_buffer_free(buffer);
        }
    }
}

/* As long as it is about as large; and it is not written over what is read still. */
static void test_a_freed_buffer_is_the_next_one(void **state)
{
    (void)state;
    blobs_connect("1");
    struct parley_buffer *buffer = blob_buffer(MIB, 1), *other = blob_buffer(MIB, 1);
    uint8_t *data = parley_buffer_data(buffer);
    assert_true(data != parley_buffer_data(other));
    parley_buffer_free(buffer);
    static const size_t sizes[] = {MIB, MIB - 1, MIB - MIB / 8};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        buffer = blob_buffer(sizes[i], 1);
        assert_ptr_equal(parley_buffer_data(buffer), data);
        assert_int_equal(blob_look_at(blob_bytes(buffer, sizes[i])), BLOB_DATA);
        if (sizes[i] < MIB) /* one past it; behind a whole MiB nothing may be mapped */
            assert_int_equal(blob_look_at((ProtobufCBinaryData){sizes[i] + 1, data}), 0);
        parley_buffer_free(buffer);
    }
    static const size_t unlike[] = {MIB + 1, MIB - MIB / 8 - 1};
    for (size_t i = 0; i < sizeof(unlike) / sizeof(unlike[0]); i++) {
        buffer = blob_buffer(unlike[i], 1);
        assert_ptr_not_equal(parley_buffer_data(buffer), data);
        parley_buffer_free(buffer);
    }
    parley_buffer_free(other);
}

static void test_a_buffer_of_another_client_is_copied(void **state)
{
    (void)state;
    blobs_connect("1");
    struct parley_client *other;
    assert_int_equal(parley_client_new(endpoint, &blob__v1__store__interface, NULL, &other),
                     PARLEY_OK);
    for (int i = 0; i < 5000 && parley_client_channel_count(other) < 1; i++)
        parley_dispatch(endpoint, 2000000);
    struct parley_buffer *buffer;
    assert_int_equal(parley_buffer_new(other, MIB, &buffer), PARLEY_OK);
    blob_fill(parley_buffer_data(buffer), MIB, 9);
    assert_int_equal(blob_look_at(blob_bytes(buffer, MIB)), 0);
    parley_client_free(other);
    assert_int_equal(blob_look_at(blob_bytes(buffer, MIB)), 0); /* the memory is still there */
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
    blobs_connect("1");
    Blob__V1__Blob request = BLOB__V1__BLOB__INIT;
    Blob__V1__Blob *reply = NULL;
    struct parley_call call = {.timeout_ns = 20000000};
    struct parley_buffer *buffer = blob_buffer(MIB, 1);
    uint8_t *before = malloc(MIB);
    request.data = blob_bytes(buffer, MIB);
    parley_bytes_copy(request.data, before);
    assert_int_equal(blob__v1__store__hold_call(client, &request, &reply, &call),
                     PARLEY_DEADLINE_EXCEEDED);
    parley_buffer_free(buffer);
    /* Others are not in its place. */
    struct parley_buffer *others[8];
    for (uint8_t i = 0; i < 8; i++)
        others[i] = blob_buffer(MIB, (uint8_t)(2 + i));
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
    blobs_connect("1");
    struct parley_buffer *buffer = blob_buffer(MIB, 1);
    uint8_t *plain = malloc(100000);
    ProtobufCBinaryData more[3] = {blob_bytes(buffer, 5000), blob_bytes(buffer, 6000),
                                   blob_bytes(buffer, 7000)};
    blob_fill(plain, 100000, 2);
    for (unsigned i = 0; i < SEGMENT_RELEASE_SLOTS_MIN; i++) {
        Blob__V1__Blob request = BLOB__V1__BLOB__INIT;
        Blob__V1__Blob *reply = NULL;
        struct parley_call call = {.timeout_ns = 1000000};
        request.data = (ProtobufCBinaryData){100000, plain};
        request.more = more;
        request.n_more = 3;
        reply = blob_look(&request);
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
    blobs_connect("1");
    struct parley_buffer *buffer = blob_buffer(MIB, 1);
    Blob__V1__Blob request = BLOB__V1__BLOB__INIT;
    bool done = false;
    request.data = blob_bytes(buffer, MIB);
    blob__v1__store__look(parley_client_service(client), &request, ended, &done);
    parley_buffer_free(buffer);
    assert_true(bus_wait(endpoint, is_true, &done));
}

/* ---- Translated ---- */

static void test_references_pass_through_rules_that_do_not_look_at_them(void **state)
{
    (void)state;
    blobs_connect("2");
    struct parley_buffer *buffer = blob_buffer(16 * MIB, 6);
    Blob__V1__Piece piece = BLOB__V1__PIECE__INIT;
    Blob__V1__Blob request = BLOB__V1__BLOB__INIT;
    request.data = blob_bytes(buffer, 16 * MIB);
    piece.content = blob_bytes(buffer, 4096);
    request.piece = &piece;
    request.n_more = 1;
    request.more = &piece.content;
    request.either_case = BLOB__V1__BLOB__EITHER_LEFT;
    request.left = piece.content;
    Blob__V1__Blob *reply = blob_look(&request);
    assert_int_equal(reply->number, BLOB_DATA | BLOB_PIECE | BLOB_LEFT | BLOB_MORE);
    assert_same(reply->data, request.data);
    assert_same(reply->piece->content, piece.content);
    assert_same(reply->left, piece.content);
    assert_same(reply->more[0], piece.content);
    parley_reply_free(reply);
    reply = blob_make(MIB, 0, false);
    assert_int_equal(reply->number, 1);
    assert_true(parley_bytes_is_live(reply->data));
    assert_filled(reply->data, MIB, 0);
    parley_reply_free(reply);
    parley_buffer_free(buffer);
}

static void test_what_a_version_converts_or_lacks_is_copied_and_comes_back(void **state)
{
    (void)state;
    blobs_connect("2");
    struct parley_buffer *buffer = blob_buffer(MIB, 6);
    Blob__V1__Blob request = BLOB__V1__BLOB__INIT;
    request.data = blob_bytes(buffer, MIB);
    request.coded = blob_bytes(buffer, 100000);
    Blob__V1__Blob *reply = blob_look(&request);
    assert_int_equal(reply->number, 0); /* all of them, then */
    assert_same(reply->data, request.data);
    assert_same(reply->coded, request.coded);
    parley_reply_free(reply);
    request.coded.len = 0;
    request.gone = blob_bytes(buffer, 200000);
    reply = blob_look(&request);
    assert_int_equal(reply->number, 0);
    assert_same(reply->data, request.data);
    assert_same(reply->gone, request.gone);
    parley_reply_free(reply);
    assert_int_equal(blob_look_at(blob_bytes(buffer, MIB)), BLOB_DATA);
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
    struct parley_buffer *buffer = blob_buffer(MIB, 0);
    uint32_t before = 0;
    for (unsigned i = 0; i < 2000; i++) {
        Blob__V1__Blob request = BLOB__V1__BLOB__INIT, *reply = NULL;
        request.data = blob_bytes(buffer, MIB);
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

#define zero_copy_test(f) cmocka_unit_test_setup_teardown(f, blobs_set_up, blobs_tear_down)

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
        zero_copy_test(test_references_pass_through_rules_that_do_not_look_at_them),
        zero_copy_test(test_what_a_version_converts_or_lacks_is_copied_and_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
