/*
 * Two endpoints and the channel between them, proved: loop.c and channel.c of bus/rpc with ring.c,
 * sleep.c, release.c and arena.c of bus/shm as they are, every execution that C's memory model
 * allows (checker.c).
 *
 * Each thread is an endpoint with one channel and the real loop: it drains, spins for no time,
 * dozes if it is a scenario for that, arms its doorbell, looks again, sleeps. Only the kernel is
 * ours: a doorbell socket whose two ends hand over what the sender had seen, as its locks do, a
 * wait that ends when there is something to receive, and a futex. Segments are of a few lines, so
 * that rings fill and the queue of frames that wait for room comes into play.
 *
 * Shown of every execution: no data race; each frame arrives once, whole, in order; nobody sleeps
 * for ever; a hang-up is told after the last frame, and is told.
 */
#include "rpc/frames.h"

#include <errno.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fork.h"
#include "base/log.h"
#include "model/checker.h"
#include "rpc/offers.h"

#define CLIENT 0 /* and its thread, its doorbell, its descriptor */
#define SERVICE 1
#define RING_LINES 4
#define FURTHER_LINES 8
#define RELEASE_SLOTS 2
#define ARENA_BYTES 256
#define FRAMES_MAX 8
#define PAYLOAD_WORDS 2 /* a record of one line */
#define ARENA_WORDS 8   /* what does not fit in one: a block of the arena */

struct half {
    alignas(LAYOUT_APART) struct segment_cells cells;
    _Atomic uint32_t release[RELEASE_SLOTS];
    alignas(LAYOUT_APART) uint8_t ring[RING_LINES * LAYOUT_LINE_BYTES];
    uint8_t arena[ARENA_BYTES];
    alignas(LAYOUT_LINE_BYTES) uint8_t further[FURTHER_LINES * LAYOUT_LINE_BYTES];
};
static_assert(2 * sizeof(struct half) <= CHECKER_SHARED_BYTES, "it has to fit");
static struct half *const halves = (struct half *)checker_shared;

/* What is asked of the two. */
static const struct bounds {
    const char *key; /* for --mutant */
    const char *name;
    unsigned requests; /* that the client sends, at once */
    unsigned replies;  /* one for each of the first requests */
    unsigned words;    /* of payload */
    unsigned farewell; /* frames that the service sends before it hangs up; 0: it does not */
    bool dozes;        /* before they sleep */
    bool watches;      /* words, and not the doorbell, when they sleep */
    bool sees;         /* descriptors, when they doze */
    bool grows;        /* the ring, as soon as it is full */
    bool fresh;        /* nobody has called yet: the service's channel is cold */
} all_bounds[] = {
    {"reply", "2 requests, each answered", 2, 2, PAYLOAD_WORDS, 0, false, false, false},
    {"doze", "2 requests, one answered, by two that doze first", 2, 1, PAYLOAD_WORDS, 0, true,
     false, false},
    {"see", "2 requests, one answered, by two that doze and see", 2, 1, PAYLOAD_WORDS, 0, false,
     false, true},
    {"word", "2 requests, one answered, by two that sleep on words", 2, 1, PAYLOAD_WORDS, 0, false,
     true, false},
    {"hang-up", "a request, 2 frames, and the service hangs up", 1, 0, PAYLOAD_WORDS, 2, false,
     false, false},
    {"arena", "3 requests by the arena, which has 2 blocks", 3, 0, ARENA_WORDS, 0, false, false, false},
    {"full", "4 requests at once, a ring with room for 3", 4, 0, PAYLOAD_WORDS, 0, false, false, false},
    {"grow", "4 requests at once, a ring with room for 3 that grows", 4, 0, PAYLOAD_WORDS, 0, false,
     true, false, true},
    {"fresh", "2 requests, one answered, by a service that was never called", 2, 1, PAYLOAD_WORDS,
     0, false, false, true, false, true},
};
static const struct bounds *bounds;

static const struct uplink_ops no_uplink;

static struct party {
    struct parley_endpoint endpoint;
    struct channel *channel;
    const void *watched; /* in the wait that comes next */
    unsigned received;
    bool dead;
} parties[2];

/* The kernel's side of the doorbells. */
static struct {
    unsigned rings;
    bool further; /* the descriptor of the other side's ring is there */
    bool hung_up; /* by the other side */
} sockets[2];

