/*
 * What a state is, and which are known.
 *
 * A state is all that decides what can happen from here on, and as little else as possible, so that
 * states which differ in their past only are the same one: memory, with what may still be read of
 * its past, and of each thread its view, its stack, registers included, and what the scenario says
 * is its own (to write to anything else is an error). A store that no thread can read any more does
 * not count; of how much a view has seen, only what goes beyond that which every thread has seen;
 * of when a word was accessed, only which views know of it.
 *
 * A hash of it, 128 bits, is kept: among 10^7 states, two share one with a probability of 10^-25. A
 * difference that means nothing, like what an earlier call left on the stack, costs time only.
 */
#include "model/internal.h"

#include <stdlib.h>
#include <string.h>

static inline void hash_add(struct hash *hash, uint64_t value)
{
    hash->a = (hash->a ^ value) * UINT64_C(0x9e3779b97f4a7c15);
    hash->a ^= hash->a >> 29;
    hash->b = (hash->b + value + 1) * UINT64_C(0xd1342543de82ef95);
    hash->b ^= hash->b >> 32;
}

/* Of what is in one place, to be summed up: no sum waits for the one before, as hash_add() does. */
static inline void hash_sum(struct hash *sum, uint64_t place, uint64_t value)
{
    uint64_t mixed = (value ^ place * UINT64_C(0xbf58476d1ce4e5b9)) * UINT64_C(0x9e3779b97f4a7c15);
    mixed ^= mixed >> 29;
    sum->a += mixed * UINT64_C(0x94d049bb133111eb);
    mixed = (value + place * UINT64_C(0xaef17502108ef2d9)) * UINT64_C(0xd1342543de82ef95);
    mixed ^= mixed >> 32;
    sum->b += mixed * UINT64_C(0xda942042e4dd58b5);
}

__extension__ typedef unsigned __int128 wide;

/* A sum of products of neighbours, each with a key of its place added ("NH", of UMAC): most of what
 * is hashed is this, and it takes two multiplications for 16 bytes. */
static void hash_add_memory(struct hash *hash, const void *memory, size_t bytes)
{
    const uint8_t *from = memory;
    wide a = bytes, b = 0;
    uint64_t key = UINT64_C(0x243f6a8885a308d3);
    for (; bytes > 0; key += UINT64_C(0x9e3779b97f4a7c15)) {
        uint64_t pair[2] = {0, 0};
        size_t now = bytes < sizeof(pair) ? bytes : sizeof(pair);
        if (now == sizeof(pair)) /* a size that the compiler knows */
            memcpy(pair, from, sizeof(pair));
        else
            memcpy(pair, from, now);
        a += (wide)(pair[0] + key) * (pair[1] + ~(key << 7));
        b += (wide)(pair[0] + (key ^ key >> 31)) * (pair[1] + (key << 13 ^ key));
        from += now;
        bytes -= now;
    }
    hash_add(hash, (uint64_t)a);
    hash_add(hash, (uint64_t)(a >> 64));
    hash_add(hash, (uint64_t)b);
    hash_add(hash, (uint64_t)(b >> 64));
}

/* ---- Those that are known ---- */

static struct hash *known; /* open addressing; {0, 0}: empty */
static size_t known_size, known_count;

static bool known_insert(struct hash hash)
{
    size_t i = hash.a & (known_size - 1);
    for (; known[i].a || known[i].b; i = (i + 1) & (known_size - 1)) {
        if (known[i].a == hash.a && known[i].b == hash.b)
            return false;
    }
    known[i] = hash;
    known_count++;
    return true;
}

static void known_grow(void)
{
    struct hash *old = known;
    size_t old_size = known_size;
    known_size = old_size ? old_size * 2 : 1 << 16;
    known_count = 0;
    known = calloc(known_size, sizeof(*known));
    if (!known)
        abort();
    for (size_t i = 0; i < old_size; i++) {
        if (old[i].a || old[i].b)
            (void)known_insert(old[i]);
    }
    free(old);
}

