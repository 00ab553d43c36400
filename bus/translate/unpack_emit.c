/*
 * What a message does at its end, and what it carries, straight into the struct.
 *
 * Most of what rules make is text of which the parts lie in the private copy, or made of these; and
 * most of what could have to be carried need not be. So that is done here, with what emit.c says it
 * has to be, and no wire bytes between; bind_emit.c has seen that the struct takes it. What is left
 * goes through the runner: an emit that cannot be done here says so before it has done anything.
 *
 * The carrier. What is carried is an unknown field of the struct, and its bytes are those that
 * carrier.c writes: put together in the bump, where the last one may grow, as it may there, for as
 * long as nothing else is written behind it. Here that is: what is carried next begins where the
 * last one ended, or what lies between has been stored nowhere. When the runner is about to write,
 * it gets a carrier that may still grow back, as the wire bytes that it would have written itself.
 */
#include "translate/unpack.h"

#define LENGTH_BYTES_MAX 5

/* ---- The carrier ---- */

static inline int count_field(struct unpack *u, struct reading *here, const uint8_t *at,
                              uint32_t number)
{
    if (here->fields == WIRE_FIELDS_MAX)
        return run_fail(&u->run, -E2BIG, at, number, "more fields in one message than the limit");
    here->fields++;
    return 0;
}

/* A field that is added. */
static inline int count_added(struct unpack *u, struct reading *here,
                              const struct program_emit *emit)
{
    if (emit->required != PROGRAM_REQUIRED_NONE)
        here->required |= UINT64_C(1) << emit->required;
    return count_field(u, here, here->end, emit->number);
}

static uint8_t *put(uint8_t *out, const void *data, size_t bytes)
{
    if (bytes > 0)
        memcpy(out, data, bytes);
    return out + bytes;
}

static inline uint8_t *put_length(uint8_t *out, size_t bytes)
{
    if (bytes >= 1u << 14)
        return wire_write_varint(out, bytes);
    if (bytes >= 0x80)
        *out++ = (uint8_t)(bytes | 0x80);
    *out++ = (uint8_t)(bytes >= 0x80 ? bytes >> 7 : bytes);
    return out;
}

/* A record; with another tag than it had, or as it is. */
struct record {
    uint32_t tag; /* 0: it is in `bytes` */
    struct span bytes;
};

static size_t record_bytes(const struct record *record)
{
    return (record->tag ? wire_varint_size(record->tag) : 0) + record->bytes.bytes;
}

static uint8_t *put_record(uint8_t *out, const struct record *record)
{
    if (record->tag)
        out = wire_write_varint(out, record->tag);
    return put(out, record->bytes.data, record->bytes.bytes);
}

/* A carrier of its own. *ret_end: behind its bytes. */
static inline int add_carrier(struct unpack *u, struct reading *here, const struct record *record,
                              const uint64_t *guard, const uint8_t **ret_end)
{
    size_t bytes = CARRIER_OWNER_BYTES + (guard ? CARRIER_GUARD_BYTES : 0) + record_bytes(record);
    uint8_t *data = wire_bump_alloc(&u->bump, LENGTH_BYTES_MAX + bytes);
    if (!data)
        return unpack_no_memory(u);
    uint8_t *out = put_length(data, bytes);
    *out++ = guard ? CARRIER_GUARDED_TAG : CARRIER_PLAIN_TAG;
    out = put(out, &here->owner, 4);
    if (guard) {
        *out++ = CARRIER_GUARD_TAG;
        out = put(out, guard, 8);
    }
    out = put_record(out, record);
    *ret_end = out;
    return unpack_put_unknown(u, here->message, CARRIER_TAG, data, (size_t)(out - data));
}

