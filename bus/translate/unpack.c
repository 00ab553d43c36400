/*
 * The plan runner's other end: straight into protobuf-c's structs.
 *
 * One block holds everything, mostly: the struct first (wire_free() counts on it), then room for
 * what hangs on it, and at the end the private copy of the source, which is read once, as in run.c.
 * Each field is checked and stored in the same pass. Nothing is copied again: bytes and unknown
 * fields point into the private copy, and so do strings, which are ended there. The byte behind a
 * string is the next field's tag, or the message's end, so it becomes NUL only when that tag has
 * been read; and in messages that look at their own source again at the end (`rereads`: slots,
 * guards, carriers), only then.
 *
 * What a rule makes goes the long way: the runner's own code (frame.c, emit.c, carrier.c) writes
 * wire bytes to a scratch buffer, as it does when a plan ends in bytes, and what it wrote, a
 * *fragment*, is then read into the struct by the plain table of its type. This is done before
 * anything else is stored, so that the order is that of the translated bytes; only a carrier can
 * still grow, as it does there, while nothing else follows. Strings in fragments are copied, for
 * the scratch is used again.
 *
 * So the result is what protobuf-c would make of the translated bytes, with one exception that it
 * calls a bug itself: of a singular message that comes in pieces it loses scalars and unknown
 * fields of all pieces but the last. Here all pieces go into one struct, as protobuf says.
 *
 * The bump is bounded as wire_unpack_checked()'s is. An array grows by doubling from 4, in place if
 * nothing was allocated behind it: so its capacity can be told from its length.
 */
#include "translate/bind.h"

#include <errno.h>
#include <stdlib.h>

#include "translate/run.h"
#include "wire/bump.h"

#define TERMINATOR_MAX                                                                             \
    128                    /* strings of open messages that wait for their end; others are copied  \
                            */
#define SCRATCH_BYTES 8192 /* on the stack; enough for sources of 1,024 bytes */
#define ARRAY_COUNT_MIN 4  /* times the smallest element, 4 bytes, is a multiple of 8 */

struct unpack {
    struct run run;
    struct wire_bump bump;
    const struct plan *plan;
    uint8_t *fragment; /* where what the runner wrote, and nobody has read yet, begins */
    uint8_t *scratch;  /* NULL: not needed yet */
    uint8_t *stack;    /* SCRATCH_BYTES of it */
    size_t source_bytes;
    uint8_t *open_end; /* to be NUL: the end of the message just read, in that around it */
    uint8_t spare;     /* what is ended when nothing is */
    bool copying;      /* in a fragment: strings and bytes are copied */
    unsigned terminator_count;
    uint8_t *terminators[TERMINATOR_MAX];
};

static int no_memory(struct unpack *u)
{
    return run_fail(&u->run, u->bump.error, NULL, 0,
                    u->bump.error == -ENOMEM ? "out of memory"
                                             : "unpacking would take more memory than the limit");
}

static inline uint32_t *quantifier(uint8_t *message, const struct bound_op *op)
{
    return (uint32_t *)(void *)(message + op->quantifier);
}

static inline size_t *count_of(uint8_t *message, const struct bound_op *op)
{
    return (size_t *)(void *)(message + op->quantifier);
}

/* ---- Memory ---- */

static inline uint8_t *new_message(struct unpack *u, const struct bound_table *table)
{
    uint8_t *message = wire_bump_alloc(&u->bump, table->image_bytes);
    if (message)
        memcpy(message, table->image, table->image_bytes);
    return message;
}

static size_t array_capacity(size_t count)
{
    size_t capacity = ARRAY_COUNT_MIN;
    while (capacity < count)
        capacity *= 2;
    return count > 0 ? capacity : 0;
}

/* Room for @more elements behind the @count that *array has. */
__attribute__((noinline)) static int grow_array(struct unpack *u, void **array, size_t count,
                                                size_t more, size_t size)
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
        return no_memory(u);
    if (count > 0)
        memcpy(grown, old, count * size);
    *array = grown;
    return 0;
}

