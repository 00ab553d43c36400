/*
 * A client and the broker's answers: the test plays the broker, over a socketpair, and lies.
 */
#include "support/test.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/broker.h"
#include "echo.parley.h"
#include "rpc/rpc.h"
#include "wire/wire.h"

struct stage {
    struct parley_endpoint *endpoint;
    struct parley_client *client;
    struct link *link;
    struct routes routes;
    struct digest asked;
    enum parley_status status; /* of the last Opened, as the client understood it */
    unsigned opened_count;
    char text[ERROR_TEXT_BYTES_MAX];
};

static void on_opened(struct parley_client *client, enum parley_status status, const char *text,
                      void *userdata)
{
    struct stage *stage = userdata;
    (void)client;
    stage->status = status;
    stage->opened_count++;
    (void)snprintf(stage->text, sizeof(stage->text), "%s", text);
}

/* Everything that was sent has arrived: both are in this thread. */
static void settle(struct stage *stage)
{
    for (unsigned i = 0; i < 4; i++)
        (void)parley_dispatch(stage->endpoint, 0);
}

static void hear(struct stage *stage, int body_case, Parley__LinkMessage **ret_message)
{
    int fds[LINK_FD_MAX];
    size_t fd_count;
    struct error_text error = {""};
    settle(stage);
    assert_int_equal(link_receive(stage->link, ret_message, fds, &fd_count, &error), 0);
    assert_int_equal((*ret_message)->body_case, body_case);
    for (size_t i = 0; i < fd_count; i++)
        close(fds[i]);
}

static void say(struct stage *stage, int body_case, void *body, const int *fds, size_t fd_count)
{
    Parley__LinkMessage message = PARLEY__LINK_MESSAGE__INIT;
    message.body_case = (Parley__LinkMessage__BodyCase)body_case;
    message.hello = body; /* a union of pointers */
    assert_int_equal(link_send(stage->link, &message, fds, fd_count), 0);
    settle(stage);
}

static void welcome(struct stage *stage)
{
    Parley__LinkMessage *hello;
    hear(stage, PARLEY__LINK_MESSAGE__BODY_HELLO, &hello);
    wire_free(hello);
    Parley__Welcome body = PARLEY__WELCOME__INIT;
    body.has_protocol = body.has_broker_id = true;
    body.protocol = LINK_PROTOCOL;
    body.broker_id = 1;
    say(stage, PARLEY__LINK_MESSAGE__BODY_WELCOME, &body, &stage->routes.region.fd, 1);
}

static void open_contract(struct stage *stage, const char *accept)
{
    const struct parley_interface *interface = &echo__v1__echo__interface;
    struct error_text error = {""};
    struct rpc_contract_spec spec = {
        .interface = interface->name,
        .version = interface->version,
        .accept = accept,
        .service = interface->service->name,
        .descriptor_set = interface->descriptor_set,
        .descriptor_set_bytes = interface->descriptor_set_bytes,
        .methods = interface->methods,
        .method_count = interface->service->n_methods,
    };
    assert_int_equal(plan_identity(interface->service, PLAN_REPLIES, &spec.replies, &error), 0);
    assert_int_equal(rpc_contract_open(stage->endpoint, &spec, on_opened, stage, &stage->client),
                     PARLEY_OK);
    plan_unref(spec.replies);
    Parley__LinkMessage *message;
    hear(stage, PARLEY__LINK_MESSAGE__BODY_OPEN, &message);
    struct digest set;
    digest_of(message->open->descriptor_set.data, message->open->descriptor_set.len, &set);
    const struct transcript_offer offer = {message->open->interface, message->open->version,
                                           message->open->accept, message->open->service, &set};
    transcript_begin(&offer, &stage->asked);
    wire_free(message);
}

static int begin(void **state)
{
    static struct stage stage;
    int pair[2];
    struct error_text error = {""};
    stage = (struct stage){.routes.region = REGION_NONE};
    assert_int_equal(routes_init(&stage.routes, 1, &error), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair),
                     0);
    assert_int_equal(link_new(pair[0], &stage.link), 0);
    assert_int_equal(rpc_endpoint_attach(pair[1], "client", &stage.endpoint), PARLEY_OK);
    welcome(&stage);
    *state = &stage;
    return 0;
}

