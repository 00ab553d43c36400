/*
 * The translating loop: one message of the source, field by field, to the output.
 *
 * It works on the private copy (run.c). Fields that go over as they are, unknown ones among them,
 * are not written one by one: they stay pending from `copied` to the current field, and are copied
 * as one run when something else has to be written, or at the end. Nested messages recurse; their
 * length is written before they are, as a guess from their length in the source, and corrected
 * behind them, moving them by a few bytes if the guess had another size.
 *
 * A message ends with what had to wait: carriers that were guarded (they need the last occurrence
 * of what guards them), then the table's emits, which write what came from slots. Required fields
 * are checked last.
 *
 * Inside a carrier the same loop runs over the carried records, with the table for what may be
 * restored, in the frame of the message around it.
 */
#include "translate/convert.h"
#include "translate/fast.h"

int run_no_room(struct run *run)
{
    return run_fail(run, run->over, NULL, 0,
                    run->over == -ENOBUFS ? "the output buffer is too small"
                                          : "the translation is larger than the limit");
}

int run_open_length(struct run *run, size_t guess, struct open_length *ret_open)
{
    unsigned bytes = (unsigned)wire_varint_size(guess);
    if (bytes > (size_t)(run->limit - run->out))
        return run_no_room(run);
    *ret_open = (struct open_length){run->out, bytes};
    run->out += bytes;
    return 0;
}

int run_close_length(struct run *run, const struct open_length *open)
{
    uint8_t *content = open->at + open->bytes;
    size_t length = (size_t)(run->out - content);
    size_t bytes = wire_varint_size(length);
    if (bytes != open->bytes) {
        if (bytes > open->bytes && bytes - open->bytes > (size_t)(run->limit - run->out))
            return run_no_room(run);
        memmove(open->at + bytes, content, length);
        run->out = open->at + bytes + length;
    }
    wire_write_varint(open->at, length);
    return 0;
}

/* The text that a template needs, or that a text was there and empty. */
static void note(struct frame *frame, const struct program_op *op, const uint8_t *at,
                 const uint8_t *pos, const uint8_t *after)
{
    struct slot *slot = &frame->slots[op->slot];
    uint32_t bytes = 0;
    const uint8_t *data = run_read_length(pos, after, &bytes);
    run_keep(slot, data, bytes);
    if (op->flags & OP_OWN_PRESENCE) {
        slot->lost = bytes == 0;
        slot->data = at;
        slot->bytes = (uint32_t)(after - at);
    }
}

static int nested_message(struct run *run, struct frame *frame, const struct program_op *op,
                          struct slot *slots, const uint8_t *at, const uint8_t *data,
                          uint32_t bytes, struct frame *ret_nested)
{
    if (frame->depth == WIRE_DEPTH_MAX)
        return run_fail(run, -E2BIG, at, op->number, "messages nested deeper than the limit");
    return run_translate(run, &run->plan->tables[op->table], slots, data, data + bytes,
                         frame->depth + 1, ret_nested);
}

static int do_message(struct run *run, struct frame *frame, const struct program_op *op,
                      struct slot *slots, const uint8_t *at, const uint8_t *data, uint32_t bytes,
                      struct frame *ret_nested)
{
    struct open_length open;
    int r = run_write_tag(run, op->tag);
    if (r == 0)
        r = run_open_length(run, bytes, &open);
    if (r == 0)
        r = nested_message(run, frame, op, slots, at, data, bytes, ret_nested);
    if (r == 0)
        r = run_close_length(run, &open);
    return r;
}

/* What is left of a message after some fields have gone to slots: to the carrier, unless we are in
 * it already. A message that is empty now, but was not, need not be told: the fields that left make
 * it again. */
