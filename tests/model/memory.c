/*
 * Memory, as C sees it.
 *
 * What is modelled. A word of shared memory is not one value but all that were ever stored in it,
 * in order, and each thread knows how far it must have seen each word (its view). A load takes any
 * value that is not older than that: every choice is an execution of its own. A release store
 * carries its thread's view, an acquire load takes it over; relaxed ones do so through the fences
 * in front of and behind them; a sequentially consistent fence is both, and trades views with all
 * those that were executed before it. A doorbell is the kernel's: it is there at once. This is the
 * operational form of C11 as repaired since ("RC11"): Kang, Hur, Lahav, Vafeiadis, Dreyer, "A
 * promising semantics for relaxed-memory concurrency" (POPL 2017), without promises; and Lahav,
 * Vafeiadis, Kang, Hur, Dreyer, "Repairing sequential consistency in C/C++11" (PLDI 2017). It
 * is weaker than x86 and, but for one thing, than ARM: a load does not see a store that comes
 * later in time, so no thread reads what another one writes only because of that read ("load
 * buffering"). As in C++20, a release sequence ends with the next relaxed store of its thread.
 *
 * An access that is not atomic must be ordered, by happens-before, with all accesses to its word of
 * which one is a write: else it is a data race, and the scenario is broken. So a plain read has one
 * value to return, the one in memory. Happens-before is kept as vector clocks.
 *
 * A word is written by one thread. That is the layout's rule (docs/LAYOUT.md), it is checked, and
 * it is why the order of a word's stores is their writer's own, with nothing to choose.
 */
#include "model/internal.h"

#include <assert.h>
#include <errno.h>
#include <stdalign.h>
#include <string.h>

#define ORDER_ACQUIRES(order) ((order) != __ATOMIC_RELAXED && (order) != __ATOMIC_RELEASE)
#define ORDER_RELEASES(order)                                                                      \
    ((order) == __ATOMIC_RELEASE || (order) == __ATOMIC_ACQ_REL || (order) == __ATOMIC_SEQ_CST)

alignas(4096) uint8_t checker_shared[CHECKER_SHARED_BYTES];

/* ---- Views ---- */

/* Fences order what threads see; they are not what makes one access happen before another. */
static void view_join_seen(struct view *view, const struct view *other)
{
    for (uint32_t i = 0; i < world.atomic_count; i++) {
        if (other->seen[i] > view->seen[i])
            view->seen[i] = other->seen[i];
    }
}

void view_join(struct view *view, const struct view *other)
{
    view_join_seen(view, other);
    for (uint32_t i = 0; i < world.thread_count; i++) {
        if (other->clock[i] > view->clock[i])
            view->clock[i] = other->clock[i];
    }
}

/* ---- Words ---- */

bool is_shared(const volatile void *address)
{
    return (const volatile uint8_t *)address >= checker_shared &&
           (const volatile uint8_t *)address < checker_shared + CHECKER_SHARED_BYTES;
}

static uint32_t offset_of(const volatile void *address)
{
    return (uint32_t)((const volatile uint8_t *)address - checker_shared);
}

static uint64_t memory_load(uint32_t offset, uint32_t bytes)
{
    uint64_t value = 0;
    memcpy(&value, checker_shared + offset, bytes);
    return value;
}

uint32_t tick(void)
{
    return ++world.threads[world.running].current.clock[world.running];
}

/* An access of the running thread: it must come after all of @others by all threads. */
static void access_check(uint32_t offset, enum access others, const char *what)
{
    for (uint32_t i = 0; i < world.thread_count; i++) {
        if (world.words[offset / WORD_BYTES].when[others][i] >
            world.threads[world.running].current.clock[i]) {
            note(what, offset, memory_load(offset, WORD_BYTES), 0);
            model_fail("a data race: thread %u %s what thread %u %s, and neither comes first",
                       world.running, what, i,
                       others == PLAIN_READ || others == ATOMIC_READ ? "reads" : "writes");
        }
    }
}

static void access_note(uint32_t offset, enum access access)
{
    struct word *word = &world.words[offset / WORD_BYTES];
    if (!word->touched) {
        word->touched = true;
        word->first = (uint32_t)memory_load(offset, WORD_BYTES);
        world.touched[world.touched_count++] = offset / WORD_BYTES;
    }
    word->when[access][world.running] = tick();
}

