/*
 * The ring and the sleep protocol, proved: ring.c and sleep.c as they are, a producer and a
 * consumer, every execution that C's memory model allows (checker.c).
 *
 * The two are those of tests/unit/shm/test_stress.c. The producer waits for room with `blocked`
 * set, the consumer for records with `asleep` set, both on doorbells that wake and order nothing.
 * What is shown of every execution: no data race; each record arrives once, whole, in order; no
 * sleeper is left behind.
 *
 * The payload is the worst that an application could send: in the words where a prefix may come to
 * lie, it is the very sequence that the consumer will look for there on the next lap. Memory begins
 * like that, too, as after many laps, and positions begin where a sequence goes round 2^32. Only
 * the word that is polled first is 0, which is what the ring's invariant says. (One scenario does
 * without all that, for what happens to look right could also hide a mistake.)
 */
#include <errno.h>
#include <stdalign.h>
#include <stdio.h>
#include <string.h>

#include "model/checker.h"
#include "shm/shm.h"

#define PRODUCER 0 /* and their doorbells */
#define CONSUMER 1
#define RING_LINES_MAX 8
#define START_AROUND (UINT64_C(1) << 31) /* there, ring_sequence() goes round */
#define WORDS_A_LINE (LAYOUT_LINE_BYTES / 4)
#define PREFIX_WORDS (sizeof(struct ring_prefix) / 4)
#define SHORT_BYTES 8
#define LONG_BYTES (LAYOUT_LINE_BYTES + 8)

struct shared {
    alignas(LAYOUT_APART) struct segment_cells producer, consumer;
    alignas(LAYOUT_APART) uint8_t ring[RING_LINES_MAX * LAYOUT_LINE_BYTES];
};
static_assert(sizeof(struct shared) <= CHECKER_SHARED_BYTES, "it has to fit");
static struct shared *const shared = (struct shared *)checker_shared;

static const struct bounds {
    const char *key; /* for --mutant */
    const char *name;
    uint32_t ring_lines;
    uint64_t start;
    /* A letter for each: S a record of one line, L of two, C reserves and writes two lines and
     * commits one, * any of those. */
    const char *records;
    bool harmless; /* memory and payload are not made to look like a prefix */
    bool barrier;  /* the producer goes without fences when it has found the consumer awake once */
} all_bounds[] = {
    {"short", "5 records of a line, a ring of 4", 4, START_AROUND - 2, "SSSSS", false},
    {"long", "4 records of two lines, a ring of 8, from its last", 8, START_AROUND - 1, "LLLL",
     false},
    {"last", "3 records of two lines and 2 of one, a ring of 8, used to its last line", 8,
     START_AROUND, "LLLSS", false},
    {"any", "3 records of any kind, a ring of 8, from its first", 8, START_AROUND, "***", false},
    {"wrap", "3 records of any kind, a ring of 8, from 3 before its end", 8, START_AROUND - 3,
     "***", true},
    {"unfenced",
     "4 records of a line, a ring of 4, without fences while the consumer is awake; and it sleeps "
     "itself",
     4, START_AROUND - 2, "SSSS", true, true},
};
static const struct bounds *bounds;
static unsigned record_count;

static struct segment producer_ours, consumer_ours;
static struct peer_segment producer_peer, consumer_peer;
static unsigned received;

/* ---- Payload ---- */

/* The word at @index of the record's lines, at @position. */
static uint32_t content(unsigned number, uint64_t position, uint32_t index)
{
    if (index % WORDS_A_LINE == 0 && !bounds->harmless)
        return ring_sequence(position + index / WORDS_A_LINE + bounds->ring_lines);
    return number * 1000 + index;
}

static void body_write(uint32_t *body, unsigned number, uint64_t position, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes / 4; i++)
        body[i] = content(number, position, PREFIX_WORDS + i);
}

static void body_check(const uint32_t *body, unsigned number, uint64_t position, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes / 4; i++)
        model_expect(body[i] == content(number, position, PREFIX_WORDS + i));
}

/* ---- The two threads ---- */

static void *room_for(uint32_t bytes)
{
    bool blocked = false;
    void *body = NULL;
    int r;
    while ((r = ring_reserve(&producer_ours, &producer_peer, bytes, &body)) != 0) {
        model_expect(r == RING_E_FULL);
        if (!blocked) {
            blocked_set(&producer_ours);
            blocked = true;
            continue; /* the re-check */
        }
        model_bell_wait(PRODUCER);
        while (model_bell_take(PRODUCER))
            ;
        blocked_clear(&producer_ours);
        blocked = false;
    }
    if (blocked)
        blocked_clear(&producer_ours);
    return body;
}

static void produce(void)
{
    for (unsigned number = 0; number < record_count; number++) {
        char kind = bounds->records[number];
        if (kind == '*')
            kind = "SLC"[model_choose(3)];
        uint32_t reserved = kind == 'S' ? SHORT_BYTES : LONG_BYTES;
        uint32_t committed = kind == 'L' ? LONG_BYTES : SHORT_BYTES;
        uint32_t *body = room_for(reserved);
        body_write(body, number, producer_ours.head + producer_ours.reserved.pad_lines, reserved);
        ring_commit(&producer_ours, committed);
        if (peer_asleep_quick(&producer_ours, &producer_peer))
            model_bell_ring(CONSUMER);
    }
    if (bounds->barrier)
        asleep_set(&producer_ours, &producer_peer, ASLEEP_BELL);
}

