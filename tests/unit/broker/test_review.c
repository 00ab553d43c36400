/*
 * A policy that changes while calls run: broker, service and client are all in this thread, so that
 * a test decides who listens.
 */
#include "peers.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "broker/guard.h"
#include "echo.parley.h"
#include "rpc/rpc.h"
#include "support/policy.h"

#define PATIENCE_NS (UINT64_C(20) * 1000000000)
#define EVERYTHING "- {who: [anybody], allow: [everything]}\n"
#define NO_CALLS "- {who: [anybody], deny: [call]}\n" EVERYTHING
#define NO_SERVICES "- {who: [anybody], deny: [publish], interfaces: [echo]}\n" EVERYTHING

static struct broker *broker;
static char path[64];
static struct parley_endpoint *server, *caller;
static struct schema *schema; /* of the service */
static struct parley_service *service;
static struct parley_client *client;

/* ---- Who serves: answers at once, or holds what it gets ---- */

static struct {
    bool hold;
    unsigned held, cancelled, published;
    enum parley_status status; /* of the publication */
    char text[256];
    uint8_t room[1024];
} served;

static uint8_t *on_room(struct parley_context *context, unsigned method, size_t bytes,
                        void *userdata)
{
    (void)context;
    (void)method;
    (void)userdata;
    return bytes <= sizeof(served.room) ? served.room : NULL;
}

static void on_cancelled(struct parley_context *context, void *userdata)
{
    (void)userdata;
    served.cancelled++;
    rpc_context_answer(context, PARLEY_CANCELLED, PARLEY_EXECUTED_UNKNOWN, NULL, 0);
}

static void on_serve(struct parley_context *context, unsigned method, uint8_t *payload,
                     size_t bytes, void *userdata)
{
    (void)method;
    (void)userdata;
    if (!served.hold) {
        rpc_context_answer(context, PARLEY_OK, PARLEY_EXECUTED_YES, payload, bytes);
        return;
    }
    served.held++;
    parley_context_on_cancel(context, on_cancelled, NULL);
}

static void on_published(struct parley_service *which, enum parley_status status, const char *text,
                         void *userdata)
{
    (void)which;
    (void)userdata;
    served.published++;
    served.status = status;
    (void)snprintf(served.text, sizeof(served.text), "%s", text);
}

/* ---- Who calls ---- */

struct end {
    bool ended;
    enum parley_status status;
    enum parley_executed executed;
    char text[256];
};

static void on_end(const struct rpc_outcome *outcome, const uint8_t *payload, size_t bytes,
                   void *userdata)
{
    (void)payload;
    (void)bytes;
    struct end *end = userdata;
    end->ended = true;
    end->status = outcome->status;
    end->executed = outcome->executed;
    (void)snprintf(end->text, sizeof(end->text), "%s", outcome->text);
}

static void start_call(struct end *end)
{
    static const uint8_t seven[] = {0x10, 7};
    const struct rpc_call call = {.timeout_ns = PATIENCE_NS,
                                  .payload = seven,
                                  .payload_bytes = sizeof(seven),
                                  .replied = on_end,
                                  .userdata = end};
    *end = (struct end){.ended = false};
    (void)rpc_call_raw(client, 0, &call);
}

/* ---- The bus ---- */

/* Until nothing is under way any more. */
static void settle_without(const struct parley_endpoint *deaf)
{
    for (unsigned i = 0; i < 16; i++) {
        for (unsigned j = 0; j < 4; j++)
            assert_int_equal(broker_turn(broker, 0), 0);
        if (server != deaf)
            assert_int_equal(parley_dispatch(server, 0), PARLEY_OK);
        if (caller != deaf)
            assert_int_equal(parley_dispatch(caller, 0), PARLEY_OK);
    }
}

static void settle(void)
{
    settle_without(NULL);
}

static struct endpoint *session_of(const char *name)
{
    struct endpoint *endpoint;
    TAILQ_FOREACH (endpoint, &broker->endpoints, entry)
        if (strcmp(endpoint->name, name) == 0)
            return endpoint;
    fail_msg("%s is not there", name);
    return NULL;
}

/* That the service has, as it counts them itself. */
static size_t channels_of_service(void)
{
    const struct stats_header *header = session_of("server")->stats.base;
    return header->channels;
}

static size_t instance_count(void)
{
    return HASH_COUNT(broker->directory.instances);
}

static enum parley_status call_now(struct end *end)
{
    uint64_t until = clock_now_ns() + PATIENCE_NS;
    start_call(end);
    while (!end->ended && clock_now_ns() < until)
        settle();
    assert_true(end->ended);
    return end->status;
}

