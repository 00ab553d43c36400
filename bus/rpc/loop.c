/*
 * The loop of an endpoint.
 *
 * A turn takes what has arrived on the hot channels; if there is nothing it spins for a budget, and
 * then makes every channel cold (arming its doorbell, with a last look), and sleeps in the wait
 * backend until a doorbell, the broker or a timer. A loop that never comes to sleep makes those
 * cold that have been quiet for long, so that looking for the next message does not grow with all
 * who ever sent one. Where several channels are busy each gives one record a turn, and descriptors
 * are looked at by the number of records: nobody waits for another's flood.
 *
 * Turns nest: a closure or a handler may call and wait. While a handler runs, services are not
 * served, so that handlers do not pile up on the stack; their channels stay hot and are taken
 * afterwards.
 *
 * A handler or a closure may fork, and the child return to here: it has none of the shared memory,
 * and goes back to the program at once, whose call then fails.
 */
#include "rpc/internal.h"

#include <errno.h>

#include "base/call_path.h"
#include "base/log.h"
#include "rpc/offers.h"

#define EVENTS_MAX 64
#define BUSY_RECORDS_MAX 64 /* between two looks at timers and descriptors while busy */
#define COOL_PASSES 256     /* between two looks at which those are */
#define HOT_PER_RECORD 64   /* looks at rings that are worth one record */
#define LOOKS_PER_RECORD 16 /* at others, behind a record, before it is somebody else's turn */
#define CPU_LOOKS_MAX 4     /* at where peers are, while nothing comes from them */
#define YIELDS_MAX 3        /* for a reply: nearly always one is enough */
#define SPIN_CHECKS 32      /* looks at rings between two looks at the clock */
#define SPIN_POLL_NS (20 * NS_PER_US) /* between two looks at the descriptors while spinning */

enum came {
    CAME = 1, /* something, and is to be taken if a channel has it */
    TAKEN,    /* and has been taken */
};

static bool served_now(const struct parley_endpoint *endpoint, const struct channel *channel)
{
    if (__builtin_expect(channel->far != NULL, 0))
        return !channel->paused; /* its program is elsewhere */
    return !channel->service_side || endpoint->handlers == 0;
}

CALL_PATH static bool is_due(const struct channel *channel)
{
    return channel_pending(channel) || channel->rang || channel->hung_up;
}

/* NULL: there is none any more. Who makes channels cold goes from the last one down, as another
 * takes the place of each; and a queue that cannot be sent kills its channel, whose closures may
 * kill all. */
static inline struct channel *hot_at(const struct parley_endpoint *endpoint, uint32_t index)
{
    return index < endpoint->hot.count ? endpoint->hot.channels[index] : NULL;
}

/* Makes those cold that have been quiet for so many passes. */
static void hot_cool(struct parley_endpoint *endpoint)
{
    for (uint32_t i = endpoint->hot.count; i-- > 0;) {
        struct channel *channel = hot_at(endpoint, i);
        if (channel && served_now(endpoint, channel) && endpoint->hot.count > 1 &&
            endpoint->pass - channel->pass > HOT_QUIET_PASSES_MAX)
            (void)channel_sleep(channel);
    }
}

/* And those of clients on which nothing is in flight, for nothing is expected there. */
static void hot_cool_idle(struct parley_endpoint *endpoint)
{
    for (uint32_t i = endpoint->hot.count; i-- > 0 && endpoint->hot.count > 1;) {
        struct channel *channel = hot_at(endpoint, i);
        if (channel && served_now(endpoint, channel) && !channel->service_side &&
            channel->in_flight == 0)
            (void)channel_sleep(channel);
    }
}

/* One record, but for the only one; more where looking at all of them would cost more than that. */
static unsigned batch_of(unsigned hot)
{
    return hot <= 1 ? RPC_BATCH_MAX : 1 + hot / HOT_PER_RECORD;
}

