/*
 * Inside unpacking: its state, and what its files do for each other.
 *
 *   unpack_cross.c  the whole: a crossing
 *   unpack.c        a message, and the long way of a field
 *   unpack_quick.c  the short way: most fields of most messages
 *   unpack_emit.c   what a message does at its end, and what it carries
 *   store.c         values, of any kind and label
 */
#ifndef PARLEY_TRANSLATE_UNPACK_H
#define PARLEY_TRANSLATE_UNPACK_H

#include "base/call_path.h"
#include "translate/bind.h"
#include "translate/fast.h"
#include "translate/unpack_code.h"
#include "wire/bump.h"

/* Strings of open messages that wait for the message's end; others are copied. */
#define TERMINATOR_MAX 128
#define SCRATCH_BYTES 12288 /* on the stack; enough for sources of 2,048 bytes */
#define ARRAY_COUNT_MIN 4 /* times the smallest element, 4 bytes, is a multiple of 8 */

/* Never returned to the caller: a message came in pieces that have to be joined before. */
#define UNPACK_E_PIECES (-EAGAIN)

/* One message, while it is read. The runner's frame is opened when it is needed; what both have is
 * the frame's only while the runner is at work (unpack_lend(), unpack_take_back()). */
struct reading {
    const struct bound_table *table;
    uint8_t *message; /* the struct */
    const uint8_t *start, *end;
    const uint8_t *next; /* where to go on after the long way */
    struct frame *frame; /* NULL: not open; only of tables that translate */
    struct frame *room;  /* for it */
    struct slot *slots;  /* of a table that waits */
    const uint8_t
        *guarded; /* the first carrier with a guard, if the frame says that there is one */
    uint8_t **terminators, *limit; /* before it was opened */
    uint64_t required;             /* seen */
    uint64_t pieces;               /* singular messages that have come */
    uint32_t fields;               /* read, and added */
    uint32_t owner;                /* of what it carries */
    uint32_t slots_used;           /* before it was opened */
    unsigned depth;
};

/* The carrier that can still grow, as the last unknown field of a message. */
struct growing {
    const uint8_t *at; /* in the source: it grows if what is carried next begins here */
    const uint8_t *message;
    uint32_t owner;
    uint8_t *room_end;
};

struct unpack {
    struct run run;
    struct wire_bump bump;
    const struct plan_binding *binding;
    unpack_enter *enter; /* machine code; NULL: none */
    const uint8_t *code; /* what the tables' code_at counts from */
    bool begun; /* false: only what machine code of a table that only checks needs is set */
    /* The rest is set by begin_late(). */
    const struct plan *plan;
    const uint8_t *text; /* the binding's copy of the plan's */
    uint8_t *fragment;   /* where what the runner wrote, and nobody has read yet, begins */
    uint8_t *scratch;    /* NULL: not needed yet */
    uint8_t *stack;      /* SCRATCH_BYTES of it; NULL: it is not needed */
    size_t source_bytes;
    struct reading *finished;      /* the message that is just being finished, or NULL */
    const struct bound_emit *made; /* the first of its emits that is not done */
    bool copying;                  /* in a fragment: strings and bytes are copied */
    bool detects;                  /* pieces end the crossing with UNPACK_E_PIECES */
    struct growing growing;
    uint8_t **terminators_end;
    uint8_t *terminators[TERMINATOR_MAX + 1]; /* to be NUL when their message has been read; one is
                                                 machine code's, for an even number of them */
};

/* ---- store.c ---- */

/* Why an allocation failed. Returns the error. */
int unpack_no_memory(struct unpack *u);
/* Room for one more element of an array that is full. */
int unpack_double_array(struct unpack *u, void **array, size_t count, size_t size);
int unpack_copy_bytes(struct unpack *u, const uint8_t *data, size_t bytes, uint8_t **ret_copy);
/* @data: the value, with its length if it has one; not copied. */
int unpack_put_unknown(struct unpack *u, uint8_t *message, uint32_t tag, uint8_t *data,
                       size_t bytes);
/* @value: as @data, and copied if it lies in a fragment. */
int unpack_add_unknown(struct unpack *u, uint8_t *message, uint32_t tag, const uint8_t *value,
                       const uint8_t *end);
/* Any value that needs no change. */
int unpack_value(struct unpack *u, const struct reading *here, const struct bound_op *op,
                 enum wire_type type, const uint8_t *at, const uint8_t *pos,
                 const uint8_t **ret_pos);

/* ---- unpack.c ---- */

/* run.divert: an emit straight into the struct, if that is possible. */
int unpack_make_directly(struct run *run, struct frame *frame, uint32_t index);

/* A message from @pos to @end, into @message, which may have a piece of it already. What becomes
 * NUL behind a string that ends it is for the caller. */
int unpack_message(struct unpack *u, const struct bound_table *table, uint8_t *message,
                   const uint8_t *pos, const uint8_t *end, unsigned depth);
/* The long way of the field at @at. */
int unpack_field(struct unpack *u, struct reading *here, const uint8_t *at,
                 const uint8_t **ret_pos);
