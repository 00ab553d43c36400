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
#include "translate/unpack.h"

#include <stdlib.h>

#define READ_BYTES 32       /* behind the copy: the NUL of its end, and what checks may read */
#define SCRATCH_BYTES 12288 /* on the stack; enough for sources of 2,048 bytes */

/* ---- Wire bytes of the reader's version, into the struct ---- */

static int unpack_plain_fields(struct unpack *u, const struct bound_table *table, uint8_t *message,
                               const uint8_t *pos, const uint8_t *end, unsigned depth,
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
    int r = unpack_plain_fields(u, table->plain, message, pos, end, depth, &required);
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
    const uint8_t *readable = u->run.readable;
    u->run.readable = end;
    int r = store_fields(u, table, message, u->fragment, end, frame->depth, true);
    u->run.readable = readable;
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

static int copy_string(struct unpack *u, const uint8_t *data, size_t bytes, char **ret_string)
{
    uint8_t *copy;
    int r = unpack_copy_bytes(u, data, bytes, &copy);
    if (r == 0)
        *ret_string = (char *)copy;
    return r;
}

/* A text of the source, in a field of a message that a rule makes. Ended where it lies, if it lies
 * in the private copy: whatever follows it there is not looked at any more when that is done. */
static int put_text(struct unpack *u, uint8_t *message, const struct bound_op *op, struct span text)
{
    char **member = (char **)(void *)(message + op->offset);
    bool inside = text.data >= u->run.source && text.data <= u->run.source_end;
    if (!inside || u->copying || u->terminator_count == TERMINATOR_MAX)
        return copy_string(u, text.data, text.bytes, member);
    uint8_t *string = (uint8_t *)(uintptr_t)text.data;
    u->terminators[u->terminator_count++] = string + text.bytes;
    *member = (char *)string;
    return 0;
}

/* The message that an emit makes: what has been written before goes first. */
static int open_made(struct unpack *u, const struct bound_op *field, uint8_t **ret_made)
{
    struct frame *frame = u->finished;
    int r = flush_if_any(u, u->finished_table, frame, u->finished_message, frame->end);
    uint8_t **member = (uint8_t **)(void *)(u->finished_message + field->offset);
    if (r == 0 && frame->depth == WIRE_DEPTH_MAX)
        r = run_fail(&u->run, -E2BIG, frame->end, field->number,
                     "messages nested deeper than the limit");
    if (r == 0 && !*member && !(*member = new_message(u, field->table)))
        r = unpack_no_memory(u);
    *ret_made = *member;
    return r;
}

static int make_split(struct unpack *u, const struct bound_emit *bound,
                      const struct program_emit *emit)
{
    const struct slot *slot = &u->finished->slots[emit->slot];
    const struct program_template *template = &u->plan->templates[emit->template];
    struct span text = {slot->data, slot->bytes}, fields[PROGRAM_PART_MAX];
    uint8_t *made;
    if (!run_splits(emit, slot))
        return 1;
    int r = open_made(u, bound->field, &made);
    if (r == 0)
        r = run_add_field(&u->run, u->finished, emit);
    bool fits = r == 0 && run_take_apart(u->plan, template, text, fields);
    for (uint32_t i = 0; i < template->part_count && r == 0; i++) {
        if (u->plan->parts[template->part_first + i].slot == PROGRAM_SLOT_NONE)
            continue;
        if (fits)
            r = put_text(u, made, bound->parts[i], fields[i]);
        else if (i == template->otherwise && text.bytes > 0)
            r = put_text(u, made, bound->parts[i], text);
    }
    return r < 0 ? r : 1;
}

static int make_gathered(struct unpack *u, const struct bound_emit *bound,
                         const struct program_emit *emit)
{
    const struct program_node *node = &u->plan->nodes[emit->node];
    uint8_t *made = NULL;
    int r = 0;
    if (u->finished->gathers)
        return 0; /* carriers have something of it */
    for (uint32_t i = 0; i < node->leaf_count && r == 0; i++) {
        const struct program_emit *leaf = &u->plan->emits[node->leaf_first + i];
        const struct slot *slot = &u->finished->slots[leaf->slot];
        if (!run_moves(leaf, slot))
            continue;
        if (!made)
            r = open_made(u, bound->field, &made);
        if (r == 0)
            r = run_add_field(&u->run, u->finished, leaf);
        if (r == 0)
            r = put_text(u, made, bound->parts[i], (struct span){slot->data, slot->bytes});
    }
    if (r == 0 && made)
        r = run_count_field(&u->run, u->finished, u->finished->end, node->tag >> 3);
    return r < 0 ? r : 1;
}

/* run.divert */
static int make_directly(struct run *run, struct frame *frame, uint32_t index)
{
    struct unpack *u = (struct unpack *)(void *)run; /* its first member */
    if (frame != u->finished || !u->finished_table->emits)
        return 0;
    const struct bound_emit *bound = &u->finished_table->emits[index];
    const struct program_emit *emit = &u->plan->emits[frame->table->emit_first + index];
    if (!bound->field)
        return 0;
    return emit->kind == EMIT_SPLIT ? make_split(u, bound, emit) : make_gathered(u, bound, emit);
}

/* The message's end: what waited for it. */
static int finish(struct unpack *u, const struct bound_table *table, struct frame *frame,
                  uint8_t *message)
{
    int r = table->rereads ? need_scratch(u) : 0;
    u->finished = frame;
    u->finished_table = table;
    u->finished_message = message;
    if (r == 0)
        r = run_close_frame(&u->run, frame);
    u->finished = NULL;
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
        return r < 0 ? r : unpack_add_unknown(u, message, tag, pos, *ret_pos);
    }
    if (op->required != PROGRAM_REQUIRED_NONE)
        *required |= UINT64_C(1) << op->required;
    int r = table->translated ? flush_if_any(u, table, frame, message, at) : 0;
    if (r < 0)
        return r;
    if (op->code != CODE_CHECKED)
        return unpack_value(u, table, message, op, (enum wire_type)(tag & 7), at, pos, end, depth,
                            terminator, ret_pos);
    r = run_check_value(&u->run, op->op, (enum wire_type)(tag & 7), at, pos, end, depth, ret_pos);
    if (r == 0)
        r = store_record(u, table, message, at, *ret_pos, depth, terminator);
    return r;
}

