/*
 * Frames: what is written is read, and whatever is wrong with one is refused with a sentence that
 * names the field. Every frame that is read lies in memory of exactly its length.
 */
#include "support/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/bus_frame.h"

#define TEXT(literal) ((struct bus_text){literal, sizeof(literal) - 1})

struct bytes {
    uint8_t *data;
    size_t count;
};

static struct bytes written(const struct bus_frame *frame, const void *payload)
{
    struct bytes out = {.count = bus_frame_head_bytes(frame) + frame->payload_bytes};
    out.data = malloc(out.count);
    assert_non_null(out.data);
    assert_int_equal(bus_frame_write(frame, out.data, out.count), 0);
    if (frame->payload_bytes)
        memcpy(out.data + out.count - frame->payload_bytes, payload, frame->payload_bytes);
    return out;
}

/* Read from memory that ends where the frame does. */
static int read_at(const struct bytes *bytes, size_t count, struct bus_frame *ret,
                   struct error_text *error)
{
    uint8_t *exact = malloc(count ? count : 1);
    assert_non_null(exact);
    memcpy(exact, bytes->data, count);
    error->text[0] = '\0';
    int r = bus_frame_read(exact, count, ret, error);
    free(exact); /* what it names is not looked at */
    return r;
}

static void refused(const struct bytes *bytes, const char *words)
{
    struct bus_frame frame;
    struct error_text error;
    assert_int_equal(read_at(bytes, bytes->count, &frame, &error), -EBADMSG);
    if (!strstr(error.text, words))
        fail_msg("\"%s\" does not say \"%s\"", error.text, words);
}

static struct bus_frame request_frame(void)
{
    return (struct bus_frame){
        .header = {.call_id = UINT64_C(0x0102030405060708),
                   .time_left_us = 5000000,
                   .method = BUS_FRAME_METHOD_BY_NAME,
                   .kind = FRAME_REQUEST},
        .interface = TEXT("catalog"),
        .version = TEXT("1.0.0"),
        .method = TEXT("Get"),
        .accept = TEXT("^1"),
        .metadata = (const uint8_t *)"\x06\x04\x00tenantblue",
        .metadata_bytes = 13,
        .payload_bytes = 3,
    };
}

static bool text_is(const struct bus_text *text, const char *want)
{
    return text->text && text->bytes == strlen(want) && memcmp(text->text, want, text->bytes) == 0;
}

static void test_what_is_written_is_read(void **state)
{
    (void)state;
    const struct bus_frame asked = request_frame();
    struct bytes bytes = written(&asked, "abc");
    struct bus_frame frame;
    struct error_text error;
    assert_true(bus_frame_is(bytes.data, bytes.count));
    assert_int_equal(bus_frame_read(bytes.data, bytes.count, &frame, &error), 0);
    assert_true(frame.header.call_id == asked.header.call_id);
    assert_int_equal(frame.header.time_left_us, 5000000);
    assert_int_equal(frame.header.version_tag, FRAME_TAG_CLIENT);
    assert_true(text_is(&frame.interface, "catalog"));
    assert_true(text_is(&frame.version, "1.0.0"));
    assert_true(text_is(&frame.method, "Get"));
    assert_true(text_is(&frame.accept, "^1"));
    assert_null(frame.contract.text);
    assert_null(frame.translation.text);
    assert_false(frame.plain);
    assert_false(frame.says_peer);
    assert_int_equal(frame.payload_bytes, 3);
    assert_memory_equal(frame.payload, "abc", 3);
    uint8_t own[BUS_FRAME_METADATA_BYTES_MAX];
    assert_int_equal(bus_frame_metadata(&frame, own), 13);
    assert_memory_equal(own, asked.metadata, 13);
    free(bytes.data);
}