static void sleep_for_record(void)
{
    asleep_set(&consumer_ours, &consumer_peer, ASLEEP_BELL);
    if (!ring_pending(&consumer_peer)) {
        model_bell_wait(CONSUMER);
        while (model_bell_take(CONSUMER))
            ;
    }
    asleep_clear(&consumer_ours);
}

static void consume(void)
{
    for (received = 0; received < record_count; received++) {
        const void *body = NULL;
        uint32_t bytes = 0;
        int r;
        while ((r = ring_peek(&consumer_peer, &body, &bytes)) == RING_E_EMPTY)
            sleep_for_record();
        model_expect(r == 0);
        model_expect(bytes == SHORT_BYTES || bytes == LONG_BYTES);
        body_check(body, received, consumer_peer.tail, bytes);
        ring_consume(&consumer_peer, &consumer_ours);
        if (peer_blocked(&consumer_peer))
            model_bell_ring(PRODUCER);
    }
}

/* ---- Scenarios ---- */

static void begin(void)
{
    memset(checker_shared, 0, sizeof(*shared));
    uint32_t *words = (uint32_t *)shared->ring;
    for (uint32_t line = 0; line < bounds->ring_lines; line++) {
        uint64_t position = bounds->start + line;
        uint32_t first = (uint32_t)(position & (bounds->ring_lines - 1)) * WORDS_A_LINE;
        for (uint32_t i = 0; i < WORDS_A_LINE; i++)
            words[first + i] = SHORT_BYTES;
        words[first] = line == 0 ? 0 : bounds->harmless ? SHORT_BYTES : ring_sequence(position);
    }
    shared->consumer.consumed = bounds->start;
    producer_ours = (struct segment){
        .cells = &shared->producer,
        .ring = shared->ring,
        .ring_lines = bounds->ring_lines,
        .head = bounds->start,
        .peer_consumed = bounds->start,
    };
    consumer_peer = (struct peer_segment){
        .cells = &shared->producer,
        .ring = shared->ring,
        .ring_lines = bounds->ring_lines,
        .tail = bounds->start,
    };
    consumer_ours = (struct segment){.cells = &shared->consumer};
    producer_peer = (struct peer_segment){.cells = &shared->consumer};
    shared->consumer.barrier = bounds->barrier;
    received = 0;
}

static void end(void)
{
    model_expect(received == record_count);
    model_expect(consumer_peer.tail == producer_ours.head);
}

static void word_name(size_t offset, char *text, size_t text_bytes)
{
    static const struct {
        size_t offset;
        const char *name;
    } cells[] = {
        {offsetof(struct shared, producer.asleep), "producer's asleep"},
        {offsetof(struct shared, producer.blocked), "producer's blocked"},
        {offsetof(struct shared, producer.unfenced), "producer's unfenced"},
        {offsetof(struct shared, consumer.asleep), "consumer's asleep"},
        {offsetof(struct shared, consumer.blocked), "consumer's blocked"},
        {offsetof(struct shared, consumer.consumed), "consumed"},
    };
    for (size_t i = 0; i < sizeof(cells) / sizeof(cells[0]); i++) {
        if (cells[i].offset == offset)
            snprintf(text, text_bytes, "%s", cells[i].name);
    }
    if (offset >= offsetof(struct shared, ring)) {
        offset -= offsetof(struct shared, ring);
        snprintf(text, text_bytes, "line %zu, word %zu", offset / LAYOUT_LINE_BYTES,
                 offset % LAYOUT_LINE_BYTES / 4);
    }
}

#define CELL(field) offsetof(struct shared, field)
#define LINE(index) (offsetof(struct shared, ring) + (index)*LAYOUT_LINE_BYTES)
static const uint16_t atomics[] = {
    CELL(producer.asleep),
    CELL(producer.blocked),
    CELL(producer.unfenced),
    CELL(consumer.asleep),
    CELL(consumer.blocked),
    CELL(consumer.consumed),
    LINE(0),
    LINE(1),
    LINE(2),
    LINE(3),
    LINE(4),
    LINE(5),
    LINE(6),
    LINE(7),
    CHECKER_END,
};

static const struct checker_memory private_memory[] = {
    {&producer_ours, sizeof(producer_ours)}, {&producer_peer, sizeof(producer_peer)},
    {&consumer_ours, sizeof(consumer_ours)}, {&consumer_peer, sizeof(consumer_peer)},
    {&received, sizeof(received)},           {NULL, 0},
};

/* Without arguments: all must be proved. --mutant KEY: that one must be broken. */
int main(int argc, char **argv)
{
    const char *mutant = argc == 3 && strcmp(argv[1], "--mutant") == 0 ? argv[2] : NULL;
    int failures = mutant ? 1 : 0;
    for (size_t i = 0; i < sizeof(all_bounds) / sizeof(all_bounds[0]); i++) {
        bounds = &all_bounds[i];
        record_count = (unsigned)strlen(bounds->records);
        if (mutant && strcmp(mutant, bounds->key) != 0)
            continue;
        const struct scenario scenario = {
            .name = bounds->name,
            .begin = begin,
            .threads = {produce, consume},
            .end = end,
            .atomics = atomics,
            .private_memory = private_memory,
            .word_name = word_name,
        };
        bool broken = checker_run(&scenario).broken;
        failures += mutant ? -broken : broken;
    }
    return failures != 0;
}
