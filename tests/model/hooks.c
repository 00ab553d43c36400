/*
 * What is called from outside: by scenarios, and by the compiler instead of ThreadSanitizer.
 *
 * Each of these wipes the stack below itself when it is done, so that what the checker left there
 * does not make two states of one.
 */
#include "model/internal.h"

#include <string.h>

#include "shm/barrier.h"

static __attribute__((noinline)) void stack_wipe(void)
{
    uint8_t below[1024];
    size_t bytes = sizeof(below);
    __asm__ volatile("" : "+r"(bytes)); /* a call, which is faster than what the compiler makes */
    memset(below, 0, bytes);
    __asm__ volatile("" : : "r"(below) : "memory");
}

unsigned model_choose(unsigned count)
{
    unsigned chosen = choose_model(count);
    stack_wipe();
    return chosen;
}

void model_bell_ring(unsigned bell)
{
    bell_ring(bell);
    stack_wipe();
}

void model_bell_wait(unsigned bell)
{
    bell_wait(bell);
    stack_wipe();
}

bool model_bell_take(unsigned bell)
{
    bool taken = bell_look(bell, true);
    stack_wipe();
    return taken;
}

bool model_bell_rung(unsigned bell)
{
    bool rung = bell_look(bell, false);
    stack_wipe();
    return rung;
}

void *model_memcpy(void *to, const void *from, size_t bytes)
{
    plain_read(from, bytes);
    plain_write(to, bytes);
    memcpy(to, from, bytes);
    stack_wipe();
    return to;
}

/* Instead of shm/barrier.c. */
bool barrier_able(void)
{
    return true;
}

bool barrier_all(void)
{
    barrier_model();
    stack_wipe();
    return true;
}

unsigned model_thread(void)
{
    return world.running;
}

#define ENTRY(name, ...)                                                                           \
    void __tsan_##name(__VA_ARGS__);                                                               \
    void __tsan_##name(__VA_ARGS__)

ENTRY(init, void)
{
}
ENTRY(func_entry, void *caller)
{
    (void)caller;
}
ENTRY(func_exit, void)
{
}

#define PLAIN(kind, size)                                                                          \
    ENTRY(kind##size, void *address)                                                               \
    {                                                                                              \
        if (plain_##kind(address, size))                                                           \
            stack_wipe();                                                                          \
    }                                                                                              \
    ENTRY(unaligned_##kind##size, void *address)                                                   \
    {                                                                                              \
        if (plain_##kind(address, size))                                                           \
            stack_wipe();                                                                          \
    }
PLAIN(read, 1)
PLAIN(read, 2)
PLAIN(read, 4)
PLAIN(read, 8)
PLAIN(read, 16)
PLAIN(write, 1)
PLAIN(write, 2)
PLAIN(write, 4)
PLAIN(write, 8)
PLAIN(write, 16)

ENTRY(read_range, void *address, size_t bytes)
{
    plain_read(address, bytes);
    stack_wipe();
}

ENTRY(write_range, void *address, size_t bytes)
{
    plain_write(address, bytes);
    stack_wipe();
}

#define ATOMIC(bits)                                                                               \
    uint##bits##_t __tsan_atomic##bits##_load(const volatile uint##bits##_t *address, int order);  \
    uint##bits##_t __tsan_atomic##bits##_load(const volatile uint##bits##_t *address, int order)   \
    {                                                                                              \
        if (world.running == NOBODY || !is_shared(address))                                        \
            return *address;                                                                       \
        uint64_t value = atomic_load_model(address, bits / 8, order);                              \
        stack_wipe();                                                                              \
        return (uint##bits##_t)value;                                                              \
    }                                                                                              \
    ENTRY(atomic##bits##_store, volatile uint##bits##_t *address, uint##bits##_t value, int order) \
    {                                                                                              \
        if (world.running == NOBODY || !is_shared(address)) {                                      \
            *address = value;                                                                      \
            return;                                                                                \
        }                                                                                          \
        atomic_store_model(address, bits / 8, value, order);                                       \
        stack_wipe();                                                                              \
    }
ATOMIC(8)
ATOMIC(32)
ATOMIC(64)

/* clang calls these for a copy of a struct. */
void *__tsan_memcpy(void *to, const void *from, size_t bytes);
void *__tsan_memcpy(void *to, const void *from, size_t bytes)
{
    return model_memcpy(to, from, bytes);
}

void *__tsan_memset(void *to, int value, size_t bytes);
void *__tsan_memset(void *to, int value, size_t bytes)
{
    if (plain_write(to, bytes))
        stack_wipe();
    return memset(to, value, bytes);
}

ENTRY(atomic_signal_fence, int order)
{
    (void)order; /* for the compiler, which has made its choice */
}

ENTRY(atomic_thread_fence, int order)
{
    if (world.running == NOBODY)
        return;
    fence_model(order);
    stack_wipe();
}
