/*
 * The plan runner: how a message enters a process.
 *
 * The source may be memory that a hostile peer changes while we look at it. So it is read once, by
 * one memcpy, into memory of our own, and nothing looks at the source again: whatever the peer
 * does, we have *some* bytes, they stay what they are, and everything after works on those. There
 * is no second read to disagree with the first.
 *
 *  - A VERBATIM table (equal versions; messages that a new version did not touch) needs no more:
 * the copy goes straight to the output, is checked there, and is the result, byte by byte.
 *  - Otherwise the copy goes to the end of the output buffer, the translation is written from its
 *    front, and is stopped before it reaches the copy. plan_output_bytes_max() allows for both.
 *
 * This file has the entry and the checking loop. A checked message is one that wire_check() passes:
 * framing, wire types, UTF-8 without NUL, required fields, depth, fields, elements. frame.c has the
 * translating loop, which checks each value by the same functions before it uses it.
 *
 * The stack: `struct run` (6 KiB, most of it slots) and, for each level of nesting, below 900
 * bytes, an opened carrier included, or below 3 KiB where it lies in a field whose shape changes
 * (entries.c, oneof.c); no recursion but by nesting, and that ends at WIRE_DEPTH_MAX.
 */
#include "translate/fast.h"

static_assert(sizeof(struct run) < 8192, "on the stack of whoever calls");

int run_fail(struct run *run, int code, const uint8_t *at, uint32_t number, const char *what)
{
    if (at && (at < run->source || at > run->source_end))
        at = run->origin; /* it was in what a stage has written */
    run->failure.offset = at ? (size_t)(at - run->source) : 0;
    run->failure.number = number;
    run->failure.what = what;
    return code;
}

const uint8_t *run_read_slow(const uint8_t *pos, const uint8_t *end, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (unsigned shift = 0; pos < end && shift < 70; shift += 7) {
        uint8_t byte = *pos++;
        if (shift == 63 && byte > 1)
            return NULL;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *ret_value = value;
            return pos;
        }
    }
    return NULL;
}

/* Skips a varint without looking at its value. */
static inline const uint8_t *skip_varint(const uint8_t *pos, const uint8_t *end)
{
    uint64_t value;
    return run_read_varint(pos, end, &value);
}

int run_count_element(struct run *run, const struct program_op *op, const uint8_t *at)
{
    if (run->elements == WIRE_ELEMENTS_MAX)
        return run_fail(run, -E2BIG, at, op->number, "more repeated elements than the limit");
    run->elements++;
    return 0;
}

int run_count_field(struct run *run, struct frame *frame, const uint8_t *at, uint32_t number)
{
    if (frame->fields == WIRE_FIELDS_MAX)
        return run_fail(run, -E2BIG, at, number, "more fields in one message than the limit");
    frame->fields++;
    return 0;
}

static int check_packed(struct run *run, const struct program_op *op, const uint8_t *at,
                        const uint8_t *pos, const uint8_t *end)
{
    size_t count = 0;
    if (op->wire == WIRE_VARINT) {
        for (; pos < end; count++) {
            if (op->kind == KIND_BOOL && *pos > 1)
                return run_fail(run, -EBADMSG, at, op->number, "malformed packed values");
            pos = skip_varint(pos, end);
            if (!pos)
                return run_fail(run, -EBADMSG, at, op->number, "malformed packed values");
        }
    } else {
        size_t size = op->wire == WIRE_32BIT ? 4 : 8, bytes = (size_t)(end - pos);
        if (bytes % size != 0)
            return run_fail(run, -EBADMSG, at, op->number, "malformed packed values");
        count = bytes / size;
    }
    count = count ? count : 1;
    if (count > WIRE_ELEMENTS_MAX - run->elements)
        return run_fail(run, -E2BIG, at, op->number, "more repeated elements than the limit");
    run->elements += (uint32_t)count;
    return 0;
}

static int check_message(struct run *run, const struct program_table *table, const uint8_t *pos,
                         const uint8_t *end, unsigned depth);