/* And of the words that they doze on. */
#define WORD_BELL(thread) (2 + (thread))
static const void *woken[2]; /* the word that @thread was woken on last */

static struct party *myself(void)
{
    return &parties[model_thread()];
}

/* ---- Memory of the threads' own: the lowest place that is free, so that equal states look equal
 * ---- */

#define LARGE_BYTES 1664
#define LARGE_COUNT 6
#define SMALL_BYTES 128
#define SMALL_COUNT 10
static alignas(16) uint8_t large[LARGE_COUNT][LARGE_BYTES], small[SMALL_COUNT][SMALL_BYTES];
static bool large_used[LARGE_COUNT], small_used[SMALL_COUNT];
static unsigned making; /* in begin(): whose half */

static unsigned my_index(void)
{
    return model_thread() < 2 ? model_thread() : making;
}

void *model_calloc(size_t count, size_t bytes);
void *model_malloc(size_t bytes);
void model_free(void *memory);

void *model_malloc(size_t bytes)
{
    unsigned mine = my_index();
    for (unsigned i = mine; i < SMALL_COUNT && bytes <= SMALL_BYTES; i += 2) {
        if (!small_used[i]) {
            small_used[i] = true;
            return small[i];
        }
    }
    for (unsigned i = mine; i < LARGE_COUNT && bytes <= LARGE_BYTES; i += 2) {
        if (!large_used[i]) {
            large_used[i] = true;
            return large[i];
        }
    }
    /* Of the test, not of what it proves: no mutant is caught by this. */
    (void)fprintf(stderr, "no memory for %zu bytes: make LARGE_BYTES larger\n", bytes);
    exit(2);
}

void *model_calloc(size_t count, size_t bytes)
{
    return model_malloc(count * bytes);
}

void model_free(void *memory)
{
    uint8_t *byte = memory;
    if (!memory)
        return;
    if (byte >= small[0] && byte < small[0] + sizeof(small)) {
        small_used[(byte - small[0]) / SMALL_BYTES] = false;
        memset(byte, 0, SMALL_BYTES);
    } else {
        large_used[(byte - large[0]) / LARGE_BYTES] = false;
        memset(byte, 0, LARGE_BYTES);
    }
}

/* ---- The kernel ---- */

ssize_t send(int fd, const void *data, size_t bytes, int flags)
{

    if (sockets[fd].hung_up) {
        errno = EPIPE;
        return -1;
    }
    model_bell_ring((unsigned)!fd);
    sockets[!fd].rings++;
    return (ssize_t)bytes;
}

int shutdown(int fd, int how)
{
    (void)how;
    model_bell_ring((unsigned)!fd);
    sockets[!fd].hung_up = true;
    return 0;
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    (void)flags;
    (void)model_bell_take((unsigned)fd);
    message->msg_flags = 0;
    if (sockets[fd].further) {
        struct cmsghdr *cmsg = CMSG_FIRSTHDR(message);
        sockets[fd].further = false;
        *cmsg = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)),
                                 .cmsg_level = SOL_SOCKET,
                                 .cmsg_type = SCM_RIGHTS};
        memset(CMSG_DATA(cmsg), 0, sizeof(int));
        message->msg_controllen = CMSG_SPACE(sizeof(int));
        *(uint8_t *)message->msg_iov->iov_base = BELL_GROW_RING;
        return sizeof(struct bell_packet);
    }
    message->msg_controllen = 0;
    if (sockets[fd].rings > 0) {
        sockets[fd].rings--;
        *(uint8_t *)message->msg_iov->iov_base = BELL_RING;
        return 1;
    }
    if (sockets[fd].hung_up)
        return 0;
    errno = EAGAIN;
    return -1;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    const struct bell_packet *packet = message->msg_iov->iov_base;
    (void)flags;
    if (!bounds->grows || packet->kind != BELL_GROW_RING)
        model_fail("a packet other than a ring");
    model_bell_ring((unsigned)!fd);
    sockets[!fd].further = true;
    return sizeof(*packet);
}

/* A futex. The kernel takes a lock, compares, and sleeps until the next wake-up: those before are
 * forgotten, but whoever came before us into that lock has published what he woke us for. The time
 * may end it whenever it likes. */
