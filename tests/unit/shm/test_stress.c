/*
 * A producer and a consumer at full speed, through ring, arena, release ring and both halves of the
 * sleep protocol; in two threads and in two processes. Every byte is checked. Whoever has nothing
 * to do sleeps on a descriptor at once, so that most records meet a sleeper: a wake-up that gets
 * lost shows as a wait that runs into the watchdog.
 */
#include "support/test.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/random.h"
#include "shm/shm.h"
#include "unit/shm/pair.h"

#define RECORD_COUNT 200000u
#define ARENA_ONE_IN 16 /* records whose payload goes through the arena */
#define WATCHDOG_MS 30000

struct player {
    struct side *side;
    int bell; /* mine: I sleep on it */
    int peer_bell;
    uint64_t sleeps;
    int failure; /* source line of what went wrong; 0 */
};

/* For code that runs where cmocka cannot: another thread, another process. */
#define expect(player, condition)                                                                  \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            (player)->failure = __LINE__;                                                          \
            return -1;                                                                             \
        }                                                                                          \
    } while (0)

static void ring_bell(int bell)
{
    const uint64_t one = 1;
    ssize_t written = write(bell, &one, sizeof(one));
    (void)written;
}

static int sleep_on_bell(struct player *player)
{
    uint64_t count;
    struct pollfd waited = {.fd = player->bell, .events = POLLIN};
    player->sleeps++;
    expect(player, poll(&waited, 1, WATCHDOG_MS) == 1);
    expect(player, read(player->bell, &count, sizeof(count)) == sizeof(count));
    return 0;
}

struct record {
    uint32_t number;
    uint32_t bytes;       /* of the payload, behind this or in the arena */
    struct frame_ref ref; /* block 0: behind this */
};

static void make_record(uint64_t *seed, uint32_t number, struct record *ret_record)
{
    bool in_arena = random_below(seed, ARENA_ONE_IN) == 0;
    *ret_record = (struct record){
        .number = number,
        .bytes = random_below(seed, in_arena ? 4000 : 700),
        .ref.block = in_arena,
    };
    if (in_arena)
        ret_record->bytes++;
}

static uint8_t content(uint32_t number, uint32_t index)
{
    return (uint8_t)(number * 31 + index * 7 + (index >> 8));
}

static void write_content(uint8_t *data, const struct record *record)
{
    for (uint32_t i = 0; i < record->bytes; i++)
        data[i] = content(record->number, i);
}

static int wait_for_room(struct player *player, bool *blocked)
{
    if (!*blocked) {
        blocked_set(&player->side->ours); /* and try once more */
        *blocked = true;
        return 0;
    }
    int r = sleep_on_bell(player);
    blocked_clear(&player->side->ours);
    *blocked = false;
    return r;
}

static int put_in_arena(struct player *player, struct record *record)
{
    struct side *side = player->side;
    bool blocked = false;
    void *data = NULL;
    int r;
    expect(player, release_take(&side->ours, &side->peer) >= 0);
    while ((r = arena_alloc(&side->ours, record->bytes, &record->ref, &data)) != 0) {
        expect(player, r == ARENA_E_FULL || r == ARENA_E_GROW); /* it makes do with what it has */
        expect(player, wait_for_room(player, &blocked) == 0);
        expect(player, release_take(&side->ours, &side->peer) >= 0);
    }
    if (blocked)
        blocked_clear(&side->ours);
    write_content(data, record);
    return 0;
}

static int produce_one(struct player *player, struct record *record)
{
    struct side *side = player->side;
    bool in_arena = record->ref.block != 0;
    bool blocked = false;
    void *body = NULL;
    int r;
    if (in_arena)
        expect(player, put_in_arena(player, record) == 0);
    uint32_t bytes = (uint32_t)sizeof(*record) + (in_arena ? 0 : record->bytes);
    while ((r = ring_reserve(&side->ours, &side->peer, bytes, &body)) != 0) {
        expect(player, r == RING_E_FULL);
        expect(player, wait_for_room(player, &blocked) == 0);
    }
    if (blocked)
        blocked_clear(&side->ours);
    memcpy(body, record, sizeof(*record));
    if (!in_arena)
        write_content((uint8_t *)body + sizeof(*record), record);
    ring_commit(&side->ours, bytes);
    if (peer_asleep_quick(&side->ours, &side->peer))
        ring_bell(player->peer_bell);
    return 0;
}

static int produce(struct player *player)
{
    uint64_t seed = 11;
    for (uint32_t i = 0; i < RECORD_COUNT; i++) {
        struct record record;
        make_record(&seed, i, &record);
        if (produce_one(player, &record) != 0)
            return -1;
    }
    return 0;
}

