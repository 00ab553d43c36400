/* Between the files of the comparison with peers: its subjects, and what was measured of them. */
#ifndef PARLEY_BENCH_PEERS_H
#define PARLEY_BENCH_PEERS_H

#include "peer.h"

/* One after the other without a pause, the same with one, many at once. */
enum peers_mode { PEERS_FLOOR, PEERS_AWAKE, PEERS_ASLEEP, PEERS_PIPELINED };
#define PEERS_OFTEN_NS NS_PER_MS /* pauses of those that sleep */
#define PEERS_RARE_NS NS_PER_S

/* The floors that are no peers, by their index among the subjects. */
enum {
    FLOOR_INDEX_LINE,
    FLOOR_INDEX_CLOCK,
    FLOOR_INDEX_RING,
    FLOOR_INDEX_RING_FLOW,
    FLOOR_INDEX_PROTOBUF,
    FLOOR_INDEX_MEMCPY, /* and one for each further size */
};

#define PEERS_SIZE_COUNT 4
extern const uint32_t peers_sizes[PEERS_SIZE_COUNT];

struct peers_case {
    const struct peer *peer; /* NULL: a floor */
    enum peers_mode mode;
};

extern const struct peer *const peers[];
extern const size_t peers_count;
extern struct bench_subject peers_subjects[BENCH_SUBJECT_MAX];
extern struct peers_case peers_cases[BENCH_SUBJECT_MAX]; /* by the same index */
extern size_t peers_subject_count;

/**
 * peers_best() - a peer where it is placed best
 * @pause_ns: of those that sleep; else 0
 *
 * Return: the subject's index, by p50, or by calls a second if it is pipelined; SIZE_MAX if nothing
 * like it was measured.
 */
size_t peers_best(const struct bench_result *results, const struct peer *peer, enum peers_mode mode,
                  uint32_t bytes, uint64_t pause_ns);

const char *peers_mode_name(enum peers_mode mode);
const char *peers_place_name(enum bench_placement placement);
/* "gRPC: libgrpc++-dev is not installed", or NULL if the peer is there. */
const char *peers_skipped(const struct peer *peer);

/* peers_print.c, peers_goals.c, peers_report.c: for struct bench. */
void peers_print(const struct bench_result *results);
void peers_write_rows(const struct bench_result *results, FILE *file);
int peers_conclude(const struct bench_result *results);
int peers_write_report(const struct bench_result *results, const char *folder);

#endif
