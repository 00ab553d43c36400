/* Bytes that grow, and memory that is given back all at once. Out of memory ends the program. */
#include "laws.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)fputs("laws: ", stderr);
    (void)vfprintf(stderr, format, args);
    (void)fputc('\n', stderr);
    va_end(args);
    abort();
}

void *must_alloc(size_t bytes)
{
    void *memory = calloc(1, bytes + (bytes == 0));
    if (!memory)
        die("out of memory");
    return memory;
}

void buffer_free(struct buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct buffer){NULL, 0, 0};
}

void buffer_add(struct buffer *buffer, const void *data, size_t bytes)
{
    if (bytes > buffer->capacity - buffer->bytes) {
        buffer->capacity = 2 * (buffer->bytes + bytes) + 64;
        buffer->data = realloc(buffer->data, buffer->capacity);
        if (!buffer->data)
            die("out of memory");
    }
    if (bytes > 0)
        memcpy(buffer->data + buffer->bytes, data, bytes);
    buffer->bytes += bytes;
}

void buffer_varint(struct buffer *buffer, uint64_t value)
{
    uint8_t bytes[10];
    size_t count = 0;
    do {
        bytes[count++] = (uint8_t)(value | 0x80);
        value >>= 7;
    } while (value > 0);
    bytes[count - 1] &= 0x7f;
    buffer_add(buffer, bytes, count);
}

void buffer_tag(struct buffer *buffer, uint32_t number, enum wire_type type)
{
    buffer_varint(buffer, (uint64_t)number << 3 | type);
}

void buffer_field_varint(struct buffer *buffer, uint32_t number, uint64_t value)
{
    buffer_tag(buffer, number, WIRE_VARINT);
    buffer_varint(buffer, value);
}

void buffer_field_bytes(struct buffer *buffer, uint32_t number, const void *data, size_t bytes)
{
    buffer_tag(buffer, number, WIRE_BYTES);
    buffer_varint(buffer, bytes);
    buffer_add(buffer, data, bytes);
}

void buffer_field_text(struct buffer *buffer, uint32_t number, const char *text)
{
    buffer_field_bytes(buffer, number, text, strlen(text));
}

void buffer_field_message(struct buffer *buffer, uint32_t number, struct buffer *content)
{
    buffer_field_bytes(buffer, number, content->data, content->bytes);
    buffer_free(content);
}

/* ---- Arenas ---- */

#define CHUNK_BYTES ((size_t)64 << 10)

struct arena_chunk {
    struct arena_chunk *next;
    size_t used, bytes;
    _Alignas(16) uint8_t data[];
};

void *arena_alloc(struct arena *arena, size_t bytes)
{
    bytes = (bytes + 15) & ~(size_t)15;
    struct arena_chunk *chunk = arena->chunks;
    if (!chunk || bytes > chunk->bytes - chunk->used) {
        size_t room = bytes > CHUNK_BYTES ? bytes : CHUNK_BYTES;
        chunk = must_alloc(sizeof(*chunk) + room);
        chunk->bytes = room;
        chunk->next = arena->chunks;
        arena->chunks = chunk;
    }
    void *memory = chunk->data + chunk->used;
    chunk->used += bytes;
    return memory;
}

void arena_free(struct arena *arena)
{
    while (arena->chunks) {
        struct arena_chunk *next = arena->chunks->next;
        free(arena->chunks);
        arena->chunks = next;
    }
}
