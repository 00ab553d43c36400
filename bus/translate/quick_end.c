/*
 * The short way at a message's end: what waited for it, where that is simple.
 *
 * Most of what waits is text: moved to another message, taken apart, put together, or dropped
 * because others say the same. Here it is written as emit.c writes it, byte by byte the same, but
 * the room is asked for once for each, and nothing can be carried: if an emit has something that
 * would have to be (a value that does not come back, a dropped text that the others do not give),
 * all of them are left to the long way, and nothing has been written.
 *
 * Which tables' ends this may be is worked out when a plan is loaded (`ends`, in fast.c): no
 * stages, no required fields, no other emits than these.
 */
#include "translate/fast.h"

/* What is being written: `out` moves on as in the runner, and counts only at the end. */
struct ending {
    const struct plan *plan;
    const struct frame *frame;
    uint8_t *out;
    size_t room;     /* behind `out`, without what copies may pass the end by */
    uint32_t fields; /* written */
    size_t moved_in;
    bool failed;
};

static inline bool take_room(struct ending *ending, size_t bytes)
{
    if (__builtin_expect(bytes > ending->room, 0)) {
        ending->failed = true;
        return false;
    }
    ending->room -= bytes;
    return true;
}

static inline void put_varint(struct ending *ending, uint32_t value)
{
    if (__builtin_expect(value < 0x80, 1))
        *ending->out++ = (uint8_t)value;
    else
        ending->out = wire_write_varint(ending->out, value);
}

/* Of the private copy, which can be read on behind @data. */
static inline void put_source(struct ending *ending, struct span text)
{
    if (__builtin_expect(text.bytes <= 32, 1)) {
        memcpy(ending->out, text.data, 16);
        memcpy(ending->out + 16, text.data + 16, 16);
    } else {
        memcpy(ending->out, text.data, text.bytes);
    }
    ending->out += text.bytes;
}

static inline void put_literal(struct ending *ending, struct span literal)
{
    for (size_t i = 0; i < literal.bytes; i++)
        *ending->out++ = literal.data[i];
}

static inline struct span text_of(const struct slot *slot)
{
    return (struct span){slot->data, slot->bytes};
}

static inline struct span literal_of(const struct plan *plan, const struct program_part *part)
{
    return (struct span){plan->text + part->text_first, part->text_bytes};
}

#define HEADER_BYTES_MAX 10 /* of a field: tag and length */

/* An empty text may lie nowhere, so it is not read. */
static inline void put_text(struct ending *ending, uint32_t tag, struct span text)
{
    put_varint(ending, tag);
    put_varint(ending, (uint32_t)text.bytes);
    if (text.bytes > 0)
        put_source(ending, text);
}

/* ---- The emits ---- */

static inline void end_move(struct ending *ending, const struct program_emit *emit)
{
    const struct slot *slot = &ending->frame->slots[emit->slot];
    bool text = (emit->tag & 7) == WIRE_BYTES;
    if (!run_moves(emit, slot) ||
        !take_room(ending, HEADER_BYTES_MAX + (text ? (size_t)slot->bytes : 10)))
        return;
    ending->fields++;
    if (text) {
        put_text(ending, emit->tag, text_of(slot));
    } else {
        put_varint(ending, emit->tag);
        ending->out = run_encode(ending->out, (enum kind)emit->written, slot->mapped);
    }
}

/* Its content is written where it would be behind a length of one byte, and moved if it is longer.
 */
static inline void close_message(struct ending *ending, uint8_t *content)
{
    size_t bytes = (size_t)(ending->out - content);
    if (__builtin_expect(bytes < 0x80, 1)) {
        content[-1] = (uint8_t)bytes;
        return;
    }
    size_t size = wire_varint_size(bytes);
    memmove(content + size - 1, content, bytes);
    ending->out += size - 1;
    (void)wire_write_varint(content - 1, bytes);
}

static inline void end_gather(struct ending *ending, const struct program_emit *emit)
{
    const struct program_node *node = &ending->plan->nodes[emit->node];
    uint8_t *before = ending->out;
    const uint32_t fields = ending->fields;
    if (!take_room(ending, HEADER_BYTES_MAX))
        return;
    put_varint(ending, node->tag);
    uint8_t *content = ++ending->out;
    for (uint32_t i = 0; i < node->leaf_count; i++)
        end_move(ending, &ending->plan->emits[node->leaf_first + i]);
    if (ending->fields == fields) {
        ending->out = before;
        return;
    }
    ending->fields++;
    close_message(ending, content);
    ending->moved_in += (size_t)(ending->out - before);
}

