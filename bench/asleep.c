/*
 * What does a call cost whose sides sleep between two of them?
 *
 * A futex that two processes wake each other by is the floor: whatever sleeps costs that. After a
 * pause it costs the more the more memory the two have touched, so it is measured between processes
 * that do nothing else, and between such as have joined the bus and called. A unix socket is what a
 * program would do without a bus. All are measured in the same round: with both sides on one core,
 * where a wake-up is a change of tasks, with a core for each, where it is an interrupt of a core
 * that idles, and wherever the scheduler likes.
 *
 * A call a millisecond: blocks of calls, in turns. Each block has processes of its own, so its
 * first call is the first of a connection, and is counted apart. A call a second: all at once, each
 * in processes of its own, with a quarter of a second between two of them, for they would take
 * minutes one after the other; so a core has idled for that long when it is asked for.
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "peer.h"
#include "study.h"

#define OFTEN_NS NS_PER_MS
#define OFTEN_BLOCKS 8
#define OFTEN_CALLS 125 /* a block */
#define RARE_NS NS_PER_S
#define RARE_CALLS 15
#define AWAKE_CALLS 20000

/* Rows of one kind, subject by subject. */
enum { TOGETHER, APART, ANYWHERE, PLACES };
enum { FUTEX, WITHIN, SOCKET, PARLEY, SUBJECTS };
#define ROW(subject, place) ((subject)*PLACES + (place))
enum {
    AWAKE,
    OFTEN,
    FIRST = OFTEN + SUBJECTS * PLACES,
    RARE = FIRST + SUBJECTS * PLACES,
    ROWS = RARE + SUBJECTS * PLACES,
};

static const struct peer *const subjects[SUBJECTS] = {&peer_futex, &peer_futex_within, &peer_unix,
                                                      &peer_parley_default};
static const char *const abouts[SUBJECTS] = {"a futex", "a futex in Parley's processes",
                                             "a unix socket", "Parley"};
static const char *const places[PLACES] = {"together", "apart", "anywhere"};

static struct study_row rows[ROWS];
static char texts[ROWS][3][96];

/* Run by a process of its own: what @subject does, where, and how often. Samples, in their order.
 */
struct block {
    size_t subject, place;
    uint64_t pause_ns, delay_ns;
    uint32_t count;
    uint32_t *samples_ns;
};

static int run_block(const struct study_round *round, void *userdata)
{
    static unsigned number; /* names are unique in a round */
    const struct block *block = userdata;
    struct error_text error = {""};
    char name[64];
    double per_s;
    struct bench_run run = {
        .samples_ns = block->samples_ns,
        .sample_count = block->count,
        .ret_per_s = &per_s,
        .load = {.bytes = 64, .pause_ns = block->pause_ns},
        .folder = round->folder,
        .round = (int)(round->number * 1000 + number++),
        .name = name,
        .error = &error,
        .peer_cpu = block->place == ANYWHERE ? -1 : round->cpus[block->place == APART],
    };
    const struct timespec delay = {.tv_nsec = (long)block->delay_ns};
    (void)snprintf(name, sizeof(name), "%s-%s", subjects[block->subject]->name,
                   places[block->place]);
    (void)nanosleep(&delay, NULL);
    int r = subjects[block->subject]->asleep(&run);
    if (r != 0)
        fprintf(stderr, "%s: %s\n", name, error.text);
    return r;
}

static pid_t start_block(const struct study_round *round, struct block *block)
{
    return study_start(round, block->place == ANYWHERE ? -1 : round->cpus[0], run_block, block);
}

static int await_block(struct study_round *round, pid_t pid)
{
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
        return error_set(round->error, -1, "a block of calls failed");
    return 0;
}

/* ---- A call a millisecond ---- */

static void put(struct study_round *round, size_t row, const uint32_t *samples, uint32_t count)
{
    memcpy(round->samples_ns, samples, count * sizeof(*samples));
    study_put_samples(round, row, count);
}

static int run_often(struct study_round *round, uint32_t *memory)
{
    enum { KEPT = OFTEN_CALLS - 1 };
    static uint32_t rest[SUBJECTS * PLACES][OFTEN_BLOCKS * KEPT];
    static uint32_t first[SUBJECTS * PLACES][OFTEN_BLOCKS];
    for (size_t i = 0; i < OFTEN_BLOCKS * SUBJECTS * PLACES; i++) {
        const size_t turn = i / (SUBJECTS * PLACES), which = (i + turn) % (SUBJECTS * PLACES);
        struct block block = {which / PLACES, which % PLACES, OFTEN_NS, 0, OFTEN_CALLS, memory};
        if (await_block(round, start_block(round, &block)) != 0)
            return -1;
        first[which][turn] = memory[0];
        memcpy(&rest[which][turn * KEPT], memory + 1, KEPT * sizeof(*memory));
    }
    for (size_t which = 0; which < SUBJECTS * PLACES; which++) {
        put(round, FIRST + which, first[which], OFTEN_BLOCKS);
        put(round, OFTEN + which, rest[which], OFTEN_BLOCKS * KEPT);
    }
    return 0;
}

/* ---- A call a second ---- */

/* All subjects at once, in one place: two instances of Parley's service would share the calls of
 * both their clients. */
static int run_rare_at(struct study_round *round, size_t place, uint32_t *memory)
{
    struct block blocks[SUBJECTS];
    pid_t pids[SUBJECTS];
    int r = 0;
    for (size_t i = 0; i < SUBJECTS; i++) {
        blocks[i] = (struct block){
            i, place, RARE_NS, i * NS_PER_S / SUBJECTS, RARE_CALLS, memory + i * RARE_CALLS};
        pids[i] = start_block(round, &blocks[i]);
    }
    for (size_t i = 0; i < SUBJECTS; i++)
        r |= await_block(round, pids[i]);
    for (size_t i = 0; r == 0 && i < SUBJECTS; i++)
        put(round, RARE + ROW(i, place), blocks[i].samples_ns, RARE_CALLS);
    return r;
}

