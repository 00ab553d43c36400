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
        TEST(test_contents_of_one_version_may_grow),
        TEST(test_contents_that_cannot_follow_each_other_are_refused),
        TEST(test_a_file_that_breaks_a_version_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
