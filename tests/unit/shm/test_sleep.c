/*
 * The sleep protocol, as a litmus test: both sides do their half at the same moment, many times,
 * and at least one must have seen the other. Without the fences both may look too early: on x86,
 * too, a store waits in its core's buffer while the load behind it is served.
 */
#include "support/test.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/random.h"
#include "shm/shm.h"
#include "support/seccomp.h"
#include "unit/shm/pair.h"

#define ROUND_COUNT 100000u
#define MEETING_STEPS 1000 /* of about a cycle */
#define SPIN_MAX 1000      /* then yield: there may be one core only */

struct litmus {
    struct pair pair;
    void (*other_half)(struct litmus *litmus);
    uint32_t round_count;
    _Atomic uint32_t go;   /* round that the other side shall begin */
    _Atomic uint32_t done; /* round that it has ended */
    bool other_saw;        /* the other side's; ordered by `done` */
};

static void await(_Atomic uint32_t *round, uint32_t value)
{
    for (uint32_t i = 0; atomic_load_explicit(round, memory_order_acquire) != value; i++) {
        if (i % SPIN_MAX == SPIN_MAX - 1)
            (void)sched_yield();
    }
}

static void *other_side(void *userdata)
{
    struct litmus *litmus = userdata;
    for (uint32_t round = 1; round <= litmus->round_count; round++) {
        await(&litmus->go, round);
        litmus->other_half(litmus);
        atomic_store_explicit(&litmus->done, round, memory_order_release);
    }
    return NULL;
}

static void begin_round(struct litmus *litmus, uint32_t round, uint64_t *seed)
{
    atomic_store_explicit(&litmus->go, round, memory_order_release);
    /* The other side learns of it a cache miss later, more or less: meet it there. */
    for (uint32_t i = random_below(seed, MEETING_STEPS); i > 0; i--)
        __asm__ volatile("");
}

static void litmus_init(struct litmus *litmus, void (*other_half)(struct litmus *))
{
    const struct segment_options options = {.ring_lines = SEGMENT_RING_LINES_MIN};
    *litmus = (struct litmus){.other_half = other_half, .round_count = ROUND_COUNT};
    pair_init(&litmus->pair, &options);
    side_alias(&litmus->pair.a.peer, &litmus->pair.b.ours);
    side_alias(&litmus->pair.b.peer, &litmus->pair.a.ours);
}

/* ---- asleep: b publishes while a falls asleep ---- */

static void publish(struct litmus *litmus)
{
    struct side *b = &litmus->pair.b;
    void *body = NULL;
    (void)ring_reserve(&b->ours, &b->peer, 8, &body);
    ring_commit(&b->ours, 8);
    litmus->other_saw = peer_asleep(&b->peer);
}

/* Return: whether neither saw the other. */
static bool sleep_round(struct litmus *litmus, uint32_t round, uint64_t *seed)
{
    struct side *a = &litmus->pair.a;
    const void *body = NULL;
    uint32_t bytes = 0;
    begin_round(litmus, round, seed);
    asleep_set(&a->ours, &a->peer, ASLEEP_BELL);
    bool saw = ring_pending(&a->peer);
    await(&litmus->done, round);
    asleep_clear(&a->ours);
    (void)ring_peek(&a->peer, &body, &bytes);
    ring_consume(&a->peer, &a->ours);
    return !saw && !litmus->other_saw;
}

