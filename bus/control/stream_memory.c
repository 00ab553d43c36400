#include "control/stream_memory.h"

#include <stdlib.h>
#include <string.h>

#include "base/sanitized.h"

/* Before each block. */
struct head {
    _Alignas(max_align_t) size_t bytes; /* without this */
};

static struct head *head_of(void *block)
{
    return (struct head *)block - 1;
}

static void *resize(struct head *head, size_t bytes)
{
    if (bytes > SIZE_MAX - sizeof(*head))
        return NULL;
    head = realloc(head, sizeof(*head) + bytes);
    if (!head)
        return NULL;
    head->bytes = bytes;
    return head + 1;
}

static void *remove_spare(struct stream_memory *memory, size_t index)
{
    void *block = memory->spares[index];
    memory->bytes -= head_of(block)->bytes;
    memory->count--;
    memmove(&memory->spares[index], &memory->spares[index + 1],
            (memory->count - index) * sizeof(memory->spares[0]));
    return block;
}

static void free_oldest(struct stream_memory *memory)
{
    free(head_of(remove_spare(memory, 0)));
}

void stream_memory_init(struct stream_memory *memory)
{
    *memory = (struct stream_memory){.until_ns = CLOCK_NEVER};
}

/* The latest that is large enough, whose lines may still be in a cache; but not one four times as
 * large, which the next large message wants. */
static void *take_spare(struct stream_memory *memory, size_t bytes)
{
    for (size_t i = memory->count; i-- > 0;) {
        size_t has = head_of(memory->spares[i])->bytes;
        if (has >= bytes && has / 4 <= bytes)
            return remove_spare(memory, i);
    }
    return NULL;
}

void *stream_memory_take(struct stream_memory *memory, size_t bytes, size_t best, size_t *ret_bytes)
{
    void *block = best >= STREAM_LARGE_BYTES ? take_spare(memory, best) : NULL;
    if (!block)
        block = resize(NULL, bytes);
    if (block)
        *ret_bytes = head_of(block)->bytes;
    return block;
}

void *stream_memory_grow(void *block, size_t bytes)
{
    return resize(head_of(block), bytes);
}

void stream_memory_give(struct stream_memory *memory, void *block)
{
    if (!block)
        return;
    size_t bytes = head_of(block)->bytes;
    if (SANITIZED || bytes < STREAM_LARGE_BYTES || bytes > STREAM_SPARE_BYTES) {
        free(head_of(block));
        return;
    }
    while (memory->count == STREAM_SPARE_COUNT || memory->bytes + bytes > STREAM_SPARE_BYTES)
        free_oldest(memory);
    memory->spares[memory->count++] = block;
    memory->bytes += bytes;
    memory->until_ns = clock_add(clock_now_ns(), STREAM_SPARE_NS);
}

void stream_memory_check(struct stream_memory *memory, uint64_t now_ns)
{
    if (now_ns < memory->until_ns)
        return;
    while (memory->count > 0)
        free_oldest(memory);
    memory->until_ns = CLOCK_NEVER;
}
