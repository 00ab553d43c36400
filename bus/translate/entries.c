/*
 * Maps and repeated messages: an entry is a message with a key and a value, and on the wire a map
 * is a repeated field of entries with the numbers 1 and 2.
 *
 * In a map the last entry of a key is the entry; the others are there on the wire, but say nothing.
 * So they go nowhere, from a map or into one, except to the carrier: if there are such, or if an
 * entry holds anything but its key and its value, all records of the field are carried as they are.
 * On the way back these are gone through first. What had the last word for its key is written with
 * the value that the key has now, what said nothing as it was, and neither if the key is no longer
 * there. Then come the keys that are new. So the entries of a list keep their order as well.
 *
 * To find the last entry of each key there is an index: a hash table with open addressing, of where
 * in the message the entries begin. It lies at the end of the room for the output, which is smaller
 * meanwhile; nothing is allocated. Keys that a peer has chosen so that they collide end in -E2BIG.
 */
#include "translate/shape.h"

#define PROBE_MAX 256

struct key {
    const uint8_t *text; /* NULL: a number */
    uint32_t bytes;
    int64_t number;
};

struct index {
    uint8_t *slots; /* uint32_t, unaligned: 1 + where the entry begins; 0: free */
    uint32_t mask;
    struct program_op key; /* reads it */
    bool duplicates;
};

static uint32_t get(const struct index *index, uint32_t place)
{
    uint32_t value;
    memcpy(&value, index->slots + (size_t)4 * place, sizeof(value));
    return value;
}

static void set(struct index *index, uint32_t place, uint32_t value)
{
    memcpy(index->slots + (size_t)4 * place, &value, sizeof(value));
}

/* The key of an entry, as the target has it. */
static int read_key(struct run *run, const struct program_op *op, const struct element *entry,
                    struct key *ret_key)
{
    struct wrapped wrapped = {.has_value = false};
    struct slot number = {0};
    *ret_key = (struct key){NULL, 0, 0};
    int r = shape_look_inside(run, entry, op, &wrapped);
    if (r < 0 || !wrapped.has_value)
        return r;
    if (op->wire == WIRE_BYTES) {
        ret_key->text = run_read_length(wrapped.value.value, wrapped.value.end, &ret_key->bytes);
        return 0;
    }
    r = run_decode(run, op, wrapped.value.at, wrapped.value.value, &number);
    ret_key->number = number.mapped;
    return r;
}

static bool same_key(const struct key *a, const struct key *b)
{
    return a->number == b->number && a->bytes == b->bytes &&
           (a->bytes == 0 || memcmp(a->text, b->text, a->bytes) == 0);
}

static int entry_at(struct run *run, const struct frame *frame, uint32_t place,
                    struct element *ret_entry)
{
    const uint8_t *pos = frame->start + place - 1;
    struct run_record record;
    int r = run_next_record(run, &pos, frame->end, &record);
    *ret_entry = (struct element){record.at, record.value, record.end, WIRE_BYTES};
    return r;
}

/* Where the key is, or would be. *ret_entry: 1 + where its entry begins; 0: it is not there. */
static int find_key(struct run *run, const struct frame *frame, const struct index *index,
                    const struct key *key, uint32_t *ret_place, uint32_t *ret_entry)
{
    uint64_t hash =
        key->bytes ? run_guard_text(key->text, key->bytes) : run_guard_value(key->number);
    uint32_t place = (uint32_t)(hash ^ hash >> 32) & index->mask;
    for (unsigned i = 0; i < PROBE_MAX; i++, place = (place + 1) & index->mask) {
        struct element entry;
        struct key other;
        *ret_place = place;
        *ret_entry = get(index, place);
        if (*ret_entry == 0)
            return 0;
        int r = entry_at(run, frame, *ret_entry, &entry);
        if (r == 0)
            r = read_key(run, &index->key, &entry, &other);
        if (r < 0 || same_key(key, &other))
            return r;
    }
    return run_fail(run, -E2BIG, frame->start, index->key.number,
                    "too many entries whose keys cannot be told apart quickly");
}

/* Makes room for @count entries. run->limit is before it then. */
static int make_index(struct run *run, const struct program_op *key, uint64_t count,
                      struct index *ret_index)
{
    size_t slots = 4;
    while (slots < count + count / 2)
        slots *= 2;
    size_t bytes = slots * sizeof(uint32_t);
    *ret_index = (struct index){.key = *key};
    if (bytes > (size_t)(run->limit - run->out))
        return run_no_room(run);
    run->limit -= bytes;
    memset(run->limit, 0, bytes);
    ret_index->slots = run->limit;
    ret_index->mask = (uint32_t)(slots - 1);
    return 0;
}