static void test_response_is_read(void **state)
{
    (void)state;
    const struct bus_frame answer = {
        .header = {.call_id = 7, .kind = FRAME_RESPONSE, .status = 16, .executed = 2},
        .version = TEXT("2.0.0"),
        .translation = TEXT("iso"),
    };
    struct bytes bytes = written(&answer, NULL);
    struct bus_frame frame;
    struct error_text error;
    assert_int_equal(bus_frame_read(bytes.data, bytes.count, &frame, &error), 0);
    assert_int_equal(frame.header.status, 16);
    assert_int_equal(frame.header.version_tag, FRAME_TAG_SERVICE);
    assert_true(text_is(&frame.version, "2.0.0"));
    assert_true(text_is(&frame.translation, "iso"));
    free(bytes.data);
}

/* The example of docs/PROTOCOL.md, as bytes: numbers are little-endian on every machine. */
static void test_bytes_are_as_documented(void **state)
{
    (void)state;
    const struct bus_frame asked = {
        .header = {.call_id = 1, .method = BUS_FRAME_METHOD_BY_NAME, .kind = FRAME_REQUEST},
        .interface = TEXT("parley.bus"),
        .method = TEXT("Ping"),
        .payload_bytes = 2,
    };
    struct bytes bytes = written(&asked, "\x08\x2a");
    static const char want[] = "\1\0\0\0\0\0\0\0"
                               "\2\0\0\0"
                               "\0\0\0\0"
                               "\x31\0"
                               "\xff\xff"
                               "\1\0"
                               "\1\0\0\0"
                               "\0\0\0\0\0\0"
                               "\x10\x0a\0parley.interfaceparley.bus"
                               "\x0d\x04\0parley.methodPing"
                               "\x08\x2a";
    assert_int_equal(bytes.count, sizeof(want) - 1);
    assert_memory_equal(bytes.data, want, bytes.count);
    free(bytes.data);
}

static void test_plain_metadata_are_passed_on(void **state)
{
    (void)state;
    struct bus_frame asked = request_frame();
    asked.header.method = 3;
    asked.interface = asked.version = asked.method = asked.accept = (struct bus_text){NULL, 0};
    struct bytes bytes = written(&asked, "abc");
    struct bus_frame frame;
    struct error_text error;
    assert_int_equal(bus_frame_read(bytes.data, bytes.count, &frame, &error), 0);
    assert_true(frame.plain);
    assert_int_equal(frame.metadata_bytes, 13);
    free(bytes.data);
}

static void test_json_is_no_frame(void **state)
{
    (void)state;
    const char *texts[] = {"{\"interface\": \"catalog\", \"method\": \"Get\", \"body\": {}}",
                           "{\n\t\"interface\":\r\n\t\t\"\t\n\r \t\n\r\t\n\r\t\n\r\"}"};
    for (size_t i = 0; i < 2; i++)
        assert_false(bus_frame_is((const uint8_t *)texts[i], strlen(texts[i])));
    uint8_t header[32] = {[22] = FRAME_REQUEST};
    assert_true(bus_frame_is(header, 32));
    assert_false(bus_frame_is(header, 31));
    header[22] = FRAME_BYE + 1;
    assert_false(bus_frame_is(header, 32));
}

static void test_truncated_at_every_byte_it_is_refused(void **state)
{
    (void)state;
    const struct bus_frame asked = request_frame();
    struct bytes bytes = written(&asked, "abc");
    for (size_t count = 0; count < bytes.count; count++) {
        struct bus_frame frame;
        struct error_text error;
        assert_int_equal(read_at(&bytes, count, &frame, &error), -EBADMSG);
        assert_true(strlen(error.text) > 10);
        /* And with lengths that say so. */
        if (count < 32)
            continue;
        struct bytes lying = {.data = malloc(count), .count = count};
        memcpy(lying.data, bytes.data, count);
        size_t metadata_bytes = bytes.count - 35;
        size_t left = count - 32;
        size_t now = left < metadata_bytes ? left : metadata_bytes;
        lying.data[16] = (uint8_t)now;
        lying.data[8] = (uint8_t)(left - now);
        int r = read_at(&lying, count, &frame, &error);
        assert_true(r == 0 || r == -EBADMSG); /* some are frames: a pair less, a shorter payload */
        free(lying.data);
    }
    free(bytes.data);
}