/* Return: how many were taken. It has had its turn. */
static int hot_take(struct parley_endpoint *endpoint, struct channel *channel, unsigned batch)
{
    if (!served_now(endpoint, channel))
        return 0;
    if (!is_due(channel)) {
        hot_update(&endpoint->hot, channel);
        return 0;
    }
    channel->pass = endpoint->pass;
    channel->rang = false;
    endpoint->stamp_ns = 0;
    return channel_drain(channel, batch);
}

/* Takes what has arrived on the hot channels, each once, and whose turn it is comes first. Behind a
 * record it does not go on for long where nothing is: who waits for it is waiting. Whatever a
 * handler does to the hot ones meanwhile, each is looked up anew. */
__attribute__((noinline)) static int hot_drain_several(struct parley_endpoint *endpoint)
{
    struct hot *hot = &endpoint->hot;
    const bool nested = endpoint->turns > 1; /* what it is in the middle of is not up to date */
    const unsigned batch = batch_of(hot->count);
    uint32_t left = hot->count;
    int taken = 0;
    if (++endpoint->pass % COOL_PASSES == 0)
        hot_cool(endpoint);
    while (left > 0 && hot->count > 0 && !endpoint_forked(endpoint)) {
        if (nested && hot->next >= hot->count)
            hot->next = 0;
        uint32_t i = nested ? hot->next : hot_find(hot, &left);
        if (i >= hot->count)
            break;
        hot->next = i + 1;
        left--;
        int more = hot_take(endpoint, hot->channels[i], batch);
        if (more > 0 && left > LOOKS_PER_RECORD)
            left = LOOKS_PER_RECORD;
        taken += more;
    }
    return taken;
}

/* The same, where nearly always there is one or none: there is nothing to be found. */
static inline __attribute__((always_inline)) int hot_drain(struct parley_endpoint *endpoint)
{
    if (endpoint->hot.count == 0 || endpoint_forked(endpoint))
        return 0;
    struct channel *channel = endpoint->hot.channels[0];
    if (endpoint->hot.count > 1)
        return hot_drain_several(endpoint);
    endpoint->pass++;
    if (!served_now(endpoint, channel) || !is_due(channel))
        return 0;
    channel->pass = endpoint->pass;
    channel->rang = false;
    endpoint->stamp_ns = 0;
    return channel_drain(channel, RPC_BATCH_MAX);
}

CALL_PATH static bool comes(const struct parley_endpoint *endpoint, uint32_t index)
{
    const struct channel *channel = endpoint->hot.channels[index];
    return served_now(endpoint, channel) && channel_pending(channel);
}

/* hot_pending() of several. Whose turn comes first is the one that it has found. */
__attribute__((noinline)) static bool several_pending(struct parley_endpoint *endpoint)
{
    struct hot *hot = &endpoint->hot;
    if (hot->expected < hot->count && comes(endpoint, hot->expected)) {
        hot->next = hot->expected;
        return true;
    }
    for (uint32_t left = hot->count; left > 0; left--, hot->next++) {
        if (hot_find(hot, &left) == hot->count)
            return false;
        if (comes(endpoint, hot->next))
            return true;
    }
    return false;
}

/* @looks: counts the rings that were looked at. */
static inline bool hot_pending(struct parley_endpoint *endpoint, unsigned *looks)
{
    const uint32_t count = endpoint->hot.count;
    *looks += 1 + count;
    if (__builtin_expect(count <= 1, 1))
        return count && comes(endpoint, 0);
    if (endpoint->turns <= 1)
        return several_pending(endpoint);
    for (uint32_t i = 0; i < count; i++) {
        if (comes(endpoint, i))
            return true;
    }
    return false;
}

uint64_t endpoint_timer_next(const struct parley_endpoint *endpoint)
{
    const struct call *call = TAILQ_FIRST(&endpoint->deadlines);
    uint64_t at = call ? call->deadline_ns : CLOCK_NEVER;
    if (!endpoint->link && endpoint->reconnect_at_ns < at)
        at = endpoint->reconnect_at_ns;
    if (endpoint->attach_at_ns < at)
        at = endpoint->attach_at_ns;
    if (endpoint->hang_up_at_ns < at)
        at = endpoint->hang_up_at_ns;
    return at;
}