static int end(void **state)
{
    struct stage *stage = *state;
    parley_endpoint_free(stage->endpoint);
    link_free(stage->link);
    routes_deinit(&stage->routes);
    return 0;
}

static Parley__Offer own_version(void)
{
    Parley__Offer offer = PARLEY__OFFER__INIT;
    offer.version = (char *)(uintptr_t)echo__v1__echo__interface.version;
    offer.has_translation = offer.has_plan_id = true;
    offer.translation = PARLEY__TRANSLATION_CLASS__IDENTITY;
    return offer;
}

/* The answer with its transcript; @hash NULL: none. */
static void say_opened(struct stage *stage, Parley__Offer *offer, const struct digest *hash)
{
    Parley__Opened body = PARLEY__OPENED__INIT;
    body.has_contract_id = body.has_status = body.has_route_slot = true;
    body.contract_id = 1;
    body.n_offers = 1;
    body.offers = &offer;
    body.has_transcript = hash != NULL;
    if (hash)
        body.transcript = (ProtobufCBinaryData){
            .len = DIGEST_BYTES, .data = (uint8_t *)(uintptr_t)hash->bytes};
    say(stage, PARLEY__LINK_MESSAGE__BODY_OPENED, &body, NULL, 0);
}

static void test_an_answer_with_the_right_transcript_is_taken(void **state)
{
    struct stage *stage = *state;
    open_contract(stage, "~1");
    Parley__Offer offer = own_version();
    struct digest hash = stage->asked;
    transcript_answer(&hash, &(Parley__Offer *){&offer}, 1);
    say_opened(stage, &offer, &hash);
    assert_int_equal(stage->opened_count, 1);
    assert_int_equal(stage->status, PARLEY_OK);
}

static void test_an_answer_to_another_question_is_refused(void **state)
{
    struct stage *stage = *state;
    open_contract(stage, "~1");
    const struct digest nothing = {{0}};
    const struct transcript_offer other = {"echo", "1.0.0", "", "echo.v1.Echo", &nothing};
    struct digest hash;
    transcript_begin(&other, &hash);
    Parley__Offer offer = own_version();
    transcript_answer(&hash, &(Parley__Offer *){&offer}, 1);
    say_opened(stage, &offer, &hash);
    assert_int_equal(stage->status, PARLEY_FAILED_PRECONDITION);
    assert_non_null(strstr(stage->text, "transcript hash is another than ours"));
    assert_non_null(strstr(stage->text, "echo 1.0.0"));
}

static void test_an_answer_that_was_changed_on_the_way_is_refused(void **state)
{
    struct stage *stage = *state;
    open_contract(stage, NULL);
    Parley__Offer offer = own_version();
    struct digest hash = stage->asked;
    offer.translation = PARLEY__TRANSLATION_CLASS__LOSSY;
    transcript_answer(&hash, &(Parley__Offer *){&offer}, 1);
    offer.translation = PARLEY__TRANSLATION_CLASS__IDENTITY;
    say_opened(stage, &offer, &hash);
    assert_int_equal(stage->status, PARLEY_FAILED_PRECONDITION);
}

static void test_an_answer_without_transcript_is_refused(void **state)
{
    struct stage *stage = *state;
    open_contract(stage, "~1");
    Parley__Offer offer = own_version();
    say_opened(stage, &offer, NULL);
    assert_int_equal(stage->status, PARLEY_FAILED_PRECONDITION);
    assert_non_null(strstr(stage->text, "transcript hash is missing"));
    assert_non_null(strstr(stage->text, "same release"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_an_answer_with_the_right_transcript_is_taken, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_an_answer_to_another_question_is_refused, begin, end),
        cmocka_unit_test_setup_teardown(test_an_answer_that_was_changed_on_the_way_is_refused,
                                        begin, end),
        cmocka_unit_test_setup_teardown(test_an_answer_without_transcript_is_refused, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