static void endpoint_start(const char *name, struct parley_endpoint **ret_endpoint)
{
    int pair[2];
    struct link *link;
    struct endpoint *session;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair),
                     0);
    assert_int_equal(link_new(pair[0], &link), 0);
    assert_int_equal(session_new(broker, link, false, &session), 0);
    assert_int_equal(rpc_endpoint_attach(pair[1], name, ret_endpoint), PARLEY_OK);
}

static void serve(void)
{
    static const struct rpc_service_ops ops = {
        .published = on_published, .room = on_room, .serve = on_serve};
    const struct parley_interface *interface = &echo__v1__echo__interface;
    struct error_text error = {""};
    assert_int_equal(schema_new(interface->descriptor_set, interface->descriptor_set_bytes,
                                interface->service->name, &schema, &error),
                     0);
    const struct rpc_service_spec spec = {.schema = schema, .calls_max = 4, .ops = &ops};
    assert_int_equal(rpc_service_open(server, &spec, &service), PARLEY_OK);
}

static void open_contract(void)
{
    const struct parley_interface *interface = &echo__v1__echo__interface;
    struct error_text error = {""};
    struct rpc_contract_spec spec = {
        .interface = interface->name,
        .version = interface->version,
        .service = interface->service->name,
        .descriptor_set = interface->descriptor_set,
        .descriptor_set_bytes = interface->descriptor_set_bytes,
        .methods = interface->methods,
        .method_count = interface->service->n_methods,
    };
    assert_int_equal(plan_identity(interface->service, PLAN_REPLIES, &spec.replies, &error), 0);
    assert_int_equal(rpc_contract_open(caller, &spec, NULL, NULL, &client), PARLEY_OK);
    plan_unref(spec.replies);
}

static void change_policy(const char *rules)
{
    policy_write(path, rules);
    guard_reload(broker);
}

static int begin(void **state)
{
    (void)state;
    struct error_text error = {""};
    struct end end;
    memset(&served, 0, sizeof(served));
    (void)snprintf(path, sizeof(path), "/tmp/parley-review-%d", (int)getpid());
    broker = broker_start(NULL);
    policy_write(path, EVERYTHING);
    assert_int_equal(guard_init(broker, path, &error), 0);
    endpoint_start("server", &server);
    endpoint_start("caller", &caller);
    settle();
    serve();
    settle();
    open_contract();
    settle();
    assert_int_equal(parley_client_channel_count(client), 1);
    assert_int_equal(call_now(&end), PARLEY_OK);
    return 0;
}

static int end_bus(void **state)
{
    (void)state;
    parley_endpoint_free(caller);
    parley_endpoint_free(server);
    schema = schema_unref(schema);
    broker_settle(broker);
    broker_free(broker);
    (void)unlink(path);
    return 0;
}

static bool was_told(const char *topic, const char *words)
{
    struct events_list list;
    bool found = false;
    assert_int_equal(events_since(&broker->events, 0, &list), 0);
    for (size_t i = 0; i < list.count; i++)
        found = found ||
                (strcmp(list.items[i]->topic, topic) == 0 && strstr(list.items[i]->text, words));
    events_list_free(&list);
    return found;
}

/* ---- Those who call ---- */

static void test_who_may_not_call_any_more_is_cut(void **state)
{
    (void)state;
    struct end held, next;
    served.hold = true;
    start_call(&held);
    settle();
    assert_int_equal(served.held, 1);
    change_policy(NO_CALLS);
    settle();
    assert_int_equal(parley_client_channel_count(client), 0);
    assert_true(held.ended);
    assert_int_equal(held.status, PARLEY_PERMISSION_DENIED);
    assert_int_equal(held.executed, PARLEY_EXECUTED_UNKNOWN);
    assert_int_equal(served.cancelled, 1);
    assert_int_equal(call_now(&next), PARLEY_PERMISSION_DENIED);
    assert_int_equal(next.executed, PARLEY_EXECUTED_NO);
    assert_words(next.text, "may not call echo");
    assert_true(was_told("audit.contract", "a contract was refused (PERMISSION_DENIED)"));
    assert_true(was_told("audit.connect", "a channel was refused (PERMISSION_DENIED)"));
}

static void test_a_client_that_does_not_listen_is_cut_by_the_service(void **state)
{
    (void)state;
    change_policy(NO_CALLS);
    settle_without(caller);
    assert_int_equal(channels_of_service(), 0);
    assert_int_equal(parley_client_channel_count(client), 1); /* as it thinks */
}