static inline int reserve(struct unpack *u, uint8_t *message, const struct bound_op *op,
                          size_t more)
{
    size_t count = *count_of(message, op);
    if (more == 0 || count + more <= array_capacity(count))
        return 0;
    return grow_array(u, (void **)(void *)(message + op->offset), count, more, op->size);
}

/* The place of one element more. */
static inline int append(struct unpack *u, uint8_t *message, const struct bound_op *op,
                         uint8_t **ret_element)
{
    size_t *count = count_of(message, op);
    uint8_t **array = (uint8_t **)(void *)(message + op->offset);
    /* Full: none, or a power of two from ARRAY_COUNT_MIN on. */
    if ((*count & (*count - 1)) == 0 && (*count == 0 || *count >= ARRAY_COUNT_MIN)) {
        int r = grow_array(u, (void **)(void *)array, *count, 1, op->size);
        if (r < 0)
            return r;
    }
    *ret_element = *array + *count * op->size;
    ++*count;
    return 0;
}

static int copy_bytes(struct unpack *u, const uint8_t *data, size_t bytes, uint8_t **ret_copy)
{
    uint8_t *copy = wire_bump_alloc(&u->bump, bytes + 1);
    if (!copy)
        return no_memory(u);
    memcpy(copy, data, bytes);
    copy[bytes] = '\0';
    *ret_copy = copy;
    return 0;
}

/* A string as protobuf-c has it. *terminator: to become NUL when what is there has been read. */
static inline int end_string(struct unpack *u, const struct bound_table *table, const uint8_t *data,
                             size_t bytes, uint8_t **terminator, char **ret_string)
{
    uint8_t *string = (uint8_t *)(uintptr_t)data; /* the private copy is ours */
    if (__builtin_expect(u->copying, 0) ||
        (table->rereads && u->terminator_count == TERMINATOR_MAX)) {
        int r = copy_bytes(u, data, bytes, &string);
        if (r < 0)
            return r;
    } else if (table->rereads) {
        u->terminators[u->terminator_count++] = string + bytes;
    } else {
        *terminator = string + bytes;
    }
    *ret_string = (char *)string;
    return 0;
}