static int add_entry(struct run *run, const struct frame *frame, struct index *index,
                     const struct element *entry)
{
    struct key key;
    uint32_t place = 0, before = 0;
    int r = read_key(run, &index->key, entry, &key);
    if (r == 0)
        r = find_key(run, frame, index, &key, &place, &before);
    if (r < 0)
        return r;
    index->duplicates |= before != 0;
    set(index, place, (uint32_t)(entry->at - frame->start) + 1);
    return 0;
}

/* One emit at work. */
struct work {
    const struct program_emit *emit;
    const struct slot *slot;
    const struct program_op *key, *value;
    struct index source, carried;
    uint32_t last; /* 1 + where the source's entry begins that was written last */
    bool has_carried, has_rest;
};

static struct elements source_entries(const struct work *work)
{
    return elements_of(work->slot, work->emit->number, WIRE_BYTES);
}

static int index_source(struct run *run, const struct frame *frame, struct work *work)
{
    struct elements entries = source_entries(work);
    struct element entry;
    uint64_t count = 0;
    int r;
    while ((r = elements_next(run, &entries, &entry)) > 0)
        count++;
    if (r == 0)
        r = make_index(run, work->key, count, &work->source);
    entries = source_entries(work);
    while (r == 0 && (r = elements_next(run, &entries, &entry)) > 0)
        r = add_entry(run, frame, &work->source, &entry);
    if (r == 0 && work->source.duplicates && (work->emit->flags & EMIT_ONLY))
        return run_fail(run, -ERANGE, frame->start, work->emit->number,
                        "two entries have the same key");
    return r;
}

static int index_carried(struct run *run, const struct frame *frame, struct work *work)
{
    struct run_held held = {.pos = frame->start};
    struct run_record record;
    struct program_op key = shape_inner(work->key);
    uint64_t count = 0;
    int r = 0;
    while (frame->gathers &&
           (r = run_held_next(run, frame, &held, work->emit->tag >> 3, &record)) > 0)
        count++;
    if (r < 0 || count == 0)
        return r;
    work->has_carried = true;
    r = make_index(run, &key, count, &work->carried);
    held = (struct run_held){.pos = frame->start};
    while (r == 0 && (r = run_held_next(run, frame, &held, work->emit->tag >> 3, &record)) > 0) {
        struct element entry = {record.at, record.value, record.end, WIRE_BYTES};
        r = add_entry(run, frame, &work->carried, &entry);
    }
    return r;
}

/* ---- Writing ---- */

/* The key or the value. @carried: the entry's that it was in before, NULL: none. */
static int write_part(struct run *run, struct frame *inside, const struct program_op *op,
                      const struct element *entry, const struct element *carried, bool presence)
{
    struct program_op inner = shape_inner(op);
    struct wrapped now = {.has_value = false}, before = {.has_value = presence};
    uint32_t bytes = 0;
    int r = shape_look_inside(run, entry, op, &now);
    if (carried && r == 0) {
        before.has_value = false;
        r = shape_look_inside(run, carried, &inner, &before);
    }
    if (r < 0)
        return r;
    bool message = op->kind == KIND_MESSAGE;
    bool empty = !now.has_value ||
                 (message ? shape_is_empty(&now.value) : shape_is_default(run, op, &now.value));
    if (empty && !before.has_value)
        return 0;
    if (!now.has_value)
        return shape_write_default(run, op, entry->at);
    if (!message)
        return shape_write(run, inside, op, &now.value);
    const uint8_t *data = run_read_length(entry->value, entry->end, &bytes);
    struct elements pieces = {
        .pos = data, .end = data + bytes, .number = op->number, .wire = WIRE_BYTES};
    return shape_write_whole(run, inside, op, pieces);
}

/* What else the carried entry had. */
static int write_rest(struct run *run, const struct frame *frame, const struct work *work,
                      const struct element *carried)
{
    uint32_t bytes = 0, fields = 2; /* the key and the value */
    const uint8_t *pos = run_read_length(carried->value, carried->end, &bytes);
    struct run_record field;
    while (pos && pos < carried->end) {
        int r = run_next_record(run, &pos, carried->end, &field);
        if (r < 0)
            return r;
        if (field.tag >> 3 == work->key->tag >> 3 || field.tag >> 3 == work->value->tag >> 3)
            continue;
        r = shape_count_inside(run, frame, work->emit->tag >> 3, &field, &fields);
        if (r == 0)
            r = run_write_bytes(run, field.at, (size_t)(field.end - field.at));
        if (r < 0)
            return r;
    }
    return 0;
}

