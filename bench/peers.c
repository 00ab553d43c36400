/*
 * How fast is Parley beside everything that a user would pick instead?
 *
 * Each peer is measured in every mode that it has: awake, an echo as fast as it goes, of several
 * sizes; asleep, an echo after a pause, so that both sides must be woken up; and pipelined, with
 * thousands of calls on their way. And each of these in every placement that makes sense, a core
 * for each side, one for both, or as the scheduler likes, for no one of them is best for all: the
 * table has the best of each, and says which it was. One round measures all of it, so that what
 * disturbs the machine for minutes disturbs everybody.
 *
 * All loads are closed loops: a call begins when another has ended, or after the pause. No rate is
 * promised, so none can be missed, and there is nothing for a histogram to omit.
 */
#include "peers.h"

#include <assert.h>

#include "floors.h"
#include "parley_call.h"

#define IN_FLIGHT 2048
#define ASLEEP_COUNT 300
#define RARE_COUNT 3
#define NAME_BYTES 48

const struct peer *const peers[] = {
    &peer_parley,          &peer_parley_default, &peer_futex,   &peer_unix,       &peer_iceoryx,
    &peer_iceoryx_waiting, &peer_nng_ipc,        &peer_nng_tcp, &peer_nng_inproc, &peer_zmq,
    &peer_capnp,           &peer_sdbus,          &peer_grpc,
};
const size_t peers_count = sizeof(peers) / sizeof(peers[0]);

const uint32_t peers_sizes[PEERS_SIZE_COUNT] = {64, 4096, 65536, PEER_BYTES_MAX};
static const uint32_t fewer[PEERS_SIZE_COUNT] = {1, 2, 5, 20}; /* samples */

struct bench_subject peers_subjects[BENCH_SUBJECT_MAX] = {
    [FLOOR_INDEX_LINE] = FLOOR_CACHE_LINE,
    [FLOOR_INDEX_CLOCK] = FLOOR_CLOCK,
    [FLOOR_INDEX_RING] = {.name = "ring",
                          .about = "ring, header and message, echoed",
                          .sample_count = 100000,
                          .passes = 5,
                          .load.bytes = 64,
                          .run = floor_ring},
    [FLOOR_INDEX_RING_FLOW] = {.name = "ring-pipelined",
                               .about = "ring, as many as it holds",
                               .sample_count = 100000,
                               .passes = 3,
                               .load = {.bytes = 64, .in_flight = IN_FLIGHT},
                               .run = floor_ring_flow},
    [FLOOR_INDEX_PROTOBUF] = {.name = "protobuf",
                              .about = "protobuf-c, pack and unpack once",
                              .sample_count = 100000,
                              .load.bytes = 64,
                              .run = floor_protobuf},
};
struct peers_case peers_cases[BENCH_SUBJECT_MAX];
size_t peers_subject_count = FLOOR_INDEX_MEMCPY;

static char names[BENCH_SUBJECT_MAX][NAME_BYTES];
static char reasons[sizeof(peers) / sizeof(peers[0])][256];

const char *peers_mode_name(enum peers_mode mode)
{
    static const char *const texts[] = {"floor", "awake", "asleep", "pipelined"};
    return texts[mode];
}

const char *peers_place_name(enum bench_placement placement)
{
    static const char *const texts[] = {"apart", "together", "anywhere"};
    return texts[placement];
}

const char *peers_skipped(const struct peer *peer)
{
    for (size_t i = 0; i < peers_count; i++) {
        if (peers[i] == peer)
            return reasons[i][0] ? reasons[i] : NULL;
    }
    return NULL;
}

/* ---- The subjects ---- */

/* What is held against others within a round, and is short. */
static int passes_of(const struct peer *peer, enum peers_mode mode, struct bench_load load)
{
    bool floor = peer == &peer_futex || peer == &peer_unix;
    bool parley = peer == &peer_parley || peer == &peer_parley_default;
    if (mode == PEERS_AWAKE && load.bytes == 64 && (floor || parley || peer == &peer_iceoryx))
        return 5;
    if (mode == PEERS_ASLEEP && load.pause_ns == PEERS_OFTEN_NS && (floor || parley))
        return 3;
    return mode == PEERS_PIPELINED && (parley || peer == &peer_zmq) ? 3 : 1;
}

static void add_memcpy(uint32_t bytes)
{
    size_t index = peers_subject_count++;
    (void)snprintf(names[index], NAME_BYTES, "memcpy/%u", bytes);
    peers_subjects[index] = (struct bench_subject){.name = names[index],
                                                   .about = "memcpy",
                                                   .sample_count = bytes > 65536 ? 500 : 2000,
                                                   .load.bytes = bytes,
                                                   .run = floor_memcpy};
}

static void add(const struct peer *peer, enum peers_mode mode, enum bench_placement placement,
                uint32_t sample_count, struct bench_load load)
{
    assert(peers_subject_count < BENCH_SUBJECT_MAX);
    size_t index = peers_subject_count++;
    (void)snprintf(names[index], NAME_BYTES, "%s/%s/%u/%s%s", peer->name, peers_mode_name(mode),
                   load.bytes, peers_place_name(placement),
                   load.pause_ns == PEERS_RARE_NS ? "/rare" : "");
    peers_cases[index] = (struct peers_case){peer, mode};
    peers_subjects[index] = (struct bench_subject){
        .name = names[index],
        .about = peer->about,
        .sample_count = sample_count,
        .placement = placement,
        .load = load,
        .passes = passes_of(peer, mode, load),
        .skipped = peers_skipped(peer),
        .run = mode == PEERS_PIPELINED ? peer->flow
               : mode == PEERS_ASLEEP  ? peer->asleep
                                       : peer->echo,
    };
}

