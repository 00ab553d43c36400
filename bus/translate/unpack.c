/*
 * The plan runner's other end: straight into protobuf-c's structs.
 *
 * One block holds everything, mostly: the struct first (wire_free() counts on it), then room for
 * what hangs on it, and at the end the private copy of the source, which is read once, as in run.c.
 * Each field is checked and stored in the same pass, most of them the short way (unpack_quick.c).
 * Nothing is copied again: bytes and unknown fields point into the private copy, and so do strings,
 * which are ended there. The byte behind a string is the next field's tag, or the message's end, so
 * it becomes NUL only when that tag has been read; and in messages that look at their own source
 * again at the end (`waits`: slots, guards, carriers), only then.
 *
 * This file has the whole, and the long way of a field. What a rule makes that is not foreseen
 * otherwise (unpack_emit.c) is made by the runner's own code (frame.c, emit.c, carrier.c): it
 * writes wire bytes to a scratch buffer, as it does when a plan ends in bytes, and what it wrote, a
 * *fragment*, is then read into the struct by the plain table of its type. This is done before
 * anything else is stored, so that the order is that of the translated bytes; only a carrier can
 * still grow, as it does there, while nothing else follows. Strings in fragments are copied, for
 * the scratch is used again.
 *
 * So the result is what protobuf-c would make of the translated bytes, with one exception that it
 * calls a bug itself: of a singular message that comes in pieces it loses scalars and unknown
 * fields of all pieces but the last. Here all pieces go into one struct, as protobuf says. Where
 * they have to be one before they are translated (pieces.c), that is found out on the way: when a
 * second piece comes, or when anything is wrong, which may be so of a piece alone, all that was
 * done is forgotten. What follows is another crossing, not the rest of that one: the source is
 * copied anew, its pieces are joined, and all checks are made of these bytes; so it is still true
 * that nothing is decided on bytes other than those that are used. Where messages are only looked
 * into by the runner, which would not notice, there is but this second crossing.
 *
 * The bump is bounded as wire_unpack_checked()'s is. An array grows by doubling from 4, in place if
 * nothing was allocated behind it: so its capacity can be told from its length.
 */
#include "translate/unpack.h"

#include <stdlib.h>

/* ---- Wire bytes of the reader's version, into the struct ---- */

static int unpack_fields(struct unpack *u, struct reading *here)
{
    const uint8_t *pos = here->start;
    int r = 0;
    while (pos < here->end && r == 0)
        r = unpack_field(u, here, pos, &pos);
    return r;
}

/* Whole fields, well-formed as far as the runner knows, by the plain table. They are not counted
 * again. @copying: they are in the scratch buffer. */
static int store_fields(struct unpack *u, const struct reading *here, const uint8_t *pos,
                        const uint8_t *end, bool copying)
{
    struct reading again = {
        .table = here->table->plain,
        .message = here->message,
        .start = pos,
        .end = end,
        .depth = here->depth,
    };
    bool was_copying = u->copying;
    uint32_t elements = u->run.elements;
    u->copying = copying;
    int r = unpack_fields(u, &again);
    u->copying = was_copying;
    u->run.elements = elements;
    return r;
}

/* One field of the source that goes over as it is. */
static int store_record(struct unpack *u, const struct reading *here, const uint8_t *at,
                        const uint8_t *end)
{
    bool full = here->table->waits && !can_wait(u);
    int r = store_fields(u, here, at, end, u->copying || full);
    if (!full)
        end_later(u, here->table, end);
    return r;
}

__attribute__((noinline)) int unpack_flush(struct unpack *u, struct reading *here,
                                           const uint8_t *at)
{
    uint8_t *end = u->run.out;
    const uint8_t *readable = u->run.readable;
    u->run.readable = end;
    int r = store_fields(u, here, u->fragment, end, true);
    u->run.readable = readable;
    if (r < 0)
        return run_fail(&u->run, r, at, u->run.failure.number, u->run.failure.what);
    u->run.out = u->fragment;
    if (here->frame)
        here->frame->carrier = NULL; /* it cannot grow any more */
    return 0;
}

/* ---- What a rule makes ---- */

int unpack_need_scratch(struct unpack *u)
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

static int unpack_slowly(struct unpack *u, struct reading *here, const uint8_t *at,
                         const uint8_t **ret_pos)
{
    const uint8_t *copied = at;
    int r = unpack_need_scratch(u);
    if (r == 0)
        r = unpack_give_back(u, here, at);
    if (r < 0)
        return r;
    const bool guarded = here->frame->guarded;
    r = run_translate_field(&u->run, unpack_lend(here), here->table->table, at, here->end, &copied,
                            ret_pos);
    unpack_take_back(here);
    if (!guarded)
        here->guarded = at;
    if (r < 0 || copied != at)
        return r;
    /* It goes over as it is. */
    r = unpack_flush_if_any(u, here, at);
    return r < 0 ? r : store_record(u, here, at, *ret_pos);
}