static void attach_again(struct parley_endpoint *endpoint, uint64_t now)
{
    uint64_t next = CLOCK_NEVER;
    endpoint->attach_at_ns = CLOCK_NEVER;
    struct parley_client *client;
    TAILQ_FOREACH (client, &endpoint->clients, entry) {
        uint64_t at = client_attach_due(client, now);
        if (at < next)
            next = at;
    }
    /* What failed meanwhile has set a time of its own. */
    if (next < endpoint->attach_at_ns)
        endpoint->attach_at_ns = next;
}

static void timers_run(struct parley_endpoint *endpoint, uint64_t now)
{
    struct call *call;
    while (!endpoint_forked(endpoint) && (call = TAILQ_FIRST(&endpoint->deadlines)) &&
           call->deadline_ns <= now)
        call_expire(call);
    if (endpoint_forked(endpoint))
        return;
    if (endpoint->attach_at_ns <= now)
        attach_again(endpoint, now);
    if (endpoint->hang_up_at_ns <= now)
        services_hang_up_due(endpoint, now);
    if (!endpoint->link && endpoint->reconnect_at_ns <= now && endpoint->uplink->turn(endpoint) < 0)
        log_debug("%s", endpoint->uplink_error.text);
}

static int descriptors_poll(struct parley_endpoint *endpoint, uint64_t timeout_ns)
{
    struct wait_event events[EVENTS_MAX];
    if (__builtin_expect(endpoint->uplink->flush != NULL, 0) && endpoint->uplink->flush(endpoint))
        timeout_ns = 0;
    int n = wait_poll(endpoint->wait, events, EVENTS_MAX, timeout_ns);
    for (int i = 0; i < n && !endpoint_forked(endpoint); i++) {
        struct source *source = events[i].tag;
        if (source->ready)
            source->ready(source, events[i].events);
    }
    return n;
}

static bool stopping(const struct parley_endpoint *endpoint)
{
    return atomic_load_explicit(&endpoint->stop, memory_order_relaxed);
}

/* What waits are timed by: the calls are stamped by it as well, so that it need not be set again.
 */
static uint64_t now_ns(struct parley_endpoint *endpoint)
{
    return quick_clock_now_ns(&endpoint->clock);
}

/* ---- Spinning ---- */

static void cpu_tell_as(struct parley_endpoint *endpoint, uint32_t cpu)
{
    endpoint->cpu = cpu;
    for (uint32_t i = 0; i < endpoint->hot.count; i++)
        cpu_publish(&endpoint->hot.channels[i]->ours, cpu);
}

/* Tells the peers that may spin for us where we are. Return: spin_cpu(). */
CALL_PATH static uint32_t cpu_tell(struct parley_endpoint *endpoint)
{
    uint32_t cpu = spin_cpu();
    if (__builtin_expect(cpu != endpoint->cpu, 0))
        cpu_tell_as(endpoint, cpu);
    return cpu;
}

/* Return: a channel whose peer spinning would keep from running, and which we spin for; or NULL. Of
 * many some are looked at, then others: each look may be at a line that has just been written. */
static const struct channel *cpu_wanted_by(struct parley_endpoint *endpoint)
{
    const struct hot *hot = &endpoint->hot;
    uint32_t cpu = cpu_tell(endpoint);
    uint32_t looks = hot->count < CPU_LOOKS_MAX ? hot->count : CPU_LOOKS_MAX;
    for (; looks > 0 && cpu != 0; looks--) {
        uint32_t i = endpoint->cpu_next < hot->count ? endpoint->cpu_next : 0;
        const struct channel *channel = hot->channels[i];
        endpoint->cpu_next = i + 1;
        if (peer_cpu(&channel->peer) == cpu && channel_wants_cpu(channel))
            return channel;
    }
    return NULL;
}

/* One of the two leaves, and it is the client. While it is on its way it is nowhere, so that who
 * serves it spins for it meanwhile: one who sleeps may be woken up where the other has gone to. */
