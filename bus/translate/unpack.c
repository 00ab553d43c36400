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

#include "base/copy.h"
#include "base/sanitized.h"

#define READ_BYTES 64 /* behind the copy: the NUL of its end, and what is read past it */
/* What is large is large by its texts and bytes, which stay in the copy. Room for twice as much
 * again would be more than malloc() keeps, and be mapped anew for each message. */
#define GUESS_BYTES_MAX (64 << 10)
#define GUESS_BYTES_MIN 256
#define DIRECT_BYTES_MAX 512
#define SCRATCH_BYTES 12288 /* on the stack; enough for sources of 2,048 bytes */

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
static int make_directly(struct run *run, struct frame *frame, uint32_t index)
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

/* ---- Machine code ---- */

/* Any thread. One of them makes it, the others go on without meanwhile. */
__attribute__((noinline)) static const struct unpack_code *make_code(struct plan_binding *own)
{
    /* relaxed: only who makes it counts. */
    if (atomic_load_explicit(&own->code_uses, memory_order_relaxed) > UNPACK_CODE_USES_BEFORE ||
        atomic_fetch_add_explicit(&own->code_uses, 1, memory_order_relaxed) !=
            UNPACK_CODE_USES_BEFORE)
        return NULL;
    struct unpack_code *code = unpack_code_new(own);
    atomic_store_explicit(&own->code, code, memory_order_release);
    return code;
}

/* NULL: there is none yet, or never. */
static inline const struct unpack_code *code_of(const struct plan_binding *binding)
{
    /* acquire: pairs with the release above, for the code and the tables' code_at. */
    return atomic_load_explicit(&binding->code, memory_order_acquire);
}

static inline const struct unpack_code *find_code(const struct plan_binding *binding)
{
    const struct unpack_code *code = code_of(binding);
    return __builtin_expect(code != NULL, 1)
               ? code
               : make_code((struct plan_binding *)(uintptr_t)binding); /* made on the heap */
}

void plan_binding_use_code(struct plan_binding *binding, enum unpack_code_use use)
{
    struct unpack_code *code = atomic_load_explicit(&binding->code, memory_order_relaxed);
    int uses = use == UNPACK_CODE_NEVER ? UNPACK_CODE_USES_BEFORE + 1 : UNPACK_CODE_USES_BEFORE;
    if (use == UNPACK_CODE_NEVER)
        code = unpack_code_free(code);
    atomic_store_explicit(&binding->code, code, memory_order_relaxed);
    atomic_store_explicit(&binding->code_uses, uses, memory_order_relaxed);
}

/* ---- The whole ---- */

static inline size_t copy_room(size_t source_bytes)
{
    return (source_bytes + READ_BYTES + 7) & ~(size_t)7;
}

/* The block begins with the struct and ends with the copy; between is room for what hangs on the
 * struct. @room: of the chunk; @left: of the budget, without it. Return: where the copy goes. */
static inline __attribute__((always_inline)) uint8_t *
begin_block(struct unpack *u, const struct bound_table *table, struct wire_chunk *chunk,
            size_t room, size_t copy_bytes, size_t left)
{
    uint8_t *message = (uint8_t *)(chunk + 1), *end = message + room - copy_bytes;
    chunk->next = NULL;
    chunk->hold = NULL;
    u->bump.first = u->bump.last = chunk;
    u->bump.pos = message + table->message_bytes;
    u->bump.end = end;
    u->bump.chunk_bytes = room; /* the next one is twice that */
    u->bump.left = left;
    u->bump.error = 0;
    copy_image(message, table);
    return end;
}

/* @bytes: for what hangs on the struct; a multiple of 8. */
static int open_block(struct unpack *u, const struct bound_table *table, size_t source_bytes,
                      size_t bytes, uint8_t **ret_message, uint8_t **ret_copy)
{
    const size_t copy_bytes = copy_room(source_bytes);
    bytes += table->image_bytes + copy_bytes;
    size_t room = bytes;
    struct wire_chunk *chunk = wire_block_new(&room);
    if (!chunk) {
        u->bump.error = -ENOMEM;
        return unpack_no_memory(u);
    }
    *ret_copy = begin_block(u, table, chunk, room, copy_bytes,
                            wire_unpacked_bytes_max(source_bytes) - bytes);
    *ret_message = (uint8_t *)(chunk + 1);
    return 0;
}

