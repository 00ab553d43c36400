/*
 * What may be published beside what: minor versions keep their promises, with the words of the diff
 * if they do not.
 */
#include "peers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "wire/wire.h"

static struct broker *broker;
static struct peer service;

static int begin(void **state)
{
    (void)state;
    broker = broker_start(NULL);
    peer_join(&service, broker, "service");
    return 0;
}

static int end(void **state)
{
    (void)state;
    peer_leave(&service);
    broker_free(broker);
    return 0;
}

static uint64_t last_instance;

/* Publishes a version of things.v1 with that many fields; @words: how it is refused, NULL: it is
 * not. */
static void try_publish(const char *version, unsigned fields, bool renamed, const char *words)
{
    struct set set;
    set_make(&set, "things", version, "things.v1", NULL, fields);
    if (renamed)
        set_rename(&set);
    if (words)
        publish_refused(&service, ++last_instance, &set, PARLEY_FAILED_PRECONDITION, words);
    else
        publish(&service, ++last_instance, &set);
    set_free(&set);
}

static void test_a_minor_version_may_add(void **state)
{
    (void)state;
    try_publish("1.0.0", 2, false, NULL);
    try_publish("1.1.0", 3, false, NULL);
    try_publish("1.1.1", 3, false, NULL);
}

static void test_a_minor_version_that_breaks_is_refused_with_the_rule(void **state)
{
    (void)state;
    try_publish("1.0.0", 3, false, NULL);
    try_publish("1.1.0", 2, false, "things 1.1.0 breaks 1.0.0: things.v1.proto");
    try_publish("1.1.0", 2, false, "FIELD_NO_DELETE_UNLESS_NAME_RESERVED");
    try_publish("1.1.0", 3, true, "FIELD_SAME_NAME");
    try_publish("1.0.1", 4, false, NULL); /* the refused ones left no trace */
}

static void test_the_older_one_is_refused_if_it_comes_last(void **state)
{
    (void)state;
    try_publish("1.1.0", 2, false, NULL);
    try_publish("1.0.0", 3, false, "things 1.1.0 breaks 1.0.0");
    try_publish("1.0.0", 1, false, NULL);
}

static void test_the_nearest_versions_count_on_both_sides(void **state)
{
    (void)state;
    try_publish("1.0.0", 1, false, NULL);
    try_publish("1.4.0", 4, false, NULL);
    try_publish("1.2.0", 5, false, "things 1.4.0 breaks 1.2.0");
    try_publish("1.2.0", 3, false, NULL);
    try_publish("1.3.0", 2, false, "things 1.3.0 breaks 1.2.0");
}

static void test_what_the_schema_accepts_is_let_pass(void **state)
{
    (void)state;
    struct set set;
    try_publish("1.0.0", 3, false, NULL);
    set_make_accepting(&set, "things", "1.1.0", "things.v1", NULL, 3, "FIELD_SAME_NAME", NULL);
    set_rename(&set);
    publish_refused(&service, ++last_instance, &set, PARLEY_FAILED_PRECONDITION,
                    "FIELD_SAME_JSON_NAME"); /* which is not accepted */
    set_free(&set);
    set_make_accepting(&set, "things", "1.1.0", "things.v1", NULL, 3, "FIELD_SAME_NAME",
                       "FIELD_SAME_JSON_NAME");
    set_rename(&set);
    publish(&service, ++last_instance, &set);
    set_free(&set);
}

static void test_another_major_version_promised_nothing(void **state)
{
    (void)state;
    struct set set;
    try_publish("1.0.0", 3, false, NULL);
    set_make(&set, "things", "2.0.0", "things.v2", "things.v1", 1);
    publish(&service, ++last_instance, &set);
    set_free(&set);
    try_publish("2.1.0", 1, true, NULL); /* in the package of 1.0.0, which is legal if odd */
}

static void test_before_1_0_0_each_minor_version_stands_alone(void **state)
{
    (void)state;
    try_publish("0.1.0", 3, false, NULL);
    try_publish("0.2.0", 1, true, NULL);
    try_publish("0.1.1", 2, false, "things 0.1.1 breaks 0.1.0");
}

static void test_a_pre_release_binds_nobody_but_is_bound(void **state)
{
    (void)state;
    try_publish("1.0.0", 2, false, NULL);
    try_publish("1.1.0-rc.1", 4, false, NULL);
    try_publish("1.1.0", 3, false, NULL);
    try_publish("1.2.0-rc.1", 2, false, "things 1.2.0-rc.1 breaks 1.1.0");
}