static bool leave_cpu(struct parley_endpoint *endpoint, const struct channel *wants, uint64_t now)
{
    if (wants->service_side || !part_due(&endpoint->part, now))
        return false;
    bool left = false;
    if (part_has_room()) {
        cpu_tell_as(endpoint, 0);
        left = part_leave_cpu();
        (void)cpu_tell(endpoint);
    }
    part_done(&endpoint->part, left, now);
    return left;
}

/* @ret_shares: as cpu_wanted_by(); NULL if we have left. */
static uint64_t spin_budget(struct parley_endpoint *endpoint, struct spin *spin, uint64_t now,
                            const struct channel **ret_shares)
{
    *ret_shares = NULL;
    if (endpoint->hot.count == 0 || stopping(endpoint))
        return 0;
    if (endpoint->spin_ns_max == PARLEY_FOREVER)
        return CLOCK_NEVER;
    const struct channel *wants = cpu_wanted_by(endpoint);
    if (!wants || leave_cpu(endpoint, wants, now))
        return spin_begin(spin);
    *ret_shares = wants;
    return 0;
}

enum spun {
    SPUN_RECORD = 1,
    SPUN_DESCRIPTOR, /* says nothing of when the next record comes */
};

/* Return: what came; 0 the budget is spent; -errno. */
static int spin_for(struct parley_endpoint *endpoint, uint64_t start, uint64_t budget)
{
    uint64_t polled = start;
    for (;;) {
        for (unsigned looks = 0; looks < SPIN_CHECKS;) {
            if (hot_pending(endpoint, &looks))
                return SPUN_RECORD;
            spin_pause();
        }
        uint64_t now = now_ns(endpoint);
        if (now - start >= budget || stopping(endpoint))
            return 0;
        (void)cpu_tell(endpoint);
        if (now - polled >= SPIN_POLL_NS) {
            int n = descriptors_poll(endpoint, 0);
            if (n != 0)
                return n > 0 ? SPUN_DESCRIPTOR : n;
            polled = now;
        }
    }
}

/* ---- Dozing: asleep on words ---- */

/* A request could come on any of them. False: they are too many. */
static bool services_wake(struct parley_endpoint *endpoint)
{
    struct channel *channel, *next;
    unsigned count = 0;
    if (TAILQ_EMPTY(&endpoint->services) || endpoint->handlers > 0)
        return true;
    TAILQ_FOREACH (channel, &endpoint->cold, entry) {
        if (++count > WAIT_WORDS_MAX)
            return false;
    }
    for (channel = TAILQ_FIRST(&endpoint->cold); channel; channel = next) {
        next = TAILQ_NEXT(channel, entry);
        if (channel->service_side)
            channel_wake(channel);
    }
    return true;
}

/* Return: how many channels there are to doze on; 0: none, or not all of them can be. */
static unsigned doze_channels(struct parley_endpoint *endpoint, unsigned most,
                              struct channel **ret_channels)
{
    unsigned count = 0;
    if (!services_wake(endpoint))
        return 0;
    for (uint32_t i = 0; i < endpoint->hot.count; i++) {
        struct channel *channel = endpoint->hot.channels[i];
        if (!served_now(endpoint, channel))
            continue;
        if (count == most || !channel_may_doze(channel))
            return 0;
        ret_channels[count++] = channel;
    }
    return count;
}

/* @ns: blindly, and for so long; 0: for as long as @left, with an eye on the descriptors. Return:
 * as wait_words(), or wait_doze(). */
static inline int sleep_on(struct parley_endpoint *endpoint, const void *const *words,
                           unsigned count, uint64_t ns, uint64_t left)
{
    if (ns)
        return wait_words(words, count, ns < left ? ns : left);
    int r = wait_doze(endpoint->wait, words, count, left);
    if (__builtin_expect(r < 0, 0))
        endpoint->sees = false; /* not here */
    return r;
}

