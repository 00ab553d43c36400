/*
 * Reading and checking: what every byte of a message has to pass before anybody uses it.
 *
 * A checked message is one that wire_check() passes: framing, wire types, UTF-8 without NUL,
 * required fields, depth, fields, elements. It is private by now (run.c), so it is read as often as
 * need be. Most fields of most messages are right and simple: these go by in one loop, by the
 * records that fast.c made. It stops before a field that is not, whatever the reason; that one goes
 * the long way, which knows all there is, and says what is wrong.
 */
#include "translate/machine.h"

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
        return run_check_message(run, &run->plan->tables[op->table], pos, pos + bytes, depth + 1);
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

/* A message that has been left for one in it. */
struct level {
    const struct fast_table *table;
    const struct fast *way;
    const uint8_t *stop, *end;
    const uint8_t *at; /* where that one begins */
    uint32_t count, elements;
};

/* As many fields as are simple and right, from *pos on, with the messages in them on a stack of
 * levels. What a message has at most is looked after by the caller: before @stop it cannot be too
 * much, and what is nested is small. FAST_READ_BYTES can be read behind @end, for that is where a
 * nested message's last field may be. Return: the first field that is not, and be it right. */
static const uint8_t *check_fields(struct run *run, const struct fast_table *table,
                                   const uint8_t *pos, const uint8_t *stop, const uint8_t *end,
                                   unsigned depth, uint32_t *ret_fields)
{
    struct level levels[WIRE_DEPTH_MAX], *level = levels;
    const struct level *const last = levels + (WIRE_DEPTH_MAX - depth);
    const uint8_t *at = pos, *after;
    uint32_t count = 0, elements = 0, inner = 0; /* those of nested messages */
    const struct fast *way = table->by_number;
    for (;;) {
        if (__builtin_expect(pos >= stop, 0)) {
            if (level == levels)
                break;
            if (pos != stop)
                goto leave;
            level--;
            table = level->table;
            way = level->way;
            stop = level->stop;
            end = level->end;
            count = level->count + 1;
            if (level == levels)
                inner += elements - level->elements - level->way->repeated;
            continue;
        }
        at = pos;
        way = fast_find(table, way, &pos);
        if (!way)
            goto leave;
        if (way->value == FAST_STRING && text_is_plain(pos + 1, *pos)) {
            pos += 1 + *pos;
            elements += way->repeated;
        } else if (way->value == FAST_VARINT && *pos < 0x80) {
            pos++;
        } else if (way->value == FAST_MESSAGE) {
            pos = fast_read_message(run, pos, end, &after);
            if (!pos || level == last || way->table->table->required_count > 0)
                goto leave;
            *level++ = (struct level){table, way, stop, end, at, count, elements};
            elements += way->repeated;
            table = way->table;
            way = table->by_number;
            stop = end = after;
            continue;
        } else {
            pos = fast_check(run, way->value, pos, end);
            if (!pos)
                goto leave;
            elements += way->repeated;
        }
        count++;
    }
    if (__builtin_expect(pos <= end, 1)) {
        at = pos;
        goto done;
    }
    count--;
    elements -= way->repeated;
leave:
    if (level != levels) {
        run->stuck = at;
        at = levels->at;
        count = levels->count;
        elements = levels->elements;
    }
done:
    run->elements += elements;
    *ret_fields += count - (elements - inner);
    return at;
}

const uint8_t *quick_check(struct run *run, const struct fast *way, const uint8_t *at,
                           const uint8_t *end)
{
    return fast_check(run, way->value, at + ((way->source & 0x80) ? 2 : 1), end);
}

/* The same by the table's code. */
static const uint8_t *check_by_machine(struct run *run, machine_function code, const uint8_t *pos,
                                       const uint8_t *stop, const uint8_t *end, unsigned depth,
                                       uint32_t *ret_fields)
{
    struct machine *machine = &run->machine;
    machine->pos = pos;
    machine->stop = stop;
    machine->end = end;
    machine->fields = machine->elements = machine->at_elements = 0;
    machine->depth_left = (int32_t)(WIRE_DEPTH_MAX - depth);
    code(run);
    *ret_fields += machine->fields;
    run->elements += machine->elements;
    return machine->pos;
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

int run_check_message(struct run *run, const struct program_table *table, const uint8_t *pos,
                      const uint8_t *end, unsigned depth)
{
    struct fast_table *fast = &run->plan->fast[table - run->plan->tables];
    uint32_t fields = 0;
    uint64_t required = 0;
    int r = 0;
    while (pos < end && r == 0) {
        /* A field has two bytes at least. */
        const ptrdiff_t readable = run->readable - pos - FAST_READ_BYTES;
        ptrdiff_t stop = readable;
        ptrdiff_t most = 2 * (ptrdiff_t)(WIRE_FIELDS_MAX - fields);
        ptrdiff_t elements = 2 * (ptrdiff_t)(WIRE_ELEMENTS_MAX - run->elements);
        stop = stop < most ? stop : most;
        stop = stop < elements ? stop : elements;
        stop = stop < end - pos ? stop : end - pos;
        const uint8_t *last = readable < end - pos ? pos + readable : end;
        machine_function code = NULL;
        /* Where something ahead is known not to go this way, the loop knows how to get there. */
        if (stop > 0 && (uintptr_t)run->stuck < (uintptr_t)pos)
            code = machine_of(run->plan, fast, &fast->checks);
        if (code)
            pos = check_by_machine(run, code, pos, pos + stop, last, depth, &fields);
        else if (stop > 0)
            pos = check_fields(run, fast, pos, pos + stop, last, depth, &fields);
        if (pos < end)
            r = check_field(run, table, &pos, end, depth, &fields, &required);
    }
    if (r == 0 && table->required_count && (required + 1) << (64 - table->required_count) != 0)
        return run_fail(run, -EBADMSG, end, 0, "a required field is missing");
    return r;
}