static int check_content(struct player *player, const uint8_t *data, const struct record *record)
{
    for (uint32_t i = 0; i < record->bytes; i++)
        expect(player, data[i] == content(record->number, i));
    return 0;
}

static int consume_one(struct player *player, const struct record *expected)
{
    struct side *side = player->side;
    const void *body = NULL;
    uint32_t bytes = 0;
    struct record record;
    int r;
    while ((r = ring_peek(&side->peer, &body, &bytes)) == RING_E_EMPTY) {
        asleep_set(&side->ours, &side->peer, ASLEEP_BELL);
        if (!ring_pending(&side->peer))
            expect(player, sleep_on_bell(player) == 0);
        asleep_clear(&side->ours);
    }
    expect(player, r == 0);
    expect(player, bytes >= sizeof(record));
    memcpy(&record, body, sizeof(record));
    expect(player, record.number == expected->number && record.bytes == expected->bytes);
    const uint8_t *data = (const uint8_t *)body + sizeof(record);
    if (expected->ref.block != 0)
        expect(player, arena_resolve(&side->peer, &record.ref, record.bytes, &data) == 0);
    else
        expect(player, bytes == sizeof(record) + record.bytes);
    expect(player, check_content(player, data, &record) == 0);
    if (expected->ref.block != 0)
        release_push(&side->ours, record.ref.block);
    ring_consume(&side->peer, &side->ours);
    if (peer_blocked(&side->peer))
        ring_bell(player->peer_bell);
    return 0;
}

static int consume(struct player *player)
{
    uint64_t seed = 11;
    for (uint32_t i = 0; i < RECORD_COUNT; i++) {
        struct record expected;
        make_record(&seed, i, &expected);
        if (consume_one(player, &expected) != 0)
            return -1;
    }
    return 0;
}

struct game {
    struct pair pair;
    struct player producer, consumer;
};

static void game_init(struct game *game)
{
    const struct segment_options options = {.ring_lines = 64, .arena_bytes = 16384};
    *game = (struct game){0};
    pair_init(&game->pair, &options);
    int bell_a = eventfd(0, EFD_CLOEXEC);
    int bell_b = eventfd(0, EFD_CLOEXEC);
    assert_true(bell_a >= 0 && bell_b >= 0);
    game->producer = (struct player){&game->pair.a, bell_a, bell_b, 0, 0};
    game->consumer = (struct player){&game->pair.b, bell_b, bell_a, 0, 0};
}

static void game_deinit(struct game *game)
{
    close(game->producer.bell);
    close(game->consumer.bell);
    pair_deinit(&game->pair);
}

static void *consumer_thread(void *player)
{
    (void)consume(player);
    return NULL;
}

static void test_two_threads_pass_records_of_every_size(void **state)
{
    (void)state;
    static struct game game;
    pthread_t thread;
    game_init(&game);
    side_alias(&game.pair.a.peer, &game.pair.b.ours);
    side_alias(&game.pair.b.peer, &game.pair.a.ours);
    assert_int_equal(pthread_create(&thread, NULL, consumer_thread, &game.consumer), 0);
    int r = produce(&game.producer);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(game.producer.failure, 0);
    assert_int_equal(game.consumer.failure, 0);
    assert_int_equal(r, 0);
    print_message("slept: producer %llu, consumer %llu times\n",
                  (unsigned long long)game.producer.sleeps,
                  (unsigned long long)game.consumer.sleeps);
    game_deinit(&game);
}

static void test_two_processes_pass_records_of_every_size(void **state)
{
    (void)state;
    static struct game game;
    game_init(&game);
    /* The child is to be the other side, which a child of fork() otherwise is not. */
    const struct region regions[] = {game.pair.a.ours.region, game.pair.a.peer.region,
                                     game.pair.b.ours.region, game.pair.b.peer.region};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(madvise(regions[i].base, regions[i].bytes, MADV_DOFORK), 0);
    pid_t parent = getpid();
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(2);
        if (consume(&game.consumer) != 0)
            fprintf(stderr, "consumer failed at line %d\n", game.consumer.failure);
        _exit(game.consumer.failure != 0);
    }
    int r = produce(&game.producer);
    if (r != 0)
        (void)kill(pid, SIGKILL);
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid); /* bounded: its every wait has the watchdog */
    assert_int_equal(game.producer.failure, 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(peer_consumed(&game.pair.a.ours, &game.pair.a.peer), game.pair.a.ours.head);
    assert_true(release_take(&game.pair.a.ours, &game.pair.a.peer) >= 0);
    game_deinit(&game);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_threads_pass_records_of_every_size),
        cmocka_unit_test(test_two_processes_pass_records_of_every_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