static int check_bytes(struct run *run, const struct program_op *op, const uint8_t *at,
                       const uint8_t *pos, const uint8_t *end, unsigned depth,
                       const uint8_t **ret_pos)
{
    uint32_t bytes;
    pos = run_read_length(pos, end, &bytes);
    if (!pos)
        return run_fail(run, -EBADMSG, at, op->number, "length past the end");
    *ret_pos = pos + bytes;
    if (op->kind == KIND_STRING) {
        if (!text_is_string(pos, bytes, (size_t)(end - pos)))
            return run_fail(run, -EBADMSG, at, op->number, "not UTF-8 without NUL");
    } else if (op->kind == KIND_MESSAGE) {
        if (depth == WIRE_DEPTH_MAX)
            return run_fail(run, -E2BIG, at, op->number, "messages nested deeper than the limit");
        return check_message(run, &run->plan->tables[op->table], pos, pos + bytes, depth + 1);
    } else if (op->wire != WIRE_BYTES) {
        return check_packed(run, op, at, pos, pos + bytes);
    }
    return 0;
}

int run_check_value(struct run *run, const struct program_op *op, enum wire_type type,
                    const uint8_t *at, const uint8_t *pos, const uint8_t *end, unsigned depth,
                    const uint8_t **ret_pos)
{
    if (type == WIRE_BYTES) {
        if (op->wire != WIRE_BYTES && !(op->flags & OP_REPEATED))
            return run_fail(run, -EBADMSG, at, op->number, "wrong wire type");
        /* Packed elements are counted where they are. */
        if (op->wire == WIRE_BYTES && (op->flags & OP_REPEATED)) {
            int r = run_count_element(run, op, at);
            if (r < 0)
                return r;
        }
        return check_bytes(run, op, at, pos, end, depth, ret_pos);
    }
    if ((uint8_t)type != op->wire)
        return run_fail(run, -EBADMSG, at, op->number, "wrong wire type");
    if (type == WIRE_VARINT)
        pos = skip_varint(pos, end);
    else if ((size_t)(end - pos) < (type == WIRE_32BIT ? 4 : 8))
        pos = NULL;
    else
        pos += type == WIRE_32BIT ? 4 : 8;
    if (!pos)
        return run_fail(run, -EBADMSG, at, op->number, "truncated or malformed value");
    *ret_pos = pos;
    return op->flags & OP_REPEATED ? run_count_element(run, op, at) : 0;
}

int run_skip_unknown(struct run *run, uint32_t tag, const uint8_t *at, const uint8_t *pos,
                     const uint8_t *end, const uint8_t **ret_pos)
{
    uint32_t number = tag >> 3;
    enum wire_type type = (enum wire_type)(tag & 7);
    if (number == 0 || type > WIRE_32BIT)
        return run_fail(run, -EBADMSG, at, number, "malformed tag");
    if (type == WIRE_GROUP_START || type == WIRE_GROUP_END)
        return run_fail(run, -EBADMSG, at, number, "a group, which cannot be unpacked");
    struct wire_reader reader = {pos, end};
    if (wire_skip(&reader, number, type) < 0)
        return run_fail(run, -EBADMSG, at, number, "truncated or malformed unknown field");
    *ret_pos = reader.pos;
    return 0;
}

/* As many fields as are simple and right, from *pos on. What a message has at most is looked after by
 * the caller: before @stop it cannot be too much. Return: 0, and *pos is the first field that is not,
 * and be it right; or an error, of a message in there. */
static int check_fields(struct run *run, const struct fast_table *fast, const uint8_t **ret_pos,
                        const uint8_t *stop, const uint8_t *end, unsigned depth,
                        uint32_t *ret_fields)
{
    const uint8_t *pos = *ret_pos, *at = pos;
    uint32_t count = 0, elements = 0, bytes;
    const struct fast *way = NULL;
    int r = 0;
    while (pos < stop) {
        at = pos;
        way = fast_find(fast, &pos);
        if (!way)
            goto leave;
        if (way->value == FAST_STRING && text_is_plain(pos + 1, *pos)) {
            pos += 1 + *pos;
            elements += way->repeated;
        } else if (way->value == FAST_VARINT && *pos < 0x80) {
            pos++;
        } else if (way->value == FAST_MESSAGE) {
            const uint8_t *data = run_read_length(pos, end, &bytes);
            if (!data || depth >= WIRE_DEPTH_MAX)
                goto leave;
            pos = data + bytes;
            r = check_message(run, way->table->table, data, pos, depth + 1);
            if (r < 0)
                break;
            elements += way->repeated;
        } else {
            pos = fast_check(run, way->value, pos, end);
            if (!pos)
                goto leave;
            elements += way->repeated;
        }
        count++;
    }
    if (__builtin_expect(pos > end, 0)) {
        count--;
        elements -= way->repeated;
    } else {
        at = pos;
    }
leave:
    run->elements += elements;
    *ret_fields += count - elements;
    *ret_pos = at;
    return r;
}