/* ---- What a state is ---- */

#define VIEWS_MAX (4 * CHECKER_THREADS_MAX + CHECKER_ATOMICS_MAX * STORES_MAX)
static const struct view *state_views[VIEWS_MAX];
static uint32_t state_view_count;
static uint8_t seen_by_all[CHECKER_ATOMICS_MAX];
/* For each thread, the different clocks of it that views have, in order. */
static uint32_t clocks[CHECKER_THREADS_MAX][VIEWS_MAX];
static uint32_t clock_counts[CHECKER_THREADS_MAX];
/* How many of those, up to each, make a difference to any access. */
static uint32_t clock_ranks[CHECKER_THREADS_MAX][VIEWS_MAX + 1];

static void state_views_collect(void)
{
    state_view_count = 0;
    for (uint32_t i = 0; i < world.thread_count; i++) {
        struct thread *thread = &world.threads[i];
        if (thread->ended)
            continue;
        view_join(&thread->acquired, &thread->current); /* which an acquire fence has anyway */
        state_views[state_view_count++] = &thread->current;
        state_views[state_view_count++] = &thread->acquired;
        if (thread->has_released)
            state_views[state_view_count++] = &thread->released;
        if (world.scenario->bell_orders)
            state_views[state_view_count++] = &world.bells[i].view;
    }
    for (uint32_t i = 0; i < world.atomic_count; i++) {
        seen_by_all[i] = UINT8_MAX;
        for (uint32_t j = 0; j < world.thread_count; j++) {
            if (!world.threads[j].ended && world.threads[j].current.seen[i] < seen_by_all[i])
                seen_by_all[i] = world.threads[j].current.seen[i];
        }
        for (uint32_t j = seen_by_all[i]; j < world.atomics[i].store_count; j++) {
            if (world.atomics[i].stores[j].has_view)
                state_views[state_view_count++] = &world.atomics[i].stores[j].view;
        }
    }
}

static void clocks_collect(uint32_t thread)
{
    uint32_t *all = clocks[thread], count = 0;
    for (uint32_t i = 0; i < state_view_count; i++) {
        uint32_t clock = state_views[i]->clock[thread], at = 0;
        while (at < count && all[at] < clock)
            at++;
        if (at < count && all[at] == clock)
            continue;
        memmove(&all[at + 1], &all[at], (count++ - at) * sizeof(*all));
        all[at] = clock;
    }
    clock_counts[thread] = count;
}

/* The first of the clocks that reaches @clock. 0: every view knows of it. */
static uint32_t clock_index(uint32_t thread, uint32_t clock)
{
    uint32_t index = 0;
    while (index < clock_counts[thread] && clocks[thread][index] < clock)
        index++;
    return index;
}

/* An access of which not every view knows. */
struct recent {
    uint32_t word, index; /* of the clocks */
    uint8_t access, thread;
};
static struct recent recents[WORDS * ACCESS_COUNT * CHECKER_THREADS_MAX];
static uint32_t recent_count;

static void recents_collect(void)
{
    recent_count = 0;
    for (uint32_t i = 0; i < world.touched_count; i++) {
        const struct word *word = &world.words[world.touched[i]];
        for (uint8_t access = 0; access < ACCESS_COUNT; access++) {
            for (uint8_t thread = 0; thread < world.thread_count; thread++) {
                uint32_t index = clock_index(thread, word->when[access][thread]);
                if (index > 0)
                    recents[recent_count++] =
                        (struct recent){world.touched[i], index, access, thread};
            }
        }
    }
}

static void clocks_rank(void)
{
    for (uint32_t i = 0; i < world.thread_count; i++)
        memset(clock_ranks[i], 0, (clock_counts[i] + 1) * sizeof(clock_ranks[i][0]));
    for (uint32_t i = 0; i < recent_count; i++)
        clock_ranks[recents[i].thread][recents[i].index] = 1;
    for (uint32_t thread = 0; thread < world.thread_count; thread++) {
        for (uint32_t i = 1; i <= clock_counts[thread]; i++)
            clock_ranks[thread][i] += clock_ranks[thread][i - 1];
    }
}

