/*
 * The goals, as ratios: within a round where both sides of it were measured in the same mode, and
 * each at its best placement. A goal whose peer is not here is not judged.
 */
#include "peers.h"

#include <math.h>

static size_t awake(const struct bench_result *results, const struct peer *peer)
{
    return peers_best(results, peer, PEERS_AWAKE, 64, 0);
}

static size_t pipelined(const struct bench_result *results, const struct peer *peer)
{
    return peers_best(results, peer, PEERS_PIPELINED, 64, 0);
}

/* How many times the time of @of. NAN if one is missing. */
static double times(const struct bench_result *results, size_t index, size_t of)
{
    if (index == SIZE_MAX || of == SIZE_MAX || !results[index].measured || !results[of].measured)
        return NAN;
    return bench_ratio(&results[index], &results[of]);
}

static double rate_times(const struct bench_result *results, size_t index, size_t of)
{
    if (index == SIZE_MAX || of == SIZE_MAX || !results[index].measured || !results[of].measured)
        return NAN;
    return bench_rate_ratio(&results[index], &results[of]);
}

/* Return: whether it was missed. */
static bool judge(const char *what, double value, double least, double most)
{
    bool missed = value < least || value > most; /* false of NAN */
    if (isnan(value))
        printf("%-64s not measured\n", what);
    else
        printf("%-64s %8.2f   goal: at %s %g: %s\n", what, value, least > 0 ? "least" : "most",
               least > 0 ? least : most, missed ? "MISSED" : "met");
    return missed;
}

static bool judge_awake(const struct bench_result *results)
{
    size_t parley = awake(results, &peer_parley);
    double tail =
        parley == SIZE_MAX ? NAN : results[parley].ns[BENCH_P99] / results[parley].ns[BENCH_P50];
    bool missed =
        judge("awake: times the bare ring", times(results, parley, FLOOR_INDEX_RING), 0, 3);
    missed |= judge("awake: p99, times p50", tail, 0, 2);
    missed |= judge("awake: as fast as NNG ipc, times",
                    times(results, awake(results, &peer_nng_ipc), parley), 150, INFINITY);
    missed |= judge("awake: as fast as ZeroMQ ipc, times",
                    times(results, awake(results, &peer_zmq), parley), 60, INFINITY);
    missed |= judge("awake: as fast as iceoryx spinning, times",
                    times(results, awake(results, &peer_iceoryx), parley), 4, INFINITY);
    return missed;
}

/* What sleeping adds to the call, in futex round trips, and the whole beside a unix socket. */
static bool judge_asleep(const struct bench_result *results, uint64_t pause_ns, const char *often)
{
    char text[96];
    size_t call = peers_best(results, &peer_parley_default, PEERS_ASLEEP, 64, pause_ns);
    size_t futex = peers_best(results, &peer_futex, PEERS_ASLEEP, 64, pause_ns);
    size_t parley = awake(results, &peer_parley);
    double added = NAN;
    if (call != SIZE_MAX && futex != SIZE_MAX && parley != SIZE_MAX)
        added = (results[call].ns[BENCH_P50] - results[parley].ns[BENCH_P50]) /
                results[futex].ns[BENCH_P50];
    (void)snprintf(text, sizeof(text), "asleep, %s: less the awake call, times a futex", often);
    bool missed = judge(text, added, 0, 1.2);
    (void)snprintf(text, sizeof(text), "asleep, %s: times a unix socket", often);
    return missed |
           judge(text,
                 times(results, call, peers_best(results, &peer_unix, PEERS_ASLEEP, 64, pause_ns)),
                 0, 1);
}

static bool judge_pipelined(const struct bench_result *results)
{
    size_t parley = pipelined(results, &peer_parley);
    bool missed = judge("pipelined: calls a second, times gRPC's",
                        rate_times(results, parley, pipelined(results, &peer_grpc)), 100, INFINITY);
    missed |= judge("pipelined: calls a second, times ZeroMQ's",
                    rate_times(results, parley, pipelined(results, &peer_zmq)), 3.5, INFINITY);
    missed |= judge("pipelined: calls a second, times the bare ring's",
                    rate_times(results, parley, FLOOR_INDEX_RING_FLOW), 0.1, INFINITY);
    return missed;
}

int peers_conclude(const struct bench_result *results)
{
    bool missed = judge_awake(results);
    missed |= judge_asleep(results, PEERS_OFTEN_NS, "a call a millisecond");
    missed |= judge_asleep(results, PEERS_RARE_NS, "a call a second");
    missed |= judge_pipelined(results);
    return missed;
}