/* Return: as sleep_on(), which has the last look; 0, too, if it is not to be done. */
__attribute__((noinline)) static int doze_several(struct parley_endpoint *endpoint, uint64_t ns,
                                                  uint64_t left)
{
    struct channel *channels[WAIT_WORDS_MAX];
    const void *words[WAIT_WORDS_MAX];
    unsigned most =
        ns || endpoint->doze_max < WAIT_DOZE_WORDS_MAX ? endpoint->doze_max : WAIT_DOZE_WORDS_MAX;
    unsigned count = doze_channels(endpoint, most, channels);
    if (count == 0)
        return 0;
    for (unsigned i = 0; i < count; i++)
        words[i] = channel_doze(channels[i]);
    int r = sleep_on(endpoint, words, count, ns, left);
    if (r < 0 && ns)
        endpoint->doze_max = count - 1; /* not on this kernel */
    for (unsigned i = 0; i < count; i++)
        channel_doze_end(channels[i], r > 0);
    return r;
}

/* Nearly always there is one: the channel that is hot alone, where nothing is cold that a request
 * could come on. NULL: not so. */
static inline struct channel *doze_channel(const struct parley_endpoint *endpoint)
{
    struct channel *channel = endpoint->hot.channels[0];
    if (endpoint->hot.count > 1 || endpoint->doze_max == 0 || !served_now(endpoint, channel) ||
        !channel_may_doze(channel) ||
        !(TAILQ_EMPTY(&endpoint->cold) || TAILQ_EMPTY(&endpoint->services)))
        return NULL;
    return channel;
}

static int descriptors_after(struct parley_endpoint *endpoint, uint64_t now)
{
    endpoint->polled_ns = now;
    int n = descriptors_poll(endpoint, 0);
    return n < 0 ? n : CAME;
}

/* For who does not see the descriptors, and is always woken in time. Return: CAME, 0, -errno. */
static inline int descriptors_glance(struct parley_endpoint *endpoint, uint64_t now)
{
    if (__builtin_expect(now - endpoint->polled_ns < SPIN_SHORT_NS, 1))
        return 0;
    endpoint->polled_ns = now;
    if (__builtin_expect(wait_quiet(endpoint->wait), 1))
        return 0;
    int n = descriptors_poll(endpoint, 0);
    return n > 0 ? CAME : n;
}

/* What a doze that has ended leaves to be done, behind what it waited for. @spin: NULL: nothing is
 * learnt of it; @now: its end. */
static inline void doze_done(struct parley_endpoint *endpoint, struct spin *spin, uint64_t start,
                             uint64_t until, uint64_t now)
{
    if (spin)
        spin_slept(spin, now - start);
    stats_add(&endpoint->stats.header->wakeups, 1);
    endpoint->busy_records = 0; /* the descriptors are looked at by the time, or seen */
    if (__builtin_expect(now >= until, 0))
        timers_run(endpoint, now);
}

/* doze_for() on the one channel that there is: from its wake-up straight to what it was for. It is
 * stamped with the time of the wake-up. */
static inline int doze_alone(struct parley_endpoint *endpoint, struct channel *channel,
                             struct spin *spin, uint64_t ns, uint64_t start, uint64_t until)
{
    const void *word = channel_doze(channel);
    int r = sleep_on(endpoint, &word, 1, ns, clock_left(until, start));
    if (__builtin_expect(r <= 0, 0)) {
        channel_doze_end(channel, false);
        return 0;
    }
    channel_doze_woken(channel);
    const uint64_t now = now_ns(endpoint);
    endpoint->stamp_ns = now;
    endpoint->stamp_uses = 0;
    int taken = channel_drain(channel, 1);
    if (__builtin_expect(endpoint_forked(endpoint), 0))
        return TAKEN;
    /* A descriptor says nothing of when the next record comes, and is not to be waited for blindly.
     */
    doze_done(endpoint, taken || ns ? spin : NULL, start, until, now);
    if (__builtin_expect(taken == 0, 0))
        return ns ? CAME : descriptors_after(endpoint, now);
    return TAKEN;
}

/* Who serves and has nothing hot, as at the start, dozes on what is cold, if it sees descriptors:
 * so the first call of a new client wakes a word, too. Return: whether there is something. */
