/*
 * Frames of the bus: reading one in one pass over its metadata, and writing one.
 *
 * Whoever sends frames may be anybody, so everything that a frame says is bounded and checked here,
 * once, before a word of it is used: what comes out of bus_frame_read() needs no second look but
 * for the payload, which the crossing checks. Nothing is copied: texts are named where they lie.
 *
 * A sentence names the field and says what would have been right, for the reader has probably built
 * the frame by hand.
 */
#include "control/bus_frame.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define HEADER_BYTES sizeof(struct frame_header)
#define KIND_OFFSET offsetof(struct frame_header, kind)
#define STATUS_LAST 16   /* enum parley_status */
#define EXECUTED_LAST 2  /* enum parley_executed */
#define OWN_PAIRS_MAX 16 /* that begin with "parley." */

bool bus_frame_is(const uint8_t *data, size_t bytes)
{
    return bytes >= HEADER_BYTES && data[KIND_OFFSET] >= FRAME_REQUEST &&
           data[KIND_OFFSET] <= FRAME_BYE;
}

/* ---- The header ---- */

/* On a machine that has them the other way round; else nothing. */
static void header_swap(struct frame_header *header)
{
    header->call_id = le64toh(header->call_id);
    header->payload_bytes = le32toh(header->payload_bytes);
    header->time_left_us = le32toh(header->time_left_us);
    header->metadata_bytes = le16toh(header->metadata_bytes);
    header->method = le16toh(header->method);
    header->version_tag = le16toh(header->version_tag);
    header->plan_tag = le16toh(header->plan_tag);
}

static bool from_service(uint8_t kind)
{
    return kind == FRAME_RESPONSE || kind == FRAME_GOAWAY;
}

/* Has fields of a request, by which a method is called. */
static bool calls(uint8_t kind)
{
    return kind == FRAME_REQUEST || kind == FRAME_ONE_WAY;
}

static int check_zeroes(const struct frame_header *header, struct error_text *error)
{
    const struct {
        const char *name;
        unsigned value;
        unsigned at;
    } zeroes[] = {
        {"flags", header->flags, offsetof(struct frame_header, flags)},
        {"plan_tag", header->plan_tag, offsetof(struct frame_header, plan_tag)},
        {"share_count", header->share_count, offsetof(struct frame_header, share_count)},
        {"reserved", header->return_count | header->reserved[0] | header->reserved[1],
         offsetof(struct frame_header, return_count)},
        {"status", header->kind == FRAME_RESPONSE ? 0 : header->status,
         offsetof(struct frame_header, status)},
        {"executed", header->kind == FRAME_RESPONSE ? 0 : header->executed,
         offsetof(struct frame_header, executed)},
        {"method", calls(header->kind) ? 0 : header->method, offsetof(struct frame_header, method)},
    };
    for (size_t i = 0; i < sizeof(zeroes) / sizeof(zeroes[0]); i++)
        if (zeroes[i].value != 0)
            return error_set(error, -EBADMSG,
                             "%s (from byte %u of the frame) is %u: in a frame of kind %u it is 0",
                             zeroes[i].name, zeroes[i].at, zeroes[i].value, header->kind);
    return 0;
}

/* All that must be zero, at once: what is not is looked for afterwards. */
static bool is_zero(const struct frame_header *header)
{
    unsigned all = header->flags | header->plan_tag | header->share_count | header->return_count |
                   header->reserved[0] | header->reserved[1];
    if (header->kind != FRAME_RESPONSE)
        all |= header->status | header->executed;
    if (!calls(header->kind))
        all |= header->method;
    return all == 0;
}

