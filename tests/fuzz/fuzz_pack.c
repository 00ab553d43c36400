/*
 * Packing: the first byte picks the type. What protobuf-c unpacks of the rest is packed to the
 * bytes that protobuf-c packs it to; and so are structs that are filled at random, with the rest as
 * seed, for they have what no bytes can say.
 */
#include "fuzz.h"

#include "support/random_struct.h"

static const ProtobufCMessageDescriptor *const types[] = {
    &google__protobuf__file_descriptor_set__descriptor, &shapes__v1__shape__descriptor,
    &shapes__v2__shape__descriptor, &catalog__v2__list_reply__descriptor};

#define TYPE_COUNT (sizeof(types) / sizeof(types[0]))

static struct wire_packer *packer;
static struct wire_packing *packing;

static void check(size_t type, const ProtobufCMessage *message)
{
    size_t bytes = 0, expected_bytes = protobuf_c_message_get_packed_size(message);
    FUZZ_CHECK(wire_pack(packing, packer, type, message, &bytes) == 0);
    FUZZ_CHECK(bytes == expected_bytes);
    uint8_t *out = malloc(bytes + (bytes == 0)), *expected = malloc(bytes + (bytes == 0));
    FUZZ_CHECK(out && expected);
    FUZZ_CHECK(wire_pack_write(packing, out) == 0);
    FUZZ_CHECK(protobuf_c_message_pack(message, expected) == bytes);
    FUZZ_CHECK(memcmp(out, expected, bytes) == 0);
    free(out);
    free(expected);
}

static void check_random(size_t type, const uint8_t *data, size_t size)
{
    uint64_t seed = 0;
    memcpy(&seed, data, size < sizeof(seed) ? size : sizeof(seed));
    struct random_structs structs = {.random = seed, .large_of_1000 = size % 16 == 0 ? 50 : 0};
    check(type, random_struct(&structs, types[type], size % 4));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!packer) {
        FUZZ_CHECK(wire_packer_new(types, TYPE_COUNT, &packer) == 0);
        FUZZ_CHECK(wire_packing_new(&packing) == 0);
    }
    if (size == 0)
        return 0;
    size_t type = data[0] % TYPE_COUNT;
    check_random(type, data + 1, size - 1);
    ProtobufCMessage *message = NULL;
    if (wire_unpack(types[type], data + 1, size - 1, NULL, &message, NULL) == 0)
        check(type, message);
    wire_free(message);
    return 0;
}