static int do_residue(struct run *run, struct frame *frame, const struct program_op *op,
                      const uint8_t *at, const uint8_t *data, uint32_t bytes)
{
    bool wrap = !(frame->table->flags & TABLE_SHARED);
    uint8_t *before = run->out;
    struct frame before_frame = *frame, nested;
    struct open_length carrier;
    int r = wrap ? run_carry_begin(run, frame, NULL, bytes, &carrier) : 0;
    uint8_t *content = run->out;
    if (r == 0)
        r = do_message(run, frame, op, frame->slots, at, data, bytes, &nested);
    if (r < 0)
        return r;
    frame->diverted = (frame->diverted & ~nested.touched) | nested.diverted;
    frame->touched |= nested.touched;
    if (run->out - content == (ptrdiff_t)wire_varint_size(op->tag) + 1 && nested.diverted != 0) {
        run->out = before;
        frame->fields = before_frame.fields;
        frame->carrier = before_frame.carrier;
        frame->carrier_end = before_frame.carrier_end;
        return 0;
    }
    return wrap ? run_carry_end(run, frame, &carrier, NULL) : 0;
}

static int do_nested(struct run *run, struct frame *frame, const struct program_op *op,
                     enum wire_type type, const uint8_t *at, const uint8_t *pos, const uint8_t *end,
                     const uint8_t **ret_pos)
{
    uint32_t bytes;
    struct frame nested;
    if (type != WIRE_BYTES)
        return run_fail(run, -EBADMSG, at, op->number, "wrong wire type");
    pos = run_read_length(pos, end, &bytes);
    if (!pos)
        return run_fail(run, -EBADMSG, at, op->number, "length past the end");
    *ret_pos = pos + bytes;
    int r = op->flags & OP_REPEATED ? run_count_element(run, op, at) : 0;
    if (r < 0)
        return r;
    if (op->action == ACTION_MESSAGE)
        return do_message(run, frame, op, NULL, at, pos, bytes, &nested);
    if (op->action == ACTION_RESIDUE)
        return do_residue(run, frame, op, at, pos, bytes);
    r = nested_message(run, frame, op, frame->slots, at, pos, bytes, &nested);
    if (r < 0)
        return r;
    struct slot *slot = &frame->slots[op->slot];
    slot->seen = true;
    slot->marked |= nested.marked;
    return 0;
}

static int do_slot(struct run *run, struct frame *frame, const struct program_op *op,
                   const uint8_t *at, const uint8_t *pos, const uint8_t *after)
{
    if (op->wire == WIRE_BYTES) {
        uint32_t bytes = 0;
        const uint8_t *data = run_read_length(pos, after, &bytes);
        run_note_text(frame, op, data, bytes);
        return 0;
    }
    struct slot *slot = &frame->slots[op->slot];
    slot->seen = true;
    int r = run_decode(run, op, at, pos, slot);
    if (r < 0)
        return r;
    slot->data = at;
    slot->bytes = (uint32_t)(after - at);
    run_note_given(frame, op, slot->mapped != 0);
    return 0;
}

/* The content of a carrier with the target's fields. */
static int do_open(struct run *run, struct frame *frame, const struct carried *carried)
{
    if (carried->has_guard) {
        frame->guarded = true;
        return 0;
    }
    return run_translate_fields(run, frame, &run->plan->tables[carried->table], carried->records,
                                carried->end);
}

/* A value that another one has taken the place of: checked all the same. A message is by being
 * translated, for its table may say only at its end what is required of it. */
static int drop_value(struct run *run, struct frame *frame, const struct program_op *op,
                      enum wire_type type, const uint8_t *at, const uint8_t *pos,
                      const uint8_t *end, const uint8_t **ret_pos)
{
    struct frame before = *frame;
    uint8_t *out = run->out;
    uint32_t elements = run->elements;
    int r = op->action == ACTION_MESSAGE
                ? do_nested(run, frame, op, type, at, pos, end, ret_pos)
                : run_check_value(run, op, type, at, pos, end, frame->depth, ret_pos);
    *frame = before;
    run->out = out;
    run->elements = elements;
    return r;
}

