/*
 * How soon do 1,000 connected clients obey a change of a rollout, and what does it cost their
 * calls?
 *
 * A round: a broker in a process of its own, a service that publishes two versions of an interface
 * on one endpoint and never sleeps, and 1,000 clients, each an endpoint of its own, all in this
 * process. They call in turns, without pause, while the broker gives all calls to the canary and
 * takes them back, again and again. It stamps the moment before routes_set_rollout(), the decision;
 * each call is stamped as it begins, and says which version served it. So what is wanted can be
 * seen: when did the last call begin that still went by the decision before? And how long was it
 * until each client had called once more, which is how fast one core can call for 1,000?
 *
 * What it costs: one client calls while nothing changes, and while the broker changes the share a
 * thousand times a second, by one bucket of 100,000, so that the calls themselves are the same; a
 * few thousand calls of each in turns.
 *
 * The broker is not parleyd, but the same broker run here, because nobody outside can stamp its
 * stores.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <parley/parley.h>

#include "base/clock.h"
#include "broker/broker.h"
#include "order_v1.parley.h"
#include "order_v2.parley.h"
#include "study.h"

#define CLIENTS 1000
#define FLIPS 25
#define FLIP_EVERY_NS (250 * NS_PER_MS)
#define FLICKER_EVERY_NS NS_PER_MS
#define CALLS 100000     /* of a row of one client */
#define SLICES 20        /* of it, in turns with the other row's */
#define WARM_UP 2000     /* of a slice */
#define SEEN_MAX 8000000 /* calls while it flips */
#define PATIENCE_NS (30 * NS_PER_S)

enum { STORE, REACH, LAP, AT_REST, DURING };
enum mode { REST, FLIP, FLICKER };

/* Between the broker's process and this one. */
static struct shared {
    _Atomic int mode;
    _Atomic uint32_t flips; /* done */
    uint64_t decided_ns[FLIPS], stored_ns[FLIPS];
} * shared;

static int failed(struct study_round *round)
{
    return error_set(round->error, -1, "%s", parley_error_text());
}

static void socket_path(const struct study_round *round, char path[128])
{
    (void)snprintf(path, 128, "%s/rollout.sock", round->folder);
}

/* ---- The broker ---- */

static int decide(struct broker *broker, uint32_t canary_buckets)
{
    struct error_text error = {""};
    struct interface *interface = directory_find(&broker->directory, "bench-orders");
    const struct route_rollout rollout = {
        .name = "bench", .stable = "1.0.0", .canary = "2.0.0", .canary_buckets = canary_buckets};
    int r = routes_set_rollout(broker, interface, &rollout, &error);
    if (r < 0)
        fprintf(stderr, "broker: %s\n", error.text);
    return r < 0 ? -1 : 0;
}

static int flip(struct broker *broker, uint64_t *due_ns)
{
    uint32_t i = atomic_load(&shared->flips);
    if (i == FLIPS) {
        atomic_store(&shared->mode, REST);
        return 0;
    }
    shared->decided_ns[i] = clock_now_ns();
    int r = decide(broker, i % 2 ? 0 : ROUTE_BUCKETS);
    shared->stored_ns[i] = clock_now_ns();
    atomic_store(&shared->flips, i + 1);
    *due_ns = shared->decided_ns[i] + FLIP_EVERY_NS;
    return r;
}

static int run_broker(const struct study_round *round, void *userdata)
{
    char path[128];
    struct error_text error = {""};
    struct broker *broker;
    uint64_t due_ns = 0;
    uint32_t share = 0;
    (void)userdata;
    socket_path(round, path);
    const struct broker_options options = {.socket = path, .socket_mode = 0600};
    int r = broker_new(&options, &broker, &error);
    if (r < 0)
        fprintf(stderr, "broker: %s\n", error.text);
    while (r >= 0) {
        int mode = atomic_load(&shared->mode);
        uint64_t now = clock_now_ns();
        r = broker_turn(broker, mode == REST ? NS_PER_MS : due_ns > now ? due_ns - now : 0);
        if (r < 0 || clock_now_ns() < due_ns || mode == REST)
            continue;
        if (mode == FLIP) {
            r = flip(broker, &due_ns);
        } else {
            r = decide(broker, share ^= 1);
            due_ns = clock_now_ns() + FLICKER_EVERY_NS;
        }
    }
    return r;
}

/* ---- The service ---- */

static void old__echo(Order__V1__Orders_Service *service, const Order__V1__Order *order,
                      Order__V1__Order_Closure closure, void *data)
{
    (void)service;
    closure(order, data);
}

static void new__echo(Order__V2__Orders_Service *service, const Order__V2__Order *order,
                      Order__V2__Order_Closure closure, void *data)
{
    (void)service;
    closure(order, data);
}

