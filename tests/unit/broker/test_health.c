/*
 * How instances are, asked of them: who answers, who does not, who has left; and what is bounded.
 * Services are played over their links; surveys come from a SURVEYOR of libnng's.
 */
#include "peers.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <nng/nng.h>
#include <nng/protocol/survey0/survey.h>

#include "base/clock.h"
#include "broker/health.h"
#include "broker/policy.h"
#include "control/nng.h"
#include "support/policy.h"

#define PATIENCE_NS (20 * NS_PER_S)

static struct broker *broker;
static struct peer service;
static struct set set;
static struct error_text error;

static int begin(void **state)
{
    (void)state;
    broker = broker_start(NULL);
    set_make(&set, "orders", "1.0.0", "orders.v1", NULL, 1);
    peer_join(&service, broker, "orders");
    publish(&service, 1, &set);
    error.text[0] = '\0';
    return 0;
}

static int end(void **state)
{
    (void)state;
    peer_leave(&service);
    broker_free(broker);
    set_free(&set);
    return 0;
}

/* ---- Rounds ---- */

struct told {
    unsigned rounds, instances;
    int state; /* of the last instance; -1: none yet */
};

static void on_told(const Parley__Bus__V1__HealthReply *reply, void *data)
{
    struct told *told = data;
    told->rounds++;
    for (size_t i = 0; i < reply->n_instance; i++, told->instances++)
        told->state = (int)reply->instance[i]->state;
}

static struct health_round *ask(const char *interface, uint64_t timeout_ns, struct told *told)
{
    struct health_round *round = health_ask(broker, interface, timeout_ns, on_told, told, &error);
    if (!round)
        fail_msg("%s", error.text);
    return round;
}

static void wait_told(const struct told *told, unsigned rounds)
{
    for (uint64_t until = clock_now_ns() + PATIENCE_NS; told->rounds < rounds;) {
        assert_true(clock_now_ns() < until);
        assert_int_equal(broker_turn(broker, NS_PER_MS), 0);
    }
    assert_int_equal(told->rounds, rounds);
}

/* Hears one Ping. Return: its number. */
static uint64_t hear_ping(void)
{
    const Parley__Ping *ping = peer_hear(&service, PARLEY__LINK_MESSAGE__BODY_PING);
    return ping->number;
}

static void say_pong(uint64_t number)
{
    Parley__Pong pong = PARLEY__PONG__INIT;
    pong.has_number = true;
    pong.number = number;
    peer_say(&service, PARLEY__LINK_MESSAGE__BODY_PONG, &pong, NULL, 0);
}

static void test_who_answers_serves(void **state)
{
    (void)state;
    struct told told = {.state = -1};
    ask("orders", HEALTH_TIMEOUT_NS_MAX, &told);
    uint64_t number = hear_ping();
    say_pong(number + 1); /* nobody asked for that */
    broker_settle(broker);
    assert_int_equal(told.rounds, 0);
    say_pong(number);
    wait_told(&told, 1);
    assert_int_equal(told.instances, 1);
    assert_int_equal(told.state, PARLEY__BUS__V1__HEALTH_STATE__SERVING);

    ask("nothing", HEALTH_TIMEOUT_NS_MAX, &told); /* there is nobody to wait for */
    wait_told(&told, 2);
    assert_int_equal(told.instances, 1);
}

static void test_who_does_not_answer_is_told_when_the_time_is_over(void **state)
{
    (void)state;
    struct told told = {.state = -1};
    ask(NULL, NS_PER_MS, &told);
    wait_told(&told, 1);
    assert_int_equal(told.state, PARLEY__BUS__V1__HEALTH_STATE__NO_ANSWER);
    uint64_t number = hear_ping();
    ask(NULL, HEALTH_TIMEOUT_NS_MAX, &told);
    peer_hears_nothing(&service); /* it was asked already */
    say_pong(number);
    wait_told(&told, 2);
    assert_int_equal(told.state, PARLEY__BUS__V1__HEALTH_STATE__SERVING);
}