static void test_each_field_of_the_header_that_is_wrong_is_named(void **state)
{
    (void)state;
    const struct {
        size_t at;
        uint8_t value;
        const char *words;
    } wrong[] = {
        {8, 4, "payload_bytes 4"},
        {8, 2, "payload_bytes 2"},
        {11, 4, "payload_bytes is"},
        {16, 1, "metadata_bytes 1"},
        {17, 0x50, "metadata_bytes is"},
        {18, 0, "method is 65280"},
        {20, 0, "version_tag is 0"},
        {20, 2, "version_tag is 2"},
        {21, 1, "version_tag is 257"},
        {22, 0, "kind"},
        {22, 7, "kind"},
        {22, 255, "kind"},
        {23, 1, "flags"},
        {24, 1, "status"},
        {25, 1, "executed"},
        {26, 1, "plan_tag"},
        {27, 1, "plan_tag"},
        {28, 1, "share_count"},
        {29, 1, "reserved"},
        {30, 1, "reserved"},
        {31, 1, "reserved"},
        {22, FRAME_RESPONSE, "version_tag"},
        {22, FRAME_CANCEL, "method"},
        {22, FRAME_BYE, "method"},
        {22, FRAME_GOAWAY, "version_tag"},
    };
    const struct bus_frame asked = request_frame();
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct bytes bytes = written(&asked, "abc");
        bytes.data[wrong[i].at] = wrong[i].value;
        refused(&bytes, wrong[i].words);
        free(bytes.data);
    }
}

static void test_each_field_of_a_response_that_is_wrong_is_named(void **state)
{
    (void)state;
    const struct {
        size_t at;
        uint8_t value;
        const char *words;
    } wrong[] = {
        {24, 17, "status is 17"},
        {25, 3, "executed is 3"},
        {18, 1, "method"},
        {20, 1, "version_tag"},
    };
    const struct bus_frame answer = {.header = {.kind = FRAME_RESPONSE}};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct bytes bytes = written(&answer, NULL);
        bytes.data[wrong[i].at] = wrong[i].value;
        refused(&bytes, wrong[i].words);
        free(bytes.data);
    }
}

static void test_cancel_is_its_header(void **state)
{
    (void)state;
    struct bus_frame cancel = {.header = {.call_id = 9, .kind = FRAME_CANCEL}};
    struct bytes bytes = written(&cancel, NULL);
    struct bus_frame frame;
    struct error_text error;
    assert_int_equal(read_at(&bytes, bytes.count, &frame, &error), 0);
    free(bytes.data);
    cancel.payload_bytes = 1;
    bytes = written(&cancel, "x");
    refused(&bytes, "its header alone");
    free(bytes.data);
}

/* A request with one pair of metadata of that key and value. */
static struct bytes with_pair(const char *key, size_t key_bytes, size_t value_bytes,
                              uint16_t method)
{
    uint8_t pair[3 + 255 + 9000];
    pair[0] = (uint8_t)key_bytes;
    pair[1] = (uint8_t)(value_bytes & 0xff);
    pair[2] = (uint8_t)(value_bytes >> 8);
    memcpy(pair + 3, key, key_bytes);
    memset(pair + 3 + key_bytes, 'a', value_bytes);
    const struct bus_frame asked = {.header = {.kind = FRAME_REQUEST, .method = method},
                                    .metadata = pair,
                                    .metadata_bytes = 3 + key_bytes + value_bytes};
    return written(&asked, NULL);
}

static void pair_is_refused(const char *key, size_t value_bytes, const char *words)
{
    bool by_name = strcmp(key, "parley.method") == 0;
    struct bytes bytes =
        with_pair(key, strlen(key), value_bytes, by_name ? BUS_FRAME_METHOD_BY_NAME : 0);
    refused(&bytes, words);
    free(bytes.data);
}