static inline void end_split(struct ending *ending, const struct program_emit *emit)
{
    const struct slot *slot = &ending->frame->slots[emit->slot];
    const struct program_template *template = &ending->plan->templates[emit->template];
    const struct program_part *parts = ending->plan->parts + template->part_first;
    struct span text = text_of(slot), fields[PROGRAM_PART_MAX];
    if (!run_splits(emit, slot) ||
        !take_room(ending, text.bytes + (1 + template->part_count) * (size_t)HEADER_BYTES_MAX))
        return;
    bool fits = run_take_apart(ending->plan, template, text, fields);
    ending->fields++;
    put_varint(ending, emit->tag);
    uint8_t *content = ++ending->out;
    for (uint32_t i = 0; i < template->part_count; i++) {
        if (parts[i].slot == PROGRAM_SLOT_NONE)
            continue;
        if (fits)
            put_text(ending, parts[i].tag, fields[i]);
        else if (i == template->otherwise && text.bytes > 0)
            put_text(ending, parts[i].tag, text);
    }
    close_message(ending, content);
}

/* ---- Text made of slots, as make_text() in emit.c does it ---- */

static inline const struct slot *slot_of(const struct ending *ending,
                                         const struct program_part *part)
{
    return part->slot == PROGRAM_SLOT_NONE ? NULL : &ending->frame->slots[part->slot];
}

/* Writes the text of a template. With @join, `otherwise` alone where only that one is not empty.
 * Return: its length. */
static inline size_t put_template(struct ending *ending, const struct program_template *template,
                                  bool join)
{
    const struct program_part *parts = ending->plan->parts + template->part_first;
    unsigned fields = 0, filled = 0;
    uint8_t *const begin = ending->out;
    for (uint32_t i = 0; i < template->part_count; i++) {
        const struct slot *slot = slot_of(ending, &parts[i]);
        if (!take_room(ending, parts[i].text_bytes + (slot ? slot->bytes : 0)))
            return 0;
        put_literal(ending, literal_of(ending->plan, &parts[i]));
        fields += slot != NULL;
        if (!slot || slot->bytes == 0)
            continue;
        filled++;
        put_source(ending, text_of(slot));
    }
    const struct slot *alone =
        join && filled == 1 && fields > 1 ? slot_of(ending, &parts[template->otherwise]) : NULL;
    if ((filled == 0 && fields > 0) || (alone && alone->bytes > 0))
        ending->out = begin;
    if (alone && alone->bytes > 0)
        put_source(ending, text_of(alone));
    return (size_t)(ending->out - begin);
}

/* A field of such a text. Return: its length; 0: nothing is written. */
static inline size_t put_made(struct ending *ending, const struct program_emit *emit, bool join)
{
    uint8_t *const before = ending->out;
    if (!take_room(ending, HEADER_BYTES_MAX))
        return 0;
    put_varint(ending, emit->tag);
    uint8_t *content = ++ending->out;
    size_t bytes = put_template(ending, &ending->plan->templates[emit->template], join);
    if (bytes == 0) {
        ending->out = before;
        return 0;
    }
    ending->fields++;
    close_message(ending, content);
    return bytes;
}

/* Both of the source, behind which some more can be read. */
static inline bool is_same(struct span a, struct span b)
{
#if defined(__SSE2__)
    if (a.bytes == b.bytes && a.bytes - 1 < 16) {
        __m128i x = _mm_loadu_si128((const __m128i *)(const void *)a.data);
        __m128i y = _mm_loadu_si128((const __m128i *)(const void *)b.data);
        unsigned other = ~(unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(x, y));
        return a.bytes <= (unsigned)__builtin_ctz(other);
    }
#endif
    return a.bytes == b.bytes && (a.bytes == 0 || memcmp(a.data, b.data, a.bytes) == 0);
}

/* Whether taking @text apart, which has just been written, gives what is in the slots. */
static inline bool comes_back(const struct ending *ending, const struct program_template *template,
                              struct span text)
{
    const struct program_part *parts = ending->plan->parts + template->part_first;
    struct span fields[PROGRAM_PART_MAX];
    bool fits = run_take_apart(ending->plan, template, text, fields);
    for (uint32_t i = 0; i < template->part_count; i++) {
        const struct slot *slot = slot_of(ending, &parts[i]);
        struct span got = fits                       ? fields[i]
                          : i == template->otherwise ? text
                                                     : (struct span){text.data, 0};
        if (slot && !is_same(got, text_of(slot)))
            return false;
    }
    return true;
}