/* A field that does not stay where it is. It begins at @at, its value at @pos. */
static int do_field(struct run *run, struct frame *frame, const struct program_op *op,
                    enum wire_type type, const uint8_t *at, const uint8_t *pos, const uint8_t *end,
                    const uint8_t **ret_pos)
{
    const uint8_t *value = pos;
    int r;
    frame->gathers |= (op->flags & OP_GATHERED) != 0;
    if (op->owner)
        frame->owner = op->owner;
    if (op->flags & OP_YIELDS) {
        bool yields = false;
        r = convert_yields(run, frame, op, &yields);
        if (r < 0 || yields)
            return r < 0 ? r : drop_value(run, frame, op, type, at, pos, end, ret_pos);
    }
    if (op->action == ACTION_AWAY) {
        uint32_t elements = run->elements;
        r = run_check_value(run, op, type, at, pos, end, frame->depth, ret_pos);
        if (r == 0)
            run_away(run, frame, op, type, pos, *ret_pos, elements);
        return r;
    }
    if (op->action == ACTION_DEFER)
        return run_defer(run, frame, op, type, at, pos, end, ret_pos);
    if (op->action == ACTION_MESSAGE || op->action == ACTION_RESIDUE || op->action == ACTION_JOIN)
        return do_nested(run, frame, op, type, at, pos, end, ret_pos);
    if (op->action == ACTION_TOLD)
        return convert_told(run, frame, op, type, at, pos, end, ret_pos);
    if (op->action == ACTION_ALIEN)
        r = run_skip_unknown(run, op->number << 3 | (uint32_t)type, at, pos, end, &pos);
    else
        r = run_check_value(run, op, type, at, pos, end, frame->depth, &pos);
    if (r < 0)
        return r;
    *ret_pos = pos;
    switch (op->action) {
    case ACTION_RENUMBER:
        if (op->slot != PROGRAM_SLOT_NONE)
            note(frame, op, at, value, pos);
        r = run_write_tag(run, (op->tag & ~UINT32_C(7)) | (uint32_t)type);
        return r < 0 ? r : run_write_bytes(run, value, (size_t)(pos - value));
    case ACTION_SCALAR:
        return run_scalar(run, frame, op, type, at, value, pos);
    case ACTION_CARRY:
    case ACTION_ALIEN:
        return run_carry_as(run, frame, at, (size_t)(pos - at), op->tag >> 3, NULL);
    case ACTION_SLOT:
        return do_slot(run, frame, op, at, value, pos);
    case ACTION_MARK:
        frame->marked = true;
        return 0;
    case ACTION_LATER:
        return convert_later(frame, op, at, pos);
    default: /* ACTION_GUARDED, ACTION_HELD, ACTION_SKIP */
        return 0;
    }
}

int run_field(struct run *run, struct frame *frame, const struct program_op *op,
              enum wire_type type, const uint8_t *at, const uint8_t *pos, const uint8_t *end,
              const uint8_t **ret_pos)
{
    if (__builtin_expect(op->pipe == 0, 1))
        return do_field(run, frame, op, type, at, pos, end, ret_pos);
    /* Counted once more by what is behind the pipe. */
    uint32_t self = op->flags & OP_REPEATED ? 0 : 1;
    const struct counted before = {frame->fields - self, run->elements};
    uint8_t *begin = run->out;
    frame->carrier = NULL; /* what is piped begins here: nothing before it may grow */
    int r = do_field(run, frame, op, type, at, pos, end, ret_pos);
    return r < 0 ? r : run_pipe(run, frame, op->pipe, begin, at, before);
}