static void pair_is_read(const char *key, size_t value_bytes)
{
    bool by_name = strcmp(key, "parley.method") == 0;
    struct bytes bytes =
        with_pair(key, strlen(key), value_bytes, by_name ? BUS_FRAME_METHOD_BY_NAME : 0);
    struct bus_frame frame;
    struct error_text error;
    if (read_at(&bytes, bytes.count, &frame, &error) < 0)
        fail_msg("%s: %s", key, error.text);
    free(bytes.data);
}

static void test_metadata_are_bounded(void **state)
{
    (void)state;
    char key[66];
    memset(key, 'k', 65);
    key[65] = '\0';
    pair_is_refused(key, 1, "a key is 1 to 64");
    key[64] = '\0';
    pair_is_read(key, 1);
    pair_is_refused("", 1, "a key is 1 to 64");
    pair_is_refused("Tenant", 1, "a-z");
    pair_is_refused("ten ant", 1, "a-z");
    pair_is_read("tenant", 8192);
    pair_is_refused("tenant", 8193, "8193 bytes of value");
    pair_is_read("tenant", 0);
}

static void test_the_bus_s_own_keys_are_bounded(void **state)
{
    (void)state;
    const struct {
        const char *key;
        size_t most;
    } keys[] = {{"parley.interface", 63},
                {"parley.version", 31},
                {"parley.method", 255},
                {"parley.accept", 255}};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        pair_is_read(keys[i].key, 1);
        pair_is_read(keys[i].key, keys[i].most);
        pair_is_refused(keys[i].key, keys[i].most + 1, keys[i].key);
        pair_is_refused(keys[i].key, 0, keys[i].key);
    }
    pair_is_read("parley.contract", 16);
    pair_is_refused("parley.contract", 15, "parley.contract");
    pair_is_refused("parley.contract", 17, "parley.contract");
    pair_is_refused("parley.translation", 3, "the bus says itself");
    pair_is_refused("parley.more", 3, "the bus says itself");
    pair_is_refused("parley.", 3, "the bus says itself");
    pair_is_read("parley", 3);
}

static void test_who_asks_is_marked(void **state)
{
    (void)state;
    struct bytes bytes = with_pair("parley.peer.uid", 15, 4, 0);
    struct bus_frame frame;
    struct error_text error;
    assert_int_equal(read_at(&bytes, bytes.count, &frame, &error), 0);
    assert_true(frame.says_peer);
    assert_false(frame.plain);
    free(bytes.data);
}

static void test_a_later_broker_s_keys_in_a_response_are_passed_over(void **state)
{
    (void)state;
    const struct bus_frame answer = {.header = {.kind = FRAME_RESPONSE},
                                     .metadata = (const uint8_t *)"\x0b\x01\0parley.morex",
                                     .metadata_bytes = 15,
                                     .version = TEXT("1.0.0")};
    struct bytes bytes = written(&answer, NULL);
    struct bus_frame frame;
    struct error_text error;
    assert_int_equal(read_at(&bytes, bytes.count, &frame, &error), 0);
    free(bytes.data);
}

static void test_a_key_twice_and_control_characters_are_refused(void **state)
{
    (void)state;
    struct bus_frame asked = request_frame();
    asked.metadata = (const uint8_t *)"\x0e\x05\0parley.version2.0.0";
    asked.metadata_bytes = 22;
    struct bytes bytes = written(&asked, "abc");
    refused(&bytes, "parley.version is there twice");
    free(bytes.data);
    asked = request_frame();
    asked.interface = TEXT("cata\0log");
    bytes = written(&asked, "abc");
    refused(&bytes, "parley.interface");
    free(bytes.data);
}