__attribute__((noinline, cold)) static bool doze_on_cold(struct parley_endpoint *endpoint)
{
    return endpoint->sees && !endpoint->foreign && services_wake(endpoint) &&
           endpoint->hot.count > 0;
}

/* Return: CAME, TAKEN; 0: the wait is over, or it is too early to say; -errno. */
CALL_PATH static int doze_for(struct parley_endpoint *endpoint, struct spin *spin, uint64_t start,
                              uint64_t until)
{
    const uint64_t left = clock_left(until, start);
    uint64_t ns = spin_doze(spin);
    if (left == 0 || (ns == 0 && !endpoint->sees) || stopping(endpoint))
        return 0;
    if (__builtin_expect(endpoint->hot.count == 0, 0)) {
        if (!doze_on_cold(endpoint))
            return 0;
        ns = 0;
    }
    int n = ns ? descriptors_glance(endpoint, start) : 0;
    if (__builtin_expect(n != 0, 0))
        return n;
    if (endpoint->hot.count > 1)
        hot_cool_idle(endpoint);
    struct channel *channel = doze_channel(endpoint);
    if (__builtin_expect(channel != NULL, 1))
        return doze_alone(endpoint, channel, spin, ns, start, until);
    n = doze_several(endpoint, ns, left);
    if (n <= 0)
        return 0;
    uint64_t now = now_ns(endpoint);
    unsigned looks = 0;
    doze_done(endpoint, ns || hot_pending(endpoint, &looks) ? spin : NULL, start, until, now);
    return ns ? CAME : descriptors_after(endpoint, now);
}

/* ---- Yielding: to a peer on our CPU ---- */

/* The peer of @channel, and we do not sleep for it. A reply is waited for so; and who has answered
 * lets it be read, before all that its own sleep takes. Return: CAME; 0: nothing, or it is not to
 * be done; -errno. */
CALL_PATH static int yield_to(struct parley_endpoint *endpoint, const struct channel *channel,
                              struct spin *spin, uint64_t start, uint64_t until)
{
    unsigned more = channel->service_side ? 1 : YIELDS_MAX;
    if (endpoint->remote || !yield_may_wait(&endpoint->yield, start))
        return 0;
    int n = descriptors_glance(endpoint, start);
    if (__builtin_expect(n != 0, 0))
        return n;
    for (uint64_t now = start; more > 0 && now < until && yield_may(&endpoint->yield, now);
         more--) {
        const uint64_t before = now;
        unsigned looks = 0;
        yield_cpu();
        now = now_ns(endpoint);
        yield_took(&endpoint->yield, before, now);
        if (!hot_pending(endpoint, &looks))
            continue;
        spin_slept(spin, now - start);
        endpoint->busy_records = 0; /* the descriptors are looked at by the time */
        return CAME;
    }
    return 0;
}

/* ---- Sleeping ---- */

/* Arms every doorbell. False: something is there after all. */
static bool all_sleep(struct parley_endpoint *endpoint)
{
    endpoint->woke = false;
    for (uint32_t i = endpoint->hot.count; i-- > 0;) {
        struct channel *channel = hot_at(endpoint, i);
        if (channel && served_now(endpoint, channel) && !channel_sleep(channel))
            return false;
    }
    return !endpoint->woke;
}

/* What is expected of a wait depends on what it is for: a reply is due, and soon if the service
 * sleeps, too; the next request is a matter of those who send it. */
static struct spin *spin_of(struct parley_endpoint *endpoint)
{
    return &endpoint->spin[!TAILQ_EMPTY(&endpoint->deadlines)];
}

/* What a descriptor says of when the next record comes: not before now, unless one has. */
static void descriptors_came(struct parley_endpoint *endpoint, struct spin *spin, uint64_t wait_ns)
{
    unsigned looks = 0;
    if (wait_ns > spin->last_ns || hot_pending(endpoint, &looks))
        spin_slept(spin, wait_ns);
}