static enum parley_status join(const struct study_round *round, uint64_t spin_ns_max,
                               struct parley_endpoint **ret_endpoint)
{
    char path[128];
    socket_path(round, path);
    const struct parley_endpoint_options options = {
        .broker = path,
        .name = "rollout",
        .connect_timeout_ns = PATIENCE_NS,
        .spin_ns_max = spin_ns_max,
    };
    return parley_endpoint_new(&options, ret_endpoint);
}

static int serve(const struct study_round *round, void *userdata)
{
    static Order__V1__Orders_Service old = ORDER__V1__ORDERS__INIT(old__);
    static Order__V2__Orders_Service new = ORDER__V2__ORDERS__INIT(new__);
    struct parley_endpoint *endpoint;
    struct parley_service *service;
    (void)userdata;
    enum parley_status status = join(round, PARLEY_FOREVER, &endpoint);
    if (status == PARLEY_OK)
        status = order__v1__orders__serve(endpoint, &old, NULL, &service);
    if (status == PARLEY_OK)
        status = order__v2__orders__serve(endpoint, &new, NULL, &service);
    if (status == PARLEY_OK)
        status = parley_run(endpoint);
    fprintf(stderr, "service: %s\n", parley_error_text());
    return -1;
}

/* ---- The clients ---- */

static struct parley_endpoint *endpoints[CLIENTS];
static struct parley_client *clients[CLIENTS];

/* Return: the major version that served it; 0: it failed. */
static int call(struct parley_client *client)
{
    Order__V1__Order order = ORDER__V1__ORDER__INIT, *reply;
    struct parley_call said = {.timeout_ns = PATIENCE_NS};
    order.number = (char *)(uintptr_t) "4711";
    order.created_s = 1;
    if (order__v1__orders__echo_call(client, &order, &reply, &said) != PARLEY_OK)
        return 0;
    bool same = reply->created_s == 1;
    parley_reply_free(reply);
    return same ? said.version[0] - '0' : 0;
}

static int open_clients(struct study_round *round)
{
    const struct parley_client_options options = {.wait_ns = PATIENCE_NS};
    uint64_t until = clock_now_ns() + PATIENCE_NS;
    for (uint32_t i = 0; i < CLIENTS; i++) {
        if (join(round, PARLEY_FOREVER, &endpoints[i]) != PARLEY_OK ||
            order__v1__orders__connect(endpoints[i], &options, &clients[i]) != PARLEY_OK)
            return failed(round);
        while (parley_client_channel_count(clients[i]) < 2 && clock_now_ns() < until)
            (void)parley_dispatch(endpoints[i], NS_PER_MS);
        if (parley_client_channel_count(clients[i]) < 2)
            return error_set(round->error, -1, "a client has not found both versions");
    }
    return 0;
}

/* ---- How soon ---- */

struct seen {
    uint64_t began_ns : 60; /* since the first one */
    uint64_t version : 4;
};

static int call_in_turns(struct study_round *round, struct seen *seen, uint32_t *ret_count,
                         uint64_t *ret_start_ns)
{
    uint32_t count = 0;
    uint64_t start = clock_now_ns();
    for (uint32_t i = 0; i < 2 * CLIENTS; i++)
        if (!call(clients[i % CLIENTS]))
            return failed(round);
    atomic_store(&shared->mode, FLIP);
    for (; atomic_load_explicit(&shared->mode, memory_order_relaxed) == FLIP && count < SEEN_MAX;
         count++) {
        uint64_t now = clock_now_ns();
        int version = call(clients[count % CLIENTS]);
        if (!version)
            return failed(round);
        seen[count] = (struct seen){.began_ns = now - start, .version = (unsigned)version};
    }
    *ret_count = count;
    *ret_start_ns = start;
    return 0;
}

/* Of one flip: the last call, behind the decision and before the next, that went by the old one. */
static void look(struct study_round *round, const struct seen *seen, uint32_t count, uint64_t start)
{
    static uint32_t reach[FLIPS], lap[FLIPS];
    uint32_t at = 0;
    for (uint32_t i = 0; i < FLIPS; i++) {
        uint64_t from = shared->decided_ns[i] - start;
        uint64_t to = i + 1 < FLIPS ? shared->decided_ns[i + 1] - start : UINT64_MAX >> 4;
        unsigned wanted = i % 2 ? 1 : 2, obeyed = 0;
        uint64_t late = 0, all = FLIP_EVERY_NS; /* or longer: not all have called */
        while (at < count && seen[at].began_ns < from)
            at++;
        /* The next one's beginning is its end: who is under way at the next decision may obey it.
         */
        for (; at + 1 < count && seen[at + 1].began_ns < to; at++) {
            if (seen[at].version != wanted) {
                late = seen[at].began_ns - from;
                obeyed = 0;
            } else if (++obeyed == CLIENTS && all == FLIP_EVERY_NS) {
                all = seen[at].began_ns - from;
            }
        }
        reach[i] = study_sample(0, late);
        lap[i] = study_sample(0, all);
        round->samples_ns[i] = study_sample(shared->decided_ns[i], shared->stored_ns[i]);
    }
    study_put_samples(round, STORE, FLIPS);
    memcpy(round->samples_ns, reach, sizeof(reach));
    study_put_samples(round, REACH, FLIPS);
    memcpy(round->samples_ns, lap, sizeof(lap));
    study_put_samples(round, LAP, FLIPS - 1);
}

