/*
 * What conversions by hand need, and two allocators for protobuf-c: malloc(), which is its default,
 * and the fastest there can be.
 */
#include "messages.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#define BUMP_BYTES (64 << 10)

void messages_pack(const ProtobufCMessage *message, struct packed *ret_packed)
{
    ret_packed->bytes = protobuf_c_message_get_packed_size(message);
    if (ret_packed->bytes > MESSAGE_BYTES_MAX)
        abort();
    (void)protobuf_c_message_pack(message, ret_packed->data);
}

void messages_split(char *text, char **ret_name, char **ret_email)
{
    size_t bytes = strlen(text);
    *ret_name = text;
    if (bytes < 5 || text[bytes - 1] != '>')
        return;
    for (char *at = text + bytes - 2; at > text + 2; at--) {
        if (at[-1] != '<' || at[-2] != ' ')
            continue;
        text[bytes - 1] = '\0';
        at[-2] = '\0';
        *ret_email = at;
        return;
    }
}

char *messages_join(ProtobufCAllocator *allocator, const char *a, const char *between,
                    const char *b, const char *behind)
{
    size_t a_bytes = strlen(a), between_bytes = strlen(between), b_bytes = strlen(b),
           behind_bytes = strlen(behind);
    char *text = allocator->alloc(allocator->allocator_data,
                                  a_bytes + between_bytes + b_bytes + behind_bytes + 1);
    if (!text)
        abort();
    memcpy(text, a, a_bytes);
    memcpy(text + a_bytes, between, between_bytes);
    memcpy(text + a_bytes + between_bytes, b, b_bytes);
    memcpy(text + a_bytes + between_bytes + b_bytes, behind, behind_bytes + 1);
    return text;
}

/* ---- Allocators ---- */

static void *take(void *data, size_t bytes)
{
    (void)data;
    return malloc(bytes);
}

static void give(void *data, void *memory)
{
    (void)data;
    free(memory);
}

ProtobufCAllocator messages_malloc = {.alloc = take, .free = give};

static alignas(16) uint8_t block[BUMP_BYTES];
static size_t block_used;

static void *bump(void *data, size_t bytes)
{
    (void)data;
    bytes = (bytes + 15) & ~(size_t)15;
    if (bytes > BUMP_BYTES - block_used)
        abort();
    void *memory = block + block_used;
    block_used += bytes;
    return memory;
}

static void keep(void *data, void *memory)
{
    (void)data;
    (void)memory;
}

ProtobufCAllocator messages_bump = {.alloc = bump, .free = keep};

void messages_bump_reset(void)
{
    block_used = 0;
}