static void test_what_was_withdrawn_is_still_promised(void **state)
{
    (void)state;
    try_publish("1.0.0", 3, false, NULL);
    say_withdraw(&service, last_instance, true);
    try_publish("1.1.0", 2, false, "things 1.1.0 breaks 1.0.0");
}

/* ---- Where it is written ---- */

/* A set that says of the first message's first field that it is at @line, 7 (from 1); free(). */
static struct set located(const struct set *set, int32_t line)
{
    ProtobufCMessage *message = NULL;
    assert_int_equal(wire_unpack(&google__protobuf__file_descriptor_set__descriptor, set->data,
                                 set->bytes, NULL, &message, NULL),
                     0);
    Google__Protobuf__FileDescriptorSet *files = (Google__Protobuf__FileDescriptorSet *)message;
    int32_t path[] = {4, 0, 2, 0}, span[] = {line - 1, 6, 12};
    Google__Protobuf__SourceCodeInfo__Location location =
        GOOGLE__PROTOBUF__SOURCE_CODE_INFO__LOCATION__INIT;
    location.path = path;
    location.n_path = 4;
    location.span = span;
    location.n_span = 3;
    Google__Protobuf__SourceCodeInfo__Location *locations[] = {&location};
    Google__Protobuf__SourceCodeInfo info = GOOGLE__PROTOBUF__SOURCE_CODE_INFO__INIT;
    info.location = locations;
    info.n_location = 1;
    Google__Protobuf__FileDescriptorProto *last = files->file[files->n_file - 1];
    last->source_code_info = &info;
    struct set with = *set;
    with.bytes = protobuf_c_message_get_packed_size(message);
    with.data = malloc(with.bytes);
    assert_non_null(with.data);
    assert_int_equal(protobuf_c_message_pack(message, with.data), with.bytes);
    last->source_code_info = NULL;
    wire_free(message);
    return with;
}

static void publish_at(const struct set *set, const void *positions, size_t bytes,
                       enum parley_status status, const char *words)
{
    Parley__Publish body = PARLEY__PUBLISH__INIT;
    body.has_instance_id = true;
    body.instance_id = ++last_instance;
    body.interface = (char *)(uintptr_t)set->interface;
    body.version = (char *)(uintptr_t)set->version;
    body.service = (char *)(uintptr_t)set->service;
    body.has_descriptor_set = true;
    body.descriptor_set = (ProtobufCBinaryData){set->bytes, set->data};
    body.has_positions = positions != NULL;
    body.positions = (ProtobufCBinaryData){bytes, (uint8_t *)(uintptr_t)positions};
    peer_say(&service, PARLEY__LINK_MESSAGE__BODY_PUBLISH, &body, NULL, 0);
    const Parley__Published *published = peer_hear(&service, PARLEY__LINK_MESSAGE__BODY_PUBLISHED);
    assert_int_equal(published->status, status);
    if (words)
        assert_words(published->text, words);
}

static size_t content_count(void)
{
    return broker->negotiator.schema_count;
}

static void test_a_refusal_says_line_and_column(void **state)
{
    (void)state;
    struct set set, first, moved;
    try_publish("1.0.0", 2, false, NULL);
    set_make(&set, "things", "1.1.0", "things.v1", NULL, 2);
    set_rename(&set);
    first = located(&set, 12);
    moved = located(&set, 345);
    publish_at(&set, NULL, 0, PARLEY_FAILED_PRECONDITION, "things.v1.proto: FIELD_SAME_NAME");
    size_t contents = content_count();
    publish_at(&set, first.data, first.bytes, PARLEY_FAILED_PRECONDITION,
               "things.v1.proto:12:7: FIELD_SAME_NAME");
    /* The place is that of who publishes it now. */
    publish_at(&set, moved.data, moved.bytes, PARLEY_FAILED_PRECONDITION,
               "things.v1.proto:345:7: FIELD_SAME_NAME");
    assert_int_equal(content_count(), contents);
    set_free(&set);
    set_free(&first);
    set_free(&moved);
}

static void test_positions_make_no_other_content(void **state)
{
    (void)state;
    struct set set, first, moved;
    set_make(&set, "things", "1.0.0", "things.v1", NULL, 2);
    first = located(&set, 12);
    moved = located(&set, 345);
    publish(&service, ++last_instance, &set);
    size_t contents = content_count();
    publish(&service, ++last_instance, &first); /* in the set itself */
    publish(&service, ++last_instance, &moved);
    publish_at(&set, moved.data, moved.bytes, PARLEY_OK, NULL);
    assert_int_equal(content_count(), contents);
    set_free(&set);
    set_free(&first);
    set_free(&moved);
}

