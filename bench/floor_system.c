/*
 * Floors below waiting and copying.
 *
 * futex    one word in memory that both share; each side sleeps on it until the other has changed
 *          it and wakes it up. Nothing that sleeps wakes up for less.
 * memcpy   a message, copied once; of small ones, many copies are one sample, and its share is
 *          taken.
 */
#include "floors.h"

#include <linux/futex.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "peer.h"
#include "shm/shm.h"

/* ---- Sleeping on a word ---- */

struct floor_word {
    _Atomic uint32_t turn; /* odd: the peer's */
};

static void await_turn(struct floor_word *word, uint32_t turn)
{
    uint32_t seen;
    /* acquire: pairs with the release in give_turn() */
    while ((seen = atomic_load_explicit(&word->turn, memory_order_acquire)) != turn)
        (void)syscall(SYS_futex, &word->turn, FUTEX_WAIT, seen, NULL, NULL, 0);
}

static void give_turn(struct floor_word *word, uint32_t turn)
{
    /* release: pairs with the acquire in await_turn() */
    atomic_store_explicit(&word->turn, turn, memory_order_release);
    (void)syscall(SYS_futex, &word->turn, FUTEX_WAKE, 1, NULL, NULL, 0);
}

struct floor_word *floor_word_new(void)
{
    void *word = mmap(NULL, LAYOUT_PAGE_BYTES, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    return word == MAP_FAILED ? NULL : word;
}

void floor_word_serve(struct floor_word *word)
{
    for (uint32_t turn = 1;; turn += 2) {
        await_turn(word, turn);
        give_turn(word, turn + 1);
    }
}

bool floor_word_is_called(const struct floor_word *word)
{
    return atomic_load_explicit(&word->turn, memory_order_relaxed) > 0;
}

int floor_word_call(struct bench_run *run, void *word, uint32_t i)
{
    (void)run;
    give_turn(word, 2 * i + 1);
    await_turn(word, 2 * i + 2);
    return 0;
}

static int serve(const struct bench_run *run, struct peer_place *place)
{
    (void)run;
    peer_ready(place);
    floor_word_serve(place->data);
    return -1;
}

static int ask(struct bench_run *run, struct peer_place *place)
{
    return peer_time(run, floor_word_call, place->data);
}

static int echo(struct bench_run *run)
{
    struct floor_word *word = floor_word_new();
    if (!word)
        return error_set(run->error, -1, "mmap failed");
    return peer_run(run, serve, ask, word);
}

const struct peer peer_futex = {
    .name = "futex",
    .about = "a futex, asleep and woken",
    .placements = PEER_ALL,
    .echo_count = 5000,
    .bytes_max = 64,
    .echo = echo,
    .asleep = echo,
};

/* ---- Copying ---- */

#define BATCH_BYTES (64u << 10)

int floor_memcpy(struct bench_run *run)
{
    const uint32_t bytes = run->load.bytes;
    const uint32_t batch = bytes < BATCH_BYTES ? BATCH_BYTES / bytes : 1;
    char *from = calloc(1, bytes), *to = calloc(1, bytes);
    if (!from || !to)
        return error_set(run->error, -1, "no memory");
    for (uint32_t i = 0; i < run->sample_count; i++) {
        uint64_t start = clock_now_ns();
        for (uint32_t k = 0; k < batch; k++) {
            memcpy(to, from, bytes);
            __asm__ volatile("" : : "r"(to), "r"(from) : "memory"); /* somebody looks at it */
        }
        run->samples_ns[i] = bench_sample(start, clock_now_ns()) / batch;
    }
    free(from);
    free(to);
    return 0;
}
