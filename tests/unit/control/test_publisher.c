/*
 * SP's PUB and RESPONDENT on sockets of our own: libnng's SUB and SURVEYOR sockets understand them,
 * and whoever does otherwise costs the others nothing.
 */
#include "support/test.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <nng/nng.h>
#include <nng/protocol/pubsub0/sub.h>
#include <nng/protocol/survey0/survey.h>

#include "base/clock.h"
#include "control/nng.h"
#include "control/publisher.h"
#include "control/replier.h"
#include "support/folder.h"
#include "support/sp.h"
#include "support/until.h"

#define SP_PUB 0x20
#define SP_SUB 0x21
#define SP_SURVEYOR 0x62
#define SP_RESPONDENT 0x63

static char folder[] = "/tmp/parley-publisher-XXXXXX";

struct seen {
    unsigned came, gone;
};

static void on_came(const struct replier_peer *peer, void *data)
{
    assert_true(peer->connection != 0);
    ((struct seen *)data)->came++;
}

static void on_gone(uint64_t connection, void *data)
{
    (void)connection;
    ((struct seen *)data)->gone++;
}

static const char *new_url(void)
{
    static char url[128];
    static unsigned number;
    snprintf(url, sizeof(url), "ipc://%s/%u.ipc", folder, number++);
    return url;
}

static struct publisher *publisher_on(const char *url, struct publisher_options options)
{
    struct publisher *publisher;
    struct error_text error = {""};
    options.urls = &url;
    options.url_count = 1;
    if (publisher_new(&options, &publisher, &error) != 0)
        fail_msg("%s", error.text);
    return publisher;
}

static uint32_t hearing(const struct publisher *publisher)
{
    struct publisher_counts counts;
    publisher_counts(publisher, &counts);
    return counts.connections_now;
}

static struct sp *subscriber(struct publisher *publisher, const struct seen *seen)
{
    unsigned before = seen->came;
    uint32_t hearing_before = hearing(publisher);
    struct sp *sp = sp_connect(publisher_url(publisher, 0));
    UNTIL(assert_int_equal(publisher_turn(publisher), 0), sp_has_hello(sp));
    assert_int_equal(hearing(publisher), hearing_before); /* not yet */
    sp_send_hello(sp, SP_SUB);
    UNTIL(assert_int_equal(publisher_turn(publisher), 0), seen->came > before);
    assert_int_equal(hearing(publisher), hearing_before + 1);
    assert_int_equal(sp_take_hello(sp), SP_PUB);
    return sp;
}

static nng_socket sub_to(const char *url, const char *topic)
{
    nng_socket socket;
    assert_int_equal(nng_sub0_open(&socket), 0);
    assert_int_equal(nng_socket_set_ms(socket, NNG_OPT_RECVTIMEO, 20000), 0);
    assert_int_equal(nng_socket_set(socket, NNG_OPT_SUB_SUBSCRIBE, topic, strlen(topic)), 0);
    assert_int_equal(nng_dial(socket, url, NULL, NNG_FLAG_NONBLOCK), 0);
    return socket;
}

static void expect_text(nng_socket socket, const char *text)
{
    char data[256];
    size_t bytes = sizeof(data);
    assert_int_equal(nng_recv(socket, data, &bytes, 0), 0);
    assert_int_equal(bytes, strlen(text));
    assert_memory_equal(data, text, bytes);
}

static bool hears(nng_socket socket, const char *text)
{
    char data[256];
    size_t bytes = sizeof(data);
    int r = nng_recv(socket, data, &bytes, NNG_FLAG_NONBLOCK);
    if (r == NNG_EAGAIN)
        return false;
    assert_int_equal(r, 0);
    assert_int_equal(bytes, strlen(text));
    assert_memory_equal(data, text, bytes);
    return true;
}

static int send_text(struct publisher *publisher, const char *text)
{
    return publisher_send(publisher, (const uint8_t *)text, strlen(text));
}