static inline void end_source(struct unpack *u, uint8_t *end)
{
    memset(end, 0, READ_BYTES);
    u->run.source_end = end;
    u->run.readable = end + READ_BYTES;
}

/* The only time that the source is read. */
static inline void take_source(struct unpack *u, uint8_t *copy, const uint8_t *source, size_t bytes)
{
    if (bytes > 0)
        copy_bytes(copy, source, bytes);
    u->run.source = copy;
    end_source(u, copy + bytes);
}

/* Everything as if nothing had been done; but for the block, which open_block() begins, and the
 * source. @stack: NULL: there is nothing to translate. */
static void begin(struct unpack *u, size_t source_bytes, uint8_t *stack, bool detects)
{
    run_clear(&u->run);
    u->run.plan = u->plan = u->binding->plan;
    u->run.divert = make_directly;
    u->text = u->binding->text;
    u->fragment = u->scratch = NULL;
    u->stack = stack;
    u->source_bytes = source_bytes;
    u->finished = NULL;
    u->growing.at = NULL;
    u->copying = false;
    u->detects = detects;
    u->terminators_end = u->terminators;
    u->begun = true;
}

/* The same for a crossing that has begun without: machine code gives up, or needs C. */
static void begin_late(struct unpack *u)
{
    const uint32_t elements = u->run.elements;
    begin(u, (size_t)(u->run.source_end - u->run.source), NULL, false);
    u->run.elements = elements;
}

int unpack_message_late(struct unpack *u, const struct bound_table *table, uint8_t *message,
                        const uint8_t *pos, const uint8_t *end, unsigned depth)
{
    if (!u->begun)
        begin_late(u);
    return unpack_message(u, table, message, pos, end, depth);
}

int unpack_at_once_late(struct unpack *u, const struct bound_table *table, uint8_t *message,
                        const uint8_t *pos, const uint8_t *end, unsigned depth,
                        const struct reading *before)
{
    if (!u->begun)
        begin_late(u);
    return unpack_at_once(u, table, message, pos, end, depth, before);
}

static inline void find_way(struct unpack *u, const struct unpack_code *code)
{
    u->enter = code ? code->enter : NULL;
    u->code = code ? code->base : NULL;
}

/* One crossing. */
static int cross(struct unpack *u, const struct bound_table *table, const uint8_t *source,
                 size_t bytes, uint8_t *stack, bool detects, ProtobufCMessage **ret_message,
                 const uint8_t **ret_copy)
{
    uint8_t *message = NULL, *copy = NULL;
    size_t guess = bytes < 512 ? bytes : 2 * bytes;
    if (guess > GUESS_BYTES_MAX)
        guess = GUESS_BYTES_MAX;
    begin(u, bytes, stack, detects);
    u->run.source = NULL;
    int r = open_block(u, table, bytes, (guess + GUESS_BYTES_MIN) & ~(size_t)7, &message, &copy);
    if (r < 0)
        return r;
    take_source(u, copy, source, bytes);
    /* Pipes lower the limit for as long as a message is open, so it must be known before. */
    if (u->plan->header->flags & PROGRAM_STAGED)
        r = unpack_need_scratch(u);
    if (r == 0 && table->translated && !detects) {
        r = run_join_pieces(&u->run, table->table, copy, &bytes, 1);
        end_source(u, copy + bytes);
    }
    if (r == 0)
        r = table->staged ? unpack_message(u, table, message, copy, copy + bytes, 1)
                          : unpack_quickly(u, table, message, copy, copy + bytes, 1);
    if (r == 0) {
        *ret_message = (ProtobufCMessage *)(void *)message;
        *ret_copy = copy;
    }
    if (u->scratch && u->scratch != u->stack)
        free(u->scratch);
    if (r < 0)
        wire_bump_free(&u->bump);
    return r;
}

/* Another crossing of a message that came in pieces, or was refused: its pieces are joined first.
 * @table: translates. */
__attribute__((noinline, cold)) static int
cross_again(const struct plan_binding *binding, const struct bound_table *table,
            const uint8_t *source, size_t source_bytes, ProtobufCMessage **ret_message,
            const uint8_t **ret_copy, struct plan_failure *ret_failure)
{
    uint8_t stack[SCRATCH_BYTES];
    struct unpack u;
    u.binding = binding;
    find_way(&u, find_code(binding));
    u.run.failure = (struct plan_failure){0};
    int r = cross(&u, table, source, source_bytes, stack, false, ret_message, ret_copy);
    if (r < 0 && ret_failure)
        *ret_failure = u.run.failure;
    return r;
}

