/*
 * Ejecting: which instances are compared, by what, and what becomes of it.
 *
 * Clients count the calls of each of their channels in their statistics region (stats_instance). We
 * look once in an interval and take the differences to what we saw last; so counting costs clients
 * a few stores, and a look costs us a cache line or two for each channel on the bus. Without two
 * instances of a version there is no timer at all, and where nobody calls looks become rare.
 *
 * What clients say is their word. So each user's calls are judged apart, and an instance is an
 * outlier only if more than half of the users who call it found so: one user cannot have another
 * user's service ejected while others are content with it. Who has no contract for an interface has
 * no say in it.
 *
 * An ejected instance stays published and attached: the route page says that it is ejected, and
 * clients pass it over (rpc/route.c), unless nobody else is there.
 */
#include "broker/broker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define EJECT_IDLE_SHIFT_MAX                                                                       \
    3                       /* up to so many times doubled is the interval where nobody calls      \
                             */
#define EJECT_WINDOW_MAX 10 /* intervals */

struct eject_seen {
    uint64_t instance_id;
    struct eject_figures figures;
};

struct eject_user {
    uid_t uid;
    struct eject_figures latest, window;
};

void ejector_init(struct ejector *ejector, const struct eject_settings *settings)
{
    static const struct eject_settings defaults = EJECT_DEFAULTS;
    *ejector =
        (struct ejector){.settings = settings ? *settings : defaults, .look_ns = CLOCK_NEVER};
}

void ejector_forget(struct instance *instance)
{
    free(instance->users);
    instance->users = NULL;
    instance->user_count = 0;
}

/* ---- Reading ---- */

static uint64_t load64(const _Atomic uint64_t *cell)
{
    return atomic_load_explicit(cell, memory_order_relaxed);
}

static void read_place(const struct stats_instance *place, struct eject_seen *ret)
{
    /* acquire: pairs with the release in stats_instance_take() */
    ret->instance_id = atomic_load_explicit(&place->instance_id, memory_order_acquire);
    ret->figures.ended = load64(&place->ended);
    ret->figures.failed = load64(&place->failed);
    ret->figures.in_a_row = atomic_load_explicit(&place->failed_in_a_row, memory_order_relaxed);
    for (unsigned i = 0; i < STATS_INSTANCE_BUCKETS; i++)
        ret->figures.bucket[i] = atomic_load_explicit(&place->bucket[i], memory_order_relaxed);
}

/* Since @before; of a liar's counters whatever comes out, but never more failures than calls. */
static void difference(const struct eject_seen *before, const struct eject_seen *now,
                       struct eject_figures *ret)
{
    *ret = now->figures;
    if (before->instance_id == now->instance_id && now->figures.ended >= before->figures.ended) {
        ret->ended -= before->figures.ended;
        ret->failed -= before->figures.failed;
        for (unsigned i = 0; i < STATS_INSTANCE_BUCKETS; i++)
            ret->bucket[i] -= before->figures.bucket[i];
    }
    if (ret->failed > ret->ended)
        ret->failed = ret->ended;
}

static void add(struct eject_figures *sum, const struct eject_figures *more)
{
    sum->ended += more->ended;
    sum->failed += more->failed;
    if (more->in_a_row > sum->in_a_row)
        sum->in_a_row = more->in_a_row;
    for (unsigned i = 0; i < STATS_INSTANCE_BUCKETS; i++)
        sum->bucket[i] += more->bucket[i];
}

/* NULL: there are too many, or no memory. */
static struct eject_user *user_of(struct instance *instance, uid_t uid)
{
    for (uint32_t i = 0; i < instance->user_count; i++)
        if (instance->users[i].uid == uid)
            return &instance->users[i];
    if (instance->user_count == EJECT_USER_MAX)
        return NULL;
    struct eject_user *grown =
        realloc(instance->users, (instance->user_count + 1) * sizeof(*grown));
    if (!grown)
        return NULL;
    instance->users = grown;
    struct eject_user *user = &grown[instance->user_count++];
    *user = (struct eject_user){.uid = uid};
    return user;
}

static bool may_judge(const struct endpoint *endpoint, const struct instance *instance)
{
    for (const struct contract *c = endpoint->contracts; c; c = c->hh.next)
        if (c->interface == instance->version->interface)
            return true;
    return false;
}

static uint32_t grow_seen(struct endpoint *endpoint, uint32_t count)
{
    if (count > STATS_INSTANCE_MAX)
        count = STATS_INSTANCE_MAX;
    if (count <= endpoint->seen_count)
        return count;
    struct eject_seen *grown = realloc(endpoint->seen, count * sizeof(*grown));
    if (!grown)
        return endpoint->seen_count;
    memset(grown + endpoint->seen_count, 0, (count - endpoint->seen_count) * sizeof(*grown));
    endpoint->seen = grown;
    endpoint->seen_count = count;
    return count;
}