/* The message's end: what waited for it, and whether all is there. */
int unpack_close(struct unpack *u, struct reading *here);
/* Reads what the runner has written into the struct. @at: where we are in the source. */
int unpack_flush(struct unpack *u, struct reading *here, const uint8_t *at);
/* Before the runner writes. */
int unpack_need_scratch(struct unpack *u);
/* unpack_cross.c: unpack_message() and unpack_at_once(), called by machine code, which did without
 * much of @u. */
int unpack_message_late(struct unpack *u, const struct bound_table *table, uint8_t *message,
                        const uint8_t *pos, const uint8_t *end, unsigned depth);
int unpack_at_once_late(struct unpack *u, const struct bound_table *table, uint8_t *message,
                        const uint8_t *pos, const uint8_t *end, unsigned depth,
                        const struct reading *before);

/* ---- unpack_quick.c ---- */

/* The loop; if the table waits, or if it does not. @before: NULL: from the message's beginning;
 * else it is as far as that says, and goes on at @pos, and the struct is copied. */
int unpack_waiting(struct unpack *u, const struct bound_table *table, uint8_t *message,
                   const uint8_t *pos, const uint8_t *end, unsigned depth,
                   const struct reading *before);
CALL_PATH int unpack_at_once(struct unpack *u, const struct bound_table *table, uint8_t *message,
                   const uint8_t *pos, const uint8_t *end, unsigned depth,
                   const struct reading *before);

/* All of a message whose table is not staged, in the private copy: by machine code or by the loop.
 */
static inline int unpack_quickly(struct unpack *u, const struct bound_table *table,
                                 uint8_t *message, const uint8_t *pos, const uint8_t *end,
                                 unsigned depth)
{
    if (u->enter && table->code_at > 0 && end - pos <= UNPACK_CODE_BYTES_MAX)
        return u->enter(u, message, pos, end, depth, u->code + table->code_at);
    return table->waits ? unpack_waiting(u, table, message, pos, end, depth, NULL)
                        : unpack_at_once(u, table, message, pos, end, depth, NULL);
}

/* The rest is for machine code. A text behind its length at @pos, of any length. .data is NULL:
 * there is something the matter. */
struct span unpack_read_text(const struct unpack *u, const uint8_t *pos, const uint8_t *end);
/* QUICK_TAKEN. False: there is more in it than what goes to slots, or nothing; then what has gone
 * there goes there once more. */
bool unpack_take(struct unpack *u, struct reading *here, const struct quick *way,
                 const uint8_t *content, const uint8_t *end);
/* unpack.c: unpack_close() of a table that waits, whose frame is not open: emits before @first are
 * done. */
int unpack_close_from(struct unpack *u, struct reading *here, uint32_t first);

/* ---- unpack_emit.c ---- */

/* Carries the record from @at to @end, which is checked, as @op says. There is no fragment. */
int unpack_carry(struct unpack *u, struct reading *here, const struct program_op *op,
                 const uint8_t *at, const uint8_t *end);
/* Gives a carrier that may still grow back to the runner, which may have more for it. */
int unpack_give_back(struct unpack *u, struct reading *here, const uint8_t *at);
/* One emit, straight into the struct. Return: 1; 0: not this way; or an error. */
int unpack_make(struct unpack *u, struct reading *here, const struct bound_emit *bound);

/* ---- All inline ---- */

static inline void copy16(uint8_t *out, const uint8_t *data)
{
#if defined(__SSE2__)
    _mm_storeu_si128((__m128i *)(void *)out, _mm_loadu_si128((const __m128i *)(const void *)data));
#else
    memcpy(out, data, 16);
#endif
}

static inline uint32_t *quantifier(uint8_t *message, const struct bound_op *op)
{
    return (uint32_t *)(void *)(message + op->quantifier);
}

/* 32 bytes at a step, which may be more than the message has; the next one begins there. */
static inline void copy_image(uint8_t *message, const struct bound_table *table)
{
    const uint8_t *image = table->image;
    uint8_t *out = message, *const end = message + table->image_bytes;
    do {
        copy16(out, image);
        copy16(out + 16, image + 16);
        out += 32;
        image += 32;
    } while (out < end);
}

static inline uint8_t *new_message(struct unpack *u, const struct bound_table *table)
{
    const size_t bytes = table->image_bytes;
    if (__builtin_expect(bytes > (size_t)(u->bump.end - u->bump.pos), 0) &&
        wire_bump_grow(&u->bump, bytes) < 0)
        return NULL;
    uint8_t *message = u->bump.pos;
    u->bump.pos = message + table->message_bytes;
    copy_image(message, table);
    return message;
}

/* An array has no room for one more: it has none, or a power of two from ARRAY_COUNT_MIN on. */
static inline bool array_is_full(size_t count)
{
    return (count & (count - 1)) == 0 && count - 1 >= ARRAY_COUNT_MIN - 1;
}