/* The last unknown field, which is a carrier, with a record more. */
static int grow_carrier(struct unpack *u, struct reading *here, const struct record *record)
{
    ProtobufCMessage *base = (ProtobufCMessage *)(void *)here->message;
    ProtobufCMessageUnknownField *last = &base->unknown_fields[base->n_unknown_fields - 1];
    uint32_t before = 0;
    const uint8_t *content = run_read_u32(last->data, last->data + last->len, &before);
    const size_t bytes = before + record_bytes(record), head = wire_varint_size(bytes);
    uint8_t *data = last->data;
    if (head + bytes > (size_t)(u->growing.room_end - data)) {
        size_t room = 2 * (head + bytes);
        data = wire_bump_alloc(&u->bump, room);
        if (!data)
            return unpack_no_memory(u);
        u->growing.room_end = data + room;
    }
    if (data + head != content) /* not for each record that is added */
        memmove(data + head, content, before);
    (void)put_length(data, bytes);
    (void)put_record(data + head + before, record);
    last->data = data;
    last->len = head + bytes;
    return 0;
}

int unpack_carry(struct unpack *u, struct reading *here, const struct program_op *op,
                 const uint8_t *at, const uint8_t *end)
{
    if (op->owner)
        here->owner = op->owner;
    struct record record = {0, {at, (size_t)(end - at)}};
    int r;
    if (op->number != op->tag >> 3) {
        uint32_t tag = 0;
        const uint8_t *value = run_read_u32(at, end, &tag);
        record.tag = (op->tag & ~UINT32_C(7)) | (tag & 7);
        record.bytes = (struct span){value, (size_t)(end - value)};
    }
    if (u->growing.at == at && u->growing.message == here->message &&
        u->growing.owner == here->owner) {
        r = grow_carrier(u, here, &record);
    } else {
        const uint8_t *room_end = NULL;
        r = count_field(u, here, here->start, CARRIER_NUMBER);
        if (r == 0)
            r = add_carrier(u, here, &record, NULL, &room_end);
        u->growing.message = here->message;
        u->growing.owner = here->owner;
        u->growing.room_end = (uint8_t *)(uintptr_t)room_end;
    }
    u->growing.at = end;
    return r;
}

int unpack_give_back(struct unpack *u, struct reading *here, const uint8_t *at)
{
    ProtobufCMessage *base = (ProtobufCMessage *)(void *)here->message;
    if (u->growing.at != at || u->growing.message != here->message)
        return 0;
    const ProtobufCMessageUnknownField *last = &base->unknown_fields[--base->n_unknown_fields];
    u->growing.at = NULL;
    int r = run_write_tag(&u->run, CARRIER_TAG);
    here->frame->carrier = u->run.out;
    if (r == 0)
        r = run_write_bytes(&u->run, last->data, last->len);
    here->frame->carrier_end = u->run.out;
    here->frame->carrier_owner = u->growing.owner;
    return r;
}

/* What an emit carries, guarded. */
static int carry_guarded(struct unpack *u, struct reading *here, const struct program_emit *emit,
                         const struct record *record, uint64_t guard)
{
    const uint8_t *end;
    int r = unpack_flush_if_any(u, here, here->end);
    here->owner = emit->owner ? emit->owner : here->table->table->source_id;
    u->growing.at = NULL;
    if (r == 0)
        r = count_field(u, here, here->start, CARRIER_NUMBER);
    if (r == 0)
        r = add_carrier(u, here, record, &guard, &end);
    return r < 0 ? r : 1;
}

/* ---- Texts ---- */

static struct span slot_text(const struct slot *slot)
{
    return (struct span){slot->data, slot->bytes};
}

/* What the text of a template will be. */
struct made {
    const struct program_part *part, *last; /* of the template */
    unsigned fields, filled;                /* parts that are fields; that are not empty */
    size_t bytes;
};

static inline struct made measure(const struct plan *plan, const struct slot *slots, uint32_t index)
{
    const struct program_template *template = &plan->templates[index];
    const struct program_part *part = plan->parts + template->part_first;
    struct made made = {part, part + template->part_count, 0, 0, 0};
    for (; part < made.last; part++) {
        made.bytes += part->text_bytes;
        if (part->slot == PROGRAM_SLOT_NONE)
            continue;
        const uint32_t bytes = slots[part->slot].bytes;
        made.fields++;
        made.filled += bytes > 0;
        made.bytes += bytes;
    }
    if (made.filled == 0 && made.fields > 0) {
        made.bytes = 0;
        made.last = made.part;
    }
    return made;
}