static void test_every_subscriber_gets_what_it_has_subscribed_to(void **state)
{
    (void)state;
    const char *urls[] = {"", "tcp://127.0.0.1:0"};
    for (size_t i = 0; i < 2; i++) {
        struct seen seen = {0};
        struct publisher *publisher =
            publisher_on(i == 0 ? new_url() : urls[i], (struct publisher_options){
                                                           .came = on_came,
                                                           .gone = on_gone,
                                                           .data = &seen,
                                                       });
        nng_socket all = sub_to(publisher_url(publisher, 0), "");
        nng_socket some = sub_to(publisher_url(publisher, 0), "rollout.");
        UNTIL(assert_int_equal(publisher_turn(publisher), 0), seen.came == 2);
        assert_int_equal(send_text(publisher, "instance.up"), 0);
        assert_int_equal(send_text(publisher, "rollout.step"), 0);
        assert_int_equal(send_text(publisher, ""), 0);
        expect_text(all, "instance.up");
        expect_text(all, "rollout.step");
        expect_text(all, "");
        expect_text(some, "rollout.step");
        (void)nng_close_socket(all.id);
        (void)nng_close_socket(some.id);
        UNTIL(assert_int_equal(publisher_turn(publisher), 0), seen.gone == 2);
        struct publisher_counts counts;
        publisher_counts(publisher, &counts);
        assert_int_equal(counts.sent, 6);
        assert_int_equal(counts.lost, 0);
        assert_int_equal(counts.connections, 2);
        assert_int_equal(counts.connections_now, 0);
        publisher_free(publisher);
    }
}

static void test_who_is_no_subscriber_or_says_something_is_hung_up_on(void **state)
{
    (void)state;
    struct seen seen = {0};
    struct publisher *publisher = publisher_on(
        new_url(), (struct publisher_options){.came = on_came, .gone = on_gone, .data = &seen});
    struct sp *good = subscriber(publisher, &seen);
    struct sp *req = sp_connect(publisher_url(publisher, 0));
    sp_send_hello(req, SP_REQ);
    UNTIL(assert_int_equal(publisher_turn(publisher), 0), sp_has_ended(req));
    struct sp *talker = subscriber(publisher, &seen);
    sp_ask(talker, 1, "", 0);
    UNTIL(assert_int_equal(publisher_turn(publisher), 0), sp_has_ended(talker));
    UNTIL(assert_int_equal(publisher_turn(publisher), 0), seen.gone == 1);
    assert_int_equal(send_text(publisher, "still here"), 0);
    UNTIL(assert_int_equal(publisher_turn(publisher), 0), sp_has_message(good));
    sp_free(good);
    sp_free(req);
    sp_free(talker);
    publisher_free(publisher);
}

/* libnng 1.5.2 hears nobody any more on ipc:// after one of these. */
static void test_two_hundred_that_hang_up_at_once_keep_nobody_out(void **state)
{
    (void)state;
    struct seen seen = {0};
    struct publisher *publisher =
        publisher_on(new_url(), (struct publisher_options){.came = on_came, .data = &seen});
    for (unsigned i = 0; i < 200; i++) {
        struct sp *sp = sp_connect(publisher_url(publisher, 0));
        if (i % 2)
            sp_send_hello(sp, SP_SUB);
        if (i % 4 < 2)
            assert_int_equal(publisher_turn(publisher), 0);
        sp_free(sp);
    }
    nng_socket socket = sub_to(publisher_url(publisher, 0), "");
    UNTIL(assert_int_equal(publisher_turn(publisher), 0),
          send_text(publisher, "heard") == 0 && hears(socket, "heard"));
    (void)nng_close_socket(socket.id);
    publisher_free(publisher);
}

