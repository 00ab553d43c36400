/*
 * Inside unpacking (unpack.c: the loops; store.c: values): its state, and what both do for each
 * field.
 */
#ifndef PARLEY_TRANSLATE_UNPACK_H
#define PARLEY_TRANSLATE_UNPACK_H

#include "translate/bind.h"
#include "translate/fast.h"
#include "wire/bump.h"

/* Strings of open messages that wait for the message's end; others are copied. */
#define TERMINATOR_MAX 128
#define ARRAY_COUNT_MIN 4 /* times the smallest element, 4 bytes, is a multiple of 8 */

struct unpack {
    struct run run;
    struct wire_bump bump;
    const struct plan *plan;
    uint8_t *fragment; /* where what the runner wrote, and nobody has read yet, begins */
    uint8_t *scratch;  /* NULL: not needed yet */
    uint8_t *stack;    /* SCRATCH_BYTES of it */
    size_t source_bytes;
    /* The message that is just being finished: frame, table, struct. */
    struct frame *finished;
    const struct bound_table *finished_table;
    uint8_t *finished_message;
    uint8_t *open_end; /* to be NUL: the end of the message just read, in that around it */
    uint8_t spare;     /* what is ended when nothing is */
    bool copying;      /* in a fragment: strings and bytes are copied */
    unsigned terminator_count;
    uint8_t *terminators[TERMINATOR_MAX];
};

/* ---- store.c ---- */

/* Why an allocation failed. Returns the error. */
int unpack_no_memory(struct unpack *u);
/* Room for @more elements behind the @count that *array has. */
int unpack_grow_array(struct unpack *u, void **array, size_t count, size_t more, size_t size);
int unpack_copy_bytes(struct unpack *u, const uint8_t *data, size_t bytes, uint8_t **ret_copy);
/* @value: with its length, if it has one. */
int unpack_add_unknown(struct unpack *u, uint8_t *message, uint32_t tag, const uint8_t *value,
                       const uint8_t *end);
/* Any value that needs no change. *terminator: as in end_string(). */
int unpack_value(struct unpack *u, const struct bound_table *table, uint8_t *message,
                 const struct bound_op *op, enum wire_type type, const uint8_t *at,
                 const uint8_t *pos, const uint8_t *end, unsigned depth, uint8_t **terminator,
                 const uint8_t **ret_pos);
/* A message into *member, which may have a piece of it already. */
int unpack_nested(struct unpack *u, const struct bound_table *table, const struct bound_op *op,
                  uint8_t **member, const uint8_t *at, const uint8_t *pos, const uint8_t *end,
                  unsigned depth, uint8_t **terminator);

/* ---- unpack.c ---- */

int unpack_message(struct unpack *u, const struct bound_table *table, uint8_t *message,
                   const uint8_t *pos, const uint8_t *end, unsigned depth);

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

static inline size_t *count_of(uint8_t *message, const struct bound_op *op)
{
    return (size_t *)(void *)(message + op->quantifier);
}

/* Sixteen bytes at a step: images and what is allocated for them are multiples of that. */
static inline uint8_t *new_message(struct unpack *u, const struct bound_table *table)
{
    uint8_t *message = wire_bump_alloc(&u->bump, table->image_bytes);
    if (message)
        for (size_t i = 0; i < table->image_bytes; i += 16)
            copy16(message + i, table->image + i);
    return message;
}

/* The place of one element more. */
static inline int append(struct unpack *u, uint8_t *message, const struct bound_op *op,
                         uint8_t **ret_element)
{
    size_t *count = count_of(message, op);
    uint8_t **array = (uint8_t **)(void *)(message + op->offset);
    /* Full: none, or a power of two from ARRAY_COUNT_MIN on. */
    if ((*count & (*count - 1)) == 0 && (*count == 0 || *count >= ARRAY_COUNT_MIN)) {
        int r = unpack_grow_array(u, (void **)(void *)array, *count, 1, op->size);
        if (r < 0)
            return r;
    }
    *ret_element = *array + *count * op->size;
    ++*count;
    return 0;
}

/* A string as protobuf-c has it. *terminator: to become NUL when what is there has been read. */
static inline int end_string(struct unpack *u, const struct bound_table *table, const uint8_t *data,
                             size_t bytes, uint8_t **terminator, char **ret_string)
{
    uint8_t *string = (uint8_t *)(uintptr_t)data; /* the private copy is ours */
    if (__builtin_expect(u->copying, 0) ||
        (table->rereads && u->terminator_count == TERMINATOR_MAX)) {
        int r = unpack_copy_bytes(u, data, bytes, &string);
        if (r < 0)
            return r;
    } else if (table->rereads) {
        u->terminators[u->terminator_count++] = string + bytes;
    } else {
        *terminator = string + bytes;
    }
    *ret_string = (char *)string;
    return 0;
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

/* What becomes NUL behind what has just been read, now that we are in @table's message. */
static inline void take_open_end(struct unpack *u, const struct bound_table *table,
                                 uint8_t **terminator)
{
    if (!table->rereads)
        *terminator = u->open_end;
    else if (u->open_end != &u->spare)
        u->terminators[u->terminator_count++] = u->open_end;
}

static inline uint64_t load_fixed(const uint8_t *pos, size_t bytes)
{
    uint64_t raw = 0;
    for (size_t i = 0; i < bytes; i++) /* compilers make one load of it */
        raw |= (uint64_t)pos[i] << (8 * i);
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
    *ret_raw = bytes == 4 ? load_fixed(pos, 4) : load_fixed(pos, 8);
    return pos + bytes;
}

#endif