/* Sixteen bytes at a step; so many may be read, and written, past the end. */
static inline uint8_t *put_steps(uint8_t *out, const uint8_t *data, size_t bytes)
{
    uint8_t *const end = out + bytes;
    do {
        copy16(out, data);
        out += 16;
        data += 16;
    } while (out < end);
    return end;
}

static inline bool is_inside(const struct unpack *u, const uint8_t *data)
{
    return (uintptr_t)data - (uintptr_t)u->run.source <= u->source_bytes;
}

static int put_made(struct unpack *u, struct reading *here, const struct bound_op *field,
                    const struct made *made)
{
    uint8_t *text = wire_bump_alloc(&u->bump, made->bytes + 1 + 16);
    if (!text)
        return unpack_no_memory(u);
    memcpy(here->message + field->offset, &text, sizeof(text));
    u->bump.pos = text + ((made->bytes + 8) & ~(size_t)7);
    for (const struct program_part *part = made->part; part < made->last; part++) {
        text = put_steps(text, u->text + part->text_first, part->text_bytes);
        if (part->slot == PROGRAM_SLOT_NONE)
            continue;
        const struct slot *slot = &here->slots[part->slot];
        text = is_inside(u, slot->data) ? put_steps(text, slot->data, slot->bytes)
                                        : put(text, slot->data, slot->bytes);
    }
    *text = '\0';
    return 0;
}

/* A text of the source. Ended where it lies, if it lies in the private copy: whatever follows it
 * there is not looked at any more when that is done. */
static inline int put_text(struct unpack *u, uint8_t *message, const struct bound_op *field,
                           struct span text)
{
    uint8_t *string = (uint8_t *)(uintptr_t)text.data;
    if (is_inside(u, text.data) && !u->copying && can_wait(u)) {
        *u->terminators_end++ = string + text.bytes;
    } else {
        int r = unpack_copy_bytes(u, text.data, text.bytes, &string);
        if (r < 0)
            return r;
    }
    memcpy(message + field->offset, &string, sizeof(string));
    return 0;
}

/* Before something is stored: what has been written goes first. */
static inline int open_store(struct unpack *u, struct reading *here)
{
    u->growing.at = NULL;
    return unpack_flush_if_any(u, here, here->end);
}

static inline int add_field(struct unpack *u, struct reading *here, const struct program_emit *emit)
{
    int r = open_store(u, here);
    return r < 0 ? r : count_added(u, here, emit);
}

/* ---- Emits ---- */

/* As run_moves(), of a text. */
static inline bool text_moves(const struct program_emit *emit, const struct slot *slot)
{
    return (slot->bytes > 0 || emit->required != PROGRAM_REQUIRED_NONE ||
            (slot->seen && (emit->flags & EMIT_SOURCE_PRESENCE))) &&
           !slot->restored;
}

static int make_moved_text(struct unpack *u, struct reading *here, const struct bound_op *field,
                           const struct program_emit *emit)
{
    const struct slot *slot = &here->slots[emit->slot];
    if (!text_moves(emit, slot))
        return 1;
    int r = add_field(u, here, emit);
    if (r == 0)
        r = put_text(u, here->message, field, slot_text(slot));
    return r < 0 ? r : 1;
}

static int make_moved_number(struct unpack *u, struct reading *here, const struct bound_op *field,
                             const struct program_emit *emit)
{
    const struct slot *slot = &here->slots[emit->slot];
    if (!run_moves(emit, slot))
        return 1;
    int r = add_field(u, here, emit);
    if (r < 0)
        return r;
    if (field->quantifier != 0)
        *quantifier(here->message, field) = 1;
    if (field->size == 4)
        store32(here->message + field->offset, (uint32_t)slot->mapped);
    else
        store64(here->message + field->offset, (uint64_t)slot->mapped);
    return 1;
}