int run_translate_field(struct run *run, struct frame *frame, const struct program_table *table,
                        const uint8_t *at, const uint8_t *end, const uint8_t **copied,
                        const uint8_t **ret_pos)
{
    uint32_t tag;
    const uint8_t *pos = run_read_u32(at, end, &tag);
    if (!pos)
        return run_fail(run, -EBADMSG, at, 0, "truncated or malformed tag");
    enum wire_type type = (enum wire_type)(tag & 7);
    const struct program_op *op = run_find(run->plan, table, tag >> 3);
    if (!op || !(op->flags & OP_REPEATED)) {
        int r = run_count_field(run, frame, at, tag >> 3);
        if (r < 0)
            return r;
    }
    if (!op) {
        if (table->flags & TABLE_MARK)
            frame->marked = true;
        return run_skip_unknown(run, tag, at, pos, end, ret_pos);
    }
    if (op->required != PROGRAM_REQUIRED_NONE)
        frame->required |= UINT64_C(1) << op->required;
    if (op->kind == KIND_MESSAGE && type == WIRE_BYTES) {
        uint32_t bytes;
        const uint8_t *data = run_read_length(pos, end, &bytes);
        int r = data ? run_watch_piece(run, frame, table, op, data, data + bytes) : 0;
        if (r < 0)
            return r;
    }
    if (op->action == ACTION_VERBATIM) {
        int r = run_check_value(run, op, type, at, pos, end, frame->depth, ret_pos);
        if (r == 0 && op->slot != PROGRAM_SLOT_NONE)
            note(frame, op, at, pos, *ret_pos);
        return r;
    }
    if (op->action == ACTION_OPEN) {
        uint32_t bytes;
        struct carried carried;
        const uint8_t *data = type == WIRE_BYTES ? run_read_length(pos, end, &bytes) : NULL;
        if (!data || !run_carried(run, frame, data, bytes, &carried))
            return run_skip_unknown(run, tag, at, pos, end, ret_pos); /* not ours: it goes on */
        int r = run_write_bytes(run, *copied, (size_t)(at - *copied));
        if (r == 0)
            r = do_open(run, frame, &carried);
        *copied = *ret_pos = data + bytes;
        return r;
    }
    int r = run_write_bytes(run, *copied, (size_t)(at - *copied));
    if (r == 0)
        r = run_field(run, frame, op, type, at, pos, end, ret_pos);
    *copied = *ret_pos;
    return r;
}

/* A message that needs a frame, and nothing else. 1: it is not that. */
static int translate_message(struct run *run, struct frame *frame,
                             const struct program_table *table, const uint8_t *at,
                             const uint8_t *end, const uint8_t **copied, const uint8_t **ret_pos)
{
    const uint8_t *pos = at;
    uint32_t bytes;
    if (end - at < 2 || frame->depth == WIRE_DEPTH_MAX)
        return 1;
    const struct fast_table *fast = &run->plan->fast[table - run->plan->tables];
    const struct fast *way = fast_find(fast, fast->by_number, &pos);
    if (!way || way->value != FAST_MESSAGE || way->op->action != ACTION_MESSAGE ||
        (way->op->flags & OP_YIELDS) || way->op->pipe != 0 || way->op->owner != 0)
        return 1;
    const struct program_op *op = way->op;
    const uint8_t *data = run_read_length(pos, end, &bytes);
    if (!data || !fast_count(run, op, &frame->fields))
        return 1;
    int r = run_watch_piece(run, frame, table, op, data, data + bytes);
    if (r == 0)
        r = run_write_read(run, *copied, (size_t)(at - *copied));
    struct frame nested;
    *copied = *ret_pos = data + bytes;
    return r < 0 ? r : do_message(run, frame, op, NULL, at, data, bytes, &nested);
}

/* The short way, as far as it goes. What has been left to be copied goes first. */
static int translate_quickly(struct run *run, struct frame *frame,
                             const struct program_table *table, const uint8_t **pos,
                             const uint8_t *end, const uint8_t **copied)
{
    int r = run_write_read(run, *copied, (size_t)(*pos - *copied));
    if (r == 0)
        (void)quick_fields(run, frame, table, pos, end, false);
    *copied = *pos;
    return r;
}

int run_translate_fields(struct run *run, struct frame *frame, const struct program_table *table,
                         const uint8_t *pos, const uint8_t *end)
{
    const uint8_t *copied = pos;
    while (pos < end) {
        int r = table->flags & TABLE_MARK
                    ? 0
                    : translate_quickly(run, frame, table, &pos, end, &copied);
        if (r < 0)
            return r;
        if (pos == end)
            break;
        r = translate_message(run, frame, table, pos, end, &copied, &pos);
        if (r == 0)
            continue;
        if (r < 0)
            return r;
        r = run_translate_field(run, frame, table, pos, end, &copied, &pos);
        if (r < 0)
            return r;
        if (table->flags & TABLE_MARK)
            copied = pos;
    }
    return run_write_bytes(run, copied, (size_t)(end - copied));
}

