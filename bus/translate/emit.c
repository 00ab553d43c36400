/*
 * What a message still has to say when all of it has been read: the values that its ops kept in
 * slots, at their new places, and in carriers what these cannot express.
 *
 * Text and its parts. A pattern "{name} <{email}>" is literals and fields by turns. Taking a text
 * apart: the literals are searched from the right, the fields between them must not be empty; where
 * it does not fit, `otherwise` takes all of it. Putting together: the pattern, if no field is
 * empty; `otherwise` alone, if only that one is not. So text survives apart-and-together always,
 * and the parts survive together-and-apart unless they contain the literals themselves: EMIT_JOIN
 * tries it, and carries the message along where it does not hold.
 */
#include "translate/convert.h"

#define FNV_BASIS UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME UINT64_C(0x100000001b3)

/* ---- Guards: FNV-1a, 64 bits (Fowler, Noll, Vo) ---- */

static uint64_t hash(uint64_t state, const uint8_t *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        state = (state ^ data[i]) * FNV_PRIME;
    return state;
}

uint64_t run_guard_text(const uint8_t *data, size_t bytes)
{
    return hash(FNV_BASIS, data, bytes);
}

uint64_t run_guard_more(uint64_t guard, const void *data, size_t bytes)
{
    return hash(guard, data, bytes);
}

uint64_t run_guard_value(int64_t value)
{
    uint8_t bytes[8];
    memcpy(bytes, &value, sizeof(bytes));
    return hash(FNV_BASIS, bytes, sizeof(bytes));
}

/* ---- Text made of slots ---- */

struct text {
    struct span pieces[2 * PROGRAM_PART_MAX];
    unsigned count;
    size_t bytes;
};

static struct span slot_text(const struct slot *slot)
{
    return (struct span){slot->data, slot->bytes};
}

/* The text of a template. With @join, `otherwise` alone where only that one is not empty. */
static void make_text(const struct run *run, const struct slot *slots, uint32_t index, bool join,
                      struct text *ret_text)
{
    const struct plan *plan = run->plan;
    const struct program_template *template = &plan->templates[index];
    const struct program_part *parts = plan->parts + template->part_first;
    unsigned fields = 0, filled = 0;
    for (uint32_t i = 0; i < template->part_count; i++) {
        if (parts[i].slot == PROGRAM_SLOT_NONE)
            continue;
        fields++;
        filled += slots[parts[i].slot].bytes > 0;
    }
    ret_text->count = 0;
    ret_text->bytes = 0;
    if (filled == 0 && fields > 0)
        return;
    uint16_t alone = parts[template->otherwise].slot;
    if (join && fields > 1 && filled == 1 && alone != PROGRAM_SLOT_NONE && slots[alone].bytes > 0) {
        ret_text->pieces[ret_text->count++] = slot_text(&slots[alone]);
        ret_text->bytes = slots[alone].bytes;
        return;
    }
    for (uint32_t i = 0; i < template->part_count; i++) {
        struct span literal = {plan->text + parts[i].text_first, parts[i].text_bytes};
        ret_text->pieces[ret_text->count++] = literal;
        ret_text->bytes += literal.bytes;
        if (parts[i].slot == PROGRAM_SLOT_NONE)
            continue;
        ret_text->pieces[ret_text->count++] = slot_text(&slots[parts[i].slot]);
        ret_text->bytes += slots[parts[i].slot].bytes;
    }
}

static uint64_t guard_of_text(const struct text *text)
{
    uint64_t state = FNV_BASIS;
    for (unsigned i = 0; i < text->count; i++)
        state = hash(state, text->pieces[i].data, text->pieces[i].bytes);
    return state;
}

uint64_t run_guard_template(const struct run *run, const struct slot *slots, uint32_t template)
{
    struct text text;
    make_text(run, slots, template, false, &text);
    return guard_of_text(&text);
}

static bool text_equals(const struct text *text, struct span other)
{
    if (text->bytes != other.bytes)
        return false;
    size_t at = 0;
    for (unsigned i = 0; i < text->count; i++) {
        if (text->pieces[i].bytes > 0 &&
            memcmp(other.data + at, text->pieces[i].data, text->pieces[i].bytes) != 0)
            return false;
        at += text->pieces[i].bytes;
    }
    return true;
}