static int futex_wait(const _Atomic uint32_t *word, bool times_out)
{
    const unsigned me = model_thread();
    while (model_bell_take(WORD_BELL(me)))
        continue;
    if (atomic_load_explicit(word, memory_order_relaxed) != 0)
        return 1;
    if (times_out && model_choose(2))
        return 0;
    do {
        model_bell_wait(WORD_BELL(me));
        (void)model_bell_take(WORD_BELL(me));
    } while (woken[me] != word);
    return 1;
}

int wait_words(const void *const *words, unsigned count, uint64_t timeout_ns)
{
    (void)timeout_ns;
    model_expect(count == 1);
    return futex_wait(words[0], true);
}

void wait_words_wake(const void *word)
{
    woken[!model_thread()] = word;
    model_bell_ring(WORD_BELL(!model_thread()));
}

/* Where it is done, no descriptor has anything. */
int wait_doze(struct wait *wait, const void *const *words, unsigned count, uint64_t timeout_ns)
{
    (void)wait, (void)timeout_ns;
    model_expect(count == 1);
    return bounds->sees ? futex_wait(words[0], false) : -ENOSYS;
}

bool wait_quiet(const struct wait *wait)
{
    (void)wait;
    return false;
}

int wait_watch(struct wait *wait, int fd, const void *word)
{
    (void)wait, (void)fd;
    myself()->watched = word;
    return 0;
}

int wait_poll(struct wait *wait, struct wait_event *ret_events, int max, uint64_t timeout_ns)
{
    struct party *me = myself();
    const void *watched = me->watched;
    (void)wait, (void)max;
    *ret_events = (struct wait_event){.tag = &me->channel->source, .events = WAIT_IN};
    if (watched && timeout_ns > 0) {
        /* In these scenarios nothing else will come. */
        me->watched = NULL;
        ret_events->events = WAIT_WORD;
        return futex_wait(watched, false);
    }
    if (timeout_ns > 0)
        model_bell_wait(model_thread());
    else if (!model_bell_rung(model_thread()))
        return 0;
    return 1;
}

/* ---- What the rooms below and beside would do ---- */

static void half_of(unsigned index, struct peer_segment *ret_peer)
{
    ret_peer->cells = &halves[index].cells;
    ret_peer->ring = halves[index].ring;
    ret_peer->ring_lines = RING_LINES;
    ret_peer->release = halves[index].release;
    ret_peer->release_slots = RELEASE_SLOTS;
    ret_peer->arenas[0] = (struct peer_arena){halves[index].arena, ARENA_BYTES};
    ret_peer->region.base = &halves[index];
}

int arena_new(uint8_t *base, size_t bytes, uint32_t block_max, struct arena **ret_arena);

int segment_create(struct segment *segment, const struct segment_options *options,
                   struct error_text *error)
{
    (void)options, (void)error;
    struct half *half = &halves[making];
    *segment = (struct segment){
        .cells = &half->cells,
        .ring = half->ring,
        .ring_lines = RING_LINES,
        .release = half->release,
        .release_slots = RELEASE_SLOTS,
    };
    return arena_new(half->arena, ARENA_BYTES, RELEASE_SLOTS, &segment->arena);
}

int ring_grow(struct segment *segment, int *ret_fd, struct error_text *error)
{
    (void)error;
    segment->further_ring = halves[model_thread()].further;
    segment->further_lines = FURTHER_LINES;
    *ret_fd = 0;
    return 0;
}

int ring_add(struct peer_segment *peer, int fd, struct error_text *error)
{
    (void)fd, (void)error;
    peer->further_ring = halves[!model_thread()].further;
    peer->further_lines = FURTHER_LINES;
    return 0;
}

int peer_segment_map(struct peer_segment *peer, int fd, struct error_text *error)
{
    (void)fd, (void)error;
    half_of(!making, peer);
    return 0;
}

