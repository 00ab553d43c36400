/*
 * The bus URL and versions: which are known there, which one serves, and what parley.bus tells of
 * them.
 */
#include "fronts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "parley/bus.pb-c.h"
#include "ware_v1.parley.h"
#include "ware_v2.parley.h"

/* One call, by a request of a new number; its answer is in asker.answer. */
static void ask(const struct bus_frame *frame, const void *payload, enum parley_status status,
                const char *words)
{
    static uint32_t id;
    asker_say(&asker, ++id, frame, payload);
    asker_expect(&asker, frame->header.call_id, status, words);
}

/* ---- Services ---- */

static void new__weigh(Ware__V2__Store_Service *service, const Ware__V2__Ware *input,
                       Ware__V2__Ware_Closure closure, void *data)
{
    (void)service;
    Ware__V2__Ware reply = *input;
    reply.milligrams += 1000;
    closure(&reply, data);
}

static enum parley_status serve_ware(struct parley_endpoint *endpoint)
{
    static Ware__V2__Store_Service ware = WARE__V2__STORE__INIT(new__);
    struct parley_service *service;
    return ware__v2__store__serve(endpoint, &ware, NULL, &service);
}

static void old__weigh(Ware__V1__Store_Service *service, const Ware__V1__Ware *input,
                       Ware__V1__Ware_Closure closure, void *data)
{
    (void)service;
    closure(input, data);
}

static void old__count(Ware__V1__Store_Service *service, const Ware__V1__Ware *input,
                       Ware__V1__Ware_Closure closure, void *data)
{
    (void)service;
    closure(input, data);
}

static enum parley_status serve_old_ware(struct parley_endpoint *endpoint)
{
    static Ware__V1__Store_Service ware = WARE__V1__STORE__INIT(old__);
    struct parley_service *service;
    return ware__v1__store__serve(endpoint, &ware, NULL, &service);
}

static const struct served_service ware_service = {"service", serve_ware, NULL};
static const struct served_service old_ware_service = {"service", serve_old_ware, NULL};

static int begin(void **state)
{
    (void)state;
    return fronts_begin(NULL);
}

/* Version 1 of ware lies in a folder. */
static char schema_folder[64], schema_file[96];

static int begin_with_schemas(void **state)
{
    (void)state;
    strcpy(schema_folder, "/tmp/parley-test-XXXXXX");
    assert_non_null(mkdtemp(schema_folder));
    snprintf(schema_file, sizeof(schema_file), "%s/ware_v1.binpb", schema_folder);
    FILE *file = fopen(schema_file, "we");
    assert_non_null(file);
    const struct parley_interface *ware = &ware__v1__store__interface;
    assert_int_equal(fwrite(ware->descriptor_set, ware->descriptor_set_bytes, 1, file), 1);
    assert_int_equal(fclose(file), 0);
    return fronts_begin(&(struct broker_options){.schemas = schema_folder});
}

static int end_with_schemas(void **state)
{
    int r = fronts_end(state);
    return unlink(schema_file) == 0 && rmdir(schema_folder) == 0 ? r : -1;
}

/* ---- Which version serves ---- */

/* With the schema that its caller was built for: version 1 of ware. */
static void say_open(uint32_t id)
{
    Parley__Bus__V1__OpenRequest open = PARLEY__BUS__V1__OPEN_REQUEST__INIT;
    open.interface = (char *)(uintptr_t) "ware";
    open.has_descriptor_set = true;
    open.descriptor_set.data = (uint8_t *)(uintptr_t)ware__v1__store__interface.descriptor_set;
    open.descriptor_set.len = ware__v1__store__interface.descriptor_set_bytes;
    size_t bytes = parley__bus__v1__open_request__get_packed_size(&open);
    uint8_t *packed = malloc(bytes);
    assert_non_null(packed);
    struct bus_frame asked = frame_of("parley.bus", "Open", id);
    asked.payload_bytes = parley__bus__v1__open_request__pack(&open, packed);
    asker_say(&asker, id, &asked, packed);
    free(packed);
}

/* The answer is of version 2, and reads as the one to 7 grams of nuts does in version 1. */
static void is_translated(void)
{
    assert_true(bus_text_is(&asker.answer.frame.version, "2.0.0"));
    assert_false(bus_text_is(&asker.answer.frame.translation, "identity"));
    Ware__V1__Ware *reply =
        ware__v1__ware__unpack(NULL, asker.answer.frame.payload_bytes, asker.answer.frame.payload);
    assert_non_null(reply);
    assert_string_equal(reply->name, "nut");
    assert_int_equal(reply->grams, 8);
    ware__v1__ware__free_unpacked(reply, NULL);
}