static int write_text(struct run *run, uint32_t tag, const struct text *text)
{
    int r = run_write_tag(run, tag);
    if (r == 0)
        r = run_write_length(run, text->bytes);
    for (unsigned i = 0; i < text->count && r == 0; i++)
        r = run_write_bytes(run, text->pieces[i].data, text->pieces[i].bytes);
    return r;
}

static int write_span(struct run *run, uint32_t tag, struct span span)
{
    int r = run_write_tag(run, tag);
    if (r == 0)
        r = run_write_length(run, span.bytes);
    return r < 0 ? r : run_write_bytes(run, span.data, span.bytes);
}

/* ---- Text taken apart ---- */

static bool ends_with(struct span text, struct span literal)
{
    return literal.bytes == 0 ||
           (text.bytes >= literal.bytes &&
            text.data[text.bytes - 1] == literal.data[literal.bytes - 1] &&
            memcmp(text.data + text.bytes - literal.bytes, literal.data, literal.bytes) == 0);
}

/* Up to and with the last @literal that has at least one byte before and one behind it. */
static bool cut_at_last(struct span *text, struct span literal, struct span *ret_behind)
{
    struct span head = *text;
    for (head.bytes -= head.bytes > 0; head.bytes > literal.bytes; head.bytes--) {
        if (literal.bytes > 0) { /* straight to where its last byte is */
            const uint8_t *last =
                memrchr(head.data + literal.bytes, literal.data[literal.bytes - 1],
                        head.bytes - literal.bytes);
            if (!last)
                return false;
            head.bytes = (size_t)(last - head.data) + 1;
        }
        if (!ends_with(head, literal))
            continue;
        *ret_behind = (struct span){text->data + head.bytes, text->bytes - head.bytes};
        text->bytes = head.bytes - literal.bytes;
        return true;
    }
    return false;
}

/* Fills fields[i] for each part that has a field; false: it does not fit. */
bool run_take_apart(const struct plan *plan, const struct program_template *template,
                    struct span text, struct span fields[PROGRAM_PART_MAX])
{
    const struct program_part *parts = plan->parts + template->part_first;
    uint32_t count = template->part_count;
    struct span literal;
    if (parts[count - 1].slot == PROGRAM_SLOT_NONE) {
        count--;
        literal = (struct span){plan->text + parts[count].text_first, parts[count].text_bytes};
        if (!ends_with(text, literal))
            return false;
        text.bytes -= literal.bytes;
    }
    while (count-- > 1) {
        literal = (struct span){plan->text + parts[count].text_first, parts[count].text_bytes};
        if (!cut_at_last(&text, literal, &fields[count]))
            return false;
    }
    literal = (struct span){plan->text + parts[0].text_first, parts[0].text_bytes};
    if (text.bytes <= literal.bytes ||
        (literal.bytes > 0 && memcmp(text.data, literal.data, literal.bytes) != 0))
        return false;
    fields[0] = (struct span){text.data + literal.bytes, text.bytes - literal.bytes};
    return true;
}

/* Whether taking @text apart gives what is in the slots. */
static bool comes_back(const struct run *run, const struct slot *slots,
                       const struct program_template *template, struct span text)
{
    const struct program_part *parts = run->plan->parts + template->part_first;
    struct span fields[PROGRAM_PART_MAX];
    bool fitted = text.bytes > 0 && run_take_apart(run->plan, template, text, fields);
    for (uint32_t i = 0; i < template->part_count; i++) {
        if (parts[i].slot == PROGRAM_SLOT_NONE)
            continue;
        struct span want = slot_text(&slots[parts[i].slot]);
        struct span got = fitted                     ? fields[i]
                          : i == template->otherwise ? text
                                                     : (struct span){text.data, 0};
        if (got.bytes != want.bytes ||
            (got.bytes > 0 && memcmp(got.data, want.data, got.bytes) != 0))
            return false;
    }
    return true;
}

/* ---- The emits ---- */

int run_add_field(struct run *run, struct frame *frame, const struct program_emit *emit)
{
    if (emit->required != PROGRAM_REQUIRED_NONE)
        frame->required |= UINT64_C(1) << emit->required;
    return run_count_field(run, frame, frame->end, emit->number);
}

