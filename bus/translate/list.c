/*
 * Repeated fields whose elements change their shape: a bare value and a message around it.
 *
 * Each element goes over by itself. If one of the messages holds anything but its value, all of
 * them are carried, as they are. On the way back each value looks for its message among those: a
 * number or a text for the next one that has this value, so that elements which were added, removed
 * or edited meanwhile do not take what belongs to another. It looks past 64 that do not match, no
 * further, so that the work stays linear. Messages cannot be compared, for a program may have
 * written them anew in another form; they are matched by their place, if there are as many as there
 * were.
 */
#include "translate/shape.h"

#define LOOK_AHEAD_MAX 64

/* ---- From messages to bare values ---- */

static int write_bare(struct run *run, struct frame *frame, const struct program_op *op,
                      const struct element *message, const struct wrapped *wrapped)
{
    uint32_t bytes = 0;
    const uint8_t *data = run_read_length(message->value, message->end, &bytes);
    struct elements pieces = {
        .pos = data, .end = data + bytes, .number = op->number, .wire = WIRE_BYTES};
    int r = run_count_element(run, op, message->at);
    if (r < 0)
        return r;
    if (!wrapped->has_value)
        return shape_write_default(run, op, message->at);
    return op->kind == KIND_MESSAGE ? shape_write_whole(run, frame, op, pieces)
                                    : shape_write(run, frame, op, &wrapped->value);
}

static int carry_all(struct run *run, struct frame *frame, uint32_t number, const struct slot *slot)
{
    struct elements all = elements_of(slot, number, WIRE_BYTES);
    struct element element;
    struct open_length open;
    int r = run_carry_begin(run, frame, NULL, slot->bytes, &open);
    while (r == 0 && (r = elements_next(run, &all, &element)) > 0)
        r = run_write_bytes(run, element.at, (size_t)(element.end - element.at));
    return r < 0 ? r : run_carry_end(run, frame, &open, NULL);
}

int emit_unwrap_each(struct run *run, struct frame *frame, const struct program_emit *emit,
                     const struct slot *slot)
{
    const struct program_op *op = shape_op(run, emit);
    struct elements messages = elements_of(slot, emit->number, WIRE_BYTES);
    struct element message;
    bool rest = false;
    int r = 0;
    while (r == 0 && (r = elements_next(run, &messages, &message)) > 0) {
        struct wrapped wrapped = {.has_value = false};
        r = shape_look_inside(run, &message, op, &wrapped);
        if (r == 0)
            r = write_bare(run, frame, op, &message, &wrapped);
        rest |= wrapped.has_rest || (!wrapped.has_value && (emit->flags & EMIT_INNER_PRESENCE));
    }
    return r == 0 && rest ? carry_all(run, frame, emit->number, slot) : r;
}

/* ---- From bare values to messages ---- */

/* What is carried, and where we are in it. */
struct carried_list {
    struct run_held held;
    uint32_t number; /* of the messages */
    bool by_place;   /* else by value */
    bool none;
};

static int count_list(struct run *run, const struct frame *frame, struct elements elements,
                      struct carried_list *list)
{
    struct run_held held = list->held;
    struct run_record record;
    struct element element;
    int64_t more = 0;
    int r = 0;
    while (r == 0 && (r = elements_next(run, &elements, &element)) > 0) {
        more++;
        r = 0;
    }
    while (r == 0 && (r = run_held_next(run, frame, &held, list->number, &record)) > 0) {
        more--;
        r = 0;
    }
    list->none = more != 0;
    return r;
}

/* The value in the message is the one that the target gets. */
static int same_value(struct run *run, const struct program_op *op, const struct element *element,
                      const struct run_record *message, bool *ret_same)
{
    struct program_op inner = shape_inner(op);
    struct wrapped wrapped = {.has_value = false};
    struct element piece = {message->at, message->value, message->end, WIRE_BYTES};
    struct slot a = {0}, b = {0};
    int r = shape_look_inside(run, &piece, &inner, &wrapped);
    if (r == 0 && op->wire == WIRE_BYTES) {
        uint32_t ours = 0, theirs = 0;
        const uint8_t *x = run_read_length(element->value, element->end, &ours), *y = x;
        if (wrapped.has_value)
            y = run_read_length(wrapped.value.value, wrapped.value.end, &theirs);
        *ret_same = ours == theirs && (ours == 0 || memcmp(x, y, ours) == 0);
        return 0;
    }
    if (r == 0)
        r = run_decode(run, op, element->at, element->value, &a);
    if (r == 0 && wrapped.has_value)
        r = run_decode(run, &inner, wrapped.value.at, wrapped.value.value, &b);
    *ret_same = a.mapped == b.mapped;
    return r;
}