/* One field, by the long way. */
static int check_field(struct run *run, const struct program_table *table, const uint8_t **ret_pos,
                       const uint8_t *end, unsigned depth, uint32_t *fields, uint64_t *required)
{
    const uint8_t *at = *ret_pos;
    uint32_t tag;
    const uint8_t *pos = run_read_u32(at, end, &tag);
    if (!pos)
        return run_fail(run, -EBADMSG, at, 0, "truncated or malformed tag");
    const struct program_op *op = run_find(run->plan, table, tag >> 3);
    if ((!op || !(op->flags & OP_REPEATED)) && ++*fields > WIRE_FIELDS_MAX)
        return run_fail(run, -E2BIG, at, tag >> 3, "more fields in one message than the limit");
    if (!op)
        return run_skip_unknown(run, tag, at, pos, end, ret_pos);
    if (op->required != PROGRAM_REQUIRED_NONE)
        *required |= UINT64_C(1) << op->required;
    return run_check_value(run, op, (enum wire_type)(tag & 7), at, pos, end, depth, ret_pos);
}

static int check_message(struct run *run, const struct program_table *table, const uint8_t *pos,
                         const uint8_t *end, unsigned depth)
{
    const struct fast_table *fast = &run->plan->fast[table - run->plan->tables];
    uint32_t fields = 0;
    uint64_t required = 0;
    int r = 0;
    while (pos < end && r == 0) {
        /* A field has two bytes at least. */
        ptrdiff_t stop = run->readable - pos - FAST_READ_BYTES;
        ptrdiff_t most = 2 * (ptrdiff_t)(WIRE_FIELDS_MAX - fields);
        ptrdiff_t elements = 2 * (ptrdiff_t)(WIRE_ELEMENTS_MAX - run->elements);
        stop = stop < most ? stop : most;
        stop = stop < elements ? stop : elements;
        stop = stop < end - pos ? stop : end - pos;
        if (stop > 0)
            r = check_fields(run, fast, &pos, pos + stop, end, depth, &fields);
        if (r == 0 && pos < end)
            r = check_field(run, table, &pos, end, depth, &fields, &required);
    }
    if (r == 0 && table->required_count &&
        (required + 1) << (64 - table->required_count) != 0)
        return run_fail(run, -EBADMSG, end, 0, "a required field is missing");
    return r;
}

static size_t output_most(size_t source_bytes)
{
    size_t most = 4 * source_bytes + 4096;
    return most < WIRE_MESSAGE_BYTES_MAX ? most : WIRE_MESSAGE_BYTES_MAX;
}

static size_t room_most(const struct plan *plan, size_t source_bytes)
{
    return (plan->header->flags & PROGRAM_STAGED ? 2 : 1) * output_most(source_bytes);
}

/* Once more from the beginning, after the pieces of messages have been joined. */
static int translate_joined(struct run *run, const struct program_table *table, uint8_t *copy,
                            size_t bytes, uint8_t *out)
{
    struct frame frame;
    run->watches = false;
    run->elements = 0;
    run->slots_used = 0;
    run->root = NULL;
    run->moves_in = false;
    run->stuck = run->origin = NULL;
    run->out = out;
    int r = run_join_pieces(run, table, copy, &bytes, 1);
    run->source_end = copy + bytes;
    return r < 0 ? r : run_translate(run, table, NULL, copy, copy + bytes, 1, &frame);
}

