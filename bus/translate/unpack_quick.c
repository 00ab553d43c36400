/*
 * The short way into the struct: fields that need little, at a few dozen instructions each.
 *
 * In a message that fits the caches and is like the one before, nothing but the number of
 * instructions counts. So each field is found by its tag in a record (bind.h) that says all that is
 * needed of it, and has code of its own, which goes straight on to the next field. Texts are looked
 * at sixteen bytes at once: how many of them are plain is compared with the length, which says that
 * it is UTF-8, that it has no NUL, and that the length has one byte. Values may be read past their
 * message's end, for there are readable bytes behind the private copy; whether they were is asked
 * once, when the next field begins.
 *
 * The byte behind a string is the next field's tag, and becomes NUL. If nobody looks at the message
 * again when it has been read, each tag does, whatever it is behind: it has just been read. (The
 * long way wants to read it again, and gets it back.) If somebody does (`waits`), all that is to
 * become NUL waits for the message's end. Behind a message's last field it is for the message
 * around it, and behind the outermost it is there.
 *
 * What is not as expected in any way goes the long way (unpack.c): long tags, what is packed,
 * unknown, required, slow, wrong, past a limit. It comes back to the field that follows; if the
 * runner has written something that has to be stored before anything else, that field goes the long
 * way, too.
 */
#include "translate/unpack.h"

static inline uint8_t *own(const uint8_t *pos)
{
    return (uint8_t *)(uintptr_t)pos; /* in the private copy */
}

/* Where the record of a tag of one byte is; whether it is one, and of this tag, is to be seen. */
static inline const struct quick *find_quick(const struct quick *quick, uint8_t tag)
{
    const size_t bytes = (size_t)(tag & 0x78) * (sizeof(*quick) / 8);
    return (const struct quick *)(const void *)((const uint8_t *)quick + bytes);
}

/* How many of the sixteen bytes at @data, from the first on, are 0x01..0x7f. */
static inline uint32_t plain_bytes(const uint8_t *data)
{
#if defined(__SSE2__)
    return (uint32_t)__builtin_ctz(~text_plain_bits(data));
#else
    (void)data;
    return 0;
#endif
}

/* A text of seventeen to 32 bytes. */
static inline bool is_longer_plain(struct span text)
{
#if defined(__SSE2__)
    return text.bytes - 17 < TEXT_SHORT_BYTES_MAX - 16 &&
           (text_plain_bits(text.data) & text_plain_bits(text.data + text.bytes - 16)) == 0xffff;
#else
    (void)text;
    return false;
#endif
}

/* A text of 33 to 64 bytes. */
static inline bool is_long_plain(struct span text)
{
#if defined(__SSE2__)
    const uint8_t *const last = text.data + text.bytes - 32;
    return text.bytes - 33 < 32 && (text_plain_bits(text.data) & text_plain_bits(text.data + 16) &
                                    text_plain_bits(last) & text_plain_bits(last + 16)) == 0xffff;
#else
    (void)text;
    return false;
#endif
}

/* The length of one or two bytes at @pos, and what is behind it. .data is NULL: it is longer. */
static inline struct span read_length(const uint8_t *pos)
{
    if (__builtin_expect(pos[0] < 0x80, 1))
        return (struct span){pos + 1, pos[0]};
    if (pos[1] < 0x80)
        return (struct span){pos + 2, (size_t)(pos[0] & 0x7f) | (size_t)pos[1] << 7};
    return (struct span){NULL, 0};
}

/* A text that is not plain, or longer than sixteen bytes. */
struct span unpack_read_text(const struct unpack *u, const uint8_t *pos, const uint8_t *end)
{
    const struct span none = {NULL, 0};
    struct span text = read_length(pos);
    if (!text.data) {
        uint32_t bytes;
        text.data = run_read_length(pos, end, &bytes);
        text.bytes = text.data ? bytes : 0;
    }
    if (!text.data || (ptrdiff_t)text.bytes > end - text.data)
        return none;
    if (is_long_plain(text))
        return text;
#if defined(TEXT_HAVE_AVX2)
    if (text.bytes <= TEXT_SHORT_BYTES_MAX && text_has_avx2())
        return text_check_short_avx2(text.data, text.bytes) == 0 ? text : none;
#endif
    return text_is_string(text.data, text.bytes, fast_room(&u->run, text.data)) ? text : none;
}