static void test_a_client_whose_link_has_gone_is_cut_by_the_service(void **state)
{
    (void)state;
    session_doom(session_of("caller"));
    settle_without(caller);
    assert_int_equal(channels_of_service(), 1); /* its calls go on without the broker */
    change_policy(NO_CALLS);
    settle_without(caller);
    assert_int_equal(channels_of_service(), 0);
}

static void test_who_may_call_again_is_let_in(void **state)
{
    (void)state;
    struct end end;
    change_policy(NO_CALLS);
    settle();
    assert_int_equal(call_now(&end), PARLEY_PERMISSION_DENIED);
    change_policy(EVERYTHING);
    settle();
    assert_int_equal(parley_client_channel_count(client), 1);
    assert_int_equal(call_now(&end), PARLEY_OK);
}

static void test_a_policy_that_changes_twice_at_once_is_one_that_changes(void **state)
{
    (void)state;
    struct end end;
    const char *const before[] = {NO_CALLS, NO_SERVICES};
    for (unsigned i = 0; i < 2; i++) {
        change_policy(before[i]);
        settle();
        const struct endpoint *sessions[] = {session_of("server"), session_of("caller")};
        change_policy(EVERYTHING);
        change_policy(EVERYTHING);
        settle();
        assert_int_equal(call_now(&end), PARLEY_OK);
        assert_ptr_equal(session_of("server"), sessions[0]); /* their links have stayed */
        assert_ptr_equal(session_of("caller"), sessions[1]);
        assert_int_equal(served.status, PARLEY_OK);
    }
}

static void test_what_is_still_allowed_goes_on(void **state)
{
    (void)state;
    static struct end held; /* its call ends with the endpoint, after the test */
    struct end end;
    served.hold = true;
    start_call(&held);
    settle();
    uint64_t before = broker->events.last;
    change_policy("- {who: [local], allow: [call, publish], interfaces: [echo]}\n");
    settle();
    assert_false(held.ended);
    assert_int_equal(parley_client_channel_count(client), 1);
    assert_int_equal(broker->events.last, before + 1); /* that it was read */
    served.hold = false;
    assert_int_equal(call_now(&end), PARLEY_OK);
}

/* ---- Those who serve ---- */

static void test_a_service_that_may_not_serve_any_more_is_cut(void **state)
{
    (void)state;
    struct end held, next;
    served.hold = true;
    start_call(&held);
    settle();
    change_policy(NO_SERVICES);
    settle();
    assert_true(held.ended);
    assert_int_equal(held.status, PARLEY_UNAVAILABLE); /* tried again, for it is idempotent */
    assert_int_equal(parley_client_channel_count(client), 0);
    assert_int_equal(channels_of_service(), 0);
    assert_int_equal(served.status, PARLEY_PERMISSION_DENIED);
    assert_words(served.text, "may not publish echo");
    assert_int_equal(instance_count(), 0);
    assert_int_equal(call_now(&next), PARLEY_UNAVAILABLE);
    assert_true(was_told("audit.publish", "a publication was refused (PERMISSION_DENIED)"));
    assert_true(was_told("instance.gone", "the policy does not let it serve any more"));
}

static void test_a_service_that_does_not_listen_is_cut_by_its_clients(void **state)
{
    (void)state;
    change_policy(NO_SERVICES);
    settle_without(server);
    assert_int_equal(parley_client_channel_count(client), 0);
    assert_int_equal(channels_of_service(), 1); /* as it thinks */
}

static void test_a_service_may_serve_again(void **state)
{
    (void)state;
    struct end end;
    unsigned published = served.published;
    change_policy(NO_SERVICES);
    settle();
    change_policy(EVERYTHING);
    settle();
    assert_int_equal(served.published, published + 2); /* refused, and taken in */
    assert_int_equal(instance_count(), 1);
    assert_int_equal(call_now(&end), PARLEY_OK);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end_bus)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_who_may_not_call_any_more_is_cut),
        TEST(test_a_client_that_does_not_listen_is_cut_by_the_service),
        TEST(test_a_client_whose_link_has_gone_is_cut_by_the_service),
        TEST(test_who_may_call_again_is_let_in),
        TEST(test_a_policy_that_changes_twice_at_once_is_one_that_changes),
        TEST(test_what_is_still_allowed_goes_on),
        TEST(test_a_service_that_may_not_serve_any_more_is_cut),
        TEST(test_a_service_that_does_not_listen_is_cut_by_its_clients),
        TEST(test_a_service_may_serve_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
