/*
 * Values, as protobuf-c's structs have them: any kind, any label.
 *
 * What is singular and common has a short way (unpack_quick.c); everything else is stored here:
 * oneofs, bytes, repeated scalars, packed or not, unknown fields, and messages, which go back to
 * where they may be short.
 *
 * Arrays grow by doubling from ARRAY_COUNT_MIN, so that the capacity can be told from the length;
 * in place if nothing was allocated behind them, which is so for repeated strings, for these stay
 * in the private copy.
 */
#include "translate/unpack.h"

int unpack_no_memory(struct unpack *u)
{
    return run_fail(&u->run, u->bump.error, NULL, 0,
                    u->bump.error == -ENOMEM ? "out of memory"
                                             : "unpacking would take more memory than the limit");
}

static size_t array_capacity(size_t count)
{
    size_t capacity = ARRAY_COUNT_MIN;
    while (capacity < count)
        capacity *= 2;
    return count > 0 ? capacity : 0;
}

/* Room for @more elements behind the @count that *array has. */
static int grow_array(struct unpack *u, void **array, size_t count, size_t more, size_t size)
{
    size_t old_bytes = array_capacity(count) * size;
    size_t bytes = array_capacity(count + more) * size;
    uint8_t *old = *array;
    if (old && old + old_bytes == u->bump.pos &&
        bytes - old_bytes <= (size_t)(u->bump.end - u->bump.pos)) {
        u->bump.pos += bytes - old_bytes; /* multiples of 8, both */
        return 0;
    }
    uint8_t *grown = wire_bump_alloc(&u->bump, bytes);
    if (!grown)
        return unpack_no_memory(u);
    if (count > 0)
        memcpy(grown, old, count * size);
    *array = grown;
    return 0;
}

int unpack_double_array(struct unpack *u, void **array, size_t count, size_t size)
{
    const size_t old_bytes = count * size;
    const size_t more = count > 0 ? old_bytes : ARRAY_COUNT_MIN * size;
    uint8_t *old = *array;
    if (count > 0 && old + old_bytes == u->bump.pos &&
        more <= (size_t)(u->bump.end - u->bump.pos)) {
        u->bump.pos += more; /* multiples of 8, both */
        return 0;
    }
    uint8_t *grown = wire_bump_alloc(&u->bump, old_bytes + more);
    if (!grown)
        return unpack_no_memory(u);
    if (count > 0)
        memcpy(grown, old, old_bytes);
    *array = grown;
    return 0;
}

static inline size_t *count_of(uint8_t *message, const struct bound_op *op)
{
    return (size_t *)(void *)(message + op->quantifier);
}

static inline int reserve(struct unpack *u, uint8_t *message, const struct bound_op *op,
                          size_t more)
{
    size_t count = *count_of(message, op);
    if (more == 0 || count + more <= array_capacity(count))
        return 0;
    return grow_array(u, (void **)(void *)(message + op->offset), count, more, op->size);
}

int unpack_copy_bytes(struct unpack *u, const uint8_t *data, size_t bytes, uint8_t **ret_copy)
{
    uint8_t *copy = wire_bump_alloc(&u->bump, bytes + 1);
    if (!copy)
        return unpack_no_memory(u);
    memcpy(copy, data, bytes);
    copy[bytes] = '\0';
    *ret_copy = copy;
    return 0;
}

int unpack_put_unknown(struct unpack *u, uint8_t *message, uint32_t tag, uint8_t *data,
                       size_t bytes)
{
    ProtobufCMessage *base = (ProtobufCMessage *)(void *)message;
    size_t count = base->n_unknown_fields;
    if (array_is_full(count)) {
        int r = unpack_double_array(u, (void **)&base->unknown_fields, count,
                                    sizeof(base->unknown_fields[0]));
        if (r < 0)
            return r;
    }
    base->unknown_fields[count] = (ProtobufCMessageUnknownField){
        .tag = tag >> 3,
        .wire_type = (ProtobufCWireType)(tag & 7),
        .len = bytes,
        .data = data,
    };
    base->n_unknown_fields++;
    return 0;
}

int unpack_add_unknown(struct unpack *u, uint8_t *message, uint32_t tag, const uint8_t *value,
                       const uint8_t *end)
{
    uint8_t *data = (uint8_t *)(uintptr_t)value;
    if (u->copying) {
        int r = unpack_copy_bytes(u, value, (size_t)(end - value), &data);
        if (r < 0)
            return r;
    }
    return unpack_put_unknown(u, message, tag, data, (size_t)(end - value));
}

/* The bits of a value as they are encoded, as the struct's field of that kind has them. */
static inline void store_raw(uint8_t *member, enum kind kind, uint64_t raw)
{
    switch (kind) {
    case KIND_INT32:
    case KIND_UINT32:
    case KIND_ENUM:
    case KIND_FIXED32:
    case KIND_SFIXED32:
    case KIND_FLOAT:
        store32(member, (uint32_t)raw);
        break;
    case KIND_SINT32:
        store32(member, (uint32_t)unzigzag32((uint32_t)raw));
        break;
    case KIND_BOOL:
        store32(member, raw != 0);
        break;
    case KIND_SINT64:
        store64(member, (uint64_t)unzigzag64(raw));
        break;
    default:
        store64(member, raw);
    }
}

/* How many values there are, if it is well-formed: each ends with a byte below 0x80. */
static size_t packed_count(const struct bound_op *op, const uint8_t *pos, const uint8_t *end)
{
    if (op->wire != WIRE_VARINT)
        return (size_t)(end - pos) / (op->wire == WIRE_32BIT ? 4 : 8);
    size_t count = 0;
    for (; pos < end; pos++)
        count += *pos < 0x80;
    return count;
}