/* The message that belongs to the value. ret_message->at NULL: none. */
static int find_message(struct run *run, const struct frame *frame, const struct program_op *op,
                        const struct element *element, struct carried_list *list,
                        struct run_record *ret_message)
{
    struct run_held ahead = list->held;
    struct run_record record;
    *ret_message = (struct run_record){.at = NULL};
    for (unsigned i = 0; i <= LOOK_AHEAD_MAX && !list->none; i++) {
        bool same = list->by_place;
        int r = run_held_next(run, frame, &ahead, list->number, &record);
        if (r == 0 && i == 0)
            list->none = true; /* no more of them */
        if (r <= 0)
            return r;
        r = same ? 0 : same_value(run, op, element, &record, &same);
        if (r < 0)
            return r;
        if (!same)
            continue;
        list->held = ahead;
        *ret_message = record;
        return 0;
    }
    return 0;
}

/* All of the message but its value. *ret_value: whether it had one. */
static int write_others(struct run *run, const struct frame *frame, const struct program_op *op,
                        uint32_t number, const struct run_record *message, bool *ret_value)
{
    uint32_t bytes = 0, fields = 1; /* the value */
    const uint8_t *pos = run_read_length(message->value, message->end, &bytes);
    struct run_record field;
    while (pos && pos < message->end) {
        int r = run_next_record(run, &pos, message->end, &field);
        if (r < 0)
            return r;
        if (field.tag >> 3 == op->tag >> 3) {
            *ret_value = true;
            continue;
        }
        r = shape_count_inside(run, frame, number, &field, &fields);
        if (r == 0)
            r = run_write_bytes(run, field.at, (size_t)(field.end - field.at));
        if (r < 0)
            return r;
    }
    return 0;
}

static int write_around(struct run *run, struct frame *frame, const struct program_emit *emit,
                        const struct program_op *op, const struct element *element,
                        const struct run_record *message)
{
    struct frame inside = *frame;
    struct open_length open;
    bool had_value = (emit->flags & EMIT_INNER_PRESENCE) != 0;
    int r = shape_check_depth(run, frame, op->number);
    inside.depth++;
    if (r == 0)
        r = run_count_element(run, op, element->at);
    if (r == 0)
        r = run_write_tag(run, emit->tag);
    if (r == 0)
        r = run_open_length(run, (size_t)(element->end - element->value) + 2, &open);
    if (r == 0 && message->at) {
        had_value = false;
        r = write_others(run, frame, op, emit->tag >> 3, message, &had_value);
    }
    bool empty =
        op->kind == KIND_MESSAGE ? shape_is_empty(element) : shape_is_default(run, op, element);
    if (r == 0 && (had_value || !empty))
        r = shape_write(run, &inside, op, element);
    return r < 0 ? r : run_close_length(run, &open);
}

int emit_wrap_each(struct run *run, struct frame *frame, const struct program_emit *emit,
                   const struct slot *slot)
{
    const struct program_op *op = shape_op(run, emit);
    struct elements elements = elements_of(slot, op->number, (enum wire_type)op->wire);
    struct element element;
    struct carried_list list = {
        .held = {.pos = frame->start},
        .number = emit->number,
        .by_place = op->kind == KIND_MESSAGE,
        .none = !frame->gathers,
    };
    int r = list.by_place && !list.none ? count_list(run, frame, elements, &list) : 0;
    while (r == 0 && (r = elements_next(run, &elements, &element)) > 0) {
        struct run_record message;
        r = find_message(run, frame, op, &element, &list, &message);
        if (r == 0)
            r = write_around(run, frame, emit, op, &element, &message);
    }
    return r;
}
