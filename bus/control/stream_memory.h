/*
 * Memory for messages of the stream backend. That of a large one is not given back to the system
 * when the message ends, but to the next one: a body of 1 MiB that is relayed and answered would
 * else have 500 pages mapped, cleared and unmapped again.
 *
 * Bounded: what is kept is at most STREAM_SPARE_BYTES, in STREAM_SPARE_COUNT blocks, and is given
 * back when no large message has come or gone for STREAM_SPARE_NS. Of one thread.
 */
#ifndef PARLEY_CONTROL_STREAM_MEMORY_H
#define PARLEY_CONTROL_STREAM_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"

#define STREAM_LARGE_BYTES (UINT32_C(1) << 16) /* smaller ones are left to malloc() */
#define STREAM_SPARE_BYTES (UINT32_C(8) << 20)
#define STREAM_SPARE_COUNT 8
#define STREAM_SPARE_NS NS_PER_S

struct stream_memory {
    void *spares[STREAM_SPARE_COUNT]; /* the first is the oldest */
    size_t count, bytes;
    uint64_t until_ns; /* when they are given back; CLOCK_NEVER: there are none */
};

void stream_memory_init(struct stream_memory *memory);
/* A block of at least @bytes, or of @best if one is kept that is so large; STREAM_SPARE_COUNT are
 * looked at. @ret_bytes: how much it has. NULL: there is no memory. */
void *stream_memory_take(struct stream_memory *memory, size_t bytes, size_t best,
                         size_t *ret_bytes);
/* To @bytes, more than it has; what was written is kept. NULL: it is as it was. */
void *stream_memory_grow(void *block, size_t bytes);
/* NULL is fine. */
void stream_memory_give(struct stream_memory *memory, void *block);
/* Gives back what was not needed for long; all of it at CLOCK_NEVER. */
void stream_memory_check(struct stream_memory *memory, uint64_t now_ns);

#endif