static int make_lost(struct unpack *u, struct reading *here, const struct program_emit *emit)
{
    const struct slot *slot = &here->slots[emit->slot];
    if (!slot->lost || slot->restored)
        return 1;
    bool text = program_wire_type((enum kind)emit->written) == WIRE_BYTES;
    uint64_t guard = text ? run_guard_text(NULL, 0) : run_guard_value(slot->mapped);
    const struct record record = {0, slot_text(slot)};
    return carry_guarded(u, here, emit, &record, guard);
}

/* Sixteen bytes may be read of both. */
static inline bool is_same(const uint8_t *a, const uint8_t *b, size_t bytes)
{
#if defined(__SSE2__)
    if (bytes <= 16) {
        const __m128i x = _mm_loadu_si128((const __m128i *)(const void *)a);
        const __m128i y = _mm_loadu_si128((const __m128i *)(const void *)b);
        const uint32_t differ = ~(uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(x, y));
        return (differ & ((UINT32_C(1) << bytes) - 1)) == 0;
    }
#endif
    return memcmp(a, b, bytes) == 0;
}

/* Whether the text that was dropped is what the template gives. */
static bool equals(const struct unpack *u, const struct slot *slots, const struct made *made,
                   struct span text)
{
    if (made->bytes != text.bytes)
        return false;
    const bool inside = is_inside(u, text.data);
    for (const struct program_part *part = made->part; part < made->last; part++) {
        const uint8_t *literal = u->text + part->text_first;
        if (!(inside ? is_same(text.data, literal, part->text_bytes)
                     : memcmp(text.data, literal, part->text_bytes) == 0))
            return false;
        text.data += part->text_bytes;
        if (part->slot == PROGRAM_SLOT_NONE || slots[part->slot].bytes == 0)
            continue;
        const struct slot *slot = &slots[part->slot];
        if (!(inside && is_inside(u, slot->data) ? is_same(text.data, slot->data, slot->bytes)
                                                 : memcmp(text.data, slot->data, slot->bytes) == 0))
            return false;
        text.data += slot->bytes;
    }
    return true;
}

/* 0: it is not, and has to be carried. */
static int make_dropped(struct unpack *u, struct reading *here, const struct program_emit *emit)
{
    const struct slot *slots = here->slots;
    const struct made made = measure(u->plan, slots, emit->template);
    return equals(u, slots, &made, slot_text(&slots[emit->slot]));
}

static int make_template(struct unpack *u, struct reading *here, const struct bound_op *field,
                         const struct program_emit *emit)
{
    const struct slot *slots = here->slots;
    if (slots[emit->slot].restored)
        return 1;
    const struct made made = measure(u->plan, slots, emit->template);
    if (made.bytes == 0)
        return 1;
    int r = add_field(u, here, emit);
    if (r == 0)
        r = put_made(u, here, field, &made);
    return r < 0 ? r : 1;
}

/* Whether the text, all of whose fields are filled, comes apart as it was put together: the
 * literals are searched from the right, so it does if none of them could end within the field
 * behind it. (It may in other cases; then the runner finds out.) */
static bool comes_apart(const struct plan *plan, const struct slot *slots,
                        const struct program_template *template)
{
    const struct program_part *parts = plan->parts + template->part_first;
    for (uint32_t i = 1; i < template->part_count; i++) {
        const struct program_part *part = &parts[i];
        if (part->slot == PROGRAM_SLOT_NONE)
            continue;
        const struct slot *slot = &slots[part->slot];
        uint8_t last =
            part->text_bytes > 0 ? plan->text[part->text_first + part->text_bytes - 1] : 0;
        if (part->text_bytes == 0 || memchr(slot->data, last, slot->bytes))
            return false;
    }
    return true;
}

/* Only one field is filled: the text is that alone, if that is `otherwise`, and does not look like
 * one of several. */
static int make_alone(struct unpack *u, struct reading *here, const struct bound_op *field,
                      const struct program_emit *emit, const struct made *made)
{
    const struct program_template *template = &u->plan->templates[emit->template];
    uint16_t alone = u->plan->parts[template->part_first + template->otherwise].slot;
    struct span fields[PROGRAM_PART_MAX];
    if (made->filled != 1 || alone == PROGRAM_SLOT_NONE || here->slots[alone].bytes == 0)
        return 0;
    struct span text = slot_text(&here->slots[alone]);
    if (run_take_apart(u->plan, template, text, fields))
        return 0;
    int r = add_field(u, here, emit);
    if (r == 0)
        r = put_text(u, here->message, field, text);
    return r < 0 ? r : 1;
}