/* run.divert */
int unpack_make_directly(struct run *run, struct frame *frame, uint32_t index)
{
    struct unpack *u = (struct unpack *)(void *)run; /* its first member */
    if (!u->finished || u->finished->frame != frame)
        return 0;
    const struct bound_emit *bound = u->finished->table->emits + index;
    return bound < u->made ? 1 : unpack_make(u, u->finished, bound);
}

static int missing_required(struct unpack *u, const uint8_t *end)
{
    return run_fail(&u->run, -EBADMSG, end, 0, "a required field is missing");
}

static bool has_required(const struct bound_table *table, uint64_t seen)
{
    return table->required_count == 0 || (seen + 1) << (64 - table->required_count) == 0;
}

/* Nothing in the run has changed since the message began, if it has no slots. */
static void open_frame(const struct unpack *u, struct reading *here)
{
    here->frame = here->room;
    if (!here->table->waits) {
        here->slots_used = u->run.slots_used;
        here->slots = (struct slot *)(uintptr_t)u->run.slots + here->slots_used;
        here->limit = u->run.limit;
    }
    *here->frame = (struct frame){
        .table = here->table->table,
        .slots = here->slots,
        .start = here->start,
        .end = here->end,
        .depth = here->depth,
    };
}

/* What was guarded, of a table none of whose emits asks whether there was any: as in
 * run_close_frame(), which would look for it from the message's beginning. */
static int restore_guarded(struct unpack *u, struct reading *here)
{
    struct frame *frame = unpack_lend(here);
    int r = unpack_need_scratch(u);
    if (r == 0)
        r = unpack_give_back(u, here, here->end);
    frame->start = here->guarded;
    if (r == 0)
        r = run_restore_guarded(&u->run, frame, 0);
    frame->start = here->start;
    frame->guarded = false;
    unpack_take_back(here);
    return r;
}

/* What the runner has to do at the message's end: what was guarded comes first there. */
static int finish_slowly(struct unpack *u, struct reading *here)
{
    if (!here->frame)
        open_frame(u, here);
    int r = unpack_need_scratch(u);
    if (r == 0)
        r = unpack_give_back(u, here, here->end);
    u->finished = here;
    if (r == 0)
        r = run_close_frame(&u->run, unpack_lend(here));
    unpack_take_back(here);
    u->finished = NULL;
    return r;
}

/* What waited, from emit @first on; what is before it has been done. */
static int finish(struct unpack *u, struct reading *here, uint32_t first)
{
    const struct bound_emit *bound = here->table->emits + first;
    const struct bound_emit *const last = here->table->emits + here->table->table->emit_count;
    bool guarded = here->frame && here->frame->guarded;
    int r = 0;
    if (guarded && here->table->restores) {
        r = restore_guarded(u, here);
        guarded = false;
    }
    if (r < 0)
        return r;
    for (r = 1; bound < last && !guarded; bound++) {
        if (bound->make == MAKE_LOST && !here->slots[bound->slot].lost)
            continue;
        r = unpack_make(u, here, bound);
        if (r <= 0)
            break;
    }
    u->made = bound;
    if (r >= 0)
        r = guarded || bound < last ? finish_slowly(u, here) : 0;
    return r < 0 ? r : unpack_flush_if_any(u, here, here->end);
}

static int close_from(struct unpack *u, struct reading *here, uint32_t first)
{
    const struct bound_table *table = here->table;
    int r = 0;
    if (table->waits || here->frame)
        r = finish(u, here, first);
    if (r == 0 && !has_required(table, here->required))
        r = missing_required(u, here->end);
    if (table->waits || here->frame) {
        u->run.slots_used = here->slots_used;
        if (here->limit)
            u->run.limit = here->limit; /* what pipes have left there is not needed any more */
    }
    if (r == 0 && table->waits)
        unpack_end_strings(u, here);
    return r;
}

int unpack_close(struct unpack *u, struct reading *here)
{
    return close_from(u, here, 0);
}

int unpack_close_from(struct unpack *u, struct reading *here, uint32_t first)
{
    struct frame frame;
    here->room = &frame;
    return close_from(u, here, first);
}

/* ---- The long way ---- */

