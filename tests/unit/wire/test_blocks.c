/*
 * What a thread keeps of the blocks that messages were in, counted by definitions of malloc() and
 * free() before the C library's.
 */
#include "support/test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/sanitized.h"
#include "wire/bump.h"

#define KEPT_EACH 8
#define LARGEST ((size_t)(16 << 10) - sizeof(struct wire_chunk))

static _Atomic int allocated, freed;

#if defined(__GLIBC__) && !SANITIZED
#define BLOCKS_COUNTED true
void *__libc_malloc(size_t bytes);
void __libc_free(void *memory);

void *malloc(size_t bytes)
{
    allocated++;
    return __libc_malloc(bytes);
}

void free(void *memory)
{
    freed += memory != NULL;
    __libc_free(memory);
}
#else
#define BLOCKS_COUNTED false
#endif

static int setup(void **state)
{
    (void)state;
    if (!BLOCKS_COUNTED)
        print_message("nothing is kept under a sanitizer\n");
    return 0;
}

static struct wire_chunk *take(size_t bytes)
{
    size_t room = bytes;
    struct wire_chunk *chunk = wire_block_new(&room);
    assert_non_null(chunk);
    assert_true(room >= bytes);
    for (size_t i = 0; i < room; i++)
        ((uint8_t *)(chunk + 1))[i] = (uint8_t)i; /* all of it is ours: under a sanitizer, too */
    return chunk;
}

/* Takes and gives back @count at once; returns how many of them were allocated for it. */
static int round_of(size_t count, size_t bytes)
{
    struct wire_chunk *chunks[64];
    int before = allocated;
    for (size_t i = 0; i < count; i++)
        chunks[i] = take(bytes);
    int fresh = allocated - before;
    for (size_t i = 0; i < count; i++)
        wire_block_free(chunks[i]);
    return fresh;
}

static void test_a_thread_keeps_some_of_each_size_and_no_more(void **state)
{
    (void)state;
    for (size_t bytes = 1; bytes <= LARGEST; bytes = 2 * bytes + sizeof(struct wire_chunk)) {
        (void)round_of(KEPT_EACH, bytes);
        if (!BLOCKS_COUNTED)
            continue;
        assert_int_equal(round_of(KEPT_EACH, bytes), 0);
        assert_int_equal(round_of(KEPT_EACH + 1, bytes), 1);
        assert_int_equal(round_of(KEPT_EACH + 1, bytes), 1); /* the ninth was not kept */
    }
}

static void test_what_is_large_is_not_kept(void **state)
{
    (void)state;
    if (!BLOCKS_COUNTED)
        skip();
    (void)round_of(1, LARGEST);
    assert_int_equal(round_of(1, LARGEST), 0);
    assert_int_equal(round_of(1, LARGEST + 1), 1);
    assert_int_equal(round_of(1, LARGEST + 1), 1);
    assert_int_equal(round_of(1, (size_t)4 << 20), 1);
}

/* A reply may be freed in another thread than the one that it came to. */
static void *free_there(void *data)
{
    struct wire_chunk **chunks = data;
    int before = freed;
    for (size_t i = 0; i < 2 * KEPT_EACH; i++)
        wire_block_free(chunks[i]);
    return (void *)(intptr_t)(freed - before);
}

static void test_a_thread_that_ends_keeps_nothing(void **state)
{
    (void)state;
    struct wire_chunk *chunks[2 * KEPT_EACH];
    pthread_t thread;
    void *freed_there;
    for (size_t i = 0; i < 2 * KEPT_EACH; i++)
        chunks[i] = take(100);
    int before = freed;
    assert_int_equal(pthread_create(&thread, NULL, free_there, chunks), 0);
    assert_int_equal(pthread_join(thread, &freed_there), 0);
    if (!BLOCKS_COUNTED)
        skip();
    assert_int_equal((intptr_t)freed_there, KEPT_EACH); /* kept as many, while it ran */
    assert_true(freed - before >= 2 * KEPT_EACH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_thread_keeps_some_of_each_size_and_no_more),
        cmocka_unit_test(test_what_is_large_is_not_kept),
        cmocka_unit_test(test_a_thread_that_ends_keeps_nothing),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