static uint32_t clock_rank(uint32_t thread, uint32_t clock)
{
    return clock_ranks[thread][clock_index(thread, clock)];
}

static void hash_add_view(struct hash *hash, const struct view *view)
{
    for (uint32_t i = 0; i < world.atomic_count; i++) {
        uint32_t seen = view->seen[i] > seen_by_all[i] ? view->seen[i] - seen_by_all[i] : 0;
        hash_add(hash, seen);
    }
    for (uint32_t i = 0; i < world.thread_count; i++)
        hash_add(hash, clock_rank(i, view->clock[i]));
}

static void hash_add_accesses(struct hash *hash)
{
    struct hash sum = {0, 0}; /* words were touched in any order */
    for (uint32_t i = 0; i < recent_count; i++) {
        const struct recent *recent = &recents[i];
        uint32_t rank = clock_ranks[recent->thread][recent->index];
        hash_sum(&sum, (uint64_t)recent->word << 16 | recent->access << 8 | recent->thread, rank);
    }
    hash_add(hash, sum.a);
    hash_add(hash, sum.b);
}

/* What is in shared memory: of where nobody was it is what it was at the start. */
static void hash_add_shared(struct hash *hash)
{
    struct hash sum = {0, 0};
    for (uint32_t i = 0; i < world.touched_count; i++) {
        uint32_t word = world.touched[i], value;
        memcpy(&value, checker_shared + word * WORD_BYTES, sizeof(value));
        if (value != world.words[word].first)
            hash_sum(&sum, word, value);
    }
    hash_add(hash, sum.a);
    hash_add(hash, sum.b);
}

static struct hash machine_hash(struct thread *thread)
{
    if (!thread->has_machine && thread->stack_from) {
        thread->machine = (struct hash){6, 7};
        hash_add_memory(&thread->machine, thread->stack_from,
                        (size_t)(thread->stack + STACK_BYTES - thread->stack_from));
        thread->has_machine = true;
    }
    return thread->machine;
}

static struct hash state_hash(void)
{
    struct hash hash = {1, 2};
    state_views_collect();
    for (uint32_t i = 0; i < world.thread_count; i++)
        clocks_collect(i);
    recents_collect();
    clocks_rank();
    for (uint32_t i = 0; i < world.thread_count; i++) {
        hash_add(&hash, world.threads[i].ended);
        if (world.threads[i].ended)
            continue;
        struct hash machine = machine_hash(&world.threads[i]);
        hash_add(&hash, machine.a);
        hash_add(&hash, machine.b);
        hash_add(&hash, world.threads[i].has_released);
        hash_add(&hash, world.bells[i].count);
    }
    for (uint32_t i = 0; i < state_view_count; i++)
        hash_add_view(&hash, state_views[i]);
    hash_add_view(&hash, &world.fence_view);
    for (uint32_t i = 0; i < world.atomic_count; i++) {
        hash_add(&hash, world.atomics[i].store_count - seen_by_all[i]);
        for (uint32_t j = seen_by_all[i]; j < world.atomics[i].store_count; j++) {
            hash_add(&hash, world.atomics[i].stores[j].value);
            hash_add(&hash, world.atomics[i].stores[j].has_view);
        }
    }
    hash_add_accesses(&hash);
    hash_add_shared(&hash);
    for (const struct checker_memory *memory = world.scenario->private_memory;
         memory && memory->base; memory++)
        hash_add_memory(&hash, memory->base, memory->bytes);
    return hash;
}

/* False: the state was known before. */
bool state_is_new(void)
{
    if (known_count * 2 >= known_size)
        known_grow();
    return known_insert(state_hash());
}

void states_forget(void)
{
    free(known);
    known = NULL;
    known_size = 0;
    known_grow();
}