static void test_another_version_s_service_is_translated_for(void **state)
{
    (void)state;
    served_start(0, &old_ware_service);
    served_start(1, &ware_service);
    served_stop(0); /* its schema stays known */
    Ware__V2__Ware ware = WARE__V2__WARE__INIT;
    uint8_t payload[64];
    struct bus_frame frame = frame_of("ware", "Weigh", 1);
    ware.title = (char *)(uintptr_t) "bolt";
    ware.milligrams = 5000;
    frame.payload_bytes = ware__v2__ware__pack(&ware, payload);
    ask(&frame, payload, PARLEY_OK, NULL);
    assert_true(bus_text_is(&asker.answer.frame.version, "2.0.0"));

    /* By a schema of its own. */
    say_open(2);
    asker_expect(&asker, 2, PARLEY_OK, NULL);
    Parley__Bus__V1__OpenReply *opened = parley__bus__v1__open_reply__unpack(
        NULL, asker.answer.frame.payload_bytes, asker.answer.frame.payload);
    assert_non_null(opened);
    assert_int_equal(opened->n_offer, 1);
    assert_string_equal(opened->offer[0]->version, "2.0.0");
    assert_int_equal(opened->transcript.len, 32);
    char digits[17];
    snprintf(digits, sizeof(digits), "%016llx", (unsigned long long)opened->contract);
    parley__bus__v1__open_reply__free_unpacked(opened, NULL);

    Ware__V1__Ware old = WARE__V1__WARE__INIT;
    old.name = (char *)(uintptr_t) "nut";
    old.grams = 7;
    frame = frame_of("ware", "Weigh", 3);
    frame.interface.text = NULL;
    frame.contract = (struct bus_text){digits, 16};
    frame.payload_bytes = ware__v1__ware__pack(&old, payload);
    ask(&frame, payload, PARLEY_OK, NULL);
    is_translated();

    /* With a range of the call's own. */
    frame.accept = TEXT("1");
    ask(&frame, payload, PARLEY_FAILED_PRECONDITION, "on offer: 2.0.0");
    frame.accept = TEXT("1 || 2");
    ask(&frame, payload, PARLEY_OK, NULL);
    frame.accept.text = NULL;

    /* What the service's version has no more. */
    frame.method = TEXT("Count");
    ask(&frame, payload, PARLEY_UNIMPLEMENTED, "no version on offer has this method");
    frame.interface = TEXT("ware");
    ask(&frame, payload, PARLEY_INVALID_ARGUMENT, "parley.contract is instead");
    frame.interface.text = NULL;
    digits[0] = digits[0] == 'f' ? '0' : 'f';
    ask(&frame, payload, PARLEY_FAILED_PRECONDITION, "open another");
    assert_int_equal(asker.answer.frame.header.executed, PARLEY_EXECUTED_NO);
    digits[3] = 'x';
    ask(&frame, payload, PARLEY_INVALID_ARGUMENT, "16 hexadecimal digits");
}

/* A call in version 1, of 7 grams. */
static struct bus_frame old_frame(uint8_t payload[64])
{
    Ware__V1__Ware old = WARE__V1__WARE__INIT;
    old.name = (char *)(uintptr_t) "nut";
    old.grams = 7;
    struct bus_frame frame = frame_of("ware", "Weigh", 1);
    frame.version = TEXT("1.0.0");
    frame.payload_bytes = ware__v1__ware__pack(&old, payload);
    return frame;
}

static void test_a_version_of_the_folder_is_known(void **state)
{
    (void)state;
    served_start(0, &ware_service);
    uint8_t payload[64];
    struct bus_frame frame = old_frame(payload);
    ask(&frame, payload, PARLEY_OK, NULL);
    is_translated();
}

static void test_a_version_is_known_that_nobody_publishes_now(void **state)
{
    (void)state;
    served_start(0, &ware_service);
    uint8_t payload[64];
    struct bus_frame frame = old_frame(payload);
    ask(&frame, payload, PARLEY_NOT_FOUND, "there is: 2.0.0");

    /* What only a client brought does not say how the bytes of others are read. */
    say_open(2);
    asker_expect(&asker, 2, PARLEY_OK, NULL);
    ask(&frame, payload, PARLEY_NOT_FOUND, "there is: 2.0.0");

    served_start(1, &old_ware_service);
    served_stop(1);
    ask(&frame, payload, PARLEY_OK, NULL);
    is_translated();

    frame.version = TEXT("1.0.1");
    ask(&frame, payload, PARLEY_NOT_FOUND, "there is: 2.0.0");
    frame.version = TEXT("one");
    ask(&frame, payload, PARLEY_NOT_FOUND, "no version \"one\"");
}