/* CODE_CONVERT, of the field at @at. Return: 0 and the place behind it; 1: not this way; or an error. */
static inline __attribute__((always_inline)) int
store_converted(struct unpack *u, struct frame *frame, const struct bound_op *op, uint8_t *message,
                const uint8_t *at, const uint8_t *end, const uint8_t **ret_pos)
{
    uint64_t raw;
    const uint8_t *after = read_raw((enum wire_type)op->wire, at + 1, end, &raw);
    struct slot unused = {0};
    if (!frame || !after)
        return 1;
    struct slot *slot = op->slot == PROGRAM_SLOT_NONE ? &unused : &frame->slots[op->slot];
    slot->data = at;
    slot->bytes = (uint32_t)(after - at);
    int r = 0;
    if (!fast_convert(u->plan, op->op, raw, slot))
        r = run_decode(&u->run, op->op, at, at + 1, slot);
    if (r < 0)
        return r;
    slot->seen = true;
    if (op->quantifier != 0)
        *quantifier(message, op) = 1;
    if (op->size == 4)
        store32(message + op->offset, (uint32_t)slot->mapped);
    else
        store64(message + op->offset, (uint64_t)slot->mapped);
    *ret_pos = after;
    return 0;
}

/* CODE_INT32 to CODE_FIXED64, whose value is at @value. Return: its end; NULL: not this way. */
static inline __attribute__((always_inline)) const uint8_t *
store_number(const struct bound_op *op, uint8_t *message, const uint8_t *value, const uint8_t *end)
{
    uint64_t raw;
    const uint8_t *after = read_raw((enum wire_type)op->wire, value, end, &raw);
    uint8_t *member = message + op->offset;
    if (!after)
        return NULL;
    if (op->quantifier != 0)
        *quantifier(message, op) = 1;
    if (op->code == CODE_INT32 || op->code == CODE_FIXED32)
        store32(member, (uint32_t)raw);
    else if (op->code == CODE_INT64 || op->code == CODE_FIXED64)
        store64(member, raw);
    else if (op->code == CODE_BOOL)
        store32(member, raw != 0);
    else if (op->code == CODE_SINT32)
        store32(member, (uint32_t)unzigzag32((uint32_t)raw));
    else
        store64(member, (uint64_t)unzigzag64(raw));
    return after;
}

