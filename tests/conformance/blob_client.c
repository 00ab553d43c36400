/* The client of the tests of bytes that travel as references. */
#include "support/test.h"

#include "conformance/blob_client.h"

#include <stdlib.h>
#include <string.h>

#include "conformance/blobs.h"

struct bus bus;
struct parley_endpoint *endpoint;
struct parley_client *client;
pid_t service;

void blobs_connect(const char *version)
{
    service = bus_fork(&bus, blobs_serve, (void *)(uintptr_t)version);
    endpoint = bus_endpoint(&bus, "test");
    if (parley_client_new(endpoint, &blob__v1__store__interface, NULL, &client) != PARLEY_OK)
        fail_msg("%s", parley_error_text());
    for (int i = 0; i < 5000 && parley_client_channel_count(client) < 1; i++)
        parley_dispatch(endpoint, 2000000);
    assert_int_equal(parley_client_channel_count(client), 1);
}

int blobs_set_up(void **state)
{
    (void)state;
    bus_start(&bus);
    return 0;
}

int blobs_tear_down(void **state)
{
    (void)state;
    endpoint = parley_endpoint_free(endpoint);
    client = NULL;
    bus_stop(&bus);
    return 0;
}

struct parley_buffer *blob_buffer(size_t bytes, uint8_t first)
{
    struct parley_buffer *buffer;
    if (parley_buffer_new(client, bytes, &buffer) != PARLEY_OK)
        fail_msg("%s", parley_error_text());
    blob_fill(parley_buffer_data(buffer), bytes, first);
    return buffer;
}

ProtobufCBinaryData blob_bytes(const struct parley_buffer *buffer, size_t bytes)
{
    return (ProtobufCBinaryData){bytes, parley_buffer_data(buffer)};
}

void assert_same(ProtobufCBinaryData a, ProtobufCBinaryData b)
{
    assert_int_equal(a.len, b.len);
    assert_true(a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

Blob__V1__Blob *blob_look(const Blob__V1__Blob *request)
{
    Blob__V1__Blob *reply = NULL;
    if (blob__v1__store__look_call(client, request, &reply, NULL) != PARLEY_OK)
        fail_msg("%s", parley_error_text());
    return reply;
}

uint32_t blob_look_at(ProtobufCBinaryData data)
{
    Blob__V1__Blob request = BLOB__V1__BLOB__INIT;
    request.data = data;
    Blob__V1__Blob *reply = blob_look(&request);
    assert_same(reply->data, data);
    uint32_t number = reply->number;
    parley_reply_free(reply);
    return number;
}

Blob__V1__Blob *blob_make(size_t bytes, uint8_t first, bool all)
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

void assert_filled(ProtobufCBinaryData data, size_t bytes, uint8_t first)
{
    uint8_t *expected = malloc(bytes);
    blob_fill(expected, bytes, first);
    assert_same(data, (ProtobufCBinaryData){bytes, expected});
    free(expected);
}