/* Most small messages go the way below instead. */
__attribute__((noinline)) int plan_unpack_any(const struct plan_binding *binding, uint32_t entry,
                                              const uint8_t *source, size_t source_bytes,
                                              ProtobufCMessage **ret_message,
                                              const uint8_t **ret_copy,
                                              struct plan_failure *ret_failure)
{
    uint8_t stack[SCRATCH_BYTES];
    struct unpack u;
    int r = -EINVAL;
    u.binding = binding;
    find_way(&u, find_code(binding));
    u.run.source = NULL;
    u.run.failure = (struct plan_failure){.what = "no such method"};
    if (entry < binding->entry_count && binding->entries[entry]) {
        const struct bound_table *table = binding->entries[entry];
        if (source_bytes > WIRE_MESSAGE_BYTES_MAX) {
            r = run_fail(&u.run, -E2BIG, NULL, 0, "a message larger than the limit");
        } else {
            bool detects = table->translated && !table->hides_pieces;
            r = cross(&u, table, source, source_bytes, stack, detects, ret_message, ret_copy);
            if (r < 0 && detects && r != -ENOMEM)
                return cross_again(binding, table, source, source_bytes, ret_message, ret_copy,
                                   ret_failure);
        }
    }
    if (r < 0 && ret_failure)
        *ret_failure = u.run.failure;
    return r;
}

/* Room for what hangs on the struct of a message that crosses directly. */
static inline size_t direct_guess(size_t source_bytes)
{
    return copy_room(source_bytes) + GUESS_BYTES_MIN - READ_BYTES;
}

/* The sources whose struct, copy, and what hangs on them have room in a block; 0: none. */
static uint32_t direct_end(const struct bound_table *table, enum wire_block class)
{
    uint32_t bytes = 0;
    while (bytes <= DIRECT_BYTES_MAX &&
           table->image_bytes + copy_room(bytes) + direct_guess(bytes) <= WIRE_BLOCK_BYTES(class))
        bytes++;
    return bytes;
}

void bind_direct(struct bound_table *table, bool in_stages)
{
    if (table->translated && (table->hides_pieces || in_stages))
        return; /* pieces first, or with a limit that is known before */
    table->direct_end = direct_end(table, WIRE_BLOCK_LONG);
    table->short_end = table->translated ? 0 : direct_end(table, WIRE_BLOCK_SHORT);
}

/* NULL: no memory. */
static inline struct wire_chunk *direct_block(const struct bound_table *table, size_t source_bytes,
                                              const enum wire_block class, size_t *ret_room)
{
    *ret_room = WIRE_BLOCK_BYTES(class);
    if (!SANITIZED)
        return wire_block_of(class);
    *ret_room = table->image_bytes + copy_room(source_bytes) + direct_guess(source_bytes);
    return wire_block_new(ret_room);
}

/* The same for a small message of a table that only checks, which needs no scratch, no second
 * crossing, and nothing before: what most messages are, so it is one function of next to no
 * branches. Most of what a crossing may need is set only when machine code gives up. @class: of the
 * block; a constant. */
static inline __attribute__((always_inline)) int
cross_directly(const struct plan_binding *binding, const struct bound_table *table,
               const uint8_t *source, size_t source_bytes, const enum wire_block class,
               ProtobufCMessage **ret_message, const uint8_t **ret_copy,
               struct plan_failure *ret_failure)
{
    struct unpack u;
    size_t room;
    struct wire_chunk *chunk = direct_block(table, source_bytes, class, &room);
    const struct unpack_code *code = find_code(binding);
    u.binding = binding;
    u.begun = false;
    u.run.elements = 0;
    int r;
    if (__builtin_expect(chunk != NULL, 1)) {
        uint8_t *message = (uint8_t *)(chunk + 1);
        uint8_t *copy = begin_block(&u, table, chunk, room, copy_room(source_bytes),
                                    wire_unpacked_bytes_max(0) - room); /* near enough */
        if (source_bytes > 0)
            copy_few(copy, source, source_bytes);
        u.run.source = copy;
        end_source(&u, copy + source_bytes);
        if (__builtin_expect(code != NULL && table->code_at > 0, 1)) {
            u.enter = code->enter;
            u.code = code->base;
            r = u.enter(&u, message, copy, copy + source_bytes, 1, u.code + table->code_at);
        } else {
            find_way(&u, code);
            r = unpack_at_once_late(&u, table, message, copy, copy + source_bytes, 1, NULL);
        }
        if (__builtin_expect(r == 0, 1)) {
            *ret_message = (ProtobufCMessage *)(void *)message;
            *ret_copy = copy;
            return 0;
        }
        wire_bump_free(&u.bump);
    } else {
        u.run.source = NULL;
        u.bump.error = -ENOMEM;
        r = unpack_no_memory(&u);
    }
    if (ret_failure)
        *ret_failure = u.run.failure;
    return r;
}