/* 0: the message has to be carried, or something is unusual. */
static int make_joined(struct unpack *u, struct reading *here, const struct bound_op *field,
                       const struct program_emit *emit)
{
    const struct slot *slots = here->slots, *slot = &slots[emit->slot];
    const struct program_template *template = &u->plan->templates[emit->template];
    if (!slot->seen)
        return 1;
    const struct made made = measure(u->plan, slots, emit->template);
    if (slot->marked || made.bytes == 0)
        return 0;
    if (made.filled < made.fields)
        return make_alone(u, here, field, emit, &made);
    if (!comes_apart(u->plan, slots, template))
        return 0;
    int r = add_field(u, here, emit);
    if (r == 0)
        r = put_made(u, here, field, &made);
    return r < 0 ? r : 1;
}

/* The message that an emit makes. */
static inline int open_made(struct unpack *u, struct reading *here, const struct bound_op *field,
                            uint8_t **ret_made)
{
    uint8_t **member = (uint8_t **)(void *)(here->message + field->offset);
    int r = open_store(u, here);
    if (r == 0 && here->depth == WIRE_DEPTH_MAX)
        r = run_fail(&u->run, -E2BIG, here->end, field->number,
                     "messages nested deeper than the limit");
    if (r == 0 && !*member && !(*member = new_message(u, field->table)))
        r = unpack_no_memory(u);
    *ret_made = *member;
    return r;
}

static int make_split(struct unpack *u, struct reading *here, const struct bound_emit *bound,
                      const struct program_emit *emit)
{
    const struct slot *slot = &here->slots[emit->slot];
    const struct program_template *template = &u->plan->templates[emit->template];
    struct span text = slot_text(slot), fields[PROGRAM_PART_MAX];
    uint8_t *made;
    if (!run_splits(emit, slot))
        return 1;
    int r = open_made(u, here, bound->field, &made);
    if (r == 0)
        r = count_added(u, here, emit);
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

static int make_gathered(struct unpack *u, struct reading *here, const struct bound_emit *bound,
                         const struct program_emit *emit)
{
    const struct program_node *node = &u->plan->nodes[emit->node];
    uint8_t *made = NULL;
    int r = 0;
    if (here->frame && here->frame->gathers)
        return 0; /* carriers have something of it */
    for (uint32_t i = 0; i < node->leaf_count && r == 0; i++) {
        const struct program_emit *leaf = &u->plan->emits[node->leaf_first + i];
        const struct slot *slot = &here->slots[leaf->slot];
        if (!text_moves(leaf, slot))
            continue;
        if (!made)
            r = open_made(u, here, bound->field, &made);
        if (r == 0)
            r = count_added(u, here, leaf);
        if (r == 0)
            r = put_text(u, made, bound->parts[i], slot_text(slot));
    }
    if (r == 0 && made)
        r = count_field(u, here, here->end, node->tag >> 3);
    return r < 0 ? r : 1;
}

int unpack_make(struct unpack *u, struct reading *here, const struct bound_emit *bound)
{
    const struct program_emit *emit = bound->emit;
    switch (bound->make) {
    case MAKE_LOST:
        return make_lost(u, here, emit);
    case MAKE_DROPPED:
        return make_dropped(u, here, emit);
    case MAKE_TEXT:
        return make_template(u, here, bound->field, emit);
    case MAKE_JOIN:
        return make_joined(u, here, bound->field, emit);
    case MAKE_MOVED_TEXT:
        return make_moved_text(u, here, bound->field, emit);
    case MAKE_MOVED_NUMBER:
        return make_moved_number(u, here, bound->field, emit);
    case MAKE_SPLIT:
        return make_split(u, here, bound, emit);
    case MAKE_GATHERED:
        return make_gathered(u, here, bound, emit);
    default:
        return 0;
    }
}