/* Where the source's copy goes and how far the output may grow. */
static int translate(struct run *run, const struct program_table *table, const uint8_t *source,
                     size_t source_bytes, uint8_t *out, size_t out_bytes, size_t *ret_bytes)
{
    size_t most = room_most(run->plan, source_bytes);
    size_t room = out_bytes - source_bytes;
    size_t behind = room >= most + RUN_BEHIND_BYTES ? RUN_BEHIND_BYTES : 0;
    room -= behind;
    uint8_t *copy = out + room;
    if (source_bytes > 0)
        memcpy(copy, source, source_bytes);
    if (behind > 0)
        memset(copy + source_bytes, 0, RUN_BEHIND_BYTES);
    run->source = copy;
    run->source_end = copy + source_bytes;
    run->readable = run->source_end + behind;
    run->out = out;
    run->limit = out + (room < most ? room : most);
    run->over = room < most ? -ENOBUFS : -E2BIG;
    struct frame frame;
    run->watches = run->plan->fast[table - run->plan->tables].joins;
    uint8_t *limit = run->limit;
    int r = run_translate(run, table, NULL, copy, copy + source_bytes, 1, &frame);
    run->limit = limit;
    /* What is wrong may be so only in a piece that another member of its oneof has replaced. */
    if (__builtin_expect(r == RUN_PIECES || (r < 0 && run_has_pieces(run, table, copy, source_bytes)),
                         0))
        r = translate_joined(run, table, copy, source_bytes, out);
    if (r == 0 && (size_t)(run->out - out) > output_most(source_bytes))
        return run_fail(run, -E2BIG, NULL, 0, "the translation is larger than the limit");
    if (r == 0)
        *ret_bytes = (size_t)(run->out - out);
    return r;
}

int plan_run(const struct plan *plan, uint32_t entry, const uint8_t *source, size_t source_bytes,
             uint8_t *out, size_t out_bytes, size_t *ret_bytes, struct plan_failure *ret_failure)
{
    uint8_t nothing[1];
    if (out_bytes == 0)
        out = nothing; /* whatever NULL it was */
    struct run run;
    run.plan = plan;
    run.divert = NULL;
    run.elements = 0;
    run.slots_used = 0;
    run.root = NULL;
    run.moves_in = false;
    run.stuck = run.budget = NULL;
    run.watches = false;
    run.source = run.source_end = run.readable = run.origin = NULL;
    run.failure = (struct plan_failure){0, 0, "no such method"};
    int r = -EINVAL;
    size_t bytes = 0;
    if (entry < plan_entry_count(plan) && plan->entries[entry].table != PROGRAM_NONE) {
        const struct program_table *table = &plan->tables[plan->entries[entry].table];
        if (source_bytes > WIRE_MESSAGE_BYTES_MAX) {
            r = run_fail(&run, -E2BIG, NULL, 0, "a message larger than the limit");
        } else if (source_bytes > out_bytes) {
            r = run_fail(&run, -ENOBUFS, NULL, 0, "the output buffer is too small");
        } else if (table->flags & TABLE_VERBATIM) {
            if (source_bytes > 0)
                memcpy(out, source, source_bytes);
            run.source = out;
            run.source_end = run.readable = out + source_bytes;
            if (out_bytes - source_bytes >= RUN_BEHIND_BYTES) {
                memset(out + source_bytes, 0, RUN_BEHIND_BYTES);
                run.readable += RUN_BEHIND_BYTES;
            }
            bytes = source_bytes;
            r = check_message(&run, table, out, out + source_bytes, 1);
        } else {
            r = translate(&run, table, source, source_bytes, out, out_bytes, &bytes);
        }
    }
    if (r == 0)
        *ret_bytes = bytes;
    else if (ret_failure)
        *ret_failure = run.failure;
    return r;
}

size_t plan_output_bytes_max(const struct plan *plan, size_t source_bytes)
{
    if (source_bytes > WIRE_MESSAGE_BYTES_MAX)
        return source_bytes;
    if (plan_class(plan) == PLAN_IDENTITY)
        return source_bytes + RUN_BEHIND_BYTES;
    return room_most(plan, source_bytes) + source_bytes + RUN_BEHIND_BYTES;
}