static int check_header(const struct frame_header *header, size_t bytes, struct error_text *error)
{
    if (header->metadata_bytes > BUS_FRAME_METADATA_BYTES_MAX)
        return error_set(error, -EBADMSG, "metadata_bytes is %u: %d at most",
                         header->metadata_bytes, BUS_FRAME_METADATA_BYTES_MAX);
    if (header->payload_bytes > BUS_FRAME_PAYLOAD_BYTES_MAX)
        return error_set(error, -EBADMSG, "payload_bytes is %u: %u at most", header->payload_bytes,
                         BUS_FRAME_PAYLOAD_BYTES_MAX);
    size_t whole = HEADER_BYTES + header->metadata_bytes + (size_t)header->payload_bytes;
    if (whole != bytes)
        return error_set(
            error, -EBADMSG,
            "the message has %zu bytes, but payload_bytes %u and metadata_bytes %u make "
            "a frame of %zu",
            bytes, header->payload_bytes, header->metadata_bytes, whole);
    unsigned tag = from_service(header->kind) ? FRAME_TAG_SERVICE : FRAME_TAG_CLIENT;
    if (header->version_tag != tag)
        return error_set(error, -EBADMSG, "version_tag is %u: in a frame of kind %u it is %u",
                         header->version_tag, header->kind, tag);
    if (!is_zero(header))
        return check_zeroes(header, error);
    if (header->status > STATUS_LAST)
        return error_set(error, -EBADMSG, "status is %u: %d at most", header->status, STATUS_LAST);
    if (header->executed > EXECUTED_LAST)
        return error_set(error, -EBADMSG, "executed is %u: %d at most", header->executed,
                         EXECUTED_LAST);
    if (!calls(header->kind) && header->kind != FRAME_RESPONSE &&
        header->metadata_bytes + header->payload_bytes > 0)
        return error_set(error, -EBADMSG, "a frame of kind %u is its header alone", header->kind);
    return 0;
}

/* ---- Metadata ---- */