/* Return: calls that have ended since the last look. */
static uint64_t read_endpoint(struct broker *broker, struct endpoint *endpoint)
{
    const uint8_t *base = endpoint->stats.base;
    const struct stats_header *header = endpoint->stats.base;
    const struct stats_instance *places =
        (const struct stats_instance *)(base + STATS_INSTANCES_OFFSET);
    uint32_t count =
        grow_seen(endpoint, atomic_load_explicit(&header->instance_count, memory_order_relaxed));
    uint64_t ended = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct eject_seen now;
        struct eject_figures more;
        read_place(&places[i], &now);
        difference(&endpoint->seen[i], &now, &more);
        endpoint->seen[i] = now;
        if (now.instance_id == 0 || more.ended == 0)
            continue;
        struct instance *instance = directory_instance(&broker->directory, now.instance_id);
        struct eject_user *user = instance && may_judge(endpoint, instance)
                                      ? user_of(instance, endpoint->peer.uid)
                                      : NULL;
        if (!user)
            continue;
        add(&user->latest, &more);
        ended += more.ended;
    }
    return ended;
}

/* ---- Judging one version ---- */

struct jury {
    struct instance *instances[ROUTE_INSTANCE_MAX]; /* those that are not draining */
    unsigned voters[ROUTE_INSTANCE_MAX], votes[ROUTE_INSTANCE_MAX];
    enum eject_reason reasons[ROUTE_INSTANCE_MAX];
    size_t count, ejected;
};

static void gather(const struct version *version, struct jury *jury)
{
    struct instance *instance;
    *jury = (struct jury){.count = 0};
    LIST_FOREACH (instance, &version->instances, version_entry) {
        if (instance->draining || jury->count == ROUTE_INSTANCE_MAX)
            continue;
        jury->ejected += instance->eject.ejected;
        jury->instances[jury->count++] = instance;
    }
}

/* One user's view of all of them. */
static void hear(const struct eject_settings *settings, struct jury *jury, uid_t uid)
{
    struct eject_figures latest[ROUTE_INSTANCE_MAX], window[ROUTE_INSTANCE_MAX];
    enum eject_reason reasons[ROUTE_INSTANCE_MAX];
    memset(latest, 0, sizeof(latest[0]) * jury->count);
    memset(window, 0, sizeof(window[0]) * jury->count);
    for (size_t i = 0; i < jury->count; i++) {
        const struct instance *instance = jury->instances[i];
        for (uint32_t u = 0; u < instance->user_count; u++) {
            if (instance->users[u].uid != uid)
                continue;
            latest[i] = instance->users[u].latest;
            window[i] = instance->users[u].window;
        }
    }
    eject_compare(settings, latest, window, jury->count, reasons);
    for (size_t i = 0; i < jury->count; i++) {
        jury->voters[i] += window[i].ended > 0;
        jury->votes[i] += reasons[i] != EJECT_NONE;
        if (reasons[i] != EJECT_NONE)
            jury->reasons[i] = reasons[i];
    }
}

static void hear_all(const struct eject_settings *settings, struct jury *jury)
{
    uid_t heard[ROUTE_INSTANCE_MAX * EJECT_USER_MAX];
    size_t count = 0;
    for (size_t i = 0; i < jury->count; i++) {
        const struct instance *instance = jury->instances[i];
        for (uint32_t u = 0; u < instance->user_count; u++) {
            uid_t uid = instance->users[u].uid;
            size_t k = 0;
            while (k < count && heard[k] != uid)
                k++;
            if (k < count)
                continue;
            heard[count++] = uid;
            hear(settings, jury, uid);
        }
    }
}

/* ---- Acting ---- */

/* Of all users, for the words of the event. */
static struct eject_figures figures_of(const struct instance *instance)
{
    struct eject_figures sum = {0};
    for (uint32_t i = 0; i < instance->user_count; i++)
        add(&sum, &instance->users[i].window);
    return sum;
}

static void eject(struct broker *broker, struct instance *instance, enum eject_reason reason,
                  uint64_t now_ns)
{
    static const char *const whys[] = {
        [EJECT_IN_A_ROW] = "calls fail in a row",
        [EJECT_RATE] = "more calls fail than of the others",
        [EJECT_SLOW] = "it is slower than the others",
    };
    const struct eject_figures figures = figures_of(instance);
    uint64_t ns = eject_begin(&broker->ejector.settings, now_ns, &instance->eject);
    char what[ERROR_TEXT_BYTES_MAX];
    broker->ejector.ejections++;
    routes_write(&broker->routes, instance->version->interface);
    (void)snprintf(what, sizeof(what),
                   "is ejected for %.1f s: %s (%llu of %llu calls failed, half took longer than "
                   "%llu us)",
                   (double)ns / NS_PER_S, whys[reason], (unsigned long long)figures.failed,
                   (unsigned long long)figures.ended,
                   (unsigned long long)(eject_median_ns(&figures) / 2 / NS_PER_US));
    instance_event(broker, "instance.ejected", instance, what);
}

