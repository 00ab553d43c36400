/*
 * Metadata: the key/value pairs that travel with a call.
 *
 * On the wire a block is, for each pair, one byte of key length, two of value length
 * (little-endian), the key, the value. A block is made once by the caller and copied once by the
 * reader, which checks it then and looks keys up in place.
 *
 * What calls inherit from the call that they are made for is named here and nowhere else.
 */
#include "rpc/internal.h"

#include <errno.h>
#include <string.h>

static bool key_is_valid(const char *key, size_t bytes)
{
    if (bytes == 0 || bytes > RPC_METADATA_KEY_BYTES_MAX)
        return false;
    for (size_t i = 0; i < bytes; i++) {
        char c = key[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-'))
            return false;
    }
    return true;
}

int metadata_encode(const struct parley_metadata *pairs, size_t count, uint8_t *out,
                    size_t bytes_max, size_t *ret_bytes, struct error_text *error)
{
    if (count > RPC_METADATA_PAIRS_MAX)
        return error_set(error, -EINVAL, "%zu metadata pairs: at most %d travel with a call", count,
                         RPC_METADATA_PAIRS_MAX);
    size_t used = 0;
    size_t content = 0;
    for (size_t i = 0; i < count; i++) {
        const struct parley_metadata *pair = &pairs[i];
        size_t key_bytes = strnlen(pair->key, RPC_METADATA_KEY_BYTES_MAX + 1);
        if (!key_is_valid(pair->key, key_bytes))
            return error_set(error, -EINVAL,
                             "metadata key '%.64s': a key is 1 to %d bytes of a-z 0-9 . _ -",
                             pair->key, RPC_METADATA_KEY_BYTES_MAX);
        if (metadata_key_is_reserved(pair->key, key_bytes))
            return error_set(error, -EINVAL,
                             "metadata key '%.64s': what begins with parley. the bus says itself",
                             pair->key);
        if (pair->value_bytes > RPC_METADATA_VALUE_BYTES_MAX)
            return error_set(error, -EINVAL, "metadata '%s': %zu bytes of value, at most %d",
                             pair->key, pair->value_bytes, RPC_METADATA_VALUE_BYTES_MAX);
        content += key_bytes + pair->value_bytes;
        if (content > RPC_METADATA_BYTES_MAX ||
            used + 3 + key_bytes + pair->value_bytes > bytes_max)
            return error_set(error, -EINVAL, "metadata of more than %d bytes",
                             RPC_METADATA_BYTES_MAX);
        out[used++] = (uint8_t)key_bytes;
        out[used++] = (uint8_t)(pair->value_bytes & 0xff);
        out[used++] = (uint8_t)(pair->value_bytes >> 8);
        memcpy(out + used, pair->key, key_bytes);
        used += key_bytes;
        if (pair->value_bytes)
            memcpy(out + used, pair->value, pair->value_bytes);
        used += pair->value_bytes;
    }
    *ret_bytes = used;
    return 0;
}

int metadata_check(const uint8_t *block, size_t bytes)
{
    size_t at = 0;
    unsigned pairs = 0;
    if (bytes > RPC_METADATA_BLOCK_BYTES_MAX)
        return -EBADMSG;
    while (at < bytes) {
        if (bytes - at < 3 || ++pairs > RPC_METADATA_PAIRS_MAX)
            return -EBADMSG;
        size_t key_bytes = block[at];
        size_t value_bytes = block[at + 1] | (size_t)block[at + 2] << 8;
        at += 3;
        if (value_bytes > RPC_METADATA_VALUE_BYTES_MAX || bytes - at < key_bytes + value_bytes ||
            !key_is_valid((const char *)block + at, key_bytes))
            return -EBADMSG;
        at += key_bytes + value_bytes;
    }
    return 0;
}

const char *metadata_get(const uint8_t *block, size_t bytes, const char *key, size_t want,
                         size_t *ret_bytes)
{
    for (size_t at = 0; at + 3 <= bytes;) {
        size_t key_bytes = block[at];
        size_t value_bytes = block[at + 1] | (size_t)block[at + 2] << 8;
        at += 3;
        if (key_bytes == want && memcmp(block + at, key, want) == 0) {
            if (ret_bytes)
                *ret_bytes = value_bytes;
            return (const char *)block + at + key_bytes;
        }
        at += key_bytes + value_bytes;
    }
    return NULL;
}

const char *metadata_find(const uint8_t *block, size_t bytes, const char *key, size_t *ret_bytes)
{
    return metadata_get(block, bytes, key, strlen(key), ret_bytes);
}

bool metadata_key_is_reserved(const char *key, size_t bytes)
{
    return bytes >= 7 && memcmp(key, "parley.", 7) == 0;
}

/* ---- Inheriting ---- */

static bool is_inherited(const char *key, size_t bytes)
{
    static const char *const names[] = {"traceparent", "tracestate", "baggage", "tenant"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strlen(names[i]) == bytes && memcmp(names[i], key, bytes) == 0)
            return true;
    }
    return bytes > 5 && memcmp(key, "gray.", 5) == 0;
}

/* The length of the pair at @at, which is whole. */
static size_t pair_bytes(const uint8_t *block, size_t at)
{
    return 3 + block[at] + (block[at + 1] | (size_t)block[at + 2] << 8);
}

size_t metadata_peer_bytes(const uint8_t *block, size_t bytes)
{
    size_t at = 0;
    while (at < bytes && block[at] > 12 && memcmp(block + at + 3, "parley.peer.", 12) == 0)
        at += pair_bytes(block, at);
    return at;
}

static bool has_key(const uint8_t *block, size_t bytes, const uint8_t *pair)
{
    for (size_t at = 0; at < bytes; at += pair_bytes(block, at)) {
        if (block[at] == pair[0] && memcmp(block + at + 3, pair + 3, pair[0]) == 0)
            return true;
    }
    return false;
}

static size_t pair_count(const uint8_t *block, size_t bytes)
{
    size_t count = 0;
    for (size_t at = 0; at < bytes; at += pair_bytes(block, at))
        count++;
    return count;
}

int metadata_inherit(const uint8_t *block, size_t bytes, uint8_t *out, size_t *bytes_used,
                     struct error_text *error)
{
    size_t used = *bytes_used, count = pair_count(out, used);
    for (size_t at = 0; at < bytes; at += pair_bytes(block, at)) {
        const uint8_t *pair = block + at;
        size_t length = pair_bytes(block, at);
        if (!is_inherited((const char *)pair + 3, pair[0]) || has_key(out, used, pair))
            continue;
        if (++count > RPC_METADATA_PAIRS_MAX || used + length - 3 * count > RPC_METADATA_BYTES_MAX)
            return error_set(error, -EINVAL,
                             "more metadata than %d pairs or %d bytes, with what is inherited from "
                             "the call that this one is made for",
                             RPC_METADATA_PAIRS_MAX, RPC_METADATA_BYTES_MAX);
        memcpy(out + used, pair, length);
        used += length;
    }
    *bytes_used = used;
    return 0;
}

void metadata_remove(uint8_t *block, size_t *bytes, const char *key)
{
    size_t want = strlen(key);
    for (size_t at = 0; at < *bytes;) {
        size_t length = pair_bytes(block, at);
        if (block[at] == want && memcmp(block + at + 3, key, want) == 0) {
            memmove(block + at, block + at + length, *bytes - at - length);
            *bytes -= length;
        } else {
            at += length;
        }
    }
}
