/*
 * A client that cancels what it never called, what others call, everything twice, and without end;
 * and one that takes no answers. The service bears it, and the calls of others with it.
 */
#include "support/test.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "rpc/internal.h"
#include "support/caller.h"
#include "support/echoes.h"
#include "support/rogue.h"

#define PATIENCE_MS 60000

static struct caller caller;
static struct rogue rogue;

/* ---- The service ---- */

static uint32_t told, served;

struct own {
    Echo__V1__Message_Closure closure;
    void *data;
};

static void on_cancel(struct parley_context *context, void *userdata)
{
    struct own *own = userdata;
    (void)context;
    told++;
    own->closure(NULL, own->data);
    free(own);
}

static void handle_never(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                         Echo__V1__Message_Closure closure, void *data)
{
    (void)service;
    (void)input;
    struct own *own = malloc(sizeof(*own));
    *own = (struct own){closure, data};
    served++;
    parley_context_on_cancel(parley_context_current(), on_cancel, own);
}

/* How many calls Never has had, and how many of them were cancelled. */
static void handle_echo(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                        Echo__V1__Message_Closure closure, void *data)
{
    (void)service;
    Echo__V1__Message reply = ECHO__V1__MESSAGE__INIT;
    uint32_t numbers[] = {served, told};
    if (input->number) {
        reply.payload.data = (uint8_t *)numbers;
        reply.payload.len = sizeof(numbers);
    }
    closure(&reply, data);
}

static Echo__V1__Echo_Service implementation =
    ECHO_SERVICE(.echo = handle_echo, .never = handle_never);

/* ---- The clients ---- */

static int set_up(void **state)
{
    (void)state;
    (void)caller_begin(&caller, &implementation);
    rogue_attach(&rogue, &caller.bus);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    rogue_leave(&rogue);
    caller_end(&caller);
    return 0;
}

/* By calls of the one who obeys: until the service has room for one. */
static void ask(uint32_t *ret_served, uint32_t *ret_told)
{
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT, *reply;
    enum parley_status status = PARLEY_RESOURCE_EXHAUSTED;
    request.number = 1;
    for (int i = 0; i < 1000000 && status == PARLEY_RESOURCE_EXHAUSTED; i++)
        status = echo__v1__echo__echo_call(caller.client, &request, &reply, NULL);
    if (status != PARLEY_OK)
        fail_msg("%s", parley_error_text());
    memcpy(ret_served, reply->payload.data, sizeof(*ret_served));
    memcpy(ret_told, reply->payload.data + sizeof(*ret_served), sizeof(*ret_told));
    parley_reply_free(reply);
}

static void await_served(uint32_t value)
{
    uint32_t had = 0, cancelled;
    for (int i = 0; i < 1000000 && had < value; i++)
        ask(&had, &cancelled);
    assert_int_equal(had, value);
}

static void await_told(uint32_t value)
{
    uint32_t had, cancelled = 0;
    for (int i = 0; i < 1000000 && cancelled < value; i++)
        ask(&had, &cancelled);
    assert_int_equal(cancelled, value);
}

/* False: the service has ended the channel. */
static bool push(enum frame_kind kind, unsigned method, uint64_t call_id)
{
    struct frame_header header = {.call_id = call_id,
                                  .time_left_us = UINT32_MAX,
                                  .method = (uint16_t)method,
                                  .version_tag = FRAME_TAG_CLIENT,
                                  .kind = (uint8_t)kind};
    void *record;
    int r;
    for (int waited = 0; waited < PATIENCE_MS; waited++) {
        r = ring_reserve(&rogue.segment, &rogue.peer, sizeof(header), &record);
        if (r != RING_E_FULL)
            break;
        struct pollfd fd = {.fd = rogue.bell, .events = POLLIN};
        if (poll(&fd, 1, 1) == 1)
            return false;
    }
    assert_int_equal(r, 0);
    memcpy(record, &header, sizeof(header));
    ring_commit(&rogue.segment, sizeof(header));
    if (peer_asleep(&rogue.peer))
        (void)send(rogue.bell, &(uint8_t){BELL_RING}, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    return true;
}

static void test_cancels_of_what_was_never_called_change_nothing(void **state)
{
    (void)state;
    uint32_t had, cancelled;
    for (uint64_t i = 0; i < 300000; i++)
        assert_true(push(FRAME_CANCEL, 0, i << (i % 33)));
    assert_true(push(FRAME_REQUEST, METHOD_NEVER, 7));
    await_served(1); /* so the cancels are behind it */
    ask(&had, &cancelled);
    assert_int_equal(cancelled, 0);
}

static void test_a_call_that_is_cancelled_again_and_again_is_cancelled_once(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++)
        assert_true(push(FRAME_REQUEST, METHOD_NEVER, (uint64_t)i));
    for (int i = 0; i < 1000; i++)
        assert_true(push(FRAME_CANCEL, 0, 1));
    assert_true(push(FRAME_REQUEST, METHOD_NEVER, 3));
    await_served(4);
    await_told(1);
}

static void test_nobody_cancels_a_call_of_another_process(void **state)
{
    (void)state;
    struct tally tally = {0};
    uint64_t id = caller_start(&caller, METHOD_NEVER, NULL, NULL, &tally);
    await_served(1);
    for (int i = 0; i < 100; i++)
        assert_true(push(FRAME_CANCEL, 0, id));
    assert_true(push(FRAME_REQUEST, METHOD_NEVER, id));
    await_served(2);
    assert_true(push(FRAME_CANCEL, 0, id));
    await_told(1);
    assert_int_equal(tally.ended, 0);
    assert_int_equal(parley_client_cancel(caller.client, id), PARLEY_OK);
    await_told(2);
}

/* All of them under one id, up to what a service takes, and one more. */
static void test_one_cancel_ends_all_calls_that_a_client_gave_the_same_id(void **state)
{
    (void)state;
    for (uint32_t i = 0; i <= RPC_SERVING_MAX; i++)
        assert_true(push(FRAME_REQUEST, METHOD_NEVER, 5));
    assert_true(push(FRAME_CANCEL, 0, 5));
    assert_true(push(FRAME_REQUEST, METHOD_NEVER, 6));
    await_served(RPC_SERVING_MAX + 1);
    await_told(RPC_SERVING_MAX);
}

/* Answers without a byte in them take memory, too, while they wait. */
static void test_a_client_that_takes_no_answers_is_hung_up_on(void **state)
{
    (void)state;
    uint32_t most = RPC_QUEUE_FRAMES_MAX + SEGMENT_RING_LINES_DEFAULT, sent = 0;
    while (sent < 2 * most && push(FRAME_REQUEST, METHOD_ECHO, sent))
        sent++;
    assert_true(sent >= RPC_QUEUE_FRAMES_MAX);
    assert_true(sent <= most + SEGMENT_RING_LINES_DEFAULT);
    uint32_t had, cancelled;
    ask(&had, &cancelled);
}

#define cancel_test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cancel_test(test_cancels_of_what_was_never_called_change_nothing),
        cancel_test(test_a_call_that_is_cancelled_again_and_again_is_cancelled_once),
        cancel_test(test_nobody_cancels_a_call_of_another_process),
        cancel_test(test_one_cancel_ends_all_calls_that_a_client_gave_the_same_id),
        cancel_test(test_a_client_that_takes_no_answers_is_hung_up_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