static void judge(struct broker *broker, const struct version *version, uint64_t now_ns)
{
    struct jury jury;
    const struct eject_settings *settings = &broker->ejector.settings;
    gather(version, &jury);
    if (jury.count < 2)
        return;
    hear_all(settings, &jury);
    for (int reason = EJECT_IN_A_ROW; reason <= EJECT_SLOW; reason++) {
        for (size_t i = 0; i < jury.count; i++) {
            struct instance *instance = jury.instances[i];
            if (jury.reasons[i] != (enum eject_reason)reason || instance->eject.ejected ||
                jury.votes[i] * 2 <= jury.voters[i] ||
                !eject_may(settings, jury.count, jury.ejected))
                continue;
            eject(broker, instance, jury.reasons[i], now_ns);
            jury.ejected++;
        }
    }
}

static void restore_due(struct broker *broker, uint64_t now_ns)
{
    for (struct instance *i = broker->directory.instances; i; i = i->hh.next) {
        if (!eject_restore(&broker->ejector.settings, now_ns, &i->eject))
            continue;
        routes_write(&broker->routes, i->version->interface);
        instance_event(broker, "instance.restored", i, "is let back in");
    }
}

/* ---- Looking ---- */

static bool comparable(const struct broker *broker)
{
    for (const struct interface *i = broker->directory.interfaces; i; i = i->hh.next)
        for (uint32_t v = 0; v < ROUTE_VERSION_MAX; v++)
            if (i->versions[v] && i->versions[v]->instance_count > 1)
                return true;
    return false;
}

/* The latest becomes part of the window; or both end. */
static bool window_is_full(const struct broker *broker)
{
    if (broker->ejector.window >= EJECT_WINDOW_MAX)
        return true;
    for (const struct instance *i = broker->directory.instances; i; i = i->hh.next)
        for (uint32_t u = 0; u < i->user_count; u++)
            if (i->users[u].window.ended < broker->ejector.settings.volume)
                return false;
    return true;
}

static void window_extend(struct broker *broker)
{
    broker->ejector.window++;
    for (struct instance *i = broker->directory.instances; i; i = i->hh.next)
        for (uint32_t u = 0; u < i->user_count; u++)
            add(&i->users[u].window, &i->users[u].latest);
}

static void window_end(struct broker *broker)
{
    bool full = window_is_full(broker);
    for (struct instance *i = broker->directory.instances; i; i = i->hh.next) {
        for (uint32_t u = 0; u < i->user_count; u++) {
            memset(&i->users[u].latest, 0, sizeof(i->users[u].latest));
            if (full)
                memset(&i->users[u].window, 0, sizeof(i->users[u].window));
        }
    }
    if (full)
        broker->ejector.window = 0;
}

static uint64_t look(struct broker *broker, uint64_t now_ns)
{
    uint64_t ended = 0;
    struct endpoint *endpoint;
    TAILQ_FOREACH (endpoint, &broker->endpoints, entry)
        ended += read_endpoint(broker, endpoint);
    window_extend(broker);
    restore_due(broker, now_ns);
    for (struct interface *i = broker->directory.interfaces; i; i = i->hh.next)
        for (uint32_t v = 0; v < ROUTE_VERSION_MAX; v++)
            if (i->versions[v])
                judge(broker, i->versions[v], now_ns);
    window_end(broker);
    return ended;
}

static uint64_t next_look(const struct broker *broker, uint64_t now_ns)
{
    const struct ejector *ejector = &broker->ejector;
    uint64_t next = clock_add(now_ns, ejector->settings.interval_ns << ejector->idle);
    bool any = comparable(broker);
    for (const struct instance *i = broker->directory.instances; i; i = i->hh.next) {
        any = any || i->eject.ejected;
        if (i->eject.ejected && i->eject.until_ns < next)
            next = i->eject.until_ns;
    }
    return any ? next : CLOCK_NEVER;
}

uint64_t ejector_next_ns(const struct broker *broker)
{
    return broker->ejector.look_ns;
}

void ejector_turn(struct broker *broker, uint64_t now_ns)
{
    struct ejector *ejector = &broker->ejector;
    unsigned known = HASH_COUNT(broker->directory.instances);
    if (ejector->settings.off)
        return;
    if (ejector->look_ns <= now_ns) {
        bool busy = look(broker, now_ns) > 0;
        ejector->idle = busy ? 0 : ejector->idle + (ejector->idle < EJECT_IDLE_SHIFT_MAX);
        ejector->look_ns = next_look(broker, now_ns);
    } else if (known != ejector->known && ejector->look_ns == CLOCK_NEVER) {
        ejector->idle = 0;
        ejector->look_ns = next_look(broker, now_ns);
    }
    ejector->known = known;
}

uint32_t ejector_count(const struct broker *broker)
{
    uint32_t count = 0;
    for (const struct instance *i = broker->directory.instances; i; i = i->hh.next)
        count += i->eject.ejected;
    return count;
}