static bool is_key_letter(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

static bool key_is_valid(const uint8_t *key, size_t bytes)
{
    if (bytes == 0 || bytes > BUS_FRAME_KEY_BYTES_MAX)
        return false;
    bool valid = true;
    for (size_t i = 0; i < bytes; i++)
        valid &= is_key_letter(key[i]);
    return valid;
}

static bool is_own(const uint8_t *key, size_t bytes)
{
    return bytes >= 7 && memcmp(key, "parley.", 7) == 0;
}

/* What frames say in metadata. */
struct own_key {
    const char *name; /* behind "parley." */
    bool request, response;
    uint8_t bytes_min, bytes_max; /* of the value */
    size_t at;                    /* of its struct bus_text */
};
static const struct own_key own_keys[] = {
    {"interface", true, false, 1, 63, offsetof(struct bus_frame, interface)},
    {"version", true, true, 1, 31, offsetof(struct bus_frame, version)},
    {"method", true, false, 1, 255, offsetof(struct bus_frame, method)},
    {"accept", true, false, 1, 255, offsetof(struct bus_frame, accept)},
    {"contract", true, false, 16, 16, offsetof(struct bus_frame, contract)},
    {"client", true, false, 1, 31, offsetof(struct bus_frame, client)},
    {"translation", false, true, 1, 15, offsetof(struct bus_frame, translation)},
};
#define OWN_KEY_COUNT (sizeof(own_keys) / sizeof(own_keys[0]))

static struct bus_text *text_of(struct bus_frame *frame, const struct own_key *own)
{
    return (struct bus_text *)((uint8_t *)frame + own->at);
}

/* As little as a name or a range could have: no control characters, so that it can be quoted. */
static bool is_printable(const uint8_t *value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (value[i] < 0x20 || value[i] == 0x7f)
            return false;
    return true;
}

static int read_own(struct bus_frame *frame, const uint8_t *key, size_t key_bytes,
                    const uint8_t *value, size_t bytes, struct error_text *error)
{
    const bool response = frame->header.kind == FRAME_RESPONSE;
    frame->plain = false;
    if (key_bytes >= 12 && memcmp(key, "parley.peer.", 12) == 0) {
        frame->says_peer = true;
        return 0;
    }
    for (size_t i = 0; i < OWN_KEY_COUNT; i++) {
        const struct own_key *own = &own_keys[i];
        if (strlen(own->name) != key_bytes - 7 || memcmp(own->name, key + 7, key_bytes - 7) != 0 ||
            !(response ? own->response : own->request))
            continue;
        struct bus_text *text = text_of(frame, own);
        if (text->text)
            return error_set(error, -EBADMSG, "metadata parley.%s is there twice", own->name);
        if (bytes < own->bytes_min || bytes > own->bytes_max || !is_printable(value, bytes))
            return error_set(error, -EBADMSG,
                             "metadata parley.%s has %zu bytes: it is a text of %u to %u",
                             own->name, bytes, own->bytes_min, own->bytes_max);
        *text = (struct bus_text){(const char *)value, bytes};
        return 0;
    }
    return response ? 0
                    : error_set(error, -EBADMSG,
                                "metadata '%.*s': what begins with parley. the bus says itself",
                                (int)key_bytes, (const char *)key);
}

/* Where a frame's metadata are while they are read. */
struct pairs {
    const uint8_t *at, *end;
    unsigned count, own_count;
    size_t content; /* bytes of keys and values */
};

static int bound(struct pairs *pairs, bool own, size_t content, struct error_text *error)
{
    if (own)
        return ++pairs->own_count <= OWN_PAIRS_MAX
                   ? 0
                   : error_set(error, -EBADMSG, "more than %d parley. keys in metadata",
                               OWN_PAIRS_MAX);
    pairs->content += content;
    if (++pairs->count > BUS_FRAME_PAIRS_MAX)
        return error_set(error, -EBADMSG, "more than %d pairs of metadata", BUS_FRAME_PAIRS_MAX);
    if (pairs->content > BUS_FRAME_PAIRS_BYTES_MAX)
        return error_set(error, -EBADMSG, "metadata of more than %d bytes",
                         BUS_FRAME_PAIRS_BYTES_MAX);
    return 0;
}

static int read_pair(struct bus_frame *frame, struct pairs *pairs, struct error_text *error)
{
    size_t at = (size_t)(pairs->at - frame->metadata);
    size_t left = (size_t)(pairs->end - pairs->at);
    if (left < 3)
        return error_set(error, -EBADMSG,
                         "metadata end in the middle of a pair, at byte %zu of them", at);
    size_t key_bytes = pairs->at[0];
    size_t value_bytes = pairs->at[1] | (size_t)pairs->at[2] << 8;
    if (left - 3 < key_bytes + value_bytes)
        return error_set(error, -EBADMSG,
                         "the pair at byte %zu of the metadata has a key of %zu and a value of %zu "
                         "bytes, but %zu are left",
                         at, key_bytes, value_bytes, left - 3);
    const uint8_t *key = pairs->at + 3;
    const uint8_t *value = key + key_bytes;
    if (!key_is_valid(key, key_bytes))
        return error_set(error, -EBADMSG,
                         "the key at byte %zu of the metadata: a key is 1 to %d bytes of "
                         "a-z 0-9 . _ -",
                         at, BUS_FRAME_KEY_BYTES_MAX);
    if (value_bytes > BUS_FRAME_VALUE_BYTES_MAX)
        return error_set(error, -EBADMSG, "metadata '%.*s': %zu bytes of value, at most %d",
                         (int)key_bytes, (const char *)key, value_bytes, BUS_FRAME_VALUE_BYTES_MAX);
    bool own = is_own(key, key_bytes);
    int r = bound(pairs, own, key_bytes + value_bytes, error);
    if (r == 0 && own)
        r = read_own(frame, key, key_bytes, value, value_bytes, error);
    pairs->at = value + value_bytes;
    return r;
}

static int check_method(const struct bus_frame *frame, struct error_text *error)
{
    bool by_name = frame->header.method == BUS_FRAME_METHOD_BY_NAME;
    if (by_name == (frame->method.text != NULL))
        return 0;
    return by_name ? error_set(error, -EBADMSG,
                               "method is 0xffff, by name, but no metadata parley.method is there")
                   : error_set(error, -EBADMSG,
                               "method is %u, but metadata parley.method names one: it is 0xffff "
                               "then",
                               frame->header.method);
}

int bus_frame_read(const uint8_t *data, size_t bytes, struct bus_frame *ret_frame,
                   struct error_text *error)
{
    if (bytes < HEADER_BYTES)
        return error_set(error, -EBADMSG, "%zu bytes are no frame: its header alone has %zu", bytes,
                         HEADER_BYTES);
    struct bus_frame frame = {.plain = true};
    memcpy(&frame.header, data, HEADER_BYTES);
    header_swap(&frame.header);
    if (!bus_frame_is(data, bytes))
        return error_set(error, -EBADMSG, "kind (byte %zu of the frame) is %u: it is 1 to %d",
                         KIND_OFFSET, frame.header.kind, FRAME_BYE);
    int r = check_header(&frame.header, bytes, error);
    if (r < 0)
        return r;
    frame.metadata = data + HEADER_BYTES;
    frame.metadata_bytes = frame.header.metadata_bytes;
    frame.payload = frame.metadata + frame.metadata_bytes;
    frame.payload_bytes = frame.header.payload_bytes;
    struct pairs pairs = {.at = frame.metadata, .end = frame.payload};
    while (r == 0 && pairs.at < pairs.end)
        r = read_pair(&frame, &pairs, error);
    if (r == 0 && calls(frame.header.kind))
        r = check_method(&frame, error);
    if (r == 0)
        *ret_frame = frame;
    return r;
}

size_t bus_frame_metadata(const struct bus_frame *frame, uint8_t *out)
{
    size_t used = 0;
    for (size_t at = 0; at < frame->metadata_bytes;) {
        const uint8_t *pair = frame->metadata + at;
        size_t bytes = 3 + pair[0] + (pair[1] | (size_t)pair[2] << 8);
        if (!is_own(pair + 3, pair[0])) {
            memcpy(out + used, pair, bytes);
            used += bytes;
        }
        at += bytes;
    }
    return used;
}

/* ---- Writing ---- */

static const struct bus_text *text_in(const struct bus_frame *frame, const struct own_key *own)
{
    return (const struct bus_text *)((const uint8_t *)frame + own->at);
}

size_t bus_frame_head_bytes(const struct bus_frame *frame)
{
    size_t bytes = HEADER_BYTES + frame->metadata_bytes;
    for (size_t i = 0; i < OWN_KEY_COUNT; i++)
        if (text_in(frame, &own_keys[i])->text)
            bytes += 3 + 7 + strlen(own_keys[i].name) + text_in(frame, &own_keys[i])->bytes;
    return bytes;
}

static uint8_t *write_own(uint8_t *out, const struct own_key *own, const struct bus_text *text)
{
    size_t name_bytes = strlen(own->name);
    *out++ = (uint8_t)(7 + name_bytes);
    *out++ = (uint8_t)(text->bytes & 0xff);
    *out++ = (uint8_t)(text->bytes >> 8);
    memcpy(out, "parley.", 7);
    memcpy(out + 7, own->name, name_bytes);
    memcpy(out + 7 + name_bytes, text->text, text->bytes);
    return out + 7 + name_bytes + text->bytes;
}

int bus_frame_write(const struct bus_frame *frame, uint8_t *out, size_t bytes)
{
    size_t head_bytes = bus_frame_head_bytes(frame);
    if (bytes < head_bytes || head_bytes - HEADER_BYTES > BUS_FRAME_METADATA_BYTES_MAX ||
        frame->payload_bytes > BUS_FRAME_PAYLOAD_BYTES_MAX)
        return -EMSGSIZE;
    struct frame_header header = frame->header;
    header.metadata_bytes = (uint16_t)(head_bytes - HEADER_BYTES);
    header.payload_bytes = (uint32_t)frame->payload_bytes;
    header.version_tag = from_service(header.kind) ? FRAME_TAG_SERVICE : FRAME_TAG_CLIENT;
    header_swap(&header);
    memcpy(out, &header, HEADER_BYTES);
    out += HEADER_BYTES;
    if (frame->metadata_bytes)
        memcpy(out, frame->metadata, frame->metadata_bytes);
    out += frame->metadata_bytes;
    for (size_t i = 0; i < OWN_KEY_COUNT; i++) {
        const struct bus_text *text = text_in(frame, &own_keys[i]);
        if (text->text)
            out = write_own(out, &own_keys[i], text);
    }
    return 0;
}