/* Anywhere is left out: calls of different subjects would meet. */
static int run_rare(struct study_round *round, uint32_t *memory)
{
    int r = run_rare_at(round, TOGETHER, memory);
    return r == 0 ? run_rare_at(round, APART, memory) : r;
}

/* ---- The study ---- */

static int run_awake(struct study_round *round)
{
    double per_s;
    struct bench_run run = {
        .samples_ns = round->samples_ns,
        .sample_count = AWAKE_CALLS,
        .ret_per_s = &per_s,
        .load = {.bytes = 64},
        .folder = round->folder,
        .round = (int)round->number,
        .name = "awake",
        .error = round->error,
        .peer_cpu = round->cpus[1],
    };
    if (peer_parley.echo(&run) != 0)
        return -1;
    study_put_samples(round, AWAKE, AWAKE_CALLS);
    return 0;
}

static int run(struct study_round *round)
{
    const size_t bytes = sizeof(uint32_t) * (OFTEN_CALLS + SUBJECTS * RARE_CALLS);
    uint32_t *memory =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED)
        return error_set(round->error, -1, "no memory");
    int r = run_awake(round);
    if (r == 0)
        r = run_often(round, memory);
    if (r == 0)
        r = run_rare(round, memory);
    (void)munmap(memory, bytes);
    return r;
}

static void add_row(size_t row, const char *kind, const char *about, uint64_t pause_ns)
{
    const size_t which = (row - OFTEN) % (SUBJECTS * PLACES);
    const struct peer *subject = subjects[which / PLACES];
    const char *place = places[which % PLACES];
    (void)snprintf(texts[row][0], sizeof(texts[row][0]), "%s/%s/%s", kind, subject->name, place);
    (void)snprintf(texts[row][1], sizeof(texts[row][1]), "%s: %s, %s", about,
                   abouts[which / PLACES], place);
    (void)snprintf(texts[row][2], sizeof(texts[row][2]),
                   "\"peer\":\"%s\",\"mode\":\"asleep\",\"placement\":\"%s\",\"pause_ns\":%llu",
                   subject->name, place, (unsigned long long)pause_ns);
    rows[row] =
        (struct study_row){.name = texts[row][0], .about = texts[row][1], .json = texts[row][2]};
}

/* The floor's best placement is that of one core. */
#define PARLEY_AGAINST(kind, place, floor, floor_place, p99, most, what)                           \
    {                                                                                              \
        (kind) + ROW(PARLEY, place), (kind) + ROW(floor, floor_place), p99, most, 0, what          \
    }

static const struct study_goal goals[] = {
    PARLEY_AGAINST(OFTEN, TOGETHER, FUTEX, TOGETHER, false, 1.3, "A call a ms, one core: futex"),
    PARLEY_AGAINST(OFTEN, TOGETHER, SOCKET, TOGETHER, false, 1, "A call a ms, one core: socket"),
    PARLEY_AGAINST(OFTEN, APART, SOCKET, APART, false, 1, "A call a ms, apart: socket"),
    PARLEY_AGAINST(OFTEN, ANYWHERE, SOCKET, ANYWHERE, false, 1, "A call a ms, anywhere: socket"),
    PARLEY_AGAINST(OFTEN, TOGETHER, SOCKET, TOGETHER, true, 1, "The same, p99: one core"),
    PARLEY_AGAINST(OFTEN, APART, SOCKET, APART, true, 1, "The same, p99: apart"),
    PARLEY_AGAINST(FIRST, TOGETHER, FUTEX, TOGETHER, false, 0, "The first call, one core: futex"),
    PARLEY_AGAINST(FIRST, TOGETHER, SOCKET, TOGETHER, false, 0, "The first call: socket"),
    PARLEY_AGAINST(RARE, TOGETHER, FUTEX, TOGETHER, false, 1.3, "A call a second, one core: futex"),
    PARLEY_AGAINST(RARE, TOGETHER, WITHIN, TOGETHER, false, 1.2, "The same: futex, its processes"),
    PARLEY_AGAINST(RARE, TOGETHER, SOCKET, TOGETHER, false, 1, "A call a second, one core: socket"),
    PARLEY_AGAINST(RARE, APART, SOCKET, APART, false, 1, "A call a second, apart: socket"),
};

int main(int argc, char **argv)
{
    static const struct study study = {
        .name = "asleep",
        .question = "What does a call cost whose sides sleep between two of them?",
        .method = "64 bytes, echoed. Together is one core for both sides, apart a core for each.",
        .rows = rows,
        .row_count = ROWS,
        .goals = goals,
        .goal_count = sizeof(goals) / sizeof(goals[0]),
        .rounds = 3,
        .seconds_max = 120,
        .run = run,
    };
    rows[AWAKE] = (struct study_row){.name = "awake", .about = "Parley, never sleeping, apart"};
    for (size_t row = OFTEN; row < FIRST; row++)
        add_row(row, "often", "a call a ms", OFTEN_NS);
    for (size_t row = FIRST; row < RARE; row++)
        add_row(row, "first", "the first call", OFTEN_NS);
    for (size_t row = RARE; row < ROWS; row++)
        add_row(row, "rare", "a call a second", RARE_NS);
    return study_main(argc, argv, &study);
}