/* The place of one element more, at the end of the array at @member, whose length is at @counter.
 * NULL: no memory. */
static inline uint8_t *append(struct unpack *u, uint8_t *member, uint8_t *counter, size_t size)
{
    void **array = (void **)(void *)member;
    size_t *const count = (size_t *)(void *)counter, before = *count;
    if (array_is_full(before) && unpack_double_array(u, array, before, size) < 0)
        return NULL;
    *count = before + 1;
    return (uint8_t *)*array + before * size;
}

/* Whether a string that is not copied may be added to those that wait. */
static inline bool can_wait(const struct unpack *u)
{
    return u->terminators_end < u->terminators + TERMINATOR_MAX;
}

/* What is at @end becomes NUL when the message has been read, if that has to wait. If not, the loop
 * ends all that it reads, by itself. */
static inline void end_later(struct unpack *u, const struct bound_table *table, const uint8_t *end)
{
    if (table->waits && can_wait(u))
        *u->terminators_end++ = (uint8_t *)(uintptr_t)end; /* the private copy is ours */
}

/* A string as protobuf-c has it. */
static inline int end_string(struct unpack *u, const struct bound_table *table, const uint8_t *data,
                             size_t bytes, char **ret_string)
{
    uint8_t *string = (uint8_t *)(uintptr_t)data;
    if (u->copying || (table->waits && !can_wait(u))) {
        int r = unpack_copy_bytes(u, data, bytes, &string);
        if (r < 0)
            return r;
    } else {
        end_later(u, table, data + bytes);
    }
    *ret_string = (char *)string;
    return 0;
}

/* The frame, with what the runner may change. */
static inline struct frame *unpack_lend(struct reading *here)
{
    struct frame *frame = here->frame;
    frame->fields = here->fields;
    frame->required = here->required;
    frame->owner = here->owner;
    return frame;
}

static inline void unpack_take_back(struct reading *here)
{
    here->fields = here->frame->fields;
    here->required = here->frame->required;
    here->owner = here->frame->owner;
}

/* Clears the slots of a table that waits, and remembers what has to be as it was. */
static inline int unpack_open(struct unpack *u, struct reading *here)
{
    const uint32_t count = here->table->table->slot_count, used = u->run.slots_used;
    here->terminators = u->terminators_end;
    here->slots_used = used;
    here->limit = u->run.limit;
    here->slots = u->run.slots + used;
    if (__builtin_expect(count > RUN_SLOT_MAX - used, 0))
        return run_fail(&u->run, -E2BIG, here->start, 0,
                        "too many fields that wait for their message");
    u->run.slots_used = used + count;
    if (count == 1)
        here->slots[0] = (struct slot){0};
    else
        memset(here->slots, 0, count * sizeof(here->slots[0]));
    return 0;
}

/* Ends the strings of a message. The byte at its end is for the message around it. */
static inline void unpack_end_strings(struct unpack *u, const struct reading *here)
{
    uint8_t **const last = u->terminators_end, *const end = (uint8_t *)(uintptr_t)here->end;
    if (here->terminators == last)
        return;
    const uint8_t at_end = *end;
    for (uint8_t **at = here->terminators; at < last; at++)
        **at = 0;
    *end = at_end;
    u->terminators_end = here->terminators;
}

static inline bool has_fragment(const struct unpack *u)
{
    return u->run.out != u->fragment;
}

static inline int unpack_flush_if_any(struct unpack *u, struct reading *here, const uint8_t *at)
{
    return __builtin_expect(has_fragment(u), 0) ? unpack_flush(u, here, at) : 0;
}

static inline int32_t unzigzag32(uint32_t raw)
{
    return (int32_t)(raw >> 1 ^ (0 - (raw & 1)));
}

static inline int64_t unzigzag64(uint64_t raw)
{
    return (int64_t)(raw >> 1 ^ (0 - (raw & 1)));
}

static inline void store32(uint8_t *member, uint32_t value)
{
    memcpy(member, &value, sizeof(value));
}

static inline void store64(uint8_t *member, uint64_t value)
{
    memcpy(member, &value, sizeof(value));
}

static inline uint32_t load32(const uint8_t *pos)
{
    uint32_t raw;
    memcpy(&raw, pos, sizeof(raw));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    raw = __builtin_bswap32(raw);
#endif
    return raw;
}

static inline uint64_t load64(const uint8_t *pos)
{
    uint64_t raw;
    memcpy(&raw, pos, sizeof(raw));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    raw = __builtin_bswap64(raw);
#endif
    return raw;
}

static inline const uint8_t *read_raw(enum wire_type wire, const uint8_t *pos, const uint8_t *end,
                                      uint64_t *ret_raw)
{
    if (wire == WIRE_VARINT)
        return run_read_varint(pos, end, ret_raw);
    size_t bytes = wire == WIRE_32BIT ? 4 : 8;
    if ((size_t)(end - pos) < bytes)
        return NULL;
    *ret_raw = bytes == 4 ? load32(pos) : load64(pos);
    return pos + bytes;
}

#endif
