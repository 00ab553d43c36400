/*
 * Values that move to another message, and messages that values move into or out of.
 *
 * A value that does not wait in a slot is looked up when it is written, by its path from the root:
 * the message that the rule is about. The root is the frame itself, or, in a message that both
 * versions have (EMIT_WITHIN), the one that such messages lie in: run->root.
 *
 * Such a message is there in the target if it is in the source, or if something moves into it. That
 * has to be told apart on the way back. So it is left out if all that it had has moved out of it;
 * and where it was there, and holds nothing but what has moved into it now, that it was there
 * travels in the carrier, as an empty message, which counts only while the message itself is there.
 */
#include "translate/shape.h"

/* A moved value on its way: where to write, and how. */
struct journey {
    struct frame *inside; /* of the message that it goes to, for its depth */
    const struct program_emit *emit;
    const struct program_op *op;
    struct element last;
    bool found;
};

static int add_value(struct run *run, struct frame *frame, struct journey *journey,
                     const struct element *element)
{
    const struct program_op *op = journey->op;
    bool single = op->kind != KIND_MESSAGE && !(op->flags & OP_REPEATED);
    if (element->type != op->wire && shape_is_empty(element))
        return 0; /* packed, of nothing */
    journey->found = true;
    journey->last = *element;
    if (single)
        return 0;
    int r = op->flags & OP_REPEATED ? 0 : run_add_field(run, frame, journey->emit);
    return r < 0 ? r : shape_write(run, journey->inside, op, element);
}

static int look_up(struct run *run, struct frame *frame, struct journey *journey,
                   const struct program_step *steps, uint32_t count, const uint8_t *pos,
                   const uint8_t *end)
{
    while (pos < end) {
        struct run_record record;
        uint32_t bytes = 0;
        int r = run_next_record(run, &pos, end, &record);
        if (r < 0)
            return r;
        if (record.tag >> 3 != steps->number)
            continue;
        struct element element = {record.at, record.value, record.end,
                                  (enum wire_type)(record.tag & 7)};
        const uint8_t *data = NULL;
        if (count > 1 && element.type == WIRE_BYTES)
            data = run_read_length(record.value, record.end, &bytes);
        if (count == 1)
            r = add_value(run, frame, journey, &element);
        else if (data)
            r = look_up(run, frame, journey, steps + 1, count - 1, data, data + bytes);
        if (r < 0)
            return r;
    }
    return 0;
}

static void note_near(struct frame *frame, unsigned near)
{
    frame->near = near > frame->near ? near : frame->near;
}

int run_emit_moved(struct run *run, struct frame *frame, const struct program_emit *emit,
                   unsigned depth)
{
    bool of_root = emit->flags & EMIT_OF_ROOT;
    const struct frame *root = of_root && run->root ? run->root : frame;
    struct frame inside = *frame;
    inside.depth = depth;
    struct journey journey = {.inside = &inside, .emit = emit, .op = shape_op(run, emit)};
    if (of_root && !run->moves_in)
        return 0;
    int r = look_up(run, frame, &journey, run->plan->steps + emit->node, emit->template,
                    root->start, root->end);
    bool single = journey.op->kind != KIND_MESSAGE && !(journey.op->flags & OP_REPEATED);
    if (journey.found)
        note_near(frame, emit->near + 1u);
    if (r < 0 || !journey.found || !single ||
        (!(emit->flags & EMIT_SOURCE_PRESENCE) && shape_is_default(run, journey.op, &journey.last)))
        return r;
    r = run_add_field(run, frame, emit);
    return r < 0 ? r : shape_write(run, &inside, journey.op, &journey.last);
}

void run_away(struct run *run, struct frame *frame, const struct program_op *op,
              enum wire_type type, const uint8_t *value, const uint8_t *end, uint32_t elements)
{
    uint32_t bytes = 0;
    uint64_t bit = UINT64_C(1) << op->slot; /* PROGRAM_SLOT_MAX of them */
    bool packed = type == WIRE_BYTES && op->wire != WIRE_BYTES;
    bool single = op->kind != KIND_MESSAGE && !(op->flags & OP_REPEATED);
    struct element element = {value, value, end, type};
    run->elements = elements; /* they are counted where they are written */
    frame->slots[op->slot].seen = true;
    if (single && !(op->flags & OP_OWN_PRESENCE)) {
        frame->touched |= bit; /* the last one counts */
        frame->diverted =
            shape_is_zero(op, &element) ? frame->diverted & ~bit : frame->diverted | bit;
    } else if (!packed || (run_read_length(value, end, &bytes) && bytes > 0)) {
        frame->diverted |= bit;
    }
}

/* ---- Messages that both versions have ---- */

/* What a message has become. */
struct within {
    struct open_length open;
    uint8_t *content;
    uint64_t diverted; /* slots of what has moved away */
    size_t moved_in;   /* bytes of it that have from outside */
    unsigned near;
};

static int translate_piece(struct run *run, const struct frame *frame,
                           const struct program_emit *emit, const uint8_t *data, const uint8_t *end,
                           struct within *within)
{
    struct frame nested;
    int r = run_translate(run, &run->plan->tables[emit->table], NULL, data, end, frame->depth + 1,
                          &nested);
    within->diverted = (within->diverted & ~nested.touched) | nested.diverted;
    within->moved_in += nested.moved_in;
    within->near = nested.near > within->near ? nested.near : within->near;
    return r;
}