static void test_a_slow_subscriber_loses_what_is_more_than_its_queue_holds(void **state)
{
    (void)state;
    static uint8_t event[1000];
    struct seen seen = {0};
    struct publisher *publisher = publisher_on(
        new_url(),
        (struct publisher_options){.unread_bytes_max = 50000, .came = on_came, .data = &seen});
    struct sp *slow = subscriber(publisher, &seen);
    struct sp *quick = subscriber(publisher, &seen);
    struct publisher_counts counts;
    unsigned sent = 0, heard = 0;
    do {
        assert_int_equal(publisher_send(publisher, event, sizeof(event)), 0);
        sent++;
        for (heard = 0; heard == 0;) {
            assert_int_equal(publisher_turn(publisher), 0);
            if (sp_has_message(quick)) {
                uint8_t *data;
                size_t bytes;
                sp_take_message(quick, &data, &bytes);
                assert_int_equal(bytes, sizeof(event));
                free(data);
                heard++;
            }
        }
        publisher_counts(publisher, &counts);
        assert_true(sent < 100000);
    } while (counts.lost == 0);
    assert_int_equal(counts.sent, 2 * sent - 1);
    /* What was queued for it comes in order and whole, then what is sent afterwards. */
    for (heard = 0; heard < sent - 1;) {
        assert_int_equal(publisher_turn(publisher), 0);
        while (sp_has_message(slow)) {
            uint8_t *data;
            size_t bytes;
            sp_take_message(slow, &data, &bytes);
            assert_int_equal(bytes, sizeof(event));
            free(data);
            heard++;
        }
    }
    assert_int_equal(send_text(publisher, "again"), 0);
    UNTIL(assert_int_equal(publisher_turn(publisher), 0), sp_has_message(slow));
    sp_free(slow);
    sp_free(quick);
    publisher_free(publisher);
}

static void test_a_message_larger_than_the_queue_goes_out_alone(void **state)
{
    (void)state;
    const size_t bytes = 3000000; /* no kernel buffer holds as much */
    uint8_t *event = calloc(1, bytes);
    assert_non_null(event);
    struct seen seen = {0};
    struct publisher *publisher = publisher_on(
        new_url(),
        (struct publisher_options){.unread_bytes_max = 1000, .came = on_came, .data = &seen});
    struct sp *sp = subscriber(publisher, &seen);
    assert_int_equal(publisher_send(publisher, event, bytes), 0);
    assert_int_equal(publisher_send(publisher, event, 1), 0); /* behind it there is no room */
    UNTIL(assert_int_equal(publisher_turn(publisher), 0), sp_has_message(sp));
    struct publisher_counts counts;
    publisher_counts(publisher, &counts);
    assert_int_equal(counts.sent, 1);
    assert_int_equal(counts.lost, 1);
    free(event);
    sp_free(sp);
    publisher_free(publisher);
}

static void test_as_many_connect_as_are_allowed(void **state)
{
    (void)state;
    struct seen seen = {0};
    struct publisher *publisher = publisher_on(
        new_url(), (struct publisher_options){
                       .connections_max = 2, .came = on_came, .gone = on_gone, .data = &seen});
    struct sp *first = subscriber(publisher, &seen), *second = subscriber(publisher, &seen);
    struct sp *third = sp_connect(publisher_url(publisher, 0));
    UNTIL(assert_int_equal(publisher_turn(publisher), 0), sp_has_ended(third));
    struct publisher_counts counts;
    publisher_counts(publisher, &counts);
    assert_int_equal(counts.refused, 1);
    sp_free(second);
    UNTIL(assert_int_equal(publisher_turn(publisher), 0), seen.gone == 1);
    second = subscriber(publisher, &seen);
    sp_free(first);
    sp_free(second);
    sp_free(third);
    publisher_free(publisher);
}

/* ---- Surveys ---- */

struct respondent {
    struct replier *replier;
    struct replier_request *survey;
    const uint8_t *data;
    size_t bytes;
};

static struct respondent respondent_on(const char *url)
{
    struct respondent respondent = {0};
    struct error_text error = {""};
    const struct replier_options options = {
        .protocol = REPLIER_RESPONDENT, .urls = &url, .url_count = 1, .bytes_max = 100};
    if (replier_new(&options, &respondent.replier, &error) != 0)
        fail_msg("%s", error.text);
    return respondent;
}

static int respondent_turn(struct respondent *respondent)
{
    int r = replier_receive(respondent->replier, &respondent->survey, &respondent->data,
                            &respondent->bytes);
    return r == REPLIER_E_AGAIN ? 0 : r;
}

static uint64_t connections_of(const struct respondent *respondent)
{
    struct replier_counts counts;
    replier_counts(respondent->replier, &counts);
    return counts.connections;
}