static inline void keep_number(struct slot *slot, const uint8_t *at, const uint8_t *after,
                               uint64_t value, uint64_t mapped, bool lost)
{
    slot->lost = lost;
    slot->value = (int64_t)value;
    slot->mapped = (int64_t)mapped;
    run_keep(slot, at, (uint32_t)(after - at));
}

static inline void store_bytes(uint8_t *member, struct span bytes)
{
    const ProtobufCBinaryData data = {bytes.bytes, bytes.bytes > 0 ? own(bytes.data) : NULL};
    memcpy(member, &data, sizeof(data));
}

__attribute__((noinline)) static int take_long_way(struct unpack *u, struct reading *here,
                                                   const uint8_t *at)
{
    return unpack_field(u, here, at, &here->next);
}

/* ---- Messages whose fields go to slots ---- */

/* A field that is but a text for a slot. Returns its op, or NULL. */
static inline const struct program_op *find_taken(const struct unpack *u,
                                                  const struct program_table *table, uint8_t tag)
{
    const struct program_op *op =
        (tag & 0x87) == WIRE_BYTES ? run_find(u->plan, table, tag >> 3) : NULL;
    if (!op || op->action != ACTION_SLOT || op->kind != KIND_STRING || op->pipe != 0 ||
        op->required != PROGRAM_REQUIRED_NONE ||
        (op->flags & (OP_REPEATED | OP_YIELDS | OP_GATHERED)))
        return NULL;
    return op;
}

bool unpack_take(struct unpack *u, struct reading *here, const struct quick *way,
                 const uint8_t *pos, const uint8_t *end)
{
    const struct program_op *op = way->u.message.op->op;
    const struct program_table *table = &u->plan->tables[op->table];
    uint64_t given = 0;
    if (here->depth >= WIRE_DEPTH_MAX || end - pos > 2 * WIRE_FIELDS_MAX ||
        (here->pieces & way->u.message.piece))
        return false;
    while (pos < end) {
        const struct program_op *inner = find_taken(u, table, *pos);
        struct span text = {pos + 2, pos[1]};
        if (!inner)
            return false;
        if (plain_bytes(text.data) < text.bytes && !is_longer_plain(text))
            text = unpack_read_text(u, pos + 1, end);
        if (!text.data || (ptrdiff_t)text.bytes > end - text.data)
            return false;
        const uint64_t bit = UINT64_C(1) << inner->slot;
        run_keep(&here->slots[inner->slot], text.data, (uint32_t)text.bytes);
        given &= ~bit;
        if (text.bytes > 0 || (inner->flags & OP_OWN_PRESENCE))
            given |= bit;
        pos = text.data + text.bytes;
    }
    if (op->action == ACTION_RESIDUE && given == 0)
        return false;
    if (op->action == ACTION_JOIN)
        here->slots[op->slot].seen = true;
    if (op->owner)
        here->owner = op->owner;
    here->pieces |= way->u.message.piece;
    return true;
}

/* ---- Messages ---- */

static inline int read_message(struct unpack *u, const struct bound_table *table, uint8_t *message,
                               const uint8_t *pos, const uint8_t *end, unsigned depth)
{
    if (__builtin_expect(table->staged, 0))
        return unpack_message(u, table, message, pos, end, depth);
    return unpack_quickly(u, table, message, pos, end, depth);
}

/* The end of a message that waited, if it was in vain. */
static inline bool close_quietly(struct unpack *u, const struct reading *here)
{
    const struct bound_table *table = here->table;
    const struct bound_emit *const last = table->emits + table->table->emit_count;
    if (table->required_count > 0 || has_fragment(u))
        return false;
    for (const struct bound_emit *emit = table->emits; emit < last; emit++)
        if (emit->make != MAKE_LOST || here->slots[emit->slot].lost)
            return false;
    unpack_end_strings(u, here);
    u->run.slots_used = here->slots_used;
    return true;
}

/* Addresses of labels are no part of C, but of gcc's and clang's. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"

#define LOOP_NAME unpack_at_once
#define LOOP_WAITS 0
#include "translate/unpack_loop.h"

#define LOOP_NAME unpack_waiting
#define LOOP_WAITS 1
#include "translate/unpack_loop.h"

#pragma GCC diagnostic pop
