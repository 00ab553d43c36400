/*
 * The short way that a plain call takes, and the long one that all others do, must not be told
 * apart.
 *
 * Calls are generated: of each method, waited for or not, small and large, of the wrong type,
 * cancelled at once. Each series is made three times by a client of its own: as they are; with an
 * option that makes no difference (detached: no handler runs here), so that they begin the long
 * way; and traced, all of them, so that their replies are taken the long way, too. What became of
 * each call, and what was counted, has to be the same. Run once for each wait backend.
 */
#include "support/test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/random.h"
#include "rpc/internal.h"
#include "support/caller.h"
#include "support/echoes.h"
#include "support/tracing.h"

#define CALLS_MAX 400
#define SERIES 6
#define LATER_MAX 8
#define LARGE_BYTES 40000 /* more than a ring's record: by the arena */

static struct caller caller;

/* ---- The service ---- */

static struct {
    Echo__V1__Message_Closure closure;
    void *data;
} held_back[LATER_MAX];
static size_t held_back_count;

static void release(void)
{
    Echo__V1__Message reply = ECHO__V1__MESSAGE__INIT;
    reply.number = 1000;
    while (held_back_count > 0) { /* the last first */
        held_back_count--;
        held_back[held_back_count].closure(&reply, held_back[held_back_count].data);
    }
}

static void handle_echo(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                        Echo__V1__Message_Closure closure, void *data)
{
    (void)service;
    release();
    closure(input, data);
}

static void handle_later(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                         Echo__V1__Message_Closure closure, void *data)
{
    (void)service;
    (void)input;
    if (held_back_count == LATER_MAX)
        release();
    held_back[held_back_count].closure = closure;
    held_back[held_back_count++].data = data;
}

static Echo__V1__Echo_Service service =
    ECHO_SERVICE(.echo = handle_echo, .fail = echo_failed, .later = handle_later);

/* ---- A series of calls, and what became of them ---- */

enum way { PLAIN, ASKED, TRACED, WAYS };

struct ending {
    bool begun;       /* it had an id */
    unsigned endings; /* how often it ended: once */
    uint32_t number;  /* of the reply */
    size_t bytes;     /* of its payload; the text, too, is the same */
    uint32_t sum;
    struct parley_call call;
};

struct series {
    struct ending ending[CALLS_MAX];
    uint64_t started[STATS_CELL_MAX], by_status[STATS_CELL_MAX][STATS_STATUS_COUNT];
    uint64_t ended, failed, timed;
};

static struct series series[WAYS];
static uint8_t payload[LARGE_BYTES];
static size_t ended;

static void note_reply(struct ending *ending, const Echo__V1__Message *reply)
{
    ending->endings++;
    ended++;
    if (!reply)
        return;
    ending->number = reply->number;
    ending->bytes = reply->payload.len;
    for (size_t i = 0; i < reply->payload.len; i++)
        ending->sum = ending->sum * 31 + reply->payload.data[i];
}

static void note(const Echo__V1__Message *reply, void *data)
{
    struct ending *ending = data;
    ending->call = *parley_call_current();
    note_reply(ending, reply);
}

static void make_request(uint64_t *random, unsigned method, Echo__V1__Message *request,
                         ProtobufCMessageDescriptor *other)
{
    static const char *const texts[] = {"", "no", "such a thing happens"};
    request->number = method == METHOD_FAIL ? random_below(random, PARLEY_STATUS_COUNT + 2)
                                            : (uint32_t)random_next(random);
    request->text = (char *)(uintptr_t)texts[random_below(random, 3)];
    request->payload.data = payload + random_below(random, 16);
    request->payload.len = random_below(random, random_below(random, 16) ? 200 : LARGE_BYTES - 16);
    if (random_below(random, 40) == 0)
        request->base.descriptor = other; /* refused */
}

static void call_and_wait(unsigned method, const Echo__V1__Message *request,
                          const struct parley_call *options, struct ending *ending)
{
    ProtobufCMessage *reply = NULL;
    if (options)
        ending->call = *options;
    (void)parley_client_call(caller.client, method, &request->base, &reply, &ending->call);
    ending->call.detached = false;
    note_reply(ending, (const Echo__V1__Message *)reply);
    parley_reply_free(reply);
    ending->begun = true;
}

static void make_call(uint64_t *random, enum way way, struct ending *ending)
{
    static const unsigned methods[] = {METHOD_ECHO, METHOD_ECHO, METHOD_ECHO, METHOD_FAIL,
                                       METHOD_LATER};
    static const struct parley_call asks = {.detached = true};
    const struct parley_call *options = way == PLAIN ? NULL : &asks;
    ProtobufCMessageDescriptor other = echo__v1__message__descriptor;
    other.name = "echo.v1.Other";
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    unsigned method = methods[random_below(random, 5)];
    make_request(random, method, &request, &other);
    bool waits = random_below(random, 4) == 0, cancels = random_below(random, 12) == 0;
    if (waits && method != METHOD_LATER) { /* that would be answered by a later one */
        call_and_wait(method, &request, options, ending);
        return;
    }
    uint64_t id = parley_client_start(caller.client, method, &request.base, options,
                                      (ProtobufCClosure)note, ending);
    ending->begun = id != 0;
    if (cancels && id)
        assert_int_equal(parley_client_cancel(caller.client, id), PARLEY_OK);
}