/* Once a second is measured where all that is slower cannot be the point. */
static bool is_rare(const struct peer *peer, enum bench_placement placement)
{
    return placement != BENCH_ANYWHERE &&
           (peer == &peer_parley_default || peer == &peer_futex || peer == &peer_unix);
}

static void add_placement(const struct peer *peer, enum bench_placement placement)
{
    for (size_t i = 0; i < PEERS_SIZE_COUNT && peers_sizes[i] <= peer->bytes_max; i++)
        add(peer, PEERS_AWAKE, placement, peer->echo_count / fewer[i],
            (struct bench_load){.bytes = peers_sizes[i]});
    if (peer->asleep)
        add(peer, PEERS_ASLEEP, placement, ASLEEP_COUNT,
            (struct bench_load){.bytes = 64, .pause_ns = PEERS_OFTEN_NS});
    if (peer->asleep && is_rare(peer, placement))
        add(peer, PEERS_ASLEEP, placement, RARE_COUNT,
            (struct bench_load){.bytes = 64, .pause_ns = PEERS_RARE_NS});
    if (peer->flow)
        add(peer, PEERS_PIPELINED, placement, peer->flow_count,
            (struct bench_load){.bytes = 64, .in_flight = IN_FLIGHT});
}

/* A peer that is not in this build has one subject, so that --only knows its name. */
static void add_peer(size_t index)
{
    const struct peer *peer = peers[index];
    if (peer->package) {
        (void)snprintf(reasons[index], sizeof(reasons[index]), "%s: %s is not installed",
                       peer->about, peer->package);
        add(peer, PEERS_AWAKE, BENCH_APART, 1, (struct bench_load){.bytes = 64});
    }
    for (int placement = BENCH_APART; !peer->package && placement <= BENCH_ANYWHERE; placement++) {
        if (peer->placements & (1u << placement))
            add_placement(peer, (enum bench_placement)placement);
    }
}

size_t peers_best(const struct bench_result *results, const struct peer *peer, enum peers_mode mode,
                  uint32_t bytes, uint64_t pause_ns)
{
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < peers_subject_count; i++) {
        const struct bench_load *load = &peers_subjects[i].load;
        if (!results[i].measured || peers_cases[i].peer != peer || peers_cases[i].mode != mode ||
            load->bytes != bytes || load->pause_ns != pause_ns)
            continue;
        if (best == SIZE_MAX ||
            (mode == PEERS_PIPELINED ? results[i].per_s > results[best].per_s
                                     : results[i].ns[BENCH_P50] < results[best].ns[BENCH_P50]))
            best = i;
    }
    return best;
}

/* ---- The program ---- */

/* RouDi is only there if iceoryx is measured. */
static void begin_iceoryx(const char *folder)
{
    bool wanted = false;
    struct error_text error = {""};
    for (size_t i = 0; i < peers_subject_count; i++)
        wanted |= (peers_cases[i].peer == &peer_iceoryx ||
                   peers_cases[i].peer == &peer_iceoryx_waiting) &&
                  bench_wants(&peers_subjects[i]);
    if (!wanted || peer_iceoryx_begin(folder, &error) == 0)
        return;
    for (size_t i = 0; i < peers_count; i++) {
        if (peers[i] != &peer_iceoryx && peers[i] != &peer_iceoryx_waiting)
            continue;
        (void)snprintf(reasons[i], sizeof(reasons[i]), "%s: %s", peers[i]->about, error.text);
        fprintf(stderr, "skipped: %s\n", reasons[i]);
    }
    for (size_t i = 0; i < peers_subject_count; i++)
        peers_subjects[i].skipped = peers_skipped(peers_cases[i].peer);
}

static int begin(const char *folder, struct error_text *error)
{
    for (size_t i = 0; i < peers_count; i++) {
        if (peers_skipped(peers[i]))
            fprintf(stderr, "skipped: %s\n", peers_skipped(peers[i]));
    }
    int r = parley_call_begin(folder, error);
    if (r == 0)
        begin_iceoryx(folder);
    return r;
}

static void end(void)
{
    peer_iceoryx_end();
    parley_call_end();
}

int main(int argc, char **argv)
{
    static struct bench bench = {
        .name = "peers",
        .question = "How fast is Parley beside everything that a user would pick instead?",
        .subjects = peers_subjects,
        .tries = 2, /* it cannot wait for a machine that is quiet for minutes */
        .partial = true,
        .begin = begin,
        .end = end,
        .print = peers_print,
        .write_rows = peers_write_rows,
        .write_report = peers_write_report,
        .conclude = peers_conclude,
    };
    for (size_t i = 0; i < PEERS_SIZE_COUNT; i++)
        add_memcpy(peers_sizes[i]);
    for (size_t i = 0; i < peers_count; i++)
        add_peer(i);
    bench.subject_count = peers_subject_count;
    return bench_main(argc, argv, &bench);
}