/* Return: CAME; 0: nothing; -errno. */
__attribute__((noinline)) static int sleep_for(struct parley_endpoint *endpoint, struct spin *spin,
                                               uint64_t start, uint64_t until)
{
    /* With a timer that is due nobody sleeps, and no peer needs to ring. */
    uint64_t left = clock_left(until, now_ns(endpoint));
    if (left && !all_sleep(endpoint))
        return CAME;
    endpoint->slept = true;
    endpoint->busy_records = 0;
    int n = descriptors_poll(endpoint, left);
    uint64_t now = now_ns(endpoint);
    endpoint->polled_ns = now;
    if (n > 0 && !endpoint_forked(endpoint))
        descriptors_came(endpoint, spin, now - start);
    timers_run(endpoint, now);
    return n > 0 ? CAME : n;
}

/* Return: CAME; 0: the budget is spent; -errno. */
__attribute__((noinline)) static int spin_on(struct parley_endpoint *endpoint, struct spin *spin,
                                             uint64_t start, uint64_t budget)
{
    if (endpoint->slept) {
        endpoint->slept = false;
        if (endpoint->handlers == 0)
            hot_again(endpoint);
    }
    publications_settle();
    int n = spin_for(endpoint, start, budget);
    if (n == SPUN_RECORD)
        spin_hit(spin);
    else if (n == 0)
        spin_miss(spin);
    stats_bump(n > 0 ? &endpoint->stats.header->spins_hit : &endpoint->stats.header->spins_missed);
    return n > 0 ? CAME : n;
}

/* Return: CAME, TAKEN; 0: nothing; -errno. */
CALL_PATH static int wait_for_something(struct parley_endpoint *endpoint, uint64_t deadline_ns)
{
    struct spin *spin = spin_of(endpoint);
    uint64_t until = endpoint_timer_next(endpoint);
    if (deadline_ns < until)
        until = deadline_ns;
    uint64_t start = now_ns(endpoint);
    uint64_t left = clock_left(until, start);
    const struct channel *shares = NULL;
    uint64_t budget = left ? spin_budget(endpoint, spin, start, &shares) : 0;
    int n = 0;
    if (__builtin_expect(budget != 0, 0))
        n = spin_on(endpoint, spin, start, budget < left ? budget : left);
    else if (shares)
        n = yield_to(endpoint, shares, spin, start, until);
    if (n == 0)
        n = doze_for(endpoint, spin, start, until);
    return n != 0 || endpoint_forked(endpoint) ? n : sleep_for(endpoint, spin, start, until);
}

/* Frees what died while somebody up the stack might still have looked at it. */
void endpoint_bury(struct parley_endpoint *endpoint)
{
    struct channel *channel;
    while ((channel = TAILQ_FIRST(&endpoint->dead))) {
        TAILQ_REMOVE(&endpoint->dead, channel, entry);
        channel_destroy(channel);
    }
    struct parley_client *client;
    while ((client = TAILQ_FIRST(&endpoint->dead_clients))) {
        TAILQ_REMOVE(&endpoint->dead_clients, client, entry);
        client_destroy(client);
    }
    struct parley_service *service;
    while ((service = TAILQ_FIRST(&endpoint->dead_services))) {
        TAILQ_REMOVE(&endpoint->dead_services, service, entry);
        service_destroy(service);
    }
}

/* One-way calls that waited for room and are sent now. Not where they were sent: their closures may
 * do anything to the channel. */
static void accepted_end(struct parley_endpoint *endpoint)
{
    struct call *call;
    while (!endpoint_forked(endpoint) && (call = TAILQ_FIRST(&endpoint->accepted)))
        call_accepted(call); /* takes it off the list */
}

/* The end of a turn. Return: @r, or -ESTALE. */
static inline int turn_end(struct parley_endpoint *endpoint, int r)
{
    if (__builtin_expect(!TAILQ_EMPTY(&endpoint->accepted), 0))
        accepted_end(endpoint);
    endpoint->turns--;
    if (endpoint_forked(endpoint))
        return -ESTALE;
    if (endpoint->turns == 0 &&
        (!TAILQ_EMPTY(&endpoint->dead) || !TAILQ_EMPTY(&endpoint->dead_clients) ||
         !TAILQ_EMPTY(&endpoint->dead_services)))
        endpoint_bury(endpoint);
    return r < 0 ? r : 0;
}