static int answer_also(struct respondent *respondent, const char *text)
{
    return replier_answer_also(respondent->survey, (const uint8_t *)text, strlen(text));
}

static void on_surveyors_pipe(nng_pipe pipe, nng_pipe_ev event, void *data)
{
    (void)pipe;
    (void)event;
    atomic_store((_Atomic bool *)data, true);
}

static void test_a_survey_has_any_number_of_answers(void **state)
{
    (void)state;
    struct respondent respondent = respondent_on(new_url());
    char survey[] = "health";
    nng_socket socket;
    assert_int_equal(nng_surveyor0_open(&socket), 0);
    _Atomic bool there = false; /* for the surveyor, which else surveys nobody */
    assert_int_equal(nng_pipe_notify(socket, NNG_PIPE_EV_ADD_POST, on_surveyors_pipe, &there), 0);
    assert_int_equal(nng_socket_set_ms(socket, NNG_OPT_SURVEYOR_SURVEYTIME, 20000), 0);
    assert_int_equal(nng_dial(socket, replier_url(respondent.replier, 0), NULL, NNG_FLAG_NONBLOCK),
                     0);
    UNTIL(respondent_turn(&respondent), connections_of(&respondent) == 1 && atomic_load(&there));
    assert_int_equal(nng_send(socket, survey, 6, 0), 0);
    UNTIL(respondent_turn(&respondent), respondent.survey);
    assert_int_equal(respondent.bytes, 6);
    assert_int_equal(answer_also(&respondent, "one"), 0);
    assert_int_equal(answer_also(&respondent, "two"), 0);
    assert_int_equal(replier_answer(respondent.survey, (const uint8_t *)"three", 5), 0);
    expect_text(socket, "one");
    expect_text(socket, "two");
    expect_text(socket, "three");
    (void)nng_close_socket(socket.id);
    replier_free(respondent.replier);
}

static void test_a_surveyor_that_is_gone_is_no_error_and_a_long_survey_is(void **state)
{
    (void)state;
    struct respondent respondent = respondent_on(new_url());
    struct sp *sp = sp_connect(replier_url(respondent.replier, 0));
    static const char text[101] = "";
    sp_send_hello(sp, SP_SURVEYOR);
    sp_ask(sp, 1, text, 100);
    UNTIL(respondent_turn(&respondent), respondent.survey);
    assert_true(sp_has_hello(sp));
    assert_int_equal(sp_take_hello(sp), SP_RESPONDENT);
    sp_ask(sp, 2, text, 101);
    UNTIL(respondent_turn(&respondent), sp_has_ended(sp));
    assert_int_equal(answer_also(&respondent, "nobody hears it"), 0);
    replier_drop(respondent.survey);
    sp_free(sp);
    replier_free(respondent.replier);
}

static void test_surveys_do_not_come_by_ws(void **state)
{
    (void)state;
    const char *url = "ws://127.0.0.1:0/health";
    struct replier *replier;
    struct error_text error = {""};
    const struct replier_options options = {
        .protocol = REPLIER_RESPONDENT, .urls = &url, .url_count = 1, .bytes_max = 100};
    assert_int_equal(replier_new(&options, &replier, &error), -EINVAL);
    assert_non_null(strstr(error.text, url));
}

static int run_all(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_subscriber_gets_what_it_has_subscribed_to),
        cmocka_unit_test(test_who_is_no_subscriber_or_says_something_is_hung_up_on),
        cmocka_unit_test(test_two_hundred_that_hang_up_at_once_keep_nobody_out),
        cmocka_unit_test(test_a_slow_subscriber_loses_what_is_more_than_its_queue_holds),
        cmocka_unit_test(test_a_message_larger_than_the_queue_goes_out_alone),
        cmocka_unit_test(test_as_many_connect_as_are_allowed),
        cmocka_unit_test(test_a_survey_has_any_number_of_answers),
        cmocka_unit_test(test_a_surveyor_that_is_gone_is_no_error_and_a_long_survey_is),
        cmocka_unit_test(test_surveys_do_not_come_by_ws),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    return folder_run(folder, run_all);
}