/* Whether there is more in it than the target gets. */
static int look_for_rest(struct run *run, struct work *work, const struct element *entry)
{
    uint32_t bytes = 0;
    const uint8_t *pos = run_read_length(entry->value, entry->end, &bytes);
    uint8_t flags = work->emit->flags;
    /* In a map a number or text that is not there is its default, whoever wrote it. */
    bool from_map = flags & EMIT_FROM_MAP;
    bool key = from_map || !(flags & EMIT_KEY_PRESENCE);
    bool whole = !from_map && (flags & EMIT_WHOLE); /* all of it is the value */
    bool value =
        whole || (from_map && work->value->kind != KIND_MESSAGE) || !(flags & EMIT_INNER_PRESENCE);
    while (pos && pos < entry->end) {
        struct run_record field;
        int r = run_next_record(run, &pos, entry->end, &field);
        if (r < 0)
            return r;
        bool is_key = field.tag == (work->key->number << 3 | work->key->wire);
        bool is_value = field.tag == (work->value->number << 3 | work->value->wire);
        key |= is_key;
        value |= is_value;
        work->has_rest |= !is_key && !is_value && !whole;
    }
    work->has_rest |= !key || !value;
    return 0;
}

/* The message itself into the map, without its key. */
static int write_whole(struct run *run, const struct frame *inside, const struct work *work,
                       const struct element *entry, const struct element *carried)
{
    struct program_op inner = shape_inner(work->value);
    struct wrapped before = {.has_value = true};
    struct open_length open;
    struct frame nested;
    uint8_t *begin = run->out;
    uint32_t bytes = 0;
    const uint8_t *data = run_read_length(entry->value, entry->end, &bytes);
    int r = shape_check_depth(run, inside, work->value->number);
    if (r == 0 && carried) {
        before.has_value = false;
        r = shape_look_inside(run, carried, &inner, &before);
    }
    if (r == 0)
        r = run_write_tag(run, work->value->tag);
    if (r == 0)
        r = run_open_length(run, bytes, &open);
    uint8_t *content = run->out;
    if (r == 0)
        r = run_translate(run, &run->plan->tables[work->value->table], NULL, data, data + bytes,
                          inside->depth + 1, &nested);
    if (r == 0 && run->out == content && !before.has_value) {
        run->out = begin;
        return 0;
    }
    return r < 0 ? r : run_close_length(run, &open);
}

/* And out of it: what the value holds is the message's. */
static int write_unfolded(struct run *run, const struct frame *inside, const struct work *work,
                          const struct element *entry)
{
    uint32_t bytes = 0;
    const uint8_t *data = run_read_length(entry->value, entry->end, &bytes);
    struct elements pieces = {
        .pos = data, .end = data + bytes, .number = work->value->number, .wire = WIRE_BYTES};
    struct element piece;
    int r = 0;
    while (r == 0 && (r = elements_next(run, &pieces, &piece)) > 0) {
        struct frame nested;
        data = run_read_length(piece.value, piece.end, &bytes);
        r = run_translate(run, &run->plan->tables[work->value->table], NULL, data, data + bytes,
                          inside->depth, &nested);
    }
    return r;
}

/* A map has no order of its own: if its entries do not come in the list's, the list is carried. */
static void look_for_order(const struct frame *frame, struct work *work,
                           const struct element *entry)
{
    uint32_t place = (uint32_t)(entry->at - frame->start) + 1;
    work->has_rest |= !(work->emit->flags & EMIT_FROM_MAP) && place < work->last;
    work->last = place;
}