static int too_many(struct unpack *u, const uint8_t *at, uint32_t number)
{
    return run_fail(&u->run, -E2BIG, at, number, "more fields in one message than the limit");
}

/* CODE_CONVERT, of the field at @at with its value at @pos. Return: 0 and the place behind it; 1:
 * not this way; or an error. */
static int store_converted(struct unpack *u, struct reading *here, const struct bound_op *op,
                           const uint8_t *at, const uint8_t *pos, const uint8_t **ret_pos)
{
    uint64_t raw;
    const uint8_t *after = read_raw((enum wire_type)op->wire, pos, here->end, &raw);
    struct slot unused = {0};
    if (!after || here->fields == WIRE_FIELDS_MAX)
        return 1;
    struct slot *slot = op->slot == PROGRAM_SLOT_NONE ? &unused : &here->slots[op->slot];
    slot->data = at;
    slot->bytes = (uint32_t)(after - at);
    int r = unpack_flush_if_any(u, here, at);
    if (r == 0 && !fast_convert(u->plan, op->op, raw, slot))
        r = run_decode(&u->run, op->op, at, pos, slot);
    if (r < 0)
        return r;
    here->fields++;
    if (op->required != PROGRAM_REQUIRED_NONE)
        here->required |= UINT64_C(1) << op->required;
    slot->seen = true;
    uint8_t *member = here->message + op->offset;
    if (op->quantifier != 0)
        *quantifier(here->message, op) = 1;
    if (op->size == 4)
        store32(member, (uint32_t)slot->mapped);
    else
        store64(member, (uint64_t)slot->mapped);
    *ret_pos = after;
    return 0;
}

/* CODE_CARRY. */
static int carry(struct unpack *u, struct reading *here, const struct bound_op *op,
                 enum wire_type type, const uint8_t *at, const uint8_t *pos,
                 const uint8_t **ret_pos)
{
    if (!op->counted && here->fields == WIRE_FIELDS_MAX)
        return too_many(u, at, op->number);
    here->fields += !op->counted;
    if (op->required != PROGRAM_REQUIRED_NONE)
        here->required |= UINT64_C(1) << op->required;
    int r = run_check_value(&u->run, op->op, type, at, pos, here->end, here->depth, ret_pos);
    return r < 0 ? r : unpack_carry(u, here, op->op, at, *ret_pos);
}

/* ---- What a carrier brings back ---- */

/* Whether a record of a carrier is the reader's field as it is, and nothing more. */
static bool is_plain(const struct program_op *op)
{
    return op && op->action == ACTION_VERBATIM && op->slot == PROGRAM_SLOT_NONE && op->pipe == 0 &&
           op->required == PROGRAM_REQUIRED_NONE && !(op->flags & (OP_YIELDS | OP_GATHERED));
}

static bool are_plain(struct unpack *u, const struct carried *carried)
{
    const struct program_table *table = &u->plan->tables[carried->table];
    const uint8_t *pos = carried->records;
    struct run_record record;
    bool plain = !(table->flags & TABLE_MARK);
    while (pos < carried->end && plain)
        plain = run_next_record(&u->run, &pos, carried->end, &record) == 0 &&
                is_plain(run_find(u->plan, table, record.tag >> 3));
    return plain;
}

/* One record of them. Moves *pos behind it. */
static int restore(struct unpack *u, struct reading *here, const struct carried *carried,
                   const uint8_t **pos)
{
    const struct program_table *table = &u->plan->tables[carried->table];
    struct run_record record;
    int r = run_next_record(&u->run, pos, carried->end, &record);
    if (r < 0)
        return r;
    const struct program_op *op = run_find(u->plan, table, record.tag >> 3);
    if (!(op->flags & OP_REPEATED)) {
        if (here->fields == WIRE_FIELDS_MAX)
            return too_many(u, record.at, op->number);
        here->fields++;
    }
    r = run_check_value(&u->run, op, (enum wire_type)(record.tag & 7), record.at, record.value,
                        carried->end, here->depth, pos);
    return r < 0 ? r : store_record(u, here, record.at, *pos);
}

/* ACTION_OPEN, of a carrier without a guard whose records are but put back. Where they lie: what is
 * to become NUL behind them waits for the message's end. Return: 1: not this way. */
