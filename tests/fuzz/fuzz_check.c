/*
 * wire_check() on any bytes, and protobuf-c on what it passes: the first byte picks the type. A
 * message that was checked unpacks, packs, and is freed.
 */
#include "fuzz.h"

#include <errno.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const ProtobufCMessageDescriptor *const types[] = {
        &google__protobuf__file_descriptor_set__descriptor, &shapes__v1__shape__descriptor,
        &shapes__v2__shape__descriptor, &catalog__v2__list_reply__descriptor};
    if (size == 0)
        return 0;
    const ProtobufCMessageDescriptor *type = types[data[0] % (sizeof(types) / sizeof(types[0]))];
    struct error_text error = {""};
    if (wire_check(type, data + 1, size - 1, NULL, &error) < 0) {
        FUZZ_CHECK(error.text[0] != '\0');
        return 0;
    }
    ProtobufCMessage *message = NULL;
    int r = wire_unpack_checked(type, data + 1, size - 1, &message);
    FUZZ_CHECK(r == 0 || r == -E2BIG);
    if (r < 0)
        return 0;
    size_t packed = protobuf_c_message_get_packed_size(message);
    uint8_t *out = malloc(packed + 1);
    FUZZ_CHECK(out);
    FUZZ_CHECK(protobuf_c_message_pack(message, out) == packed);
    free(out);
    wire_free(message);
    return 0;
}