/* NULL: a word that is only plain. */
static struct atomic *atomic_at(uint32_t offset)
{
    uint32_t index = world.atomic_of[offset / WORD_BYTES];
    return index ? &world.atomics[index - 1] : NULL;
}

static struct atomic *atomic_of_size(uint32_t offset, uint32_t bytes)
{
    struct atomic *atomic = atomic_at(offset);
    if (atomic->bytes == 0) {
        if (atomic->store_count == 1)
            atomic->stores[0].value = memory_load(offset, bytes);
        atomic->bytes = bytes;
    }
    if (atomic->bytes != bytes)
        model_fail("a word that is used in two sizes");
    return atomic;
}

static struct store *store_append(struct atomic *atomic, uint64_t value)
{
    if (atomic->writer == NOBODY)
        atomic->writer = world.running;
    if (atomic->writer != world.running)
        model_fail("a word with two writers");
    if (atomic->store_count == STORES_MAX)
        model_fail("too many stores of one word");
    struct store *store = &atomic->stores[atomic->store_count];
    store->value = value;
    store->has_view = false;
    world.threads[world.running].current.seen[atomic - world.atomics] =
        (uint8_t)atomic->store_count;
    atomic->store_count++;
    return store;
}

/* ---- Plain accesses ---- */

/* By now the write that was announced has happened. */
void pending_settle(void)
{
    struct thread *thread = &world.threads[world.running];
    for (uint32_t i = 0; i < thread->pending_bytes; i += WORD_BYTES) {
        uint32_t offset = thread->pending_offset + i;
        uint64_t value = memory_load(offset, WORD_BYTES);
        note("writes", offset, value, 0);
        if (atomic_at(offset))
            (void)store_append(atomic_at(offset), value);
    }
    thread->pending_bytes = 0;
}

/* A thread's own: its stack, or what the scenario says. Else two states could be taken for one. */
static void private_check(const volatile void *address)
{
    const volatile uint8_t *byte = address;
    const struct thread *thread = &world.threads[world.running];
    if (byte >= thread->stack && byte < thread->stack + STACK_BYTES)
        return;
    if (byte == (volatile uint8_t *)&errno) /* which nobody relies on for longer than a turn */
        return;
    for (const struct checker_memory *memory = world.scenario->private_memory;
         memory && memory->base; memory++) {
        if (byte >= (uint8_t *)memory->base && byte < (uint8_t *)memory->base + memory->bytes)
            return;
    }
    model_fail("it writes to memory that the scenario does not name: %p",
               (const void *)(uintptr_t)byte);
}

/* The words that [@address, @address + @bytes) touches. */
static void words_of(const volatile void *address, size_t bytes, uint32_t *ret_first,
                     uint32_t *ret_end)
{
    *ret_first = offset_of(address) / WORD_BYTES * WORD_BYTES;
    *ret_end = (offset_of(address) + (uint32_t)bytes + WORD_BYTES - 1) / WORD_BYTES * WORD_BYTES;
}

/* Return: whether the checker has done something. */
bool plain_read(const volatile void *address, size_t bytes)
{
    if (world.running == NOBODY || !is_shared(address))
        return false;
    pending_settle();
    uint32_t offset, end;
    for (words_of(address, bytes, &offset, &end); offset < end; offset += WORD_BYTES) {
        access_check(offset, PLAIN_WRITE, "reads");
        access_check(offset, ATOMIC_WRITE, "reads");
        access_note(offset, PLAIN_READ);
        note("reads", offset, memory_load(offset, WORD_BYTES), 0);
    }
    return true;
}

/* Announces a write, which happens when we have returned. */
bool plain_write(volatile void *address, size_t bytes)
{
    if (world.running == NOBODY)
        return false;
    if (!is_shared(address)) {
        private_check(address);
        return false;
    }
    pending_settle();
    uint32_t first, end;
    words_of(address, bytes, &first, &end);
    for (uint32_t offset = first; offset < end; offset += WORD_BYTES) {
        for (enum access access = 0; access < ACCESS_COUNT; access++)
            access_check(offset, access, "writes");
        access_note(offset, PLAIN_WRITE);
    }
    world.threads[world.running].pending_offset = first;
    world.threads[world.running].pending_bytes = end - first;
    return true;
}

/* ---- Atomic accesses ---- */