/* In order of arrival; what is never called here ends the scenario. */
#define NEVER(result, name, ...)                                                                   \
    result name(__VA_ARGS__)                                                                       \
    {                                                                                              \
        model_fail("nobody asked for " #name "()");                                                \
    }

void segment_deinit(struct segment *segment)
{
    (void)segment;
}
void peer_segment_deinit(struct peer_segment *peer)
{
    (void)peer;
}
void region_deinit(struct region *region)
{
    (void)region;
}
int wait_add(struct wait *wait, int fd, uint32_t events, void *tag)
{
    (void)wait, (void)fd, (void)events, (void)tag;
    return 0;
}
int wait_modify(struct wait *wait, int fd, uint32_t events)
{
    (void)wait, (void)fd, (void)events;
    return 0;
}
int wait_remove(struct wait *wait, int fd)
{
    (void)wait, (void)fd;
    return 0;
}
int fd_close(int fd)
{
    (void)fd;
    return -1;
}
int error_set(struct error_text *error, int code, const char *format, ...)
{
    (void)error, (void)format;
    return code;
}
enum log_level log_level(void)
{
    return LOG_LEVEL_NONE;
}
void log_write(enum log_level level, const char *format, ...)
{
    (void)level;
    model_fail("a log line: %s", format);
}
void stats_bump(_Atomic uint64_t *counter)
{
    (void)counter;
}

void stats_grow(_Atomic uint64_t *counter, uint64_t value)
{
    (void)counter, (void)value;
}
uint64_t clock_now_ns(void)
{
    return 1;
}
uint64_t quick_clock_set(struct quick_clock *clock)
{
    (void)clock;
    return 1;
}
uint64_t spin_begin(struct spin *spin)
{
    (void)spin;
    return 0;
}
uint64_t spin_doze(const struct spin *spin)
{
    (void)spin;
    return bounds->dozes ? 1 : 0;
}
void spin_slept(struct spin *spin, uint64_t wait_ns)
{
    (void)spin, (void)wait_ns;
}
uint32_t spin_cpu(void)
{
    return 0; /* not known: nobody gives way, and nobody leaves */
}
bool part_due(struct part *part, uint64_t now_ns)
{
    (void)part, (void)now_ns;
    return false;
}
void part_done(struct part *part, bool left, uint64_t now_ns)
{
    (void)part, (void)left, (void)now_ns;
}
bool part_has_room(void)
{
    return false;
}
bool part_leave_cpu(void)
{
    return false;
}
_Atomic uint32_t fork_generation_now; /* nobody forks here */
void refs_memory_gone(struct channel *channel) /* there has been nothing in it */
{
}

NEVER(void, ring_grow_undo, struct segment *segment)
NEVER(void, yield_cpu, void)
NEVER(void, yield_took, struct yield *yield, uint64_t start_ns, uint64_t now_ns)
NEVER(void, spin_hit, struct spin *spin)
NEVER(void, spin_miss, struct spin *spin)
NEVER(void, wait_wake, struct wait *wait)
NEVER(void, call_expire, struct call *call)
NEVER(void, call_accepted, struct call *call)
NEVER(uint64_t, client_attach_due, struct parley_client *client, uint64_t now)
NEVER(void, services_hang_up_due, struct parley_endpoint *endpoint, uint64_t now)
NEVER(void, client_destroy, struct parley_client *client)
NEVER(void, service_destroy, struct parley_service *service)
NEVER(int, uplink_try, struct parley_endpoint *endpoint)
NEVER(void, held_free, struct held_plan *held)
NEVER(int, plan_bind, struct plan *plan, const ProtobufCServiceDescriptor *descriptor,
      enum plan_payload side, struct plan_binding **ret, struct error_text *error)
NEVER(struct plan_binding *, plan_binding_ref, struct plan_binding *binding)
NEVER(int, wire_pack_at, struct wire_packing *packing, const struct wire_packer *packer,
      size_t type, const ProtobufCMessage *message, uint8_t *out, size_t room, size_t *ret_bytes)
NEVER(void, copy_round, void *out, const void *in, size_t bytes)
NEVER(int, wire_pack_write, struct wire_packing *packing, uint8_t *out)
NEVER(bool, call_keep_more, struct call *call, size_t bytes)
NEVER(bool, buffers_unpark, struct channel *channel)
NEVER(int, refs_forgo, struct body *body)
NEVER(int, refs_write, struct channel *channel, struct wire_packing *packing, size_t bytes,
      size_t ref_count, uint8_t *out)
NEVER(int, share_refused, const struct frame *frame, uint64_t place, uint32_t bytes,
      struct error_text *error)
NEVER(int, frame_read_refs_any, struct channel *channel, const struct frame *frame,
      struct error_text *error)
NEVER(int, arena_add, struct peer_segment *peer, int fd, struct error_text *error)
NEVER(int, region_create, struct region *region, const char *name, size_t bytes,
      struct error_text *error)

/* ---- Frames ---- */

static uint32_t content(unsigned sender, unsigned number, unsigned index)
{
    return (sender + 1) * 1000000 + number * 1000 + index;
}

static void frame_send(unsigned number)
{
    struct party *me = myself();
    uint32_t payload[ARENA_WORDS] = {0};
    for (unsigned i = 0; i < bounds->words; i++)
        payload[i] = content(model_thread(), number, i);
    struct frame_header header = {.call_id = number, .kind = FRAME_ONE_WAY};
    struct body body = {.data = (const uint8_t *)payload, .bytes = bounds->words * 4};
    int r = channel_send_or_queue(me->channel, &header, &body, NULL);
    model_expect(r >= 0);
    channel_wake(me->channel); /* as call.c does */
    channel_ring_if_asleep(me->channel);
}

static int frame_arrived(struct channel *channel, const struct frame *frame,
                         struct error_text *error)
{
    struct party *me = myself();
    unsigned number = me->received++;
    (void)error;
    model_expect(frame->header.call_id == number);
    model_expect(frame->header.payload_bytes == bounds->words * 4);
    const uint32_t *payload = (const uint32_t *)frame->payload;
    for (unsigned i = 0; i < bounds->words; i++)
        model_expect(payload[i] == content(!model_thread(), number, i));
    channel_consume(channel, frame);
    if (model_thread() == SERVICE && number < bounds->replies)
        frame_send(number);
    return 0;
}

static void died(struct channel *channel, enum parley_status status, const char *text)
{
    (void)channel, (void)text;
    myself()->dead = true;
    model_expect(status == PARLEY_UNAVAILABLE);
}

/* ---- The two threads ---- */

static void turns_until(bool (*done)(const struct party *party))
{
    while (!done(myself()))
        model_expect(endpoint_turn(&myself()->endpoint, CLOCK_NEVER) == 0);
}

static bool all_sent(const struct party *party)
{
    return party->dead || party->channel->queue.count == 0;
}

static bool client_done(const struct party *party)
{
    return bounds->farewell ? party->dead : all_sent(party) && party->received == bounds->replies;
}

static bool service_done(const struct party *party)
{
    return all_sent(party) && party->received == bounds->requests;
}

static void client(void)
{
    for (unsigned number = 0; number < bounds->requests; number++)
        frame_send(number);
    turns_until(client_done);
}

static void service(void)
{
    turns_until(service_done);
    if (bounds->farewell == 0)
        return;
    for (unsigned number = 0; number < bounds->farewell; number++)
        frame_send(number);
    turns_until(all_sent);
    channel_kill(myself()->channel, PARLEY_UNAVAILABLE, "drained");
}

/* ---- Scenarios ---- */

static const struct channel_ops ops = {.frame = frame_arrived, .dead = died};

static struct parley_service served; /* whose channel it is: only that there is one */

static void party_init(unsigned index)
{
    struct party *party = &parties[index];
    struct parley_endpoint *endpoint = &party->endpoint;
    struct error_text error;
    making = index;
    TAILQ_INIT(&endpoint->cold);
    TAILQ_INIT(&endpoint->dead);
    TAILQ_INIT(&endpoint->clients);
    TAILQ_INIT(&endpoint->services);
    TAILQ_INIT(&endpoint->dead_clients);
    TAILQ_INIT(&endpoint->dead_services);
    TAILQ_INIT(&endpoint->deadlines);
    endpoint->uplink = &no_uplink;
    endpoint->reconnect_at_ns = CLOCK_NEVER;
    endpoint->attach_at_ns = CLOCK_NEVER;
    endpoint->hang_up_at_ns = CLOCK_NEVER;
    endpoint->doze_max = 1;
    endpoint->watches = bounds->watches;
    endpoint->sees = bounds->sees;
    endpoint->grow_after = bounds->grows ? 0 : UINT32_MAX;
    static struct stats_header header;
    endpoint->stats.header = &header;
    model_expect(channel_new(endpoint, &ops, (int)index, &party->channel, &error) == 0);
    party->channel->service_side = index == SERVICE;
    model_expect(channel_attach_peer(party->channel, -1, &error) == 0);
    if (index == SERVICE && bounds->fresh)
        TAILQ_INSERT_TAIL(&endpoint->services, &served, entry);
    else
        channel_wake(party->channel);
}

static void begin(void)
{
    memset(checker_shared, 0, CHECKER_SHARED_BYTES);
    memset(parties, 0, sizeof(parties));
    memset(sockets, 0, sizeof(sockets));
    memset(woken, 0, sizeof(woken));
    memset(large, 0, sizeof(large));
    memset(small, 0, sizeof(small));
    memset(large_used, 0, sizeof(large_used));
    memset(small_used, 0, sizeof(small_used));
    party_init(CLIENT);
    party_init(SERVICE);
}

static void end(void)
{
    model_expect(parties[SERVICE].received == bounds->requests);
    model_expect(parties[CLIENT].received == bounds->replies + bounds->farewell);
}

#define HALF(index, field) (index) * sizeof(struct half) + offsetof(struct half, field)
#define LINE(index, line) HALF(index, ring) + (line)*LAYOUT_LINE_BYTES
#define FURTHER(line) HALF(CLIENT, further) + (line)*LAYOUT_LINE_BYTES
#define ATOMICS(index)                                                                             \
    HALF(index, cells.consumed), HALF(index, cells.released), HALF(index, cells.asleep),           \
        HALF(index, cells.blocked), HALF(index, cells.cpu), HALF(index, release[0]),               \
        HALF(index, release[1]), LINE(index, 0), LINE(index, 1), LINE(index, 2), LINE(index, 3)
static const uint16_t atomics[] = {ATOMICS(CLIENT), ATOMICS(SERVICE), FURTHER(4), FURTHER(5), FURTHER(6), CHECKER_END};

static const struct checker_memory private_memory[] = {
    {parties, sizeof(parties)},       {sockets, sizeof(sockets)},
    {woken, sizeof(woken)},           {large, sizeof(large)},
    {small, sizeof(small)},           {large_used, sizeof(large_used)},
    {small_used, sizeof(small_used)}, {NULL, 0},
};

static void word_name(size_t offset, char *text, size_t text_bytes)
{
    static const struct {
        size_t offset;
        const char *name;
    } fields[] = {
        {offsetof(struct half, cells.consumed), "consumed"},
        {offsetof(struct half, cells.released), "released"},
        {offsetof(struct half, cells.asleep), "asleep"},
        {offsetof(struct half, cells.blocked), "blocked"},
        {offsetof(struct half, cells.cpu), "cpu"},
        {offsetof(struct half, release[0]), "release slot 0"},
        {offsetof(struct half, release[1]), "release slot 1"},
    };
    const char *whose = offset < sizeof(struct half) ? "client's" : "service's";
    offset %= sizeof(struct half);
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (fields[i].offset == offset)
            snprintf(text, text_bytes, "%s %s", whose, fields[i].name);
    }
    if (offset >= offsetof(struct half, further))
        snprintf(text, text_bytes, "%s further ring, line %zu, word %zu", whose,
                 (offset - offsetof(struct half, further)) / LAYOUT_LINE_BYTES,
                 offset % LAYOUT_LINE_BYTES / 4);
    else if (offset >= offsetof(struct half, arena))
        snprintf(text, text_bytes, "%s arena, word %zu", whose,
                 (offset - offsetof(struct half, arena)) / 4);
    else if (offset >= offsetof(struct half, ring))
        snprintf(text, text_bytes, "%s line %zu, word %zu", whose,
                 (offset - offsetof(struct half, ring)) / LAYOUT_LINE_BYTES,
                 offset % LAYOUT_LINE_BYTES / 4);
}

/* Without arguments: all must be proved. --only KEY: that one. --mutant KEY: that one must be
 * broken. */
int main(int argc, char **argv)
{
    const char *only = argc == 3 ? argv[2] : NULL;
    const bool mutant = only && strcmp(argv[1], "--mutant") == 0;
    int failures = only ? 1 : 0; /* until it has been found */
    for (size_t i = 0; i < sizeof(all_bounds) / sizeof(all_bounds[0]); i++) {
        bounds = &all_bounds[i];
        if (only && strcmp(only, bounds->key) != 0)
            continue;
        const struct scenario scenario = {
            .name = bounds->name,
            .begin = begin,
            .threads = {client, service},
            .end = end,
            .atomics = atomics,
            .private_memory = private_memory,
            .word_name = word_name,
            .bell_orders = true,
        };
        bool broken = checker_run(&scenario).broken;
        failures += broken != mutant ? 1 : 0;
        failures -= only ? 1 : 0;
    }
    return failures != 0;
}