static int emit_one(struct run *run, struct frame *frame, const struct program_emit *emit)
{
    const struct counted before = {frame->fields, run->elements};
    uint8_t *begin = run->out;
    if (emit->pipe)
        frame->carrier = NULL; /* as in run_field() */
    frame->owner = emit->owner ? emit->owner : frame->table->source_id;
    frame->opens = emit->opens ? emit->opens : frame->table->target_id;
    frame->carry = emit->carry;
    int r = run_emit(run, frame, emit);
    frame->carry = 0;
    return r < 0 || !emit->pipe ? r : run_pipe(run, frame, emit->pipe, begin, frame->start, before);
}

static inline bool end_quickly(struct run *run, struct frame *frame)
{
    if (run->divert || !run->plan->fast[frame->table - run->plan->tables].ends)
        return false;
    uint8_t *out = quick_end(run, frame, run->out);
    if (!out)
        return false;
    run->out = out;
    return true;
}

int run_close_frame(struct run *run, struct frame *frame)
{
    const struct program_table *table = frame->table;
    bool ordered = table->flags & TABLE_ORDERED;
    if (end_quickly(run, frame))
        return 0;
    int r = frame->guarded && !ordered ? run_restore_guarded(run, frame, 0) : 0;
    for (uint32_t i = 0; i < table->emit_count && r == 0; i++) {
        int diverted = run->divert ? run->divert(run, frame, i) : 0;
        if (diverted < 0)
            return diverted;
        if (diverted == 0)
            r = emit_one(run, frame, &run->plan->emits[table->emit_first + i]);
    }
    if (r < 0)
        return r;
    if (table->required_count && (frame->required + 1) << (64 - table->required_count) != 0)
        return run_fail(run, -EBADMSG, frame->end, 0, "a required field is missing");
    return 0;
}

/* What it changes in the run is `slots_used`; the caller puts it back. */
static int open_frame(struct run *run, const struct program_table *table, struct slot *slots,
                      const uint8_t *start, const uint8_t *end, unsigned depth,
                      struct frame *ret_frame)
{
    struct frame *frame = ret_frame;
    run_init_frame(frame, table, slots, start, end, depth);
    if (slots)
        return 0;
    uint32_t used = run->slots_used;
    if (table->slot_count > RUN_SLOT_MAX - used)
        return run_fail(run, -E2BIG, start, 0, "too many fields that wait for their message");
    frame->slots = run->slots + used;
    memset(frame->slots, 0, table->slot_count * sizeof(frame->slots[0]));
    run->slots_used = used + table->slot_count;
    return 0;
}

/* Between opening and closing. Most messages go the short way to their end, and what waits there,
 * too. */
static int translate_content(struct run *run, struct frame *frame, const uint8_t *start)
{
    const struct program_table *table = frame->table;
    const uint8_t *pos = start;
    if (!(table->flags & TABLE_MARK) && quick_fields(run, frame, table, &pos, frame->end, true))
        return 0;
    if (pos == frame->end && end_quickly(run, frame))
        return 0;
    int r = run_translate_fields(run, frame, table, pos, frame->end);
    return r < 0 ? r : run_close_frame(run, frame);
}

int run_translate(struct run *run, const struct program_table *table, struct slot *slots,
                  const uint8_t *start, const uint8_t *end, unsigned depth, struct frame *ret_frame)
{
    uint32_t used = run->slots_used, elements = run->elements;
    uint8_t *begin = run->out, *limit = run->limit;
    int r = open_frame(run, table, slots, start, end, depth, ret_frame);
    if (r == 0)
        r = translate_content(run, ret_frame, start);
    run->slots_used = used;
    if (!slots)
        run->limit = limit; /* what pipes have left there is not needed any more */
    if (r == 0 && table->next)
        r = run_next(run, &run->plan->tables[table->next - 1], begin, start, elements, depth);
    return r;
}