static int store_packed(struct unpack *u, uint8_t *message, const struct bound_op *op,
                        const uint8_t *at, const uint8_t *pos, const uint8_t *end)
{
    size_t count = packed_count(op, pos, end), counted = count ? count : 1;
    if (counted > WIRE_ELEMENTS_MAX - u->run.elements)
        return run_fail(&u->run, -E2BIG, at, op->number, "more repeated elements than the limit");
    u->run.elements += (uint32_t)counted;
    if (count == 0 && pos == end)
        return 0; /* and there may be no array yet */
    int r = reserve(u, message, op, count);
    if (r < 0)
        return r;
    size_t *n = count_of(message, op);
    uint8_t *member = *(uint8_t **)(void *)(message + op->offset);
    if (member)
        member += *n * op->size;
    while (pos < end) {
        uint64_t raw;
        bool bad = op->kind == KIND_BOOL && *pos > 1;
        pos = bad ? NULL : read_raw((enum wire_type)op->wire, pos, end, &raw);
        if (!pos)
            return run_fail(&u->run, -EBADMSG, at, op->number, "malformed packed values");
        store_raw(member, (enum kind)op->kind, raw);
        member += op->size;
    }
    *n += count;
    return 0;
}

/* A message into *member, which may have a piece of it already. */
static int store_message(struct unpack *u, const struct reading *here, const struct bound_op *op,
                         uint8_t **member, const uint8_t *at, const uint8_t *pos,
                         const uint8_t *end)
{
    if (here->depth == WIRE_DEPTH_MAX)
        return run_fail(&u->run, -E2BIG, at, op->number, "messages nested deeper than the limit");
    if (!*member) {
        *member = new_message(u, op->table);
        if (!*member)
            return unpack_no_memory(u);
    }
    bool was_copying = u->copying;
    u->copying |= here->table->waits && !can_wait(u);
    int r = unpack_message(u, op->table, *member, pos, end, here->depth + 1);
    if (!u->copying)
        end_later(u, here->table, end);
    u->copying = was_copying;
    return r;
}

/* Where the value goes. What a oneof had before is forgotten. */
static int locate(struct unpack *u, uint8_t *message, const struct bound_op *op,
                  uint8_t **ret_member)
{
    if (op->repeated) {
        *ret_member = append(u, message + op->offset, message + op->quantifier, op->size);
        return *ret_member ? 0 : unpack_no_memory(u);
    }
    *ret_member = message + op->offset;
    if (op->oneof) {
        uint32_t *chosen = quantifier(message, op);
        if (*chosen != op->target)
            memset(*ret_member, 0, op->size);
        *chosen = op->target;
    } else if (op->quantifier != 0) {
        *quantifier(message, op) = 1; /* has_ */
    }
    return 0;
}

static int store_length(struct unpack *u, const struct reading *here, uint8_t *member,
                        const struct bound_op *op, const uint8_t *at, const uint8_t *data,
                        const uint8_t *end)
{
    size_t bytes = (size_t)(end - data);
    if (op->kind == KIND_MESSAGE) {
        if (op->repeated)
            *(uint8_t **)(void *)member = NULL;
        return store_message(u, here, op, (uint8_t **)(void *)member, at, data, end);
    }
    if (op->kind == KIND_STRING) {
        if (!text_is_string(data, bytes, bytes))
            return run_fail(&u->run, -EBADMSG, at, op->number, "not UTF-8 without NUL");
        return end_string(u, here->table, data, bytes, (char **)(void *)member);
    }
    uint8_t *content = bytes > 0 ? (uint8_t *)(uintptr_t)data : NULL;
    if (u->copying && bytes > 0) {
        int r = unpack_copy_bytes(u, data, bytes, &content);
        if (r < 0)
            return r;
    }
    *(ProtobufCBinaryData *)(void *)member = (ProtobufCBinaryData){bytes, content};
    return 0;
}

int unpack_value(struct unpack *u, const struct reading *here, const struct bound_op *op,
                 enum wire_type type, const uint8_t *at, const uint8_t *pos,
                 const uint8_t **ret_pos)
{
    uint8_t *member = NULL, *message = here->message;
    uint32_t bytes = 0;
    if (type == WIRE_BYTES) {
        pos = run_read_length(pos, here->end, &bytes);
        if (!pos)
            return run_fail(&u->run, -EBADMSG, at, op->number, "length past the end");
        *ret_pos = pos + bytes;
        if (op->wire != WIRE_BYTES && op->repeated)
            return store_packed(u, message, op, at, pos, pos + bytes);
    }
    if ((uint8_t)type != op->wire)
        return run_fail(&u->run, -EBADMSG, at, op->number, "wrong wire type");
    if (op->repeated && ++u->run.elements > WIRE_ELEMENTS_MAX)
        return run_fail(&u->run, -E2BIG, at, op->number, "more repeated elements than the limit");
    int r = locate(u, message, op, &member);
    if (r < 0)
        return r;
    if (type == WIRE_BYTES)
        return store_length(u, here, member, op, at, pos, pos + bytes);
    uint64_t raw;
    pos = read_raw(type, pos, here->end, &raw);
    if (!pos)
        return run_fail(&u->run, -EBADMSG, at, op->number, "truncated or malformed value");
    store_raw(member, (enum kind)op->kind, raw);
    *ret_pos = pos;
    return 0;
}
