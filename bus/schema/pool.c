/*
 * A bump allocator: what lives exactly as long as a schema.
 *
 * A schema is thousands of small arrays that are made together, never change and go together, so
 * each is cut from chunks and only the chunks are freed. No destructor can then forget a part of a
 * schema that was half built when its descriptor set turned out to be bad.
 */
#include "schema/internal.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#define POOL_CHUNK_BYTES ((size_t)16 << 10)

struct pool_chunk {
    struct pool_chunk *next;
    alignas(max_align_t) char data[];
};

static int pool_grow(struct pool *pool, size_t bytes)
{
    size_t room = bytes > POOL_CHUNK_BYTES ? bytes : POOL_CHUNK_BYTES;
    struct pool_chunk *chunk = calloc(1, sizeof(*chunk) + room);
    if (!chunk)
        return -1;
    chunk->next = pool->chunks;
    pool->chunks = chunk;
    pool->pos = chunk->data;
    pool->end = chunk->data + room;
    return 0;
}

void *pool_alloc(struct pool *pool, size_t bytes)
{
    if (bytes > SIZE_MAX / 2)
        return NULL;
    size_t size = (bytes + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
    if ((size_t)(pool->end - pool->pos) < size && pool_grow(pool, size) < 0)
        return NULL;
    void *data = pool->pos;
    pool->pos += size;
    return data;
}

void *pool_array(struct pool *pool, size_t count, size_t bytes)
{
    if (count > SIZE_MAX / 2 / bytes)
        return NULL;
    return pool_alloc(pool, count > 0 ? count * bytes : 1);
}

char *pool_join(struct pool *pool, const char *prefix, const char *name)
{
    size_t prefix_bytes = strlen(prefix), name_bytes = strlen(name);
    char *text = pool_alloc(pool, prefix_bytes + 1 + name_bytes + 1);
    if (!text)
        return NULL;
    if (prefix_bytes > 0) {
        memcpy(text, prefix, prefix_bytes);
        text[prefix_bytes++] = '.';
    }
    memcpy(text + prefix_bytes, name, name_bytes + 1);
    return text;
}

void pool_deinit(struct pool *pool)
{
    struct pool_chunk *next;
    for (struct pool_chunk *chunk = pool->chunks; chunk; chunk = next) {
        next = chunk->next;
        free(chunk);
    }
    *pool = (struct pool){0};
}