static inline void end_join(struct ending *ending, const struct program_emit *emit)
{
    const struct slot *slot = &ending->frame->slots[emit->slot];
    const struct program_template *template = &ending->plan->templates[emit->template];
    if (!slot->seen)
        return;
    size_t bytes = put_made(ending, emit, true);
    if (bytes == 0 || slot->marked ||
        !comes_back(ending, template, (struct span){ending->out - bytes, bytes}))
        ending->failed = true; /* something is to be carried */
}

/* Whether the text begins so; takes that off it. */
static inline bool take_same(struct span *text, struct span piece, bool literal)
{
    if (piece.bytes > text->bytes)
        return false;
    struct span begin = {text->data, piece.bytes};
    text->data += piece.bytes;
    text->bytes -= piece.bytes;
    if (!literal)
        return is_same(begin, piece);
    for (size_t i = 0; i < piece.bytes; i++)
        if (begin.data[i] != piece.data[i])
            return false;
    return true;
}

/* Fails unless the template gives the text that is dropped. */
static inline void end_dropped(struct ending *ending, const struct program_emit *emit)
{
    const struct program_template *template = &ending->plan->templates[emit->template];
    const struct program_part *parts = ending->plan->parts + template->part_first;
    struct span text = text_of(&ending->frame->slots[emit->slot]);
    unsigned fields = 0, filled = 0;
    bool same = true, empty = text.bytes == 0;
    for (uint32_t i = 0; i < template->part_count; i++) {
        const struct slot *slot = slot_of(ending, &parts[i]);
        same = same && take_same(&text, literal_of(ending->plan, &parts[i]), true);
        fields += slot != NULL;
        if (!slot || slot->bytes == 0)
            continue;
        filled++;
        same = same && take_same(&text, text_of(slot), false);
    }
    ending->failed |= filled == 0 && fields > 0 ? !empty : !same || text.bytes > 0;
}

static inline void end_one(struct ending *ending, const struct program_emit *emit)
{
    const struct slot *slot = &ending->frame->slots[emit->slot];
    switch (emit->kind) {
    case EMIT_LOST:
        ending->failed |= slot->lost && !slot->restored;
        break;
    case EMIT_MOVE:
        end_move(ending, emit);
        break;
    case EMIT_GATHER:
        end_gather(ending, emit);
        break;
    case EMIT_SPLIT:
        end_split(ending, emit);
        break;
    case EMIT_TEXT:
        if (!slot->restored)
            (void)put_made(ending, emit, false);
        break;
    case EMIT_JOIN:
        end_join(ending, emit);
        break;
    default:
        end_dropped(ending, emit);
    }
}

uint8_t *quick_emit(struct run *run, struct frame *frame, const struct program_emit *emit,
                    uint8_t *out)
{
    struct ending ending = {
        .plan = run->plan,
        .frame = frame,
        .out = out,
        .room = (size_t)(run->limit - out - FAST_WRITE_BYTES),
    };
    end_one(&ending, emit);
    frame->moved_in += ending.moved_in;
    return ending.failed ? NULL : ending.out;
}

uint8_t *quick_end(struct run *run, struct frame *frame, uint8_t *out)
{
    const struct program_table *table = frame->table;
    const size_t room = (size_t)(run->limit - out);
    /* Texts in slots are of the source, behind which some more can be read. */
    if (frame->gathers || frame->guarded || run->origin || frame->depth >= WIRE_DEPTH_MAX ||
        room < FAST_WRITE_BYTES || run->readable - frame->end < FAST_READ_BYTES)
        return NULL;
    struct ending ending = {
        .plan = run->plan,
        .frame = frame,
        .out = out,
        .room = room - FAST_WRITE_BYTES,
        .fields = frame->fields,
    };
    for (uint32_t i = 0; i < table->emit_count; i++)
        end_one(&ending, &run->plan->emits[table->emit_first + i]);
    if (ending.failed || ending.fields > WIRE_FIELDS_MAX)
        return NULL;
    frame->fields = ending.fields;
    frame->moved_in += ending.moved_in;
    return ending.out;
}