CALL_PATH int endpoint_turn(struct parley_endpoint *endpoint, uint64_t deadline_ns)
{
    int r = 0;
    if (endpoint_forked(endpoint))
        return -ESTALE;
    endpoint->turns++;
    int taken = hot_drain(endpoint);
    /* A turn in vain counts, too: what a peer says that it has made room for may be nothing. */
    endpoint->busy_records += taken > 0 ? (unsigned)taken : 1;
    if (endpoint->busy_records < BUSY_RECORDS_MAX) {
        if (taken == 0)
            r = wait_for_something(endpoint, deadline_ns);
        if (r == CAME) /* what it waited for: another turn would do no more */
            endpoint->busy_records += (unsigned)hot_drain(endpoint);
    } else if (!endpoint_forked(endpoint)) {
        /* A loop that never runs dry must still see timers and descriptors. */
        endpoint->busy_records = 0;
        timers_run(endpoint, now_ns(endpoint));
        r = endpoint_forked(endpoint) ? 0 : descriptors_poll(endpoint, 0);
    }
    return turn_end(endpoint, r);
}

/* All that is there now, and then every doorbell armed: a foreign loop sleeps next. Who has never
 * asked for the descriptor cannot sleep on it, and is not to be rung for each reply. */
int endpoint_dispatch(struct parley_endpoint *endpoint)
{
    int r = 0;
    if (endpoint_forked(endpoint))
        return -ESTALE;
    endpoint->turns++;
    endpoint->nudged = false;
    for (unsigned i = 0; i < EVENTS_MAX && r >= 0 && !endpoint_forked(endpoint); i++) {
        int taken = hot_drain(endpoint);
        if (endpoint_forked(endpoint))
            break;
        r = descriptors_poll(endpoint, 0);
        if (taken == 0 && r == 0 && (!endpoint->foreign || all_sleep(endpoint)))
            break;
    }
    accepted_end(endpoint);
    if (!endpoint_forked(endpoint))
        timers_run(endpoint, now_ns(endpoint));
    if (endpoint->foreign && !endpoint_forked(endpoint) && endpoint->hot.count > 0 &&
        !endpoint->held_back)
        wait_wake(endpoint->wait); /* not done: be called again */
    return turn_end(endpoint, r);
}

/* Return: whether replies are due, and there or soon there. */
static bool replies_come(struct parley_endpoint *endpoint, uint64_t spin_ns_max)
{
    unsigned looks = 0;
    struct spin *spin = &endpoint->spin[true];
    if (TAILQ_EMPTY(&endpoint->deadlines))
        return false;
    if (hot_pending(endpoint, &looks))
        return true;
    uint64_t now = now_ns(endpoint);
    const struct channel *shares;
    uint64_t budget = spin_budget(endpoint, spin, now, &shares);
    if (budget > spin_ns_max)
        budget = spin_ns_max;
    if (budget == 0)
        return false;
    bool hit = spin_for(endpoint, now, budget) == SPUN_RECORD;
    if (hit)
        spin_hit(spin);
    else
        spin_miss(spin);
    stats_bump(hit ? &endpoint->stats.header->spins_hit : &endpoint->stats.header->spins_missed);
    return hit;
}

bool rpc_take_replies(struct parley_endpoint *endpoint, uint64_t spin_ns_max)
{
    if (endpoint_forked(endpoint))
        return false;
    endpoint->turns++;
    int taken = replies_come(endpoint, spin_ns_max) ? hot_drain(endpoint) : 0;
    (void)turn_end(endpoint, 0);
    return taken > 0;
}

CALL_PATH void endpoint_leave(struct parley_endpoint *endpoint)
{
    if (!endpoint->foreign || endpoint->nudged || endpoint->turns > 0 || endpoint->held_back ||
        endpoint->hot.count == 0 || endpoint_forked(endpoint))
        return;
    endpoint->nudged = true;
    wait_wake(endpoint->wait);
}
