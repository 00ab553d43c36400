/* What the checker's files need of each other. */
#ifndef PARLEY_TESTS_MODEL_INTERNAL_H
#define PARLEY_TESTS_MODEL_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>
#include <ucontext.h>

#include "model/checker.h"

#define WORD_BYTES 4
#define WORDS (CHECKER_SHARED_BYTES / WORD_BYTES)
#define STORES_MAX 48 /* of one word, in one execution */
#define STACK_BYTES (16 << 10)
#define NOBODY UINT32_MAX

struct view {
    uint8_t seen[CHECKER_ATOMICS_MAX];   /* index of the oldest store that may still be read */
    uint32_t clock[CHECKER_THREADS_MAX]; /* what of each thread happened before */
};

/* Which accesses to a word there were: each thread's clock when it last did that. */
enum access {
    PLAIN_READ,
    PLAIN_WRITE,
    ATOMIC_READ,
    ATOMIC_WRITE,
    ACCESS_COUNT,
};

struct word {
    bool touched;
    uint32_t first; /* if so: what was in it before */
    uint32_t when[ACCESS_COUNT][CHECKER_THREADS_MAX];
};

struct store {
    uint64_t value;
    bool has_view; /* which an acquire takes over */
    struct view view;
};

/* A word that is accessed atomically. */
struct atomic {
    uint32_t offset;
    uint32_t bytes;  /* 4 or 8, as the first access had it; 0: none so far */
    uint32_t writer; /* NOBODY so far */
    uint32_t store_count;
    struct store stores[STORES_MAX];
};

struct hash {
    uint64_t a, b;
};

struct thread {
    ucontext_t context;
    uint8_t *stack;
    struct view current;  /* what it must see */
    struct view acquired; /* what an acquire fence would add */
    struct view released; /* what a release fence left to later relaxed stores */
    bool has_released;
    bool ended;
    uint32_t waits; /* for this doorbell; NOBODY */
    /* Its stack, with its registers, when it last gave up its turn. NULL: it has not begun. */
    const uint8_t *stack_from;
    struct hash machine; /* of that; valid if has_machine */
    bool has_machine;
    /* A plain write that was announced and is carried out behind our back. */
    uint32_t pending_offset, pending_bytes;
};

struct bell {
    uint32_t count;
    struct view view;
};

/* An execution, as far as it has come. */
struct world {
    const struct scenario *scenario;
    struct thread threads[CHECKER_THREADS_MAX];
    uint32_t thread_count;
    uint32_t running; /* NOBODY: none, begin() or end() runs */
    struct bell bells[CHECKER_THREADS_MAX];
    struct view fence_view; /* of the sequentially consistent fences so far */
    struct word words[WORDS];
    uint32_t touched[WORDS], touched_count; /* indices of those that were */
    struct atomic atomics[CHECKER_ATOMICS_MAX];
    uint32_t atomic_count;
    uint8_t atomic_of[WORDS]; /* index + 1; 0: only plain */
};
extern struct world world;

/* ---- checker.c ---- */

/* Lets any thread that can run go on. */
void turn(void);
unsigned choose(unsigned count); /* 0..@count - 1 */
/* For the explanation. @offset UINT32_MAX: no word. @behind: a load's number of newer stores. */
void note(const char *what, uint32_t offset, uint64_t value, uint32_t behind);

unsigned choose_model(unsigned count);
void bell_ring(unsigned index);
void bell_wait(unsigned index);
bool bell_look(unsigned index, bool take);

/* ---- memory.c ---- */

void memory_init(void); /* after begin(): what is in checker_shared now is where it starts from */
void view_join(struct view *view, const struct view *other);
uint32_t tick(void);
/* The last plain write was announced; by now it has happened. */
void pending_settle(void);
bool is_shared(const volatile void *address);
/* Return: whether it was of shared memory. */
bool plain_read(const volatile void *address, size_t bytes);
/* Announces one, which happens when this has returned. */
bool plain_write(volatile void *address, size_t bytes);
uint64_t atomic_load_model(const volatile void *address, uint32_t bytes, int order);
void atomic_store_model(volatile void *address, uint32_t bytes, uint64_t value, int order);
void fence_model(int order);
/* A full fence in every thread: of the others whenever, but between those of the running one. */
void barrier_model(void);

/* ---- state.c ---- */

void states_forget(void);
bool state_is_new(void); /* and remembers it */

#endif