/* All fields of a message. @frame: NULL unless the table translates. The required ones that were
 * seen are added to *ret_required, or to the frame's. What is to become NUL behind the message's
 * end, once that has been read, is left in u->open_end.
 *
 * This is the short way; whatever is unusual or wrong in a field goes the long one, which says what
 * it is. */
static inline __attribute__((always_inline)) int unpack_loop(struct unpack *u,
                                                             const struct bound_table *table,
                                                             struct frame *frame, uint8_t *message,
                                                             const uint8_t *pos, const uint8_t *end,
                                                             unsigned depth, uint64_t *ret_required)
{
    uint32_t own_fields = 0;
    uint64_t own_required = 0;
    uint32_t *fields = frame ? &frame->fields : &own_fields;
    uint64_t *required = frame ? &frame->required : &own_required;
    const bool copying = u->copying, waiting = frame && table->rereads;
    uint8_t *const spare = &u->spare;
    uint8_t *terminator = spare; /* of the string before */
    int r = 0;
    while (pos < end) {
        const uint8_t *at = pos;
        uint8_t *next = spare;
        uint32_t bytes;
        uint16_t index = *pos < BOUND_TAG_COUNT ? table->by_tag[*pos] : 0;
        if (__builtin_expect(index == 0 || *fields >= WIRE_FIELDS_MAX, 0))
            goto other;
        const struct bound_op *op = &table->ops[index - 1];
        if (frame && op->code >= CODE_DIRECT) {
            r = flush_if_any(u, table, frame, message, at);
            if (r < 0)
                return r;
        }
        uint8_t *member = message + op->offset;
        switch (op->code) {
        case CODE_STRING:
        case CODE_NOTED:
        case CODE_STRINGS:
        case CODE_SLOT_TEXT: {
            const uint8_t *data = run_read_length(at + 1, end, &bytes);
            if (!data || !text_is_string(data, bytes, fast_room(&u->run, data)))
                goto other;
            if (op->code == CODE_SLOT_TEXT) {
                run_note_text(frame, op->op, data, bytes);
                ++*fields;
                pos = data + bytes;
                break;
            }
            if (waiting && u->terminator_count == TERMINATOR_MAX)
                goto other;
            if (op->code == CODE_STRINGS) {
                if (u->run.elements >= WIRE_ELEMENTS_MAX)
                    goto other;
                u->run.elements++;
                r = append(u, message, op, &member);
                if (r < 0)
                    return r;
            } else {
                ++*fields;
                if (frame && op->code == CODE_NOTED)
                    run_note(frame, op->op, at, at + 1, data + bytes);
            }
            uint8_t *string = (uint8_t *)(uintptr_t)data; /* the private copy is ours */
            if (copying) {
                r = copy_string(u, data, bytes, (char **)(void *)member);
                if (r < 0)
                    return r;
            } else {
                *(uint8_t **)(void *)member = string;
                if (waiting)
                    u->terminators[u->terminator_count++] = string + bytes;
                else
                    next = string + bytes;
            }
            pos = data + bytes;
            break;
        }
        case CODE_MESSAGE:
        case CODE_MESSAGES: {
            const uint8_t *data = run_read_length(at + 1, end, &bytes);
            if (!data || depth == WIRE_DEPTH_MAX || u->run.elements >= WIRE_ELEMENTS_MAX)
                goto other;
            if (op->code == CODE_MESSAGES) {
                u->run.elements++;
                r = append(u, message, op, &member);
                if (r < 0)
                    return r;
                *(uint8_t **)(void *)member = NULL;
            } else {
                ++*fields;
            }
            pos = data + bytes;
            r = unpack_nested(u, table, op, (uint8_t **)(void *)member, at, data, pos, depth,
                              &next);
            if (r < 0)
                return r;
            break;
        }
        case CODE_VALUE:
            goto other;
        case CODE_CONVERT:
            r = store_converted(u, frame, op, message, at, end, &pos);
            if (r < 0)
                return r;
            if (r > 0)
                goto other;
            ++*fields;
            break;
        default: {
            const uint8_t *after = store_number(op, message, at + 1, end);
            if (!after)
                goto other;
            ++*fields;
            pos = after;
        }
        }
        *terminator = 0;
        terminator = next;
        continue;
    other:
        r = unpack_other(u, table, frame, message, at, end, depth, fields, required, &next, &pos);
        if (r < 0)
            return r;
        *terminator = 0;
        terminator = next;
    }
    *ret_required |= own_required;
    u->open_end = terminator;
    return 0;
}

