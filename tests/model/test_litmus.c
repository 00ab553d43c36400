/*
 * The checker itself, held against the classic small programs of memory models: it must find every
 * outcome that C allows (so that what it proves, it proves for weak machines, too) and no other (so
 * that what it refutes is really broken).
 *
 * Each program leaves what it read in `r`; an outcome is these digits as a decimal number. The
 * names are those of the literature (SB: store buffering, MP: message passing, ...).
 */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "model/checker.h"
#include "shm/barrier.h"

static _Atomic uint32_t *const x = (_Atomic uint32_t *)(checker_shared + 0);
static _Atomic uint32_t *const y = (_Atomic uint32_t *)(checker_shared + 64);
static uint32_t *const plain = (uint32_t *)(checker_shared + 128);
static unsigned r[4];

#define load(place, order) atomic_load_explicit(place, memory_order_##order)
#define store(place, value, order) atomic_store_explicit(place, value, memory_order_##order)
#define fence(order) atomic_thread_fence(memory_order_##order)

static bool seen[10000];

static void begin(void)
{
    memset(checker_shared, 0, 256);
    memset(r, 0, sizeof(r));
}

static void end(void)
{
    seen[r[0] * 1000 + r[1] * 100 + r[2] * 10 + r[3]] = true;
}

#define THREAD(name, ...)                                                                          \
    static void name(void)                                                                         \
    {                                                                                              \
        __VA_ARGS__;                                                                               \
    }

/* SB: each stores to one word and loads the other. The sleep protocol, in small. */
THREAD(sb_0, store(x, 1, release); r[0] = load(y, acquire))
THREAD(sb_1, store(y, 1, release); r[1] = load(x, acquire))
THREAD(sb_fence_0, store(x, 1, relaxed); fence(seq_cst); r[0] = load(y, relaxed))
THREAD(sb_fence_1, store(y, 1, relaxed); fence(seq_cst); r[1] = load(x, relaxed))
THREAD(sb_weak_1, store(y, 1, relaxed); fence(acq_rel); r[1] = load(x, relaxed))
/* A barrier is a fence on both sides. */
THREAD(sb_bare_0, store(x, 1, relaxed); r[0] = load(y, relaxed))
THREAD(sb_barrier_1, store(y, 1, relaxed); (void)barrier_all(); r[1] = load(x, relaxed))
THREAD(sb_late_1, (void)barrier_all(); store(y, 1, relaxed); r[1] = load(x, relaxed))

/* MP: payload, then a flag. */
THREAD(mp_0, store(x, 1, relaxed); store(y, 1, release))
THREAD(mp_1, r[0] = load(y, acquire); r[1] = load(x, relaxed))
THREAD(mp_relaxed_0, store(x, 1, relaxed); store(y, 1, relaxed))
THREAD(mp_relaxed_1, r[0] = load(y, relaxed); r[1] = load(x, relaxed))
THREAD(mp_fence_0, store(x, 1, relaxed); fence(release); store(y, 1, relaxed))
THREAD(mp_fence_1, r[0] = load(y, relaxed); fence(acquire); r[1] = load(x, relaxed))
THREAD(mp_plain_0, *plain = 1; store(y, 1, release))
THREAD(mp_plain_1, r[0] = load(y, acquire); if (r[0]) r[1] = *plain)
THREAD(mp_race_1, r[0] = load(y, relaxed); if (r[0]) r[1] = *plain)
/* A fence orders what is seen; alone it does not make a plain access happen before another. */
THREAD(mp_order_1, r[0] = load(y, relaxed); fence(seq_cst); if (r[0]) r[1] = *plain)
THREAD(mp_order_0, *plain = 1; fence(seq_cst); store(y, 1, relaxed))
THREAD(no_flag_0, *plain = 1; fence(seq_cst))
THREAD(no_flag_1, fence(seq_cst); r[0] = *plain)
/* What follows a release store of the same word, relaxed, does not carry it on (C++20). */
THREAD(sequence_0, store(x, 1, relaxed); store(y, 1, release); store(y, 2, relaxed))

/* CoRR: nobody sees one word go back. */
THREAD(corr_0, store(x, 1, relaxed); store(x, 2, relaxed))
THREAD(corr_1, r[0] = load(x, relaxed); r[1] = load(x, relaxed))

/* WRC: what the second saw of the first, the third sees through the second. */
THREAD(wrc_0, store(x, 1, relaxed))
THREAD(wrc_1, r[0] = load(x, relaxed); if (r[0]) store(y, 1, release))
THREAD(wrc_2, r[1] = load(y, acquire); r[2] = load(x, relaxed))

/* IRIW: two readers need not agree on the order of two writers; with full fences they must. */
THREAD(iriw_0, store(x, 1, release))
THREAD(iriw_1, store(y, 1, release))
THREAD(iriw_2, r[0] = load(x, acquire); r[1] = load(y, acquire))
THREAD(iriw_3, r[2] = load(y, acquire); r[3] = load(x, acquire))
THREAD(iriw_fence_2, r[0] = load(x, acquire); fence(seq_cst); r[1] = load(y, acquire))
THREAD(iriw_fence_3, r[2] = load(y, acquire); fence(seq_cst); r[3] = load(x, acquire))