static void test_a_timeout_is_cut(void **state)
{
    (void)state;
    struct told told = {.state = -1};
    uint64_t before = clock_now_ns();
    struct health_round *round = ask(NULL, UINT64_MAX, &told);
    broker_settle(broker);
    assert_true(health_next_ns(broker) >= before + HEALTH_TIMEOUT_NS_MAX);
    assert_true(health_next_ns(broker) <= clock_now_ns() + HEALTH_TIMEOUT_NS_MAX);
    health_drop(round);
    assert_true(health_next_ns(broker) == CLOCK_NEVER);
}

static void test_rounds_at_once_are_bounded(void **state)
{
    (void)state;
    struct told told = {.state = -1};
    for (unsigned i = 0; i < HEALTH_ROUND_MAX; i++)
        ask(NULL, HEALTH_TIMEOUT_NS_MAX, &told);
    assert_null(health_ask(broker, NULL, 0, on_told, &told, &error));
    assert_words(error.text, "256 ask already");
    uint64_t number = hear_ping();
    peer_hears_nothing(&service); /* once is enough for all of them */
    say_pong(number);
    wait_told(&told, HEALTH_ROUND_MAX);
    assert_int_equal(told.instances, HEALTH_ROUND_MAX);
    ask("nothing", 0, &told);
    wait_told(&told, HEALTH_ROUND_MAX + 1);
}

static void test_who_leaves_while_it_is_asked_is_not_waited_for(void **state)
{
    (void)state;
    struct told told = {.state = -1};
    ask("orders", HEALTH_TIMEOUT_NS_MAX, &told);
    broker_settle(broker);
    peer_leave(&service); /* as if it was killed */
    wait_told(&told, 1);  /* long before that time is over */
    assert_int_equal(told.instances, 0);
    peer_join(&service, broker, "orders");
    publish(&service, 2, &set);
    ask("orders", HEALTH_TIMEOUT_NS_MAX, &told);
    peer_leave(&service); /* in the same turn as it is asked */
    wait_told(&told, 2);
    assert_int_equal(told.instances, 0);
}

static void test_what_is_under_way_is_told_when_the_broker_ends(void **state)
{
    (void)state;
    struct told told = {.state = -1};
    ask(NULL, HEALTH_TIMEOUT_NS_MAX, &told);
    health_free(broker);
    assert_int_equal(told.rounds, 1);
    assert_int_equal(told.instances, 0);
}

/* ---- Surveys ---- */

static void on_pipe(nng_pipe pipe, nng_pipe_ev event, void *data)
{
    (void)pipe;
    (void)event;
    atomic_store((_Atomic bool *)data, true);
}

struct surveyor {
    nng_socket socket;
    _Atomic bool connected, hung_up;
};

static void surveyor_begin(struct surveyor *surveyor, const char *url)
{
    atomic_store(&surveyor->connected, false);
    atomic_store(&surveyor->hung_up, false);
    assert_int_equal(nng_surveyor0_open(&surveyor->socket), 0);
    assert_int_equal(nng_socket_set_ms(surveyor->socket, NNG_OPT_SURVEYOR_SURVEYTIME, 20000), 0);
    assert_int_equal(
        nng_pipe_notify(surveyor->socket, NNG_PIPE_EV_REM_POST, on_pipe, &surveyor->hung_up), 0);
    assert_int_equal(
        nng_pipe_notify(surveyor->socket, NNG_PIPE_EV_ADD_POST, on_pipe, &surveyor->connected), 0);
    assert_int_equal(nng_dial(surveyor->socket, url, NULL, NNG_FLAG_NONBLOCK), 0);
    for (uint64_t until = clock_now_ns() + PATIENCE_NS; !atomic_load(&surveyor->connected);) {
        assert_true(clock_now_ns() < until);
        assert_int_equal(broker_turn(broker, NS_PER_MS), 0);
    }
}

static void surveyor_end(struct surveyor *surveyor)
{
    (void)nng_pipe_notify(surveyor->socket, NNG_PIPE_EV_REM_POST, NULL, NULL);
    (void)nng_close_socket(surveyor->socket.id);
}

static void send_survey(struct surveyor *surveyor, const char *text, size_t bytes)
{
    assert_int_equal(nng_send(surveyor->socket, (void *)(uintptr_t)text, bytes, 0), 0);
}