uint64_t atomic_load_model(const volatile void *address, uint32_t bytes, int order)
{
    uint32_t offset = offset_of(address);
    if (!atomic_at(offset)) {
        plain_read(address, bytes);
        return memory_load(offset, bytes);
    }
    pending_settle();
    turn();
    struct thread *thread = &world.threads[world.running];
    struct atomic *atomic = atomic_of_size(offset, bytes);
    access_check(offset, PLAIN_WRITE, "loads");
    access_note(offset, ATOMIC_READ);
    uint8_t *seen = &thread->current.seen[atomic - world.atomics];
    uint32_t behind = choose(atomic->store_count - *seen); /* newest first */
    *seen = (uint8_t)(atomic->store_count - 1 - behind);
    const struct store *store = &atomic->stores[*seen];
    if (store->has_view) {
        view_join(&thread->acquired, &store->view);
        if (ORDER_ACQUIRES(order))
            view_join(&thread->current, &store->view);
    }
    note(ORDER_ACQUIRES(order) ? "loads (acquire)" : "loads", offset, store->value, behind);
    return store->value;
}

void atomic_store_model(volatile void *address, uint32_t bytes, uint64_t value, int order)
{
    struct thread *thread = &world.threads[world.running];
    uint32_t offset = offset_of(address);
    if (!atomic_at(offset))
        model_fail("an atomic store where the scenario names no atomic: offset %u", offset);
    pending_settle();
    struct atomic *atomic = atomic_of_size(offset, bytes);
    access_check(offset, PLAIN_READ, "stores");
    access_check(offset, PLAIN_WRITE, "stores");
    access_note(offset, ATOMIC_WRITE);
    struct store *store = store_append(atomic, value);
    if (ORDER_RELEASES(order)) {
        store->has_view = true;
        store->view = thread->current;
    } else if (thread->has_released) {
        store->has_view = true;
        store->view = thread->released;
    }
    memcpy(checker_shared + offset, &value, bytes);
    note(ORDER_RELEASES(order) ? "stores (release)" : "stores", offset, value, 0);
}

static void fence_of(struct thread *thread, int order)
{
    if (ORDER_ACQUIRES(order))
        view_join(&thread->current, &thread->acquired);
    if (order == __ATOMIC_SEQ_CST) {
        view_join_seen(&thread->current, &world.fence_view);
        view_join_seen(&world.fence_view, &thread->current);
    }
    if (ORDER_RELEASES(order)) {
        thread->released = thread->current;
        thread->has_released = true;
    }
}

void fence_model(int order)
{
    pending_settle();
    if (order == __ATOMIC_SEQ_CST)
        turn();
    fence_of(&world.threads[world.running], order);
    note(order == __ATOMIC_SEQ_CST ? "full fence" : "fence", UINT32_MAX, 0, 0);
}

/* Other threads may go on between the running one's fences and theirs. They are at a load or a
 * fence: where stores are in front of one another, a fence between them would leave fewer outcomes
 * than one before them all. */
void barrier_model(void)
{
    fence_model(__ATOMIC_SEQ_CST);
    for (uint32_t i = 0; i < world.thread_count; i++) {
        if (i == world.running)
            continue;
        turn();
        fence_of(&world.threads[i], __ATOMIC_SEQ_CST);
        note("has another fence", UINT32_MAX, i, 0);
    }
    fence_model(__ATOMIC_SEQ_CST);
}

/* ---- The beginning ---- */

void memory_init(void)
{
    for (uint32_t i = 0; i < world.touched_count; i++)
        memset(&world.words[world.touched[i]], 0, sizeof(world.words[0]));
    world.touched_count = 0;
    memset(&world.fence_view, 0, sizeof(world.fence_view));
    memset(world.atomic_of, 0, sizeof(world.atomic_of));
    for (world.atomic_count = 0; world.scenario->atomics[world.atomic_count] != CHECKER_END;
         world.atomic_count++) {
        uint32_t offset = world.scenario->atomics[world.atomic_count];
        struct atomic *atomic = &world.atomics[world.atomic_count];
        assert(world.atomic_count < CHECKER_ATOMICS_MAX && offset < CHECKER_SHARED_BYTES);
        atomic->offset = offset;
        atomic->bytes = 0;
        atomic->writer = NOBODY;
        atomic->store_count = 1;
        atomic->stores[0] = (struct store){.value = memory_load(offset, WORD_BYTES)};
        world.atomic_of[offset / WORD_BYTES] = (uint8_t)(world.atomic_count + 1);
    }
}