/* @pairs of "k" and @value_bytes each, and the bus's own beside them. */
static struct bytes with_pairs(size_t pairs, size_t value_bytes)
{
    static uint8_t block[BUS_FRAME_METADATA_BYTES_MAX];
    size_t used = 0;
    for (size_t i = 0; i < pairs; i++) {
        block[used++] = 1;
        block[used++] = (uint8_t)(value_bytes & 0xff);
        block[used++] = (uint8_t)(value_bytes >> 8);
        block[used++] = 'k';
        memset(block + used, 'v', value_bytes);
        used += value_bytes;
    }
    struct bus_frame asked = request_frame();
    asked.metadata = block;
    asked.metadata_bytes = used;
    return written(&asked, "abc");
}

static void test_there_may_be_so_many_pairs_and_bytes_beside_the_bus_s_own(void **state)
{
    (void)state;
    struct bus_frame frame;
    struct error_text error;
    struct bytes bytes = with_pairs(32, 511); /* 16,384 bytes of keys and values */
    assert_int_equal(read_at(&bytes, bytes.count, &frame, &error), 0);
    free(bytes.data);
    bytes = with_pairs(33, 0);
    refused(&bytes, "more than 32 pairs");
    free(bytes.data);
    bytes = with_pairs(32, 512);
    refused(&bytes, "more than 16384 bytes");
    free(bytes.data);
}

static void test_method_is_by_name_or_by_number(void **state)
{
    (void)state;
    struct bus_frame asked = request_frame();
    asked.method = (struct bus_text){NULL, 0};
    struct bytes bytes = written(&asked, "abc");
    refused(&bytes, "no metadata parley.method");
    free(bytes.data);
    asked = request_frame();
    asked.header.method = 0;
    bytes = written(&asked, "abc");
    refused(&bytes, "it is 0xffff then");
    free(bytes.data);
}

static void test_too_much_is_not_written(void **state)
{
    (void)state;
    static uint8_t block[BUS_FRAME_METADATA_BYTES_MAX + 1], out[2 * BUS_FRAME_METADATA_BYTES_MAX];
    struct bus_frame asked = {.header = {.kind = FRAME_REQUEST},
                              .metadata = block,
                              .metadata_bytes = BUS_FRAME_METADATA_BYTES_MAX};
    assert_int_equal(bus_frame_write(&asked, out, sizeof(out)), 0);
    asked.metadata_bytes++;
    assert_int_equal(bus_frame_write(&asked, out, sizeof(out)), -EMSGSIZE);
    asked.metadata_bytes = 0;
    assert_int_equal(bus_frame_write(&asked, out, 31), -EMSGSIZE);
    asked.payload_bytes = BUS_FRAME_PAYLOAD_BYTES_MAX;
    assert_int_equal(bus_frame_write(&asked, out, 32), 0);
    asked.payload_bytes++;
    assert_int_equal(bus_frame_write(&asked, out, 32), -EMSGSIZE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_written_is_read),
        cmocka_unit_test(test_response_is_read),
        cmocka_unit_test(test_bytes_are_as_documented),
        cmocka_unit_test(test_plain_metadata_are_passed_on),
        cmocka_unit_test(test_json_is_no_frame),
        cmocka_unit_test(test_truncated_at_every_byte_it_is_refused),
        cmocka_unit_test(test_each_field_of_the_header_that_is_wrong_is_named),
        cmocka_unit_test(test_each_field_of_a_response_that_is_wrong_is_named),
        cmocka_unit_test(test_cancel_is_its_header),
        cmocka_unit_test(test_metadata_are_bounded),
        cmocka_unit_test(test_the_bus_s_own_keys_are_bounded),
        cmocka_unit_test(test_who_asks_is_marked),
        cmocka_unit_test(test_a_later_broker_s_keys_in_a_response_are_passed_over),
        cmocka_unit_test(test_a_key_twice_and_control_characters_are_refused),
        cmocka_unit_test(test_there_may_be_so_many_pairs_and_bytes_beside_the_bus_s_own),
        cmocka_unit_test(test_method_is_by_name_or_by_number),
        cmocka_unit_test(test_too_much_is_not_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
