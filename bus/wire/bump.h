/*
 * Inside wire and translate: the memory of an unpacked message. Chunks that hang on the first; the
 * message itself is the first thing in it, which is where wire_free() looks for them.
 */
#ifndef PARLEY_WIRE_BUMP_H
#define PARLEY_WIRE_BUMP_H

#include <stdalign.h>
#include <stddef.h>
#include <stdint.h>

struct wire_hold;

struct wire_chunk {
    alignas(16) struct wire_chunk *next;
    struct wire_hold *hold; /* of the first: the message's */
    uint32_t kept_as;       /* blocks.c: of which size class it is */
};

/* A chunk with room for @*bytes, or somewhat more, and then says how many. NULL: no memory. */
struct wire_chunk *wire_block_new(size_t *bytes);
/* The same of one of two sizes, for who need not know how large it is, and not in a sanitized
 * build, where every chunk is as large as it has to be. */
#define WIRE_BLOCK_BYTES(class_) (((size_t)512 << (class_)) - sizeof(struct wire_chunk))
enum wire_block {
    WIRE_BLOCK_SHORT = 1,   /* 1 KiB, with its header */
    WIRE_BLOCK_LONG = 2,    /* 2 KiB */
    WIRE_BLOCK_LONGEST = 5, /* the largest that are kept */
};
struct wire_chunk *wire_block_of(enum wire_block class);
void *wire_block_free(struct wire_chunk *chunk); /* returns NULL */

struct wire_bump {
    struct wire_chunk *first;
    struct wire_chunk *last;
    uint8_t *pos, *end;
    size_t chunk_bytes; /* of the last chunk */
    size_t left;        /* of the budget: wire_unpacked_bytes_max() */
    int error;          /* why an allocation failed; 0: none did */
};

/* A new chunk with room for @bytes, a multiple of 8, at least. Return: 0, -ENOMEM, -E2BIG. */
int wire_bump_grow(struct wire_bump *bump, size_t bytes);
void wire_bump_free(struct wire_bump *bump);

/* Return: memory aligned to 8 bytes, not cleared; NULL with bump->error set. */
static inline void *wire_bump_alloc(struct wire_bump *bump, size_t bytes)
{
    bytes = (bytes + 7) & ~(size_t)7;
    if (__builtin_expect(bytes > (size_t)(bump->end - bump->pos), 0) &&
        wire_bump_grow(bump, bytes) < 0)
        return NULL;
    void *memory = bump->pos;
    bump->pos += bytes;
    return memory;
}

#endif