static void note_counts(struct series *made)
{
    const struct stats *stats = &caller.endpoint->stats;
    for (uint32_t i = 0; i < stats->count; i++) {
        made->started[i] = stats->cells[i].started;
        uint64_t left = made->started[i];
        for (unsigned s = 0; s < STATS_STATUS_COUNT; s++)
            left -= made->by_status[i][s] = stats->cells[i].by_status[s];
        for (unsigned b = 0; b < STATS_BUCKET_COUNT; b++)
            made->timed += stats->cells[i].bucket[b];
        assert_int_equal(left, 0);
        assert_int_equal(stats->cells[i].translated, 0);
    }
    made->ended = stats->instances[0].ended;
    made->failed = stats->instances[0].failed;
}

/* Nothing is left over of them. */
static void assert_at_rest(void)
{
    const struct parley_endpoint *endpoint = caller.endpoint;
    const struct channel *channel = LIST_FIRST(&caller.client->channels);
    assert_int_equal(caller.client->pending, 0);
    assert_int_equal(channel->in_flight, 0);
    assert_int_equal(channel->held->users, 2); /* its own, and the offer's */
    assert_true(TAILQ_EMPTY(&endpoint->deadlines));
    assert_int_equal(endpoint->call_free_count, endpoint->call_count);
}

static void make_series(uint64_t seed, enum way way)
{
    struct series *made = &series[way];
    uint64_t random = seed;
    memset(made, 0, sizeof(*made));
    caller_connect(&caller, 1);
    ended = 0;
    for (size_t i = 0; i < CALLS_MAX - 1; i++) {
        make_call(&random, way, &made->ending[i]);
        if (random_below(&random, 8) == 0)
            (void)parley_dispatch(caller.endpoint, 1);
    }
    /* By which all that are held back are answered. */
    Echo__V1__Message last = ECHO__V1__MESSAGE__INIT;
    call_and_wait(METHOD_ECHO, &last, NULL, &made->ending[CALLS_MAX - 1]);
    caller_await(&caller, &ended, CALLS_MAX);
    note_counts(made);
    assert_at_rest();
    caller_leave(&caller);
}

static void assert_same_endings(const struct series *a, const struct series *b, size_t i)
{
    const struct ending *x = &a->ending[i], *y = &b->ending[i];
    assert_int_equal(x->endings, 1);
    assert_int_equal(y->endings, 1);
    assert_int_equal(x->begun, y->begun);
    assert_int_equal(x->number, y->number);
    assert_int_equal(x->bytes, y->bytes);
    assert_int_equal(x->sum, y->sum);
    assert_int_equal(x->call.status, y->call.status);
    assert_int_equal(x->call.executed, y->call.executed);
    assert_int_equal(x->call.attempts, y->call.attempts);
    assert_int_equal(x->call.translated, y->call.translated);
    assert_int_equal(x->call.translation, y->call.translation);
    assert_string_equal(x->call.version, y->call.version);
    assert_string_equal(x->call.error, y->call.error);
}

static void assert_same_series(const struct series *a, const struct series *b)
{
    for (size_t i = 0; i < CALLS_MAX; i++)
        assert_same_endings(a, b, i);
    assert_memory_equal(a->started, b->started, sizeof(a->started));
    assert_memory_equal(a->by_status, b->by_status, sizeof(a->by_status));
    assert_int_equal(a->ended, b->ended);
    assert_int_equal(a->failed, b->failed);
    assert_int_equal(a->timed, b->timed);
}

/* ---- The tests ---- */

static int setup(void **state)
{
    (void)state;
    bus_start(&caller.bus);
    caller_fork(&caller.bus, &service, NULL);
    for (size_t i = 0; i < sizeof(payload); i++)
        payload[i] = (uint8_t)(i * 7);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    bus_stop(&caller.bus);
    return 0;
}

static void test_no_call_can_tell_which_way_it_went(void **state)
{
    (void)state;
    bool ends[PARLEY_STATUS_COUNT] = {false};
    for (uint64_t seed = 1; seed <= SERIES; seed++) {
        make_series(seed, PLAIN);
        make_series(seed, ASKED);
        assert_same_series(&series[PLAIN], &series[ASKED]);
        tracing_set(&caller.bus, 100000);
        make_series(seed, TRACED);
        tracing_set(&caller.bus, -1);
        assert_same_series(&series[PLAIN], &series[TRACED]);
        for (size_t i = 0; i < CALLS_MAX; i++)
            ends[series[PLAIN].ending[i].call.status] = true;
    }
    assert_true(ends[PARLEY_OK]);
    assert_true(ends[PARLEY_CANCELLED]);
    assert_true(ends[PARLEY_INVALID_ARGUMENT]);
    assert_true(ends[PARLEY_DATA_LOSS]); /* the handler's word */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_no_call_can_tell_which_way_it_went, setup, teardown),
    };
    if (bus_must_skip())
        return BUS_EXIT_SKIP;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