/* LB: the checker's known limit. C allows 1100. */
THREAD(lb_0, r[0] = load(x, relaxed); store(y, 1, relaxed))
THREAD(lb_1, r[1] = load(y, relaxed); store(x, 1, relaxed))

/* Doorbells. */
THREAD(bell_0, store(x, 1, relaxed); model_bell_ring(1))
THREAD(bell_1, model_bell_wait(1); (void)model_bell_take(1); r[0] = load(x, relaxed))
THREAD(deaf_1, model_bell_wait(1))
THREAD(nothing_0, (void)load(x, relaxed))

#define BROKEN 9999 /* instead of an outcome */

struct litmus {
    const char *name;
    void (*threads[CHECKER_THREADS_MAX])(void);
    bool bell_orders;
    int outcomes[17]; /* all of them, ends with -1 */
};

static const struct litmus litmus[] = {
    {"SB", {sb_0, sb_1}, false, {0, 100, 1000, 1100, -1}},
    {"SB with two full fences", {sb_fence_0, sb_fence_1}, false, {100, 1000, 1100, -1}},
    {"SB with one full fence", {sb_fence_0, sb_1}, false, {0, 100, 1000, 1100, -1}},
    {"SB with a full fence and a weaker one",
     {sb_fence_0, sb_weak_1},
     false,
     {0, 100, 1000, 1100, -1}},
    {"SB with a barrier", {sb_bare_0, sb_barrier_1}, false, {100, 1000, 1100, -1}},
    {"SB with a barrier too early", {sb_bare_0, sb_late_1}, false, {0, 100, 1000, 1100, -1}},
    {"MP", {mp_0, mp_1}, false, {0, 100, 1100, -1}},
    {"MP, a relaxed store", {mp_relaxed_0, mp_1}, false, {0, 100, 1000, 1100, -1}},
    {"MP, a relaxed load", {mp_0, mp_relaxed_1}, false, {0, 100, 1000, 1100, -1}},
    {"MP with fences", {mp_fence_0, mp_fence_1}, false, {0, 100, 1100, -1}},
    {"MP, a fence and an acquire", {mp_fence_0, mp_1}, false, {0, 100, 1100, -1}},
    {"MP, a fence on one side only", {mp_fence_0, mp_relaxed_1}, false, {0, 100, 1000, 1100, -1}},
    {"MP, plain", {mp_plain_0, mp_plain_1}, false, {0, 1100, -1}},
    {"MP, plain, a relaxed load", {mp_plain_0, mp_race_1}, false, {BROKEN, -1}},
    {"MP, plain, with full fences", {mp_order_0, mp_order_1}, false, {0, 1100, -1}},
    {"plain, with full fences alone", {no_flag_0, no_flag_1}, false, {BROKEN, -1}},
    {"release sequence", {sequence_0, mp_1}, false, {0, 100, 1100, 2000, 2100, -1}},
    {"CoRR", {corr_0, corr_1}, false, {0, 100, 200, 1100, 1200, 2200, -1}},
    {"WRC", {wrc_0, wrc_1, wrc_2}, false, {0, 10, 1000, 1010, 1110, -1}},
    {"IRIW",
     {iriw_0, iriw_1, iriw_2, iriw_3},
     false,
     {0, 1, 10, 11, 100, 101, 110, 111, 1000, 1001, 1010, 1011, 1100, 1101, 1110, 1111, -1}},
    {"IRIW with full fences",
     {iriw_0, iriw_1, iriw_fence_2, iriw_fence_3},
     false,
     {0, 1, 10, 11, 100, 101, 110, 111, 1000, 1001, 1011, 1100, 1101, 1110, 1111, -1}},
    {"LB, without its outcome", {lb_0, lb_1}, false, {0, 100, 1000, -1}},
    {"a doorbell that orders", {bell_0, bell_1}, true, {1000, -1}},
    {"a doorbell that does not", {bell_0, bell_1}, false, {0, 1000, -1}},
    {"a doorbell that nobody rings", {nothing_0, deaf_1}, false, {BROKEN, -1}},
};

static bool holds(const struct litmus *test)
{
    static const uint16_t atomics[] = {0, 64, CHECKER_END};
    static const struct checker_memory results[] = {{r, sizeof(r)}, {NULL, 0}};
    struct scenario scenario = {.begin = begin,
                                .end = end,
                                .atomics = atomics,
                                .private_memory = results,
                                .bell_orders = test->bell_orders};
    memcpy(scenario.threads, test->threads, sizeof(scenario.threads));
    memset(seen, 0, sizeof(seen));
    if (checker_run(&scenario).broken) {
        memset(seen, 0, sizeof(seen));
        seen[BROKEN] = true;
    }
    bool right = true;
    for (int outcome = 0; outcome <= BROKEN; outcome++) {
        bool allowed = false;
        for (unsigned i = 0; test->outcomes[i] >= 0; i++)
            allowed = allowed || test->outcomes[i] == outcome;
        if (allowed == seen[outcome])
            continue;
        printf("%s: %04d is %s\n", test->name, outcome, allowed ? "not found" : "found");
        right = false;
    }
    return right;
}

int main(void)
{
    int failures = 0;
    for (size_t i = 0; i < sizeof(litmus) / sizeof(litmus[0]); i++) {
        bool right = holds(&litmus[i]);
        printf("%s %s\n", right ? "ok:" : "WRONG:", litmus[i].name);
        failures += !right;
    }
    return failures != 0;
}
