/*
 * Where the chunks of unpacked messages come from, and what becomes of them: a thread keeps a few
 * of each small size, so that a program that calls and frees replies, or serves, in a steady state
 * asks malloc() for nothing.
 *
 * They belong to whoever frees them: a reply that is freed in another thread than the one it came
 * to stays there. What a thread can keep is bounded, by BLOCKS_KEPT of each class: 260 KiB; more
 * goes to free(), and all of it when the thread ends.
 *
 * Sanitizers and Valgrind find out who uses a message after it was freed by what free() does, so
 * under a sanitizer nothing is kept, and blocks are as large as they were asked for.
 */
#include "wire/bump.h"

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/call_path.h"
#include "base/sanitized.h"
#include "wire/wire.h"

#define CLASS_BYTES_MIN 512 /* with its header; each class is twice the one before it */
static_assert(WIRE_BLOCK_BYTES(0) + sizeof(struct wire_chunk) == CLASS_BYTES_MIN, "as in bump.h");
#define CLASS_COUNT (WIRE_BLOCK_LONGEST + 1) /* up to 16 KiB */
#define BLOCKS_KEPT 8
#define LARGE CLASS_COUNT /* the class of those that are not kept */

struct kept {
    struct wire_chunk *first[CLASS_COUNT + 1];
    /* For so many more: none if the thread is not watched yet, or ends. So there is one question.
     */
    uint8_t room[CLASS_COUNT + 1];
    bool ends; /* the thread does, or cannot be watched: nothing is kept any more */
    bool watched;
};

/* The short way to it, which a library may take for a few words. */
__attribute__((tls_model("initial-exec"))) static _Thread_local struct kept kept;
static pthread_key_t at_thread_end;
static bool has_key;

static void drop_all(void *data)
{
    struct kept *all = data;
    all->ends = true; /* other destructors may still free messages */
    for (unsigned i = 0; i < CLASS_COUNT; i++) {
        all->room[i] = 0;
        while (all->first[i]) {
            struct wire_chunk *next = all->first[i]->next;
            free(all->first[i]);
            all->first[i] = next;
        }
    }
}

static void make_key(void)
{
    has_key = pthread_key_create(&at_thread_end, drop_all) == 0;
}

/* A library that is unloaded must not be called when threads end. */
__attribute__((destructor)) static void drop_key(void)
{
    if (has_key)
        pthread_key_delete(at_thread_end);
}

/* Once for each thread that keeps something. */
static void watch_thread(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_key);
    kept.watched = true;
    kept.ends = !has_key || pthread_setspecific(at_thread_end, &kept) != 0;
    for (unsigned i = 0; i < CLASS_COUNT && !kept.ends; i++)
        kept.room[i] = BLOCKS_KEPT;
}

/* The class of blocks that hold @bytes, header and all. */
static inline unsigned class_of(size_t bytes)
{
    const unsigned bits = 64 - (unsigned)__builtin_clzll((bytes - 1) | (CLASS_BYTES_MIN - 1));
    const unsigned class = bits - (unsigned)__builtin_ctz(CLASS_BYTES_MIN);
    return SANITIZED || class > LARGE ? LARGE : class;
}

__attribute__((noinline)) static struct wire_chunk *block_make(size_t whole, unsigned class,
                                                               size_t *ret_bytes)
{
    if (class != LARGE)
        whole = (size_t)CLASS_BYTES_MIN << class;
    struct wire_chunk *chunk = malloc(whole);
    if (!chunk)
        return NULL;
    chunk->kept_as = class;
    *ret_bytes = whole - sizeof(*chunk);
    return chunk;
}

/* NULL: none is kept. */
static inline struct wire_chunk *block_take(unsigned class)
{
    struct wire_chunk *chunk = kept.first[class]; /* none of what is LARGE */
    if (__builtin_expect(chunk != NULL, 1)) {
        kept.first[class] = chunk->next;
        kept.room[class]++;
    }
    return chunk;
}

struct wire_chunk *wire_block_new(size_t *bytes)
{
    const size_t whole = sizeof(struct wire_chunk) + *bytes;
    const unsigned class = class_of(whole);
    struct wire_chunk *chunk = block_take(class);
    if (__builtin_expect(!chunk, 0))
        return block_make(whole, class, bytes);
    *bytes = WIRE_BLOCK_BYTES(class);
    return chunk;
}

struct wire_chunk *wire_block_of(enum wire_block class)
{
    size_t bytes;
    struct wire_chunk *chunk = block_take(class);
    return __builtin_expect(chunk != NULL, 1) ? chunk : block_make(0, class, &bytes);
}

/* Of a class that has no room, or not yet. */
__attribute__((noinline)) static void *block_drop(struct wire_chunk *chunk)
{
    if (chunk->kept_as != LARGE && !kept.watched) {
        watch_thread();
        if (kept.room[chunk->kept_as] > 0)
            return wire_block_free(chunk);
    }
    free(chunk);
    return NULL;
}

CALL_PATH void *wire_block_free(struct wire_chunk *chunk)
{
    const uint32_t class = chunk->kept_as;
    if (__builtin_expect(kept.room[class] == 0, 0))
        return block_drop(chunk);
    chunk->next = kept.first[class];
    kept.first[class] = chunk;
    kept.room[class]--;
    return NULL;
}

void wire_block_prepare(size_t bytes)
{
    struct wire_chunk *chunk = wire_block_new(&bytes);
    if (chunk)
        (void)wire_block_free(chunk);
}