static int write_entry(struct run *run, struct frame *frame, struct work *work,
                       const struct element *entry, const struct element *carried)
{
    struct frame inside = *frame;
    look_for_order(frame, work, entry);
    struct open_length open;
    uint8_t flags = work->emit->flags;
    int r = shape_check_depth(run, frame, work->emit->number);
    inside.depth++;
    if (r == 0)
        r = run_count_element(run, work->key, entry->at);
    if (r == 0)
        r = look_for_rest(run, work, entry);
    if (r == 0)
        r = run_write_tag(run, work->emit->tag);
    if (r == 0)
        r = run_open_length(run, (size_t)(entry->end - entry->value), &open);
    bool whole = flags & EMIT_WHOLE, from_map = flags & EMIT_FROM_MAP;
    if (r == 0 && carried && !(whole && from_map))
        r = write_rest(run, frame, work, carried);
    if (r == 0)
        r = write_part(run, &inside, work->key, entry, carried, flags & EMIT_KEY_PRESENCE);
    if (r == 0 && whole)
        r = from_map ? write_unfolded(run, &inside, work, entry)
                     : write_whole(run, &inside, work, entry, carried);
    else if (r == 0)
        r = write_part(run, &inside, work->value, entry, carried, flags & EMIT_INNER_PRESENCE);
    return r < 0 ? r : run_close_length(run, &open);
}

/* The carried entries whose keys are there, with their values of now. */
static int write_carried(struct run *run, struct frame *frame, struct work *work)
{
    struct run_held held = {.pos = frame->start};
    struct run_record record;
    int r = 0;
    while (r == 0 && (r = run_held_next(run, frame, &held, work->emit->tag >> 3, &record)) > 0) {
        struct element carried = {record.at, record.value, record.end, WIRE_BYTES}, entry;
        struct key key;
        uint32_t place = 0, last = 0, now = 0;
        r = read_key(run, &work->carried.key, &carried, &key);
        if (r == 0)
            r = find_key(run, frame, &work->carried, &key, &place, &last);
        if (r == 0)
            r = find_key(run, frame, &work->source, &key, &place, &now);
        if (r < 0 || now == 0)
            continue;
        if (last != (uint32_t)(record.at - frame->start) + 1) {
            r = run_write_bytes(run, record.at, (size_t)(record.end - record.at));
            continue;
        }
        r = entry_at(run, frame, now, &entry);
        if (r == 0)
            r = write_entry(run, frame, work, &entry, &carried);
    }
    return r;
}

/* Those that no carrier has, each key once. */
static int write_new(struct run *run, struct frame *frame, struct work *work)
{
    struct elements entries = source_entries(work);
    struct element entry;
    int r = 0;
    while (r == 0 && (r = elements_next(run, &entries, &entry)) > 0) {
        struct key key;
        uint32_t place = 0, last = 0, carried = 0;
        r = read_key(run, work->key, &entry, &key);
        if (r == 0)
            r = find_key(run, frame, &work->source, &key, &place, &last);
        if (r == 0 && work->has_carried)
            r = find_key(run, frame, &work->carried, &key, &place, &carried);
        if (r == 0 && carried == 0 && last == (uint32_t)(entry.at - frame->start) + 1)
            r = write_entry(run, frame, work, &entry, NULL);
    }
    return r;
}

static int carry_all(struct run *run, struct frame *frame, const struct work *work)
{
    struct elements entries = source_entries(work);
    struct element entry;
    struct open_length open;
    int r = run_carry_begin(run, frame, NULL, work->slot->bytes, &open);
    while (r == 0 && (r = elements_next(run, &entries, &entry)) > 0)
        r = run_write_bytes(run, entry.at, (size_t)(entry.end - entry.at));
    return r < 0 ? r : run_carry_end(run, frame, &open, NULL);
}

/* Which of the two ops is the key's: the one with the number 1 on the map's side. */
static bool is_key(const struct program_op *op, bool from_map)
{
    return (from_map ? op->number : op->tag >> 3) == 1;
}

int emit_entries(struct run *run, struct frame *frame, const struct program_emit *emit,
                 const struct slot *slot)
{
    const struct program_op *ops = shape_op(run, emit);
    unsigned key = is_key(&ops[0], (emit->flags & EMIT_FROM_MAP) != 0) ? 0 : 1;
    struct work work = {.emit = emit, .slot = slot, .key = &ops[key], .value = &ops[1 - key]};
    uint8_t *limit = run->limit;
    if (!slot->seen)
        return 0;
    int r = index_source(run, frame, &work);
    if (r == 0)
        r = index_carried(run, frame, &work);
    if (r == 0 && work.has_carried)
        r = write_carried(run, frame, &work);
    if (r == 0)
        r = write_new(run, frame, &work);
    run->limit = limit;
    return r == 0 && (work.has_rest || work.source.duplicates) ? carry_all(run, frame, &work) : r;
}
