/*
 * A frame for benchmarks of functions: cases that run in one process, in turns.
 *
 * Beside bench.h, whose subjects are processes that talk. Here a case is microseconds or less, and
 * what matters is its ratio to another: so a round runs all cases, a few milliseconds each, in an
 * order that rotates, and a ratio is taken within a round. What disturbs the machine for longer
 * than a round disturbs both sides of it.
 */
#ifndef PARLEY_BENCH_COMPARE_H
#define PARLEY_BENCH_COMPARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COMPARE_CASE_MAX 64
#define COMPARE_AGAINST_MAX 3
#define COMPARE_SAMPLES 128 /* of each case, in each round; fewer if they are long */

/* What a case is held against. Of @goal and @goal_least one is set, or none. */
struct compare_against {
    const char *name;   /* of another case; NULL: nothing */
    double goal_most;   /* at most that many times its time; 0: no goal */
    double goal_faster; /* at least that many times as fast; 0: no goal */
};

struct compare_case {
    const char *name;  /* in rows and JSON: "order/v1-v2" */
    const char *about; /* in the table */
    size_t bytes;      /* of the message that is read */
    /* Once, before anything is timed: whether what comes out is right. Return: NULL, or what is
     * wrong. NULL: there is nothing to check. */
    const char *(*check)(void *data);
    /* Does it @count times. */
    void (*run)(void *data, uint32_t count);
    void *data;
    struct compare_against against[COMPARE_AGAINST_MAX];
    double goal_ns; /* the most that it should take; 0: no goal */
};

struct compare {
    const char *name; /* "translate" */
    const char *question;
    const struct compare_case *cases;
    size_t case_count;
    /* Peers that are not there, each with the reason. */
    const char *const *skipped;
    size_t skipped_count;
};

/* The program, but for making its cases. Return: its exit status: 0, 1 if something is wrong or a
 * goal was missed, 2 for bad options. */
int compare_main(int argc, char **argv, const struct compare *compare);

/* ---- Allocations ---- */

/* Calls of malloc(), calloc() and realloc() in this process, libraries included; counted while
 * allocations_counted() says so (never under a sanitizer). */
bool allocations_counted(void);
uint64_t allocations(void);

/* Keeps the compiler from leaving out what nobody looks at. */
static inline void compare_use(const void *memory)
{
    __asm__ volatile("" : : "r"(memory) : "memory");
}

#endif