static int time_reach(struct study_round *round)
{
    struct seen *seen = malloc(SEEN_MAX * sizeof(*seen));
    uint32_t count = 0;
    uint64_t start = 0;
    if (!seen)
        return error_set(round->error, -1, "out of memory");
    memset(seen, 1, SEEN_MAX * sizeof(*seen)); /* no page is first touched between two calls */
    int r = call_in_turns(round, seen, &count, &start);
    if (r == 0)
        look(round, seen, count, start);
    free(seen);
    return r;
}

/* ---- What it costs ---- */

static int time_slice(struct study_round *round, enum mode mode, uint32_t *samples)
{
    atomic_store(&shared->mode, mode);
    for (uint32_t i = 0; i < WARM_UP; i++)
        if (!call(clients[0]))
            return failed(round);
    uint64_t last = clock_now_ns();
    for (uint32_t i = 0; i < CALLS / SLICES; i++) {
        if (!call(clients[0]))
            return failed(round);
        uint64_t now = clock_now_ns();
        samples[i] = study_sample(last, now);
        last = now;
    }
    return 0;
}

/* In turns: the cores drift. */
static int time_calls(struct study_round *round)
{
    static uint32_t during[CALLS], at_rest[CALLS];
    int r = 0;
    for (uint32_t i = 0; i < SLICES && r == 0; i++) {
        r = time_slice(round, REST, at_rest + i * (CALLS / SLICES));
        if (r == 0)
            r = time_slice(round, FLICKER, during + i * (CALLS / SLICES));
    }
    atomic_store(&shared->mode, REST);
    memcpy(round->samples_ns, at_rest, sizeof(at_rest));
    study_put_samples(round, AT_REST, CALLS);
    memcpy(round->samples_ns, during, sizeof(during));
    study_put_samples(round, DURING, CALLS);
    return r;
}

/* ---- A round ---- */

static int with_clients(struct study_round *round)
{
    int r = open_clients(round);
    if (r == 0)
        r = time_reach(round);
    return r == 0 ? time_calls(round) : r;
}

static int run(struct study_round *round)
{
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return error_set(round->error, -1, "mmap: %s", strerror(errno));
    pid_t broker = study_start(round, -1, run_broker, NULL);
    pid_t service = study_start(round, round->cpus[1], serve, NULL);
    int r = with_clients(round);
    for (uint32_t i = 0; i < CLIENTS; i++)
        parley_endpoint_free(endpoints[i]);
    study_stop(service);
    study_stop(broker);
    (void)munmap(shared, sizeof(*shared));
    return r;
}

/* ---- The question ---- */

static const struct study_row rows[] = {
    [STORE] = {.name = "store", .about = "a decision to the end of the store"},
    [REACH] = {.name = "reach",
               .about = "a decision to the last call by the one before",
               .json = "\"clients\":1000"},
    [LAP] = {.name = "lap",
             .about = "a decision to the last client's next call",
             .json = "\"clients\":1000"},
    [AT_REST] = {.name = "rest", .about = "a call, nothing changes"},
    [DURING] = {.name = "during", .about = "a call, the share changes 1,000 times a second"},
};

static const struct study_goal goals[] = {
    {REACH, STUDY_ALONE, true, NS_PER_MS, 0, "1,000 clients obey within a millisecond"},
    {DURING, AT_REST, false, 1.05, 0, "a change costs a call nothing"},
};

static const struct study study = {
    .name = "rollout",
    .question = "How soon do 1,000 clients obey a rollout's step, and what does it cost them?",
    .method =
        "1,000 clients on endpoints of their own call in turns from one core a service of two\n"
        "versions on the other, which never sleeps; all calls go to the canary and back\n"
        "25 times. \"by the one before\": that began behind the decision and did not obey.\n",
    .rows = rows,
    .row_count = sizeof(rows) / sizeof(rows[0]),
    .goals = goals,
    .goal_count = sizeof(goals) / sizeof(goals[0]),
    .rounds = 3,
    .seconds_max = 60,
    .run = run,
};

int main(int argc, char **argv)
{
    return study_main(argc, argv, &study);
}
