/*
 * What the two directions of the JSON mapping share: wire types, and base64 (RFC 4648).
 *
 * protobuf writes base64 with the standard alphabet and padding, and reads the URL-safe alphabet
 * and a missing padding too. The bits left over in the last character must be 0, so that no two
 * texts that differ there mean the same.
 */
#include "schema/json.h"

#include <errno.h>
#include <stdlib.h>

#include "schema/internal.h"

enum wire_type json_wire_type(const struct schema_field *field)
{
    switch (field->type) {
    case TYPE(DOUBLE):
    case TYPE(FIXED64):
    case TYPE(SFIXED64):
        return WIRE_64BIT;
    case TYPE(FLOAT):
    case TYPE(FIXED32):
    case TYPE(SFIXED32):
        return WIRE_32BIT;
    case TYPE(STRING):
    case TYPE(BYTES):
    case TYPE(MESSAGE):
        return WIRE_BYTES;
    case TYPE(GROUP):
        return WIRE_GROUP_START;
    default:
        return WIRE_VARINT;
    }
}

int base64_encode(const uint8_t *data, size_t bytes, char **ret_text, size_t *ret_bytes)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *text = malloc((bytes + 2) / 3 * 4 + 1);
    if (!text)
        return -ENOMEM;
    char *out = text;
    for (size_t i = 0; i < bytes; i += 3) {
        size_t left = bytes - i;
        uint32_t group = (uint32_t)data[i] << 16 | (left > 1 ? (uint32_t)data[i + 1] << 8 : 0) |
                         (left > 2 ? (uint32_t)data[i + 2] : 0);
        *out++ = alphabet[group >> 18];
        *out++ = alphabet[group >> 12 & 63];
        *out++ = left > 1 ? alphabet[group >> 6 & 63] : '=';
        *out++ = left > 2 ? alphabet[group & 63] : '=';
    }
    *out = '\0';
    *ret_text = text;
    *ret_bytes = (size_t)(out - text);
    return 0;
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+' || c == '-')
        return 62;
    return c == '/' || c == '_' ? 63 : -1;
}

int base64_decode(const char *text, size_t bytes, char **ret_data, size_t *ret_bytes)
{
    size_t padding = 0;
    while (padding < 2 && padding < bytes && text[bytes - 1 - padding] == '=')
        padding++;
    if (padding > 0 && bytes % 4 != 0)
        return -EINVAL;
    size_t count = bytes - padding;
    if (count % 4 == 1)
        return -EINVAL;
    char *data = malloc(count / 4 * 3 + 4);
    if (!data)
        return -ENOMEM;
    uint32_t group = 0;
    size_t out = 0;
    for (size_t i = 0; i < count; i++) {
        int value = base64_value(text[i]);
        if (value < 0) {
            free(data);
            return -EINVAL;
        }
        group = group << 6 | (uint32_t)value;
        if (i % 4 != 0) /* of four characters, the last three each complete a byte */
            data[out++] = (char)(uint8_t)(group >> (6 - 2 * (i % 4)));
    }
    unsigned left = count % 4 == 2 ? 4 : count % 4 == 3 ? 2 : 0;
    if (group & ((1u << left) - 1)) {
        free(data);
        return -EINVAL;
    }
    data[out] = '\0';
    *ret_data = data;
    *ret_bytes = out;
    return 0;
}