/* That of which a short block would be too short. */
__attribute__((noinline)) static int
cross_long(const struct plan_binding *binding, const struct bound_table *table,
           const uint8_t *source, size_t source_bytes, ProtobufCMessage **ret_message,
           const uint8_t **ret_copy, struct plan_failure *ret_failure)
{
    return cross_directly(binding, table, source, source_bytes, WIRE_BLOCK_LONG, ret_message,
                          ret_copy, ret_failure);
}

/* The same for a small message that machine code translates. @code: that of the binding. */
__attribute__((noinline)) static int
cross_translated(const struct plan_binding *binding, const struct bound_table *table,
                 const struct unpack_code *code, const uint8_t *source, size_t source_bytes,
                 ProtobufCMessage **ret_message, const uint8_t **ret_copy,
                 struct plan_failure *ret_failure)
{
    uint8_t stack[SCRATCH_BYTES];
    struct unpack u;
    size_t room;
    struct wire_chunk *chunk = direct_block(table, source_bytes, WIRE_BLOCK_LONG, &room);
    if (__builtin_expect(!chunk, 0))
        return cross_again(binding, table, source, source_bytes, ret_message, ret_copy,
                           ret_failure); /* it says so, or has more luck */
    u.binding = binding;
    u.enter = code->enter;
    u.code = code->base;
    begin(&u, source_bytes, stack, true);
    uint8_t *copy = begin_block(&u, table, chunk, room, copy_room(source_bytes),
                                wire_unpacked_bytes_max(source_bytes) - room);
    take_source(&u, copy, source, source_bytes);
    int r =
        u.enter(&u, (uint8_t *)(chunk + 1), copy, copy + source_bytes, 1, u.code + table->code_at);
    if (__builtin_expect(u.scratch && u.scratch != stack, 0))
        free(u.scratch);
    if (__builtin_expect(r == 0, 1)) {
        *ret_message = (ProtobufCMessage *)(void *)(chunk + 1);
        *ret_copy = copy;
        return 0;
    }
    wire_bump_free(&u.bump);
    return cross_again(binding, table, source, source_bytes, ret_message, ret_copy, ret_failure);
}

static inline __attribute__((always_inline)) int
unpack_any(const struct plan_binding *binding, uint32_t entry, const uint8_t *source,
           size_t source_bytes, ProtobufCMessage **ret_message, const uint8_t **ret_copy,
           struct plan_failure *ret_failure)
{
    const struct bound_table *table = entry < binding->entry_count ? binding->entries[entry] : NULL;
    if (__builtin_expect(table && source_bytes < table->short_end, 1))
        return cross_directly(binding, table, source, source_bytes, WIRE_BLOCK_SHORT, ret_message,
                              ret_copy, ret_failure);
    if (table && source_bytes < table->direct_end) {
        if (!table->translated)
            return cross_long(binding, table, source, source_bytes, ret_message, ret_copy,
                              ret_failure);
        const struct unpack_code *code = code_of(binding);
        if (code && table->code_at > 0)
            return cross_translated(binding, table, code, source, source_bytes, ret_message,
                                    ret_copy, ret_failure);
    }
    return plan_unpack_any(binding, entry, source, source_bytes, ret_message, ret_copy,
                           ret_failure);
}

int plan_unpack(const struct plan_binding *binding, uint32_t entry, const uint8_t *source,
                size_t source_bytes, ProtobufCMessage **ret_message,
                struct plan_failure *ret_failure)
{
    const uint8_t *copy;
    return unpack_any(binding, entry, source, source_bytes, ret_message, &copy, ret_failure);
}

int plan_unpack_copy(const struct plan_binding *binding, uint32_t entry, const uint8_t *source,
                     size_t source_bytes, ProtobufCMessage **ret_message, const uint8_t **ret_copy,
                     struct plan_failure *ret_failure)
{
    return unpack_any(binding, entry, source, source_bytes, ret_message, ret_copy, ret_failure);
}