int run_write_slot(struct run *run, uint32_t tag, enum kind written, const struct slot *slot)
{
    if (program_wire_type(written) == WIRE_BYTES)
        return write_span(run, tag, slot_text(slot));
    uint8_t value[10];
    size_t bytes = (size_t)(run_encode(value, written, slot->mapped) - value);
    int r = run_write_tag(run, tag);
    return r < 0 ? r : run_write_bytes(run, value, bytes);
}

static int emit_move(struct run *run, struct frame *frame, const struct program_emit *emit,
                     const struct slot *slot)
{
    if (!run_moves(emit, slot))
        return 0;
    int r = run_add_field(run, frame, emit);
    return r < 0 ? r : run_write_slot(run, emit->tag, (enum kind)emit->written, slot);
}

/* The path of nodes that lead to where we are. */
struct path {
    uint32_t owner; /* of the carriers that have something of them */
    uint32_t numbers[PROGRAM_PATH_MAX];
    unsigned count;
    bool carried; /* a carrier had something of them */
};

static int write_node(struct run *run, struct frame *frame, const struct program_node *node,
                      struct path *path);

static int write_inside(struct run *run, struct frame *frame, const struct program_node *node,
                        struct path *path, bool *ret_any)
{
    const struct plan *plan = run->plan;
    int r = 0;
    for (uint32_t i = 0; i < node->leaf_count && r == 0; i++) {
        const struct program_emit *leaf = &plan->emits[node->leaf_first + i];
        r = leaf->kind == EMIT_MOVED ? run_emit_moved(run, frame, leaf, frame->depth + path->count)
                                     : emit_move(run, frame, leaf, &frame->slots[leaf->slot]);
    }
    for (uint32_t i = 0; i < node->child_count && r == 0; i++)
        r = write_node(run, frame, &plan->nodes[node->child_first + i], path);
    if (r == 0 && frame->gathers)
        r = run_restore_gathered(run, frame, path->owner, path->numbers, path->count,
                                 &plan->tables[node->table], ret_any);
    path->carried |= *ret_any;
    return r;
}

/* Writes the message, unless there is nothing that would be in it. The path is verified to be no
 * longer than PROGRAM_PATH_MAX. */
static int write_node(struct run *run, struct frame *frame, const struct program_node *node,
                      struct path *path)
{
    uint8_t *before = run->out;
    struct open_length open;
    bool any = false;
    path->numbers[path->count++] = node->tag >> 3;
    if (frame->depth + path->count > WIRE_DEPTH_MAX)
        return run_fail(run, -E2BIG, frame->end, node->tag >> 3,
                        "messages nested deeper than the limit");
    int r = run_write_tag(run, node->tag);
    if (r == 0)
        r = run_open_length(run, 0, &open);
    if (r < 0)
        return r;
    uint8_t *content = run->out;
    r = write_inside(run, frame, node, path, &any);
    path->count--;
    if (r < 0)
        return r;
    if (run->out == content && !any) {
        run->out = before;
        return 0;
    }
    r = run_count_field(run, frame, frame->end, node->tag >> 3);
    return r < 0 ? r : run_close_length(run, &open);
}

static int emit_gather(struct run *run, struct frame *frame, const struct program_emit *emit)
{
    struct path path = {.owner = frame->opens};
    uint8_t *before = run->out;
    unsigned near = frame->near;
    frame->near = 0;
    int r = write_node(run, frame, &run->plan->nodes[emit->node], &path);
    if (r == 0 && !path.carried && frame->near <= emit->level)
        frame->moved_in += (size_t)(run->out - before);
    frame->near = near > frame->near ? near : frame->near;
    return r;
}

static int emit_split(struct run *run, struct frame *frame, const struct program_emit *emit,
                      const struct slot *slot)
{
    const struct program_template *template = &run->plan->templates[emit->template];
    const struct program_part *parts = run->plan->parts + template->part_first;
    struct span text = slot_text(slot), fields[PROGRAM_PART_MAX];
    if (!run_splits(emit, slot))
        return 0;
    if (frame->depth == WIRE_DEPTH_MAX)
        return run_fail(run, -E2BIG, frame->end, emit->number,
                        "messages nested deeper than the limit");
    bool fits = run_take_apart(run->plan, template, text, fields);
    struct open_length open;
    int r = run_add_field(run, frame, emit);
    if (r == 0)
        r = run_write_tag(run, emit->tag);
    if (r == 0)
        r = run_open_length(run, text.bytes, &open);
    for (uint32_t i = 0; i < template->part_count && r == 0; i++) {
        if (parts[i].slot == PROGRAM_SLOT_NONE)
            continue;
        if (fits)
            r = write_span(run, parts[i].tag, fields[i]);
        else if (i == template->otherwise && text.bytes > 0)
            r = write_span(run, parts[i].tag, text);
    }
    return r < 0 ? r : run_close_length(run, &open);
}

