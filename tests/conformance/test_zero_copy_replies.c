/*
 * Replies whose bytes travel as references, and what comes of them: how long they stay, which ways
 * their names come back, who outlives whom. Run once for each wait backend.
 */
#include "support/test.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "conformance/blob_client.h"
#include "rpc/rpc.h"

static void test_bytes_of_a_reply_s_buffer_arrive_as_a_pointer_into_it(void **state)
{
    (void)state;
    blobs_connect("1");
    static const size_t sizes[] = {PARLEY_BUFFER_BYTES_MIN, 65536, MIB, 16 * MIB};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        Blob__V1__Blob *reply = blob_make(sizes[i], (uint8_t)i, false);
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
    blobs_connect("1");
    Blob__V1__Blob *reply = blob_make(70000, 5, true);
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
    blobs_connect("1");
    for (unsigned i = 0; i < 500; i++) {
        Blob__V1__Blob *reply = blob_make(MIB, (uint8_t)i, false);
        assert_int_equal(reply->number, 1);
        assert_true(parley_bytes_is_live(reply->data));
        parley_reply_free(reply);
    }
}

static void test_replies_that_are_kept_hold_up_no_call(void **state)
{
    (void)state;
    blobs_connect("1");
    Blob__V1__Blob *replies[100];
    size_t shared = 0;
    for (size_t i = 0; i < 100; i++) {
        replies[i] = blob_make(MIB / 2, (uint8_t)i, false);
        shared += replies[i]->number;
        assert_int_equal(parley_bytes_is_live(replies[i]->data), replies[i]->number);
    }
    assert_int_equal(shared, 32);
    for (size_t i = 0; i < 100; i++) {
        assert_filled(replies[i]->data, MIB / 2, (uint8_t)i);
        parley_reply_free(replies[i]);
    }
    Blob__V1__Blob *reply = blob_make(MIB / 2, 0, false);
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
    mixed->kept[i] = bytes ? blob_make(bytes, (uint8_t)bytes, false) : NULL;
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
        buffer = blob_buffer(bytes, (uint8_t)bytes);
        assert_int_equal(blob_look_at(blob_bytes(buffer, bytes)), BLOB_DATA);
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
    blobs_connect("1");
    struct mixed mixed = {.random = 1};
    for (unsigned i = 0; i < MIXED_STEPS; i++)
        mixed_step(&mixed);
    assert_true(bus_wait(endpoint, all_ended, &mixed));
    for (size_t i = 0; i < MIXED_KEPT; i++)
        mixed_keep(&mixed, i, 0);
    Blob__V1__Blob *replies[32];
    for (size_t i = 0; i < 32; i++) { /* as many as there can be */
        replies[i] = blob_make(4096, 0, false);
        assert_int_equal(replies[i]->number, 1);
    }
    for (size_t i = 0; i < 32; i++)
        parley_reply_free(replies[i]);
    struct parley_buffer *buffer = blob_buffer(MIB, 0);
    assert_int_equal(blob_look_at(blob_bytes(buffer, MIB)), BLOB_DATA);
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
    blobs_connect("1");
    Blob__V1__Blob *replies[4];
    for (uint8_t i = 0; i < 4; i++)
        replies[i] = blob_make(MIB, i, false);
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
    blobs_connect("1");
    struct parley_buffer *buffer = blob_buffer(MIB, 4);
    Blob__V1__Blob request = BLOB__V1__BLOB__INIT;
    Blob__V1__Blob *reply = NULL;
    request.data = blob_bytes(buffer, MIB);
    assert_int_equal(blob__v1__store__die_call(client, &request, &reply, NULL), PARLEY_UNAVAILABLE);
    assert_int_equal(bus_reap(&bus, service), -SIGKILL);
    assert_filled(request.data, MIB, 4);
    (void)bus_fork(&bus, blobs_serve, (void *)(uintptr_t) "1");
    for (int i = 0; i < 5000 && parley_client_channel_count(client) < 1; i++)
        parley_dispatch(endpoint, 2000000);
    assert_int_equal(blob_look_at(request.data), 0); /* another instance */
    parley_buffer_free(buffer);
}

static bool is_true(void *flag)
{
    return *(bool *)flag;
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
    blobs_connect("1");
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
    blobs_connect("1");
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

#define zero_copy_test(f) cmocka_unit_test_setup_teardown(f, blobs_set_up, blobs_tear_down)

int main(void)
{
    if (bus_must_skip())
        return BUS_EXIT_SKIP;
    const struct CMUnitTest tests[] = {
        zero_copy_test(test_bytes_of_a_reply_s_buffer_arrive_as_a_pointer_into_it),
        zero_copy_test(test_every_field_of_a_reply_may_be_a_reference),
        zero_copy_test(test_a_reply_s_memory_is_used_again_when_it_is_freed),
        zero_copy_test(test_replies_that_are_kept_hold_up_no_call),
        zero_copy_test(test_every_name_comes_back_whichever_way_it_takes),
        zero_copy_test(test_a_reply_outlives_its_service_its_client_and_its_endpoint),
        zero_copy_test(test_a_service_that_dies_with_a_buffer_harms_nobody),
        zero_copy_test(test_a_closure_gets_live_bytes_too),
        zero_copy_test(test_who_wants_a_reply_s_bytes_gets_them_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