static int unpack_plain_fields(struct unpack *u, const struct bound_table *table, uint8_t *message,
                               const uint8_t *pos, const uint8_t *end, unsigned depth,
                               uint64_t *ret_required)
{
    return unpack_loop(u, table, NULL, message, pos, end, depth, ret_required);
}

static int unpack_translated_fields(struct unpack *u, const struct bound_table *table,
                                    struct frame *frame, uint8_t *message)
{
    uint64_t unused = 0;
    return unpack_loop(u, table, frame, message, frame->start, frame->end, frame->depth, &unused);
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
    uint32_t slots_used = u->run.slots_used;
    uint8_t *limit = u->run.limit;
    int r = run_open_frame(&u->run, table->table, NULL, pos, end, depth, &frame);
    if (r == 0)
        r = unpack_translated_fields(u, table, &frame, message);
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

int unpack_message(struct unpack *u, const struct bound_table *table, uint8_t *message,
                   const uint8_t *pos, const uint8_t *end, unsigned depth)
{
    if (table->staged)
        return unpack_staged(u, table, message, pos, end, depth);
    if (table->translated)
        return unpack_translated(u, table, message, pos, end, depth);
    uint64_t required = 0;
    int r = unpack_plain_fields(u, table, message, pos, end, depth, &required);
    if (r == 0 && table->required_count && (required + 1) << (64 - table->required_count) != 0)
        r = missing_required(u, end);
    return r;
}

/* ---- The whole ---- */

/* Room for the struct, for about what hangs on it, and for the copy with a byte to end it. */
static int open_block(struct unpack *u, const struct bound_table *table, uint8_t **ret_message,
                      uint8_t **ret_copy)
{
    size_t copy_bytes_max = (u->source_bytes + READ_BYTES + 7) & ~(size_t)7;
    size_t guess = u->source_bytes < 512 ? u->source_bytes : 2 * u->source_bytes;
    size_t first = ((table->image_bytes + 7) & ~(size_t)7) + guess + 256;
    first = (first & ~(size_t)7) + copy_bytes_max;
    if (wire_bump_grow(&u->bump, first) < 0)
        return unpack_no_memory(u);
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
    u->run.source_end = copy + u->source_bytes;
    u->run.readable = u->run.source_end + READ_BYTES;
    memset(copy + u->source_bytes, 0, READ_BYTES);
    /* Pipes lower the limit for as long as a message is open, so it must be known before. */
    if (u->plan->header->flags & PROGRAM_STAGED)
        r = need_scratch(u);
    size_t bytes = u->source_bytes;
    if (r == 0 && table->table)
        r = run_join_pieces(&u->run, table->table, copy, &bytes, 1);
    if (bytes < u->source_bytes) {
        u->run.source_end = copy + bytes;
        u->run.readable = u->run.source_end + READ_BYTES;
        memset(copy + bytes, 0, READ_BYTES);
    }
    if (r == 0)
        r = unpack_message(u, table, message, copy, copy + bytes, 1);
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
    u.run.divert = make_directly;
    u.finished = NULL;
    u.run.elements = 0;
    u.run.slots_used = 0;
    u.run.root = NULL;
    u.run.moves_in = false;
    u.run.stuck = u.run.budget = NULL;
    u.run.watches = false;
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
