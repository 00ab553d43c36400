/*
 * What was measured, as a table and as rows of JSON: of each peer, mode and size the placement in
 * which it did best.
 *
 * Of an echo, calls a second are what one caller reaches, one call after the other. Percentiles
 * beyond what a subject has samples for (of 3,000 samples, p99.99) are its longest call.
 */
#include "peers.h"

static const int shown[] = {BENCH_P50, BENCH_P90, BENCH_P99, BENCH_P999, BENCH_P9999};
#define SHOWN_COUNT (sizeof(shown) / sizeof(shown[0]))

static void print_ns(double ns)
{
    if (ns < 10e3)
        printf(" %8.0f ns", ns);
    else if (ns < 10e6)
        printf(" %8.1f us", ns / 1e3);
    else
        printf(" %8.1f ms", ns / 1e6);
}

static void print_row(const char *about, const char *place, const struct bench_result *result)
{
    printf("%-34s", about);
    for (size_t i = 0; i < SHOWN_COUNT; i++)
        print_ns(result->ns[shown[i]]);
    if (result->per_s > 0)
        printf(" %12.0f/s", result->per_s);
    printf("  %s\n", place);
}

static void print_floors(const struct bench_result *results)
{
    for (size_t i = 0; i < peers_subject_count; i++) {
        char about[40];
        if (peers_cases[i].peer || !results[i].measured)
            continue;
        if (i >= FLOOR_INDEX_MEMCPY)
            (void)snprintf(about, sizeof(about), "memcpy of %u bytes",
                           peers_subjects[i].load.bytes);
        else
            (void)snprintf(about, sizeof(about), "%s", peers_subjects[i].about);
        print_row(about, "", &results[i]);
    }
}

static void print_mode(const struct bench_result *results, const char *title, enum peers_mode mode,
                       uint32_t bytes, uint64_t pause_ns)
{
    bool any = false;
    for (size_t i = 0; i < peers_count; i++) {
        size_t best = peers_best(results, peers[i], mode, bytes, pause_ns);
        if (best == SIZE_MAX)
            continue;
        if (!any)
            printf("\n%s\n", title);
        any = true;
        print_row(peers[i]->about, peers_place_name(peers_subjects[best].placement),
                  &results[best]);
    }
}

void peers_print(const struct bench_result *results)
{
    char title[96];
    printf("%-34s %11s %11s %11s %11s %11s  best placement\n", "", "p50", "p90", "p99", "p99.9",
           "p99.99");
    printf("Floors\n");
    print_floors(results);
    for (size_t i = 0; i < PEERS_SIZE_COUNT; i++) {
        (void)snprintf(title, sizeof(title), "Awake, %u bytes there and back", peers_sizes[i]);
        print_mode(results, title, PEERS_AWAKE, peers_sizes[i], 0);
    }
    print_mode(results, "Asleep: 64 bytes, a call a millisecond", PEERS_ASLEEP, 64, PEERS_OFTEN_NS);
    print_mode(results, "Asleep: 64 bytes, a call a second", PEERS_ASLEEP, 64, PEERS_RARE_NS);
    print_mode(results, "Pipelined: 64 bytes, one client, one service, 2,048 in flight",
               PEERS_PIPELINED, 64, 0);
    for (size_t i = 0; i < peers_count; i++) {
        if (peers_skipped(peers[i]))
            printf("\nskipped: %s", peers_skipped(peers[i]));
    }
    printf("\n");
}

/* ---- JSON ---- */

static void write_floor(FILE *file, const char *name, const struct bench_result *result)
{
    if (result->measured)
        fprintf(file, ",\n\"%s\":%.1f", name, result->ns[BENCH_P50]);
}

static void write_best(FILE *file, const struct bench_result *results, const char *name,
                       const struct peer *peer, enum peers_mode mode, uint64_t pause_ns)
{
    size_t best = peers_best(results, peer, mode, 64, pause_ns);
    if (best != SIZE_MAX)
        write_floor(file, name, &results[best]);
}

static void write_floors(const struct bench_result *results, FILE *file)
{
    fprintf(file, "\"floors\":{\"cache_line_ns\":%.1f", results[FLOOR_INDEX_LINE].ns[BENCH_P50]);
    write_floor(file, "clock_ns", &results[FLOOR_INDEX_CLOCK]);
    write_floor(file, "ring_ns", &results[FLOOR_INDEX_RING]);
    if (results[FLOOR_INDEX_RING_FLOW].measured)
        fprintf(file, ",\n\"ring_calls_per_s\":%.0f", results[FLOOR_INDEX_RING_FLOW].per_s);
    write_floor(file, "protobuf_ns", &results[FLOOR_INDEX_PROTOBUF]);
    for (size_t i = 0; i < PEERS_SIZE_COUNT; i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "memcpy_%u_ns", peers_sizes[i]);
        write_floor(file, name, &results[FLOOR_INDEX_MEMCPY + i]);
    }
    write_best(file, results, "futex_ns", &peer_futex, PEERS_AWAKE, 0);
    write_best(file, results, "futex_asleep_ns", &peer_futex, PEERS_ASLEEP, PEERS_OFTEN_NS);
    write_best(file, results, "unix_ns", &peer_unix, PEERS_AWAKE, 0);
    write_best(file, results, "unix_asleep_ns", &peer_unix, PEERS_ASLEEP, PEERS_OFTEN_NS);
    fprintf(file, "}");
}

static void write_row(const struct bench_result *results, size_t index, FILE *file)
{
    const struct bench_subject *subject = &peers_subjects[index];
    const struct peers_case *measured = &peers_cases[index];
    const double *ns = results[index].ns;
    double per_s = results[index].per_s;
    if (per_s <= 0) /* one call after the other, and the pauses between them */
        per_s = 1e9 / (ns[BENCH_P50] + (double)subject->load.pause_ns);
    fprintf(file,
            "{\"bench\":\"peers\",\"peer\":\"%s\",\"mode\":\"%s\",\"bytes\":%u,\"clients\":1,"
            "\"placement\":\"%s\",\"best\":%s,\"in_flight\":%u,\"pause_ns\":%llu,"
            "\"p50_ns\":%.0f,\"p90_ns\":%.0f,\"p99_ns\":%.0f,\"p999_ns\":%.0f,\"p9999_ns\":%.0f,"
            "\"calls_per_s\":%.0f}",
            measured->peer->name, peers_mode_name(measured->mode), subject->load.bytes,
            peers_place_name(subject->placement),
            peers_best(results, measured->peer, measured->mode, subject->load.bytes,
                       subject->load.pause_ns) == index
                ? "true"
                : "false",
            subject->load.in_flight ? subject->load.in_flight : 1,
            (unsigned long long)subject->load.pause_ns, ns[BENCH_P50], ns[BENCH_P90], ns[BENCH_P99],
            ns[BENCH_P999], ns[BENCH_P9999], per_s);
}

void peers_write_rows(const struct bench_result *results, FILE *file)
{
    const char *separator = "\n";
    write_floors(results, file);
    fprintf(file, ",\"skipped\":[");
    for (size_t i = 0, count = 0; i < peers_count; i++) {
        if (peers_skipped(peers[i]))
            fprintf(file, "%s\"%s\"", count++ ? "," : "", peers_skipped(peers[i]));
    }
    fprintf(file, "],\"rows\":[");
    for (size_t i = 0; i < peers_subject_count; i++) {
        if (!results[i].measured || !peers_cases[i].peer)
            continue;
        fprintf(file, "%s", separator);
        write_row(results, i, file);
        separator = ",\n";
    }
    fprintf(file, "\n]");
}