static int emit_text(struct run *run, struct frame *frame, const struct program_emit *emit,
                     const struct slot *slot)
{
    struct text text;
    if (slot->restored)
        return 0;
    make_text(run, frame->slots, emit->template, false, &text);
    if (text.bytes == 0)
        return 0;
    int r = run_add_field(run, frame, emit);
    return r < 0 ? r : write_text(run, emit->tag, &text);
}

static int emit_join(struct run *run, struct frame *frame, const struct program_emit *emit,
                     const struct slot *slot)
{
    struct text text;
    if (!slot->seen)
        return 0;
    make_text(run, frame->slots, emit->template, true, &text);
    bool told = text.bytes > 0 || (emit->flags & EMIT_PRESENCE);
    struct span written = {run->out, 0};
    if (told) {
        int r = run_add_field(run, frame, emit);
        if (r == 0)
            r = write_text(run, emit->tag, &text);
        if (r < 0)
            return r;
        written = (struct span){run->out - text.bytes, text.bytes};
    }
    const struct program_template *template = &run->plan->templates[emit->template];
    if (told && !slot->marked && comes_back(run, frame->slots, template, written))
        return 0;
    return run_carry_records(run, frame, emit->number, guard_of_text(&text));
}

static int emit_lost(struct run *run, struct frame *frame, const struct program_emit *emit,
                     const struct slot *slot)
{
    if (!slot->lost || slot->restored)
        return 0;
    bool text = program_wire_type((enum kind)emit->written) == WIRE_BYTES;
    uint64_t guard = text ? run_guard_text(NULL, 0) : run_guard_value(slot->mapped);
    return run_carry(run, frame, slot->data, slot->bytes, &guard);
}

static int emit_dropped(struct run *run, struct frame *frame, const struct program_emit *emit,
                        const struct slot *slot)
{
    struct text text;
    make_text(run, frame->slots, emit->template, false, &text);
    if (text_equals(&text, slot_text(slot)))
        return 0;
    uint64_t guard = guard_of_text(&text);
    struct open_length open;
    int r = run_carry_begin(run, frame, &guard, slot->bytes, &open);
    if (r == 0)
        r = write_span(run, emit->tag, slot_text(slot));
    return r < 0 ? r : run_carry_end(run, frame, &open, &guard);
}

int run_emit(struct run *run, struct frame *frame, const struct program_emit *emit)
{
    const struct slot *slot = &frame->slots[emit->slot];
    switch (emit->kind) {
    case EMIT_MOVE:
        return emit_move(run, frame, emit, slot);
    case EMIT_GATHER:
        return emit_gather(run, frame, emit);
    case EMIT_SPLIT:
        return emit_split(run, frame, emit, slot);
    case EMIT_TEXT:
        return emit_text(run, frame, emit, slot);
    case EMIT_JOIN:
        return emit_join(run, frame, emit, slot);
    case EMIT_LOST:
        return emit_lost(run, frame, emit, slot);
    case EMIT_CONVERT:
    case EMIT_CONSTANT:
    case EMIT_UNUSUAL:
        return convert_emit(run, frame, emit);
    case EMIT_DROPPED:
        return emit_dropped(run, frame, emit, slot);
    case EMIT_MOVED: {
        uint8_t *before = run->out;
        int r = run_emit_moved(run, frame, emit, frame->depth);
        if (r == 0 && emit->near < emit->level)
            frame->moved_in += (size_t)(run->out - before);
        return r;
    }
    case EMIT_WITHIN:
        return run_emit_within(run, frame, emit);
    case EMIT_RESTORE:
        return frame->guarded ? run_restore_guarded(run, frame, emit->owner) : 0;
    default:
        return run_emit_shape(run, frame, emit);
    }
}
