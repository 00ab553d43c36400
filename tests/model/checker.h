/*
 * A model checker for C that runs here: it executes a scenario, a few threads over a few words of
 * shared memory, once for every outcome that C's memory model allows. checker.c says how.
 *
 * Code under test is compiled with -fsanitize=thread and linked without its runtime: the checker
 * stands in for that, and so sees every access that the compiler made of the C source. Only what
 * lies in checker_shared is modelled; the rest is a thread's own.
 */
#ifndef PARLEY_TESTS_MODEL_CHECKER_H
#define PARLEY_TESTS_MODEL_CHECKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHECKER_THREADS_MAX 4
#define CHECKER_SHARED_BYTES 4096

/* The memory that threads share. A scenario puts into it what it likes. */
extern uint8_t checker_shared[CHECKER_SHARED_BYTES];

#define CHECKER_END UINT16_MAX
#define CHECKER_ATOMICS_MAX 32

struct checker_memory {
    void *base;
    size_t bytes;
};

struct scenario {
    const char *name; /* with its bounds; NULL: print nothing */
    /* Before the threads: sets shared and private memory to what they begin with. */
    void (*begin)(void);
    void (*threads[CHECKER_THREADS_MAX])(void); /* up to the first NULL */
    /* After all have ended; NULL: nothing to check. */
    void (*end)(void);
    /* The words that are accessed atomically: offsets, ends with CHECKER_END. Others may be loaded
     * atomically, too: that is then as strict as a plain read. */
    const uint16_t *atomics;
    /* Where the threads keep what is their own, but for their stacks; ends with a NULL. */
    const struct checker_memory *private_memory;
    /* Writes what a word is called into @text; NULL: its offset will do. */
    void (*word_name)(size_t offset, char *text, size_t text_bytes);
    /* Whether a doorbell hands over what its ringer had seen, as a socket's locks do. If not, it
     * wakes and says nothing. */
    bool bell_orders;
};

struct verdict {
    bool broken;
    uint64_t executions; /* begun; most of them end where another one has been */
    uint64_t states;     /* different ones */
};

/* Runs them all, or until the first that breaks. Prints the verdict to stdout, and what led to a
 * bad one, step by step. */
struct verdict checker_run(const struct scenario *scenario);

/* ---- For the code of a scenario ---- */

/* Ends everything: the scenario is broken. */
_Noreturn void model_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
#define model_expect(condition)                                                                    \
    do {                                                                                           \
        if (!(condition))                                                                          \
            model_fail("%s:%d: not so: %s", __func__, __LINE__, #condition);                       \
    } while (0)

/* Each of 0..@count - 1, in different executions. */
unsigned model_choose(unsigned count);
unsigned model_thread(void); /* index of the one that runs */

/* Doorbells: one for each thread, which counts its rings. */
void model_bell_ring(unsigned bell);
void model_bell_wait(unsigned bell); /* until there is a ring; takes none */
bool model_bell_take(unsigned bell); /* false: there is none */
bool model_bell_rung(unsigned bell); /* whether there is one */

/* For -Dmemcpy=model_memcpy: the compiler does not instrument what is inside of memcpy(). */
void *model_memcpy(void *to, const void *from, size_t bytes);

#endif