static int open_carrier(struct unpack *u, struct reading *here, const uint8_t *pos,
                        const uint8_t **ret_pos)
{
    struct carried carried;
    uint32_t bytes;
    const uint8_t *data = run_read_length(pos, here->end, &bytes);
    if (!here->table->waits || has_fragment(u) || here->fields == WIRE_FIELDS_MAX || !data ||
        !run_carried(&u->run, here->frame, data, bytes, &carried) || carried.has_guard ||
        !are_plain(u, &carried))
        return 1;
    int r = 0;
    here->fields++;
    for (pos = carried.records; pos < carried.end && r == 0;)
        r = restore(u, here, &carried, &pos);
    *ret_pos = carried.end;
    return r;
}

/* A field of a table that translates. Return: 1: it goes straight into the struct. */
static int translate_field(struct unpack *u, struct reading *here, const struct bound_op *op,
                           enum wire_type type, const uint8_t *at, const uint8_t *pos,
                           const uint8_t **ret_pos)
{
    if (op && op->piece && type == WIRE_BYTES) {
        const uint64_t bit = UINT64_C(1) << (op->piece - 1);
        if (u->detects && (here->pieces & bit))
            return UNPACK_E_PIECES;
        here->pieces |= bit;
    }
    if (!here->frame)
        open_frame(u, here);
    if (!op)
        return unpack_slowly(u, here, at, ret_pos);
    if (op->code == CODE_CARRIER && type == WIRE_BYTES) {
        int r = open_carrier(u, here, pos, ret_pos);
        if (r <= 0)
            return r;
    }
    if (op->code == CODE_CARRY && !has_fragment(u))
        return carry(u, here, op, type, at, pos, ret_pos);
    if (op->code == CODE_CONVERT && (uint8_t)type == op->wire) {
        int r = store_converted(u, here, op, at, pos, ret_pos);
        if (r <= 0)
            return r;
    }
    if (op->code < CODE_DIRECT || op->code == CODE_CONVERT || op->code == CODE_NOTED)
        return unpack_slowly(u, here, at, ret_pos);
    return 1;
}

int unpack_field(struct unpack *u, struct reading *here, const uint8_t *at, const uint8_t **ret_pos)
{
    const struct bound_table *table = here->table;
    uint32_t tag;
    const uint8_t *pos = run_read_u32(at, here->end, &tag);
    if (!pos)
        return run_fail(&u->run, -EBADMSG, at, 0, "truncated or malformed tag");
    const enum wire_type type = (enum wire_type)(tag & 7);
    const struct bound_op *op = bound_find(table, tag >> 3);
    int r = table->translated ? translate_field(u, here, op, type, at, pos, ret_pos) : 1;
    if (r <= 0)
        return r;
    if (!op || !op->counted) {
        if (here->fields == WIRE_FIELDS_MAX)
            return too_many(u, at, tag >> 3);
        here->fields++;
    }
    if (!op) {
        r = run_skip_unknown(&u->run, tag, at, pos, here->end, ret_pos);
        return r < 0 ? r : unpack_add_unknown(u, here->message, tag, pos, *ret_pos);
    }
    if (op->required != PROGRAM_REQUIRED_NONE)
        here->required |= UINT64_C(1) << op->required;
    r = table->translated ? unpack_flush_if_any(u, here, at) : 0;
    if (r < 0)
        return r;
    if (op->code != CODE_CHECKED)
        return unpack_value(u, here, op, type, at, pos, ret_pos);
    r = run_check_value(&u->run, op->op, type, at, pos, here->end, here->depth, ret_pos);
    return r < 0 ? r : store_record(u, here, at, *ret_pos);
}

/* A message that is part of a fragment, or has more strings than can wait. */
static int unpack_copied(struct unpack *u, struct reading *here)
{
    struct frame frame;
    here->room = &frame;
    here->owner = here->table->owner;
    int r = here->table->waits ? unpack_open(u, here) : 0;
    if (r == 0)
        r = unpack_fields(u, here);
    return r < 0 ? r : unpack_close(u, here);
}

/* A message that several steps translate one after another: as bytes, then read. */
static int unpack_staged(struct unpack *u, struct reading *here)
{
    struct frame frame;
    int r = unpack_need_scratch(u);
    if (r == 0)
        r = run_translate(&u->run, here->table->table, NULL, here->start, here->end, here->depth,
                          &frame);
    return r < 0 ? r : unpack_flush(u, here, here->end);
}

int unpack_message(struct unpack *u, const struct bound_table *table, uint8_t *message,
                   const uint8_t *pos, const uint8_t *end, unsigned depth)
{
    if (!table->staged && !u->copying)
        return unpack_quickly(u, table, message, pos, end, depth);
    struct reading here = {
        .table = table,
        .message = message,
        .start = pos,
        .end = end,
        .depth = depth,
    };
    return table->staged ? unpack_staged(u, &here) : unpack_copied(u, &here);
}