static void test_a_sleeper_sees_the_record_or_the_writer_sees_the_sleeper(void **state)
{
    (void)state;
    static struct litmus litmus;
    pthread_t thread;
    uint64_t seed = 5;
    litmus_init(&litmus, publish);
    assert_int_equal(pthread_create(&thread, NULL, other_side, &litmus), 0);
    uint32_t lost = 0;
    for (uint32_t round = 1; round <= ROUND_COUNT; round++) {
        lost += sleep_round(&litmus, round, &seed);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    pair_deinit(&litmus.pair);
    assert_int_equal(lost, 0);
}

/* ---- The same, where b goes without fences ---- */

#define UNFENCED_ROUND_COUNT 5000u /* each has a CPU interrupted */

/* While a is awake. */
static void grow_sure(struct litmus *litmus)
{
    struct side *b = &litmus->pair.b;
    for (uint32_t i = 0; i < UNFENCED_AFTER && !b->ours.unfenced; i++)
        (void)peer_asleep_quick(&b->ours, &b->peer);
}

static void publish_quick(struct litmus *litmus)
{
    struct side *b = &litmus->pair.b;
    void *body = NULL;
    (void)ring_reserve(&b->ours, &b->peer, 8, &body);
    ring_commit(&b->ours, 8);
    litmus->other_saw = peer_asleep_quick(&b->ours, &b->peer);
}

static void test_a_sleeper_fences_for_a_writer_that_does_not(void **state)
{
    (void)state;
    static struct litmus litmus;
    pthread_t thread;
    uint64_t seed = 7;
    litmus_init(&litmus, grow_sure);
    litmus.round_count = 2 * UNFENCED_ROUND_COUNT;
    assert_int_equal(pthread_create(&thread, NULL, other_side, &litmus), 0);
    uint32_t lost = 0, unfenced = 0;
    for (uint32_t round = 2; round <= litmus.round_count; round += 2) {
        litmus.other_half = grow_sure;
        begin_round(&litmus, round - 1, &seed);
        await(&litmus.done, round - 1);
        unfenced += litmus.pair.b.ours.unfenced;
        litmus.other_half = publish_quick;
        lost += sleep_round(&litmus, round, &seed);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    pair_deinit(&litmus.pair);
    assert_int_equal(lost, 0);
    if (unfenced == 0) {
        print_message("skipped: nobody goes without fences here\n");
        skip();
    }
    assert_int_equal(unfenced, UNFENCED_ROUND_COUNT);
}

static void look(struct side *side, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(peer_asleep_quick(&side->ours, &side->peer), ASLEEP_NOT);
}

static void test_who_goes_without_fences_has_looked_often(void **state)
{
    (void)state;
    struct litmus litmus;
    litmus_init(&litmus, NULL);
    struct side *a = &litmus.pair.a, *b = &litmus.pair.b;
    look(b, UNFENCED_AFTER - 1);
    assert_false(b->ours.unfenced);
    look(b, 1);
    if (!b->ours.unfenced) {
        print_message("skipped: nobody goes without fences here\n");
        pair_deinit(&litmus.pair);
        skip();
    }
    assert_int_equal(b->ours.cells->unfenced, 1);
    /* Until it finds the peer asleep, */
    asleep_set(&a->ours, &a->peer, ASLEEP_WORD);
    assert_int_equal(peer_asleep_quick(&b->ours, &b->peer), ASLEEP_WORD);
    assert_int_equal(b->ours.cells->unfenced, 0);
    asleep_clear(&a->ours);
    look(b, UNFENCED_AFTER - 1);
    assert_int_equal(b->ours.cells->unfenced, 0);
    look(b, 1);
    assert_int_equal(b->ours.cells->unfenced, 1);
    /* or goes to sleep itself. */
    asleep_set(&b->ours, &b->peer, ASLEEP_BELL);
    assert_int_equal(b->ours.cells->unfenced, 0);
    asleep_clear(&b->ours);
    /* Never for one that cannot have others fence. */
    a->ours.cells->barrier = 0;
    look(b, 3 * UNFENCED_AFTER);
    assert_false(b->ours.unfenced);
    a->ours.cells->barrier = UINT32_MAX; /* whatever a peer writes */
    look(b, UNFENCED_AFTER);
    assert_true(b->ours.unfenced);
    b->ours.cells->unfenced = UINT32_MAX;
    asleep_set(&a->ours, &a->peer, ASLEEP_BELL);
    assert_int_equal(a->ours.cells->barrier, UINT32_MAX); /* it could */
    pair_deinit(&litmus.pair);
}

static void test_who_is_forbidden_barriers_says_so(void **state)
{
    (void)state;
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        struct litmus litmus;
        litmus_init(&litmus, NULL);
        struct side *a = &litmus.pair.a, *b = &litmus.pair.b;
        b->ours.cells->unfenced = 1;
        if (a->ours.cells->barrier == 0 ||
            !seccomp_filter(SYS_membarrier, SECCOMP_RET_ERRNO | EPERM))
            _exit(2);
        asleep_set(&a->ours, &a->peer, ASLEEP_BELL);
        _exit(a->ours.cells->barrier == 0 && a->ours.cells->asleep == ASLEEP_BELL ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 2) {
        print_message("skipped: no barriers, or no seccomp filters, here\n");
        skip();
    }
    assert_int_equal(status, 0);
}

/* ---- blocked: b makes room while a, whose ring is full, decides to wait ---- */

static void make_room(struct litmus *litmus)
{
    struct side *b = &litmus->pair.b;
    const void *body = NULL;
    uint32_t bytes = 0;
    (void)ring_peek(&b->peer, &body, &bytes);
    ring_consume(&b->peer, &b->ours);
    litmus->other_saw = peer_blocked(&b->peer);
}

static bool write_one(struct side *side)
{
    void *body = NULL;
    if (ring_reserve(&side->ours, &side->peer, 8, &body) != 0)
        return false;
    ring_commit(&side->ours, 8);
    return true;
}

static void test_a_blocked_writer_sees_the_room_or_the_reader_sees_the_writer(void **state)
{
    (void)state;
    static struct litmus litmus;
    struct side *a = &litmus.pair.a;
    pthread_t thread;
    uint64_t seed = 6;
    litmus_init(&litmus, make_room);
    while (write_one(a))
        continue;
    assert_int_equal(pthread_create(&thread, NULL, other_side, &litmus), 0);
    uint32_t lost = 0;
    for (uint32_t round = 1; round <= ROUND_COUNT; round++) {
        begin_round(&litmus, round, &seed);
        blocked_set(&a->ours);
        bool saw = write_one(a);
        await(&litmus.done, round);
        lost += !saw && !litmus.other_saw;
        blocked_clear(&a->ours);
        if (!saw)
            (void)write_one(a); /* full again */
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    pair_deinit(&litmus.pair);
    assert_int_equal(lost, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_sleeper_sees_the_record_or_the_writer_sees_the_sleeper),
        cmocka_unit_test(test_a_sleeper_fences_for_a_writer_that_does_not),
        cmocka_unit_test(test_who_goes_without_fences_has_looked_often),
        cmocka_unit_test(test_who_is_forbidden_barriers_says_so),
        cmocka_unit_test(test_a_blocked_writer_sees_the_room_or_the_reader_sees_the_writer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