static void test_ranges_restrict_who_serves(void **state)
{
    (void)state;
    served_start(0, &old_ware_service);
    served_start(1, &ware_service);
    struct bus_frame frame = frame_of("ware", "Weigh", 1);
    frame.version = TEXT("1.0.0");
    frame.accept = TEXT("^2");
    ask(&frame, NULL, PARLEY_OK, NULL);
    assert_true(bus_text_is(&asker.answer.frame.version, "2.0.0"));
    frame.accept = TEXT("1.x");
    ask(&frame, NULL, PARLEY_OK, NULL);
    assert_true(bus_text_is(&asker.answer.frame.version, "1.0.0"));
    frame.accept = TEXT("^9");
    ask(&frame, NULL, PARLEY_FAILED_PRECONDITION, "in the range");
    frame.accept = TEXT("nonsense");
    ask(&frame, NULL, PARLEY_INVALID_ARGUMENT, "nonsense");
}

/* ---- parley.bus ---- */

static void test_reflection(void **state)
{
    (void)state;
    struct bus_frame frame = frame_of("parley.bus", "List", 1);
    ask(&frame, NULL, PARLEY_OK, NULL);
    Parley__ListReply *list = parley__list_reply__unpack(NULL, asker.answer.frame.payload_bytes,
                                                         asker.answer.frame.payload);
    assert_non_null(list);
    assert_int_equal(list->n_interface, 1);
    assert_string_equal(list->interface[0]->name, "echo");
    assert_int_equal(list->n_endpoint, 1);
    parley__list_reply__free_unpacked(list, NULL);

    const struct {
        const char *request, *version;
    } sets[] = {{"\x0a\x04"
                 "echo",
                 "1.0.0"},
                {"\x0a\x0a"
                 "parley.bus",
                 "1.0.0"}};
    for (size_t i = 0; i < 2; i++) {
        frame = frame_of("parley.bus", "Describe", 2);
        frame.payload_bytes = strlen(sets[i].request);
        ask(&frame, sets[i].request, PARLEY_OK, NULL);
        Parley__DescribeReply *set = parley__describe_reply__unpack(
            NULL, asker.answer.frame.payload_bytes, asker.answer.frame.payload);
        assert_non_null(set);
        assert_string_equal(set->version, sets[i].version);
        struct schema *schema;
        struct error_text error = {""};
        if (schema_new(set->descriptor_set.data, set->descriptor_set.len, set->service, &schema,
                       &error) < 0)
            fail_msg("%s", error.text);
        schema_unref(schema);
        parley__describe_reply__free_unpacked(set, NULL);
    }
    frame.payload_bytes = 5;
    ask(&frame, "\x0a\x03nix", PARLEY_NOT_FOUND, "there is: echo");
    ask(&frame, "\x0a\xffnix", PARLEY_INVALID_ARGUMENT, "the request of Describe");
}