static void test_positions_that_make_no_sense_hide_no_break(void **state)
{
    (void)state;
    struct set set;
    try_publish("1.0.0", 2, false, NULL);
    set_make(&set, "things", "1.1.0", "things.v1", NULL, 2);
    set_rename(&set);
    publish_at(&set, "\xff\xff\xff", 3, PARLEY_FAILED_PRECONDITION,
               "things.v1.proto: FIELD_SAME_NAME");
    set_free(&set);
}

static void test_positions_have_a_limit(void **state)
{
    (void)state;
    struct set set;
    uint8_t *positions = calloc(1, SCHEMA_SET_BYTES_MAX + 1);
    assert_non_null(positions);
    set_make(&set, "things", "1.0.0", "things.v1", NULL, 2);
    publish_at(&set, positions, SCHEMA_SET_BYTES_MAX, PARLEY_OK, NULL);
    publish_at(&set, positions, SCHEMA_SET_BYTES_MAX + 1, PARLEY_INVALID_ARGUMENT,
               "leave them out");
    free(positions);
    set_free(&set);
}

/* ---- One version with several contents ---- */

static void test_contents_of_one_version_may_grow(void **state)
{
    (void)state;
    struct peer client;
    struct set small;
    struct set large;
    set_make(&small, "things", "1.0.0", "things.v1", NULL, 2);
    set_make(&large, "things", "1.0.0", "things.v1", NULL, 3);
    peer_join(&client, broker, "client");
    publish(&service, 101, &small);
    say_open(&client, 1, &small, NULL);
    assert_int_equal(hear_opened(&client, 1, PARLEY_OK)->offers[0]->plan_id, 0);
    (void)hear_instances(&client, 1, 0, 0);
    publish(&service, 102, &large);
    (void)hear_instances(&client, 1, 0, 0);
    publish(&service, 103, &small); /* an instance of the old content comes back */
    (void)hear_instances(&client, 1, 0, 0);
    const struct interface *interface = directory_find(&broker->directory, "things");
    size_t bytes;
    (void)schema_set(interface->versions[0]->schema->schema, &bytes);
    assert_int_equal(bytes, large.bytes); /* and changes nothing */

    say_open(&client, 2, &small, NULL); /* a client of the old content is as well served */
    assert_int_equal(hear_opened(&client, 2, PARLEY_OK)->offers[0]->plan_id, 0);
    (void)hear_instances(&client, 3, 0, 0);
    peer_leave(&client);
    set_free(&small);
    set_free(&large);
}

static void test_contents_that_cannot_follow_each_other_are_refused(void **state)
{
    (void)state;
    try_publish("1.0.0", 2, false, NULL);
    try_publish("1.0.0", 3, true, "things 1.0.0 is published already with another descriptor set");
    try_publish("1.0.0", 3, true, "FIELD_SAME_NAME");
}

/* ---- Files ---- */

static void test_a_file_that_breaks_a_version_is_refused(void **state)
{
    (void)state;
    char folder[] = "/tmp/parley-test-XXXXXX";
    char path[64];
    struct set set;
    struct error_text error = {""};
    try_publish("1.0.0", 3, false, NULL);
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof(path), "%s/a.set", folder);
    set_make(&set, "things", "1.1.0", "things.v1", NULL, 2);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(set.data, 1, set.bytes, file), set.bytes);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(shelf_new(broker, folder, &broker->shelf, &error), 0);
    const struct schema_entry *entry;
    TAILQ_FOREACH(entry, &broker->negotiator.schemas, entry)
        assert_string_equal(entry->file, "");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
    set_free(&set);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_minor_version_may_add),
        TEST(test_a_minor_version_that_breaks_is_refused_with_the_rule),
        TEST(test_the_older_one_is_refused_if_it_comes_last),
        TEST(test_the_nearest_versions_count_on_both_sides),
        TEST(test_what_the_schema_accepts_is_let_pass),
        TEST(test_another_major_version_promised_nothing),
        TEST(test_before_1_0_0_each_minor_version_stands_alone),
        TEST(test_a_pre_release_binds_nobody_but_is_bound),
        TEST(test_what_was_withdrawn_is_still_promised),
        TEST(test_a_refusal_says_line_and_column),
        TEST(test_positions_make_no_other_content),
        TEST(test_positions_that_make_no_sense_hide_no_break),
        TEST(test_positions_have_a_limit),
        TEST(test_contents_of_one_version_may_grow),
        TEST(test_contents_that_cannot_follow_each_other_are_refused),
        TEST(test_a_file_that_breaks_a_version_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