static int translate_pieces(struct run *run, const struct frame *frame,
                            const struct program_emit *emit, const struct slot *slot,
                            struct within *within)
{
    bool moves_in = run->moves_in;
    struct elements pieces = elements_of(slot, emit->number, WIRE_BYTES);
    struct element piece, next;
    int r = elements_next(run, &pieces, &piece);
    if (r == 0)
        return moves_in ? translate_piece(run, frame, emit, frame->end, frame->end, within) : 0;
    while (r > 0) {
        uint32_t bytes = 0;
        const uint8_t *data = run_read_length(piece.value, piece.end, &bytes);
        int more = elements_next(run, &pieces, &next);
        if (more < 0 || !data)
            return more;
        run->moves_in = moves_in && more == 0; /* once */
        r = translate_piece(run, frame, emit, data, data + bytes, within);
        run->moves_in = moves_in;
        if (r < 0)
            return r;
        piece = next;
        r = more;
    }
    return r;
}

/* That there was a message, where nothing else says it. */
static int carry_empty(struct run *run, struct frame *frame, uint32_t number)
{
    struct open_length open;
    static const uint8_t nothing[1] = {0};
    int r = run_carry_begin(run, frame, NULL, 8, &open);
    if (r == 0)
        r = run_write_tag(run, number << 3 | WIRE_BYTES);
    if (r == 0)
        r = run_write_bytes(run, nothing, sizeof(nothing));
    return r < 0 ? r : run_carry_end(run, frame, &open, NULL);
}

static int was_there(struct run *run, const struct frame *frame, uint32_t number, bool *ret_was)
{
    struct run_held held = {.pos = frame->start};
    struct run_record record;
    int r = frame->gathers ? run_held_next(run, frame, &held, number, &record) : 0;
    *ret_was = r > 0;
    return r < 0 ? r : 0;
}

/* Whether another record of the number follows, which then is what counts. */
static bool comes_again(struct run *run, uint32_t number, const uint8_t *pos)
{
    struct run_record record;
    while (pos < run->out && run_next_record(run, &pos, run->out, &record) == 0)
        if (record.tag >> 3 == number)
            return true;
    return false;
}

/* How many bytes of what was written say nothing: defaults of fields without presence, which
 * another program may leave out, and lists of nothing. */
static int count_silent(struct run *run, const struct program_emit *emit, const uint8_t *pos,
                        size_t *ret_bytes)
{
    const struct plan *plan = run->plan;
    uint32_t restore = plan->tables[emit->table].restore;
    *ret_bytes = 0;
    while (pos < run->out && restore != PROGRAM_NONE) {
        struct run_record record;
        int r = run_next_record(run, &pos, run->out, &record);
        if (r < 0)
            return r;
        const struct program_op *op = run_find(plan, &plan->tables[restore], record.tag >> 3);
        struct element element = {record.at, record.value, record.end,
                                  (enum wire_type)(record.tag & 7)};
        bool packed = op && (op->flags & OP_REPEATED) && element.type != op->wire;
        bool plain = op && (op->flags & OP_PLAIN) && element.type == op->wire;
        if ((packed && shape_is_empty(&element)) ||
            (plain && (shape_is_zero(op, &element) || comes_again(run, op->number, pos))))
            *ret_bytes += (size_t)(record.end - record.at);
    }
    return 0;
}

static int end_within(struct run *run, struct frame *frame, const struct program_emit *emit,
                      const struct slot *slot, uint8_t *before, struct within *within)
{
    size_t bytes = (size_t)(run->out - within->content), silent = 0;
    bool was = false;
    int r = count_silent(run, emit, within->content, &silent);
    bytes -= silent;
    if (r == 0 && bytes == 0 && slot->seen)
        r = was_there(run, frame, emit->tag >> 3, &was);
    if (r < 0)
        return r;
    if (bytes == 0 && (!slot->seen || (within->diverted != 0 && !was))) {
        run->out = before;
        if (slot->seen)
            frame->diverted |= UINT64_C(1) << emit->slot;
        return 0;
    }
    if (!slot->seen)
        r = run_add_field(run, frame, emit);
    if (r == 0)
        r = run_close_length(run, &within->open);
    note_near(frame, within->near);
    if (r == 0 && !slot->seen)
        frame->moved_in += within->near <= emit->level ? (size_t)(run->out - before) : 0;
    else if (r == 0 && bytes > 0 && bytes == within->moved_in && within->diverted == 0)
        r = carry_empty(run, frame, emit->number);
    return r;
}

int run_emit_within(struct run *run, struct frame *frame, const struct program_emit *emit)
{
    const struct slot *slot = &frame->slots[emit->slot];
    const struct frame *root = run->root;
    bool of_root = (emit->flags & EMIT_OF_ROOT) && root, moves_in = run->moves_in;
    struct within within = {.moved_in = 0};
    uint8_t *before = run->out;
    int r = shape_check_depth(run, frame, emit->number);
    if (r == 0)
        r = run_write_tag(run, emit->tag);
    if (r == 0)
        r = run_open_length(run, slot->bytes, &within.open);
    if (r < 0)
        return r;
    within.content = run->out;
    run->root = of_root ? root : frame;
    run->moves_in = !of_root || moves_in;
    r = translate_pieces(run, frame, emit, slot, &within);
    run->root = root;
    run->moves_in = moves_in;
    return r < 0 ? r : end_within(run, frame, emit, slot, before, &within);
}