static void test_open_says_what_does_not_fit(void **state)
{
    (void)state;
    const struct {
        const char *request;
        enum parley_status status;
        const char *words;
    } cases[] = {
        {"", PARLEY_INVALID_ARGUMENT, "names no interface"},
        {"\x0a\x03nix", PARLEY_NOT_FOUND, "there is: echo"},
        {"\x0a\x04"
         "echo\x12\x05"
         "9.0.0",
         PARLEY_NOT_FOUND, "there is: 1.0.0"},
        {"\x0a\x04"
         "echo\x1a\x02^9",
         PARLEY_FAILED_PRECONDITION, "finds no version"},
        {"\x0a\x04"
         "echo\x1a\x02^^",
         PARLEY_INVALID_ARGUMENT, "accept"},
        {"\x0a\x04"
         "echo\x22\x03xyz",
         PARLEY_INVALID_ARGUMENT, NULL},
        {"\x0a\x04"
         "echo",
         PARLEY_OK, NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bus_frame frame = frame_of("parley.bus", "Open", i);
        frame.payload_bytes = strlen(cases[i].request);
        ask(&frame, cases[i].request, cases[i].status, cases[i].words);
    }
}

/* ---- Contracts ---- */

static uint64_t opened; /* the last */

static void on_opened(const struct relay_end *end, void *userdata)
{
    (void)userdata;
    assert_int_equal(end->status, PARLEY_OK);
    Parley__Bus__V1__OpenReply *reply =
        parley__bus__v1__open_reply__unpack(NULL, end->payload_bytes, end->payload);
    assert_non_null(reply);
    opened = reply->contract;
    parley__bus__v1__open_reply__free_unpacked(reply, NULL);
}

static struct replier_peer user(uid_t uid)
{
    return (struct replier_peer){.local = true, .uid = uid};
}

/* The i-th of @uid's: each accepts something else, for the same would be the same contract. */
static uint64_t open_as(uid_t uid, unsigned i)
{
    char request[32];
    struct replier_peer peer = user(uid);
    struct relay_ask ask = {.payload = (const uint8_t *)request, .peer = &peer, .ended = on_opened};
    struct error_text error = {""};
    enum parley_status status;
    ask.payload_bytes = (size_t)snprintf(request, sizeof(request),
                                         "\x0a\x04"
                                         "echo\x1a\x0a"
                                         "1||9.%05u",
                                         10000 + i);
    ask.schema = front_self_schema(served.broker, &error);
    if (!ask.schema || relay_method(ask.schema, "Open", &ask.method, &error) != PARLEY_OK ||
        relay_start(served.broker, &ask, &status, &error) == 0)
        fail_msg("%s", error.text);
    relay_tell(served.broker);
    return opened;
}

static enum parley_status find_as(uid_t uid, uint64_t contract)
{
    const struct replier_peer peer = user(uid);
    struct schema_entry *schema;
    const char *accept;
    struct error_text error = {""};
    return front_contract_find(served.broker, contract, &peer, &schema, &accept, &error);
}

static void test_contracts_are_bounded(void **state)
{
    (void)state;
    served_hold();
    const unsigned users = FRONT_CONTRACT_MAX / FRONT_CONTRACT_USER_MAX;
    uint64_t first = open_as(1, 0), second = open_as(2, 1);
    for (unsigned i = 2; i < FRONT_CONTRACT_MAX; i++)
        (void)open_as(1 + i % users, i);
    assert_int_equal(find_as(1, first),
                     PARLEY_OK); /* and so it is not the one unused for longest */
    (void)open_as(1 + users, 0);
    assert_int_equal(find_as(1, first), PARLEY_OK);
    assert_int_equal(find_as(2, second), PARLEY_FAILED_PRECONDITION);
    served_go();
}

static void test_contracts_of_one_user_are_bounded(void **state)
{
    (void)state;
    served_hold();
    uint64_t others = open_as(1, 0), first = open_as(2, 0), second = open_as(2, 1);
    for (unsigned i = 2; i < FRONT_CONTRACT_USER_MAX; i++)
        (void)open_as(2, i);
    assert_int_equal(find_as(2, first), PARLEY_OK);
    uint64_t last = open_as(2, FRONT_CONTRACT_USER_MAX);
    assert_int_equal(find_as(2, first), PARLEY_OK);
    assert_int_equal(find_as(2, second), PARLEY_FAILED_PRECONDITION);
    assert_int_equal(find_as(2, last), PARLEY_OK);
    for (unsigned i = 0; i < FRONT_CONTRACT_MAX; i++)
        (void)open_as(2, i);
    assert_int_equal(find_as(1, others), PARLEY_OK);
    served_go();
}

static void test_a_contract_that_is_forgotten_is_refused(void **state)
{
    (void)state;
    char digits[17];
    struct bus_frame frame = frame_of("", "Echo", 1);
    frame.interface.text = NULL;
    frame.contract = (struct bus_text){digits, 16};
    strcpy(digits, "0123456789abcdef");
    ask(&frame, NULL, PARLEY_FAILED_PRECONDITION, "open another");
    served_hold();
    (void)snprintf(digits, sizeof(digits), "%016llx", (unsigned long long)open_as(getuid(), 0));
    served_go();
    ask(&frame, NULL, PARLEY_OK, NULL);
}

#define FRONT(name) cmocka_unit_test_setup_teardown(name, fronts_begin_echo, fronts_end)
#define WARE(name) cmocka_unit_test_setup_teardown(name, begin, fronts_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WARE(test_another_version_s_service_is_translated_for),
        WARE(test_a_version_is_known_that_nobody_publishes_now),
        cmocka_unit_test_setup_teardown(test_a_version_of_the_folder_is_known, begin_with_schemas,
                                        end_with_schemas),
        WARE(test_ranges_restrict_who_serves),
        FRONT(test_reflection),
        FRONT(test_open_says_what_does_not_fit),
        FRONT(test_contracts_are_bounded),
        FRONT(test_contracts_of_one_user_are_bounded),
        FRONT(test_a_contract_that_is_forgotten_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