static int add_unknown(struct unpack *u, uint8_t *message, uint32_t tag, const uint8_t *value,
                       const uint8_t *end)
{
    ProtobufCMessage *base = (ProtobufCMessage *)(void *)message;
    size_t count = base->n_unknown_fields, bytes = (size_t)(end - value);
    if ((count & (count - 1)) == 0 && (count == 0 || count >= ARRAY_COUNT_MIN)) {
        int r = grow_array(u, (void **)&base->unknown_fields, count, 1,
                           sizeof(base->unknown_fields[0]));
        if (r < 0)
            return r;
    }
    uint8_t *data = (uint8_t *)(uintptr_t)value;
    if (u->copying) {
        int r = copy_bytes(u, value, bytes, &data);
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

/* ---- Scalars ---- */

static inline int32_t unzigzag32(uint32_t raw)
{
    return (int32_t)(raw >> 1 ^ (0 - (raw & 1)));
}

static inline int64_t unzigzag64(uint64_t raw)
{
    return (int64_t)(raw >> 1 ^ (0 - (raw & 1)));
}

static inline void store32(uint8_t *member, uint32_t value)
{
    memcpy(member, &value, sizeof(value));
}

static inline void store64(uint8_t *member, uint64_t value)
{
    memcpy(member, &value, sizeof(value));
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

static inline uint64_t load_fixed(const uint8_t *pos, size_t bytes)
{
    uint64_t raw = 0;
    for (size_t i = 0; i < bytes; i++) /* compilers make one load of it */
        raw |= (uint64_t)pos[i] << (8 * i);
    return raw;
}

static inline const uint8_t *read_raw(enum wire_type wire, const uint8_t *pos, const uint8_t *end,
                                      uint64_t *ret_raw)
{
    if (wire == WIRE_VARINT)
        return run_read_varint(pos, end, ret_raw);
    size_t bytes = wire == WIRE_32BIT ? 4 : 8;
    if ((size_t)(end - pos) < bytes)
        return NULL;
    *ret_raw = bytes == 4 ? load_fixed(pos, 4) : load_fixed(pos, 8);
    return pos + bytes;
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
    int r = reserve(u, message, op, count);
    if (r < 0)
        return r;
    size_t *n = count_of(message, op);
    uint8_t *member = *(uint8_t **)(void *)(message + op->offset) + *n * op->size;
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

/* ---- Messages ---- */

static int unpack_message(struct unpack *u, const struct bound_table *table, uint8_t *message,
                          const uint8_t *pos, const uint8_t *end, unsigned depth);

/* What becomes NUL behind what has just been read, now that we are in @table's message. */
static inline void take_open_end(struct unpack *u, const struct bound_table *table,
                                 uint8_t **terminator)
{
    if (!table->rereads)
        *terminator = u->open_end;
    else if (u->open_end != &u->spare)
        u->terminators[u->terminator_count++] = u->open_end;
}

/* Into *member, which may have a piece of it already. */
static int store_message(struct unpack *u, const struct bound_table *table,
                         const struct bound_op *op, uint8_t **member, const uint8_t *at,
                         const uint8_t *pos, const uint8_t *end, unsigned depth,
                         uint8_t **terminator)
{
    if (depth == WIRE_DEPTH_MAX)
        return run_fail(&u->run, -E2BIG, at, op->number, "messages nested deeper than the limit");
    if (!*member) {
        *member = new_message(u, op->table);
        if (!*member)
            return no_memory(u);
    }
    bool was_copying = u->copying;
    u->copying |= table->rereads && u->terminator_count == TERMINATOR_MAX;
    int r = unpack_message(u, op->table, *member, pos, end, depth + 1);
    u->copying = was_copying;
    take_open_end(u, table, terminator);
    return r;
}

/* ---- Values of any kind and label ---- */

/* Where the value goes. What a oneof had before is forgotten. */
static int locate(struct unpack *u, uint8_t *message, const struct bound_op *op,
                  uint8_t **ret_member)
{
    if (op->repeated)
        return append(u, message, op, ret_member);
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

static int store_length(struct unpack *u, const struct bound_table *table, uint8_t *member,
                        const struct bound_op *op, const uint8_t *at, const uint8_t *data,
                        const uint8_t *end, unsigned depth, uint8_t **terminator)
{
    size_t bytes = (size_t)(end - data);
    if (op->kind == KIND_MESSAGE) {
        if (op->repeated)
            *(uint8_t **)(void *)member = NULL;
        return store_message(u, table, op, (uint8_t **)(void *)member, at, data, end, depth,
                             terminator);
    }
    if (op->kind == KIND_STRING) {
        if (!text_is_string(data, bytes, bytes))
            return run_fail(&u->run, -EBADMSG, at, op->number, "not UTF-8 without NUL");
        return end_string(u, table, data, bytes, terminator, (char **)(void *)member);
    }
    uint8_t *content = bytes > 0 ? (uint8_t *)(uintptr_t)data : NULL;
    if (u->copying && bytes > 0) {
        int r = copy_bytes(u, data, bytes, &content);
        if (r < 0)
            return r;
    }
    *(ProtobufCBinaryData *)(void *)member = (ProtobufCBinaryData){bytes, content};
    return 0;
}

/* Any value that needs no change. *terminator: as in end_string(). */
static int store_value(struct unpack *u, const struct bound_table *table, uint8_t *message,
                       const struct bound_op *op, enum wire_type type, const uint8_t *at,
                       const uint8_t *pos, const uint8_t *end, unsigned depth, uint8_t **terminator,
                       const uint8_t **ret_pos)
{
    uint8_t *member;
    uint32_t bytes = 0;
    if (type == WIRE_BYTES) {
        pos = run_read_length(pos, end, &bytes);
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
        return store_length(u, table, member, op, at, pos, pos + bytes, depth, terminator);
    uint64_t raw;
    pos = read_raw(type, pos, end, &raw);
    if (!pos)
        return run_fail(&u->run, -EBADMSG, at, op->number, "truncated or malformed value");
    store_raw(member, (enum kind)op->kind, raw);
    *ret_pos = pos;
    return 0;
}

/* ---- Wire bytes of the reader's version, into the struct ---- */

static int unpack_fields(struct unpack *u, const struct bound_table *table, struct frame *frame,
                         uint8_t *message, const uint8_t *pos, const uint8_t *end, unsigned depth,
                         uint64_t *ret_required);

/* Whole fields, well-formed as far as the runner knows, by the plain table. They are not counted
 * again. @copying: they are in the scratch buffer. */
static int store_fields(struct unpack *u, const struct bound_table *table, uint8_t *message,
                        const uint8_t *pos, const uint8_t *end, unsigned depth, bool copying)
{
    bool was_copying = u->copying;
    uint32_t elements = u->run.elements;
    uint64_t required = 0;
    u->copying = copying;
    int r = unpack_fields(u, table->plain, NULL, message, pos, end, depth, &required);
    u->copying = was_copying;
    u->run.elements = elements;
    return r;
}

/* One field of the source that goes over as it is. */
static int store_record(struct unpack *u, const struct bound_table *table, uint8_t *message,
                        const uint8_t *at, const uint8_t *end, unsigned depth, uint8_t **terminator)
{
    bool full = table->rereads && u->terminator_count == TERMINATOR_MAX;
    int r = store_fields(u, table, message, at, end, depth, u->copying || full);
    take_open_end(u, table, terminator);
    return r;
}

/* Reads what the runner has written into the struct. @at: where we are in the source. */
__attribute__((noinline)) static int flush(struct unpack *u, const struct bound_table *table,
                                           struct frame *frame, uint8_t *message, const uint8_t *at)
{
    uint8_t *end = u->run.out;
    int r = store_fields(u, table, message, u->fragment, end, frame->depth, true);
    if (r < 0)
        return run_fail(&u->run, r, at, u->run.failure.number, u->run.failure.what);
    u->run.out = u->fragment;
    frame->carrier = NULL; /* it cannot grow any more */
    return 0;
}

static inline int flush_if_any(struct unpack *u, const struct bound_table *table,
                               struct frame *frame, uint8_t *message, const uint8_t *at)
{
    return __builtin_expect(u->run.out != u->fragment, 0) ? flush(u, table, frame, message, at) : 0;
}

/* ---- What a rule makes ---- */

static int need_scratch(struct unpack *u)
{
    if (u->scratch)
        return 0;
    size_t bytes = plan_output_bytes_max(u->plan, u->source_bytes) - u->source_bytes;
    u->scratch = bytes <= SCRATCH_BYTES ? u->stack : malloc(bytes);
    if (!u->scratch)
        return run_fail(&u->run, -ENOMEM, NULL, 0, "out of memory");
    u->fragment = u->run.out = u->scratch;
    u->run.limit = u->scratch + bytes;
    u->run.over = -E2BIG;
    return 0;
}

static int unpack_slowly(struct unpack *u, const struct bound_table *table, struct frame *frame,
                         uint8_t *message, const uint8_t *at, const uint8_t *end,
                         uint8_t **terminator, const uint8_t **ret_pos)
{
    const uint8_t *copied = at;
    int r = need_scratch(u);
    if (r == 0)
        r = run_translate_field(&u->run, frame, table->table, at, end, &copied, ret_pos);
    if (r < 0 || copied != at)
        return r;
    /* It goes over as it is. */
    r = flush_if_any(u, table, frame, message, at);
    if (r == 0)
        r = store_record(u, table, message, at, *ret_pos, frame->depth, terminator);
    return r;
}

/* The message's end: what waited for it. */
static int finish(struct unpack *u, const struct bound_table *table, struct frame *frame,
                  uint8_t *message)
{
    int r = table->rereads ? need_scratch(u) : 0;
    if (r == 0)
        r = run_close_frame(&u->run, frame);
    if (r == 0)
        r = flush_if_any(u, table, frame, message, frame->end);
    return r;
}

/* ---- The loop ---- */

static int too_many(struct unpack *u, const uint8_t *at, uint32_t number)
{
    return run_fail(&u->run, -E2BIG, at, number, "more fields in one message than the limit");
}

/* A field that by_tag does not have: longer tags, packed values, unknown fields, what is slow. */
static int unpack_other(struct unpack *u, const struct bound_table *table, struct frame *frame,
                        uint8_t *message, const uint8_t *at, const uint8_t *end, unsigned depth,
                        uint32_t *fields, uint64_t *required, uint8_t **terminator,
                        const uint8_t **ret_pos)
{
    uint32_t tag;
    const uint8_t *pos = run_read_u32(at, end, &tag);
    if (!pos)
        return run_fail(&u->run, -EBADMSG, at, 0, "truncated or malformed tag");
    const struct bound_op *op = bound_find(table, tag >> 3);
    if (table->translated &&
        (!op || op->code < CODE_DIRECT || op->code == CODE_CONVERT || op->code == CODE_NOTED))
        return unpack_slowly(u, table, frame, message, at, end, terminator, ret_pos);
    if ((!op || !op->counted) && ++*fields > WIRE_FIELDS_MAX)
        return too_many(u, at, tag >> 3);
    if (!op) {
        int r = run_skip_unknown(&u->run, tag, at, pos, end, ret_pos);
        return r < 0 ? r : add_unknown(u, message, tag, pos, *ret_pos);
    }
    if (op->required != PROGRAM_REQUIRED_NONE)
        *required |= UINT64_C(1) << op->required;
    int r = table->translated ? flush_if_any(u, table, frame, message, at) : 0;
    if (r < 0)
        return r;
    if (op->code != CODE_CHECKED)
        return store_value(u, table, message, op, (enum wire_type)(tag & 7), at, pos, end, depth,
                           terminator, ret_pos);
    r = run_check_value(&u->run, op->op, (enum wire_type)(tag & 7), at, pos, end, depth, ret_pos);
    if (r == 0)
        r = store_record(u, table, message, at, *ret_pos, depth, terminator);
    return r;
}

/* CODE_CONVERT */
static int store_converted(struct unpack *u, struct frame *frame, uint8_t *message,
                           const struct bound_op *op, const uint8_t *at, const uint8_t *pos,
                           const uint8_t *after)
{
    struct slot unused = {0};
    struct slot *slot = op->slot == PROGRAM_SLOT_NONE ? &unused : &frame->slots[op->slot];
    slot->seen = true;
    slot->data = at;
    slot->bytes = (uint32_t)(after - at);
    int r = run_decode(&u->run, op->op, at, pos, slot);
    if (r < 0)
        return r;
    if (op->quantifier != 0)
        *quantifier(message, op) = 1;
    if (op->size == 4)
        store32(message + op->offset, (uint32_t)slot->mapped);
    else
        store64(message + op->offset, (uint64_t)slot->mapped);
    return 0;
}

/* All fields of a message. @frame: NULL unless the table translates. The required ones that were
 * seen are added to *ret_required, or to the frame's. What is to become NUL behind the message's
 * end, once that has been read, is left in u->open_end. */
static int unpack_fields(struct unpack *u, const struct bound_table *table, struct frame *frame,
                         uint8_t *message, const uint8_t *pos, const uint8_t *end, unsigned depth,
                         uint64_t *ret_required)
{
    uint32_t own_fields = 0;
    uint64_t own_required = 0;
    uint32_t *fields = frame ? &frame->fields : &own_fields;
    uint64_t *required = frame ? &frame->required : &own_required;
    uint8_t *terminator = &u->spare; /* of the string before */
    int r = 0;
    while (pos < end) {
        const uint8_t *at = pos;
        uint8_t *next = &u->spare;
        uint16_t index = *pos < BOUND_TAG_COUNT ? table->by_tag[*pos] : 0;
        if (index == 0) {
            r = unpack_other(u, table, frame, message, at, end, depth, fields, required, &next,
                             &pos);
            if (r < 0)
                return r;
            *terminator = 0;
            terminator = next;
            continue;
        }
        const struct bound_op *op = &table->ops[index - 1];
        pos++;
        if (op->required != PROGRAM_REQUIRED_NONE)
            *required |= UINT64_C(1) << op->required;
        if (!op->counted) {
            if (__builtin_expect(++*fields > WIRE_FIELDS_MAX, 0))
                return too_many(u, at, op->number);
        }
        if (frame && op->code >= CODE_DIRECT) {
            r = flush_if_any(u, table, frame, message, at);
            if (r < 0)
                return r;
        }
        uint8_t *member = message + op->offset;
        uint64_t raw;
        uint32_t bytes;
        switch (op->code) {
        case CODE_SLOT_TEXT:
        case CODE_NOTED:
        case CODE_STRING:
        case CODE_STRINGS:
            pos = run_read_length(pos, end, &bytes);
            if (!pos)
                return run_fail(&u->run, -EBADMSG, at, op->number, "length past the end");
            if ((op->code != CODE_SLOT_TEXT || op->op->kind == KIND_STRING) &&
                !text_is_string(pos, bytes, (size_t)(end - pos)))
                return run_fail(&u->run, -EBADMSG, at, op->number, "not UTF-8 without NUL");
            if (op->code == CODE_STRINGS) {
                if (++u->run.elements > WIRE_ELEMENTS_MAX)
                    return run_fail(&u->run, -E2BIG, at, op->number,
                                    "more repeated elements than the limit");
                r = append(u, message, op, &member);
                if (r < 0)
                    return r;
            } else if (op->code == CODE_SLOT_TEXT) {
                run_note_text(frame, op->op, pos, bytes);
                pos += bytes;
                break;
            } else if (op->code == CODE_NOTED) {
                run_note(frame, op->op, at, at + 1, pos + bytes);
            }
            r = end_string(u, table, pos, bytes, &next, (char **)(void *)member);
            if (r < 0)
                return r;
            pos += bytes;
            break;
        case CODE_CONVERT: {
            const uint8_t *value = pos;
            pos = read_raw((enum wire_type)op->wire, pos, end, &raw);
            if (!pos)
                return run_fail(&u->run, -EBADMSG, at, op->number, "truncated or malformed value");
            r = store_converted(u, frame, message, op, at, value, pos);
            if (r < 0)
                return r;
            break;
        }
        case CODE_MESSAGES:
        case CODE_MESSAGE:
        case CODE_VALUE:
            r = store_value(u, table, message, op, (enum wire_type)op->wire, at, pos, end, depth,
                            &next, &pos);
            if (r < 0)
                return r;
            break;
        default:
            pos = read_raw((enum wire_type)op->wire, pos, end, &raw);
            if (!pos)
                return run_fail(&u->run, -EBADMSG, at, op->number, "truncated or malformed value");
            if (op->quantifier != 0)
                *quantifier(message, op) = 1;
            store_raw(member, (enum kind)op->kind, raw);
        }
        *terminator = 0;
        terminator = next;
    }
    *ret_required |= own_required;
    u->open_end = terminator;
    return 0;
}

static int missing_required(struct unpack *u, const uint8_t *end)
{
    return run_fail(&u->run, -EBADMSG, end, 0, "a required field is missing");
}

/* Ends the strings of a message that is done, but for one that ends with it: what is behind that
 * has not been read yet. */
static void end_strings(struct unpack *u, unsigned first, const uint8_t *end)
{
    for (unsigned i = first; i < u->terminator_count; i++) {
        if (u->terminators[i] == end)
            u->open_end = u->terminators[i];
        else
            *u->terminators[i] = 0;
    }
    u->terminator_count = first;
}

static int unpack_translated(struct unpack *u, const struct bound_table *table, uint8_t *message,
                             const uint8_t *pos, const uint8_t *end, unsigned depth)
{
    struct frame frame;
    unsigned first = u->terminator_count;
    uint64_t required = 0;
    uint32_t slots_used = u->run.slots_used;
    uint8_t *limit = u->run.limit;
    int r = run_open_frame(&u->run, table->table, NULL, pos, end, depth, &frame);
    if (r == 0)
        r = unpack_fields(u, table, &frame, message, pos, end, depth, &required);
    uint8_t *open_end = u->open_end;
    if (r == 0)
        r = finish(u, table, &frame, message);
    u->open_end = open_end;
    u->run.slots_used = slots_used;
    if (limit)
        u->run.limit = limit; /* what pipes have left there is not needed any more */
    if (r == 0)
        end_strings(u, first, end);
    return r;
}

/* A message that several steps translate one after another: as bytes, then read. */
static int unpack_staged(struct unpack *u, const struct bound_table *table, uint8_t *message,
                         const uint8_t *pos, const uint8_t *end, unsigned depth)
{
    struct frame frame;
    int r = need_scratch(u);
    if (r == 0)
        r = run_translate(&u->run, table->table, NULL, pos, end, depth, &frame);
    if (r == 0)
        r = flush(u, table, &frame, message, end);
    u->open_end = &u->spare;
    return r;
}

static int unpack_message(struct unpack *u, const struct bound_table *table, uint8_t *message,
                          const uint8_t *pos, const uint8_t *end, unsigned depth)
{
    if (table->staged)
        return unpack_staged(u, table, message, pos, end, depth);
    if (table->translated)
        return unpack_translated(u, table, message, pos, end, depth);
    uint64_t required = 0;
    int r = unpack_fields(u, table, NULL, message, pos, end, depth, &required);
    if (r == 0 && table->required_count && (required + 1) << (64 - table->required_count) != 0)
        r = missing_required(u, end);
    return r;
}

/* ---- The whole ---- */

/* Room for the struct, for about what hangs on it, and for the copy with a byte to end it. */
static int open_block(struct unpack *u, const struct bound_table *table, uint8_t **ret_message,
                      uint8_t **ret_copy)
{
    size_t copy_bytes_max = (u->source_bytes + 1 + 7) & ~(size_t)7;
    size_t guess = u->source_bytes < 512 ? u->source_bytes : 2 * u->source_bytes;
    size_t first = ((table->image_bytes + 7) & ~(size_t)7) + guess + 256;
    first = (first & ~(size_t)7) + copy_bytes_max;
    if (wire_bump_grow(&u->bump, first) < 0)
        return no_memory(u);
    u->bump.end -= copy_bytes_max;
    *ret_copy = u->bump.end;
    *ret_message = new_message(u, table);
    return 0;
}

static int unpack_source(struct unpack *u, const struct bound_table *table, const uint8_t *source,
                         ProtobufCMessage **ret_message)
{
    uint8_t *message = NULL, *copy = NULL;
    int r = open_block(u, table, &message, &copy);
    if (r < 0)
        return r;
    if (u->source_bytes > 0)
        memcpy(copy, source, u->source_bytes);
    u->run.source = copy;
    u->run.source_end = u->run.readable = copy + u->source_bytes;
    /* Pipes lower the limit for as long as a message is open, so it must be known before. */
    if (u->plan->header->flags & PROGRAM_STAGED)
        r = need_scratch(u);
    if (r == 0)
        r = unpack_message(u, table, message, copy, copy + u->source_bytes, 1);
    if (r == 0) {
        *u->open_end = 0;
        *ret_message = (ProtobufCMessage *)(void *)message;
    }
    if (u->scratch && u->scratch != u->stack)
        free(u->scratch);
    if (r < 0)
        wire_bump_free(&u->bump);
    return r;
}

int plan_unpack(const struct plan_binding *binding, uint32_t entry, const uint8_t *source,
                size_t source_bytes, ProtobufCMessage **ret_message,
                struct plan_failure *ret_failure)
{
    uint8_t stack[SCRATCH_BYTES];
    struct unpack u;
    u.run.plan = u.plan = binding->plan;
    u.run.elements = 0;
    u.run.slots_used = 0;
    u.run.source = u.run.source_end = u.run.readable = u.run.origin = NULL;
    u.run.out = u.run.limit = u.fragment = u.scratch = NULL;
    u.run.failure = (struct plan_failure){0, 0, "no such method"};
    u.bump = (struct wire_bump){.left = wire_unpacked_bytes_max(source_bytes)};
    u.stack = stack;
    u.source_bytes = source_bytes;
    u.open_end = &u.spare;
    u.copying = false;
    u.terminator_count = 0;
    int r = -EINVAL;
    if (entry < binding->entry_count && binding->entries[entry]) {
        if (source_bytes > WIRE_MESSAGE_BYTES_MAX)
            r = run_fail(&u.run, -E2BIG, NULL, 0, "a message larger than the limit");
        else
            r = unpack_source(&u, binding->entries[entry], source, ret_message);
    }
    if (r < 0 && ret_failure)
        *ret_failure = u.run.failure;
    return r;
}