/* One answer, in @text; "": it was hung up on. */
static void hear_survey(struct surveyor *surveyor, char *text, size_t room)
{
    text[0] = '\0';
    for (uint64_t until = clock_now_ns() + PATIENCE_NS; !atomic_load(&surveyor->hung_up);) {
        size_t bytes = room - 1;
        assert_true(clock_now_ns() < until);
        assert_int_equal(broker_turn(broker, NS_PER_MS), 0);
        int n = nng_recv(surveyor->socket, text, &bytes, NNG_FLAG_NONBLOCK);
        if (n == 0) {
            text[bytes] = '\0';
            return;
        }
        assert_int_equal(n, NNG_EAGAIN);
    }
}

static void test_who_may_not_look_is_told_so(void **state)
{
    (void)state;
    char folder[] = "/tmp/parley-test-XXXXXX", url[64], text[512];
    static const char rules[] =
        POLICY_HEAD "- {who: [anybody], allow: [look], interfaces: [orders]}\n";
    assert_non_null(mkdtemp(folder));
    snprintf(url, sizeof(url), "ipc://%s/health.ipc", folder);
    const char *urls[] = {url};
    const struct broker_options options = {.health_urls = urls, .health_url_count = 1};
    assert_int_equal(policy_parse(rules, strlen(rules), "policy", &broker->policy, &error), 0);
    assert_int_equal(health_open(broker, &options, &error), 0);
    struct surveyor surveyor;
    surveyor_begin(&surveyor, url);
    send_survey(&surveyor, "", 0); /* of all */
    hear_survey(&surveyor, text, sizeof(text));
    assert_words(text, "may not look: no rule of the broker's policy allows it");
    send_survey(&surveyor, "orders", 6);
    say_pong(hear_ping());
    hear_survey(&surveyor, text, sizeof(text));
    assert_words(text, "\"state\":\"SERVING\"");
    surveyor_end(&surveyor);
    health_free(broker);
    assert_int_equal(rmdir(folder), 0);
}

static void test_a_survey_is_bounded(void **state)
{
    (void)state;
    char folder[] = "/tmp/parley-test-XXXXXX", url[64], text[512];
    static char long_survey[HEALTH_SURVEY_BYTES_MAX + 1];
    assert_non_null(mkdtemp(folder));
    snprintf(url, sizeof(url), "ipc://%s/health.ipc", folder);
    const char *urls[] = {url};
    const struct broker_options options = {.health_urls = urls, .health_url_count = 1};
    if (health_open(broker, &options, &error) < 0)
        fail_msg("%s", error.text);
    memset(long_survey, 'a', sizeof(long_survey));

    struct surveyor surveyor;
    surveyor_begin(&surveyor, url);
    const size_t refused[] = {64, HEALTH_SURVEY_BYTES_MAX};
    for (size_t i = 0; i < 2; i++) {
        send_survey(&surveyor, long_survey, refused[i]);
        hear_survey(&surveyor, text, sizeof(text));
        assert_words(text, "a survey names an interface, or is empty");
    }
    send_survey(&surveyor, long_survey, 63); /* as long as a name may be */
    hear_survey(&surveyor, text, sizeof(text));
    assert_string_equal(text, "{\"instances\":0}");
    send_survey(&surveyor, long_survey, HEALTH_SURVEY_BYTES_MAX + 1);
    hear_survey(&surveyor, text, sizeof(text));
    assert_string_equal(text, "");
    surveyor_end(&surveyor);

    /* Others are answered as before. */
    surveyor_begin(&surveyor, url);
    send_survey(&surveyor, "orders", 6);
    say_pong(hear_ping());
    hear_survey(&surveyor, text, sizeof(text));
    assert_words(text, "\"state\":\"SERVING\"");
    surveyor_end(&surveyor);
    health_free(broker);
    assert_int_equal(rmdir(folder), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_who_answers_serves),
        TEST(test_who_does_not_answer_is_told_when_the_time_is_over),
        TEST(test_a_timeout_is_cut),
        TEST(test_rounds_at_once_are_bounded),
        TEST(test_who_leaves_while_it_is_asked_is_not_waited_for),
        TEST(test_what_is_under_way_is_told_when_the_broker_ends),
        TEST(test_who_may_not_look_is_told_so),
        TEST(test_a_survey_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
