/*
 * The registry: what the broker knows, in force, on the way between two versions; and the folder
 * that it watches.
 */
#include "peers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "broker/folder.h"
#include "support/until.h"

struct world {
    struct broker *broker;
    struct peer service, client;
    struct set v1, v2, v3;
    char folder[64];
};

static int begin(void **state)
{
    static struct world world;
    world.broker = broker_start(NULL);
    set_make(&world.v1, "things", "1.0.0", "things.v1", NULL, 2);
    set_make(&world.v2, "things", "2.0.0", "things.v2", "things.v1", 3);
    set_make(&world.v3, "things", "3.0.0", "things.v3", "things.v2", 4);
    peer_join(&world.service, world.broker, "service");
    peer_join(&world.client, world.broker, "client");
    strcpy(world.folder, "/tmp/parley-test-XXXXXX");
    assert_non_null(mkdtemp(world.folder));
    *state = &world;
    return 0;
}

static int end(void **state)
{
    struct world *world = *state;
    char command[128];
    peer_leave(&world->service);
    peer_leave(&world->client);
    broker_free(world->broker);
    set_free(&world->v1);
    set_free(&world->v2);
    set_free(&world->v3);
    (void)snprintf(command, sizeof(command), "rm -r %s", world->folder);
    return system(command);
}

/* ---- The folder ---- */

static void path_of(const struct world *world, const char *name, char path[160])
{
    (void)snprintf(path, 160, "%s/%s", world->folder, name);
}

/* As a careful program does: written beside, then renamed. */
static void put(const struct world *world, const char *name, const void *data, size_t bytes)
{
    char beside[160];
    char path[160];
    path_of(world, ".new", beside);
    path_of(world, name, path);
    FILE *file = fopen(beside, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(rename(beside, path), 0);
}

static void put_set(const struct world *world, const char *name, const struct set *set)
{
    put(world, name, set->data, set->bytes);
}

static void take_away(const struct world *world, const char *name)
{
    char path[160];
    path_of(world, name, path);
    assert_int_equal(unlink(path), 0);
}

static void watch(struct world *world)
{
    struct error_text error = {""};
    if (shelf_new(world->broker, world->folder, &world->broker->shelf, &error) < 0)
        fail_msg("%s", error.text);
}

static struct schema_entry *entry_of(const struct world *world, const char *version)
{
    struct schema_entry *entry;
    TAILQ_FOREACH (entry, &world->broker->negotiator.schemas, entry)
        if (strcmp(schema_service(entry->schema)->interface->version, version) == 0)
            return entry;
    return NULL;
}

static const char *file_of(const struct world *world, const char *version)
{
    const struct schema_entry *entry = entry_of(world, version);
    return entry ? entry->file : "";
}

static void until_file_is(const struct world *world, const char *version, const char *name)
{
    uint64_t until = clock_now_ns() + PATIENCE_NS;
    while (strcmp(file_of(world, version), name) != 0) {
        if (clock_now_ns() > until)
            fail_msg("%s is from \"%s\", not \"%s\"", version, file_of(world, version), name);
        assert_int_equal(broker_turn(world->broker, NS_PER_MS), 0);
    }
}

static void test_sets_in_the_folder_are_known(void **state)
{
    struct world *world = *state;
    put_set(world, "two.binpb", &world->v2);
    put_set(world, "three.pb", &world->v3);
    put_set(world, "one.txt", &world->v1); /* another suffix: not ours */
    watch(world);
    assert_string_equal(file_of(world, "2.0.0"), "two.binpb");
    assert_string_equal(file_of(world, "3.0.0"), "three.pb");
    assert_null(entry_of(world, "1.0.0"));
}

static void test_the_folder_is_watched(void **state)
{
    struct world *world = *state;
    watch(world);
    assert_null(entry_of(world, "2.0.0"));
    put_set(world, "two.set", &world->v2);
    until_file_is(world, "2.0.0", "two.set");
    char old[160];
    char new[160];
    path_of(world, "two.set", old);
    path_of(world, "renamed.set", new);
    assert_int_equal(rename(old, new), 0);
    until_file_is(world, "2.0.0", "renamed.set");
    take_away(world, "renamed.set");
    until_file_is(world, "2.0.0", "");
}

static void test_a_broken_file_leaves_in_force_what_it_held(void **state)
{
    struct world *world = *state;
    put_set(world, "two.set", &world->v2);
    watch(world);
    put(world, "two.set", "nonsense", 8);
    put_set(world, "three.set", &world->v3); /* the folder is read in one go */
    until_file_is(world, "3.0.0", "three.set");
    assert_string_equal(file_of(world, "2.0.0"), "two.set");
    put_set(world, "two.set", &world->v1); /* mended, with something else */
    until_file_is(world, "1.0.0", "two.set");
    assert_string_equal(file_of(world, "2.0.0"), "");
}

static void test_one_version_in_two_files_counts_once(void **state)
{
    struct world *world = *state;
    struct set other;
    set_make(&other, "things", "2.0.0", "things.v2", "things.v1", 5);
    put_set(world, "a.set", &world->v2);
    watch(world);
    put_set(world, "b.set", &other);
    put_set(world, "c.set", &world->v2);
    put_set(world, "three.set", &world->v3);
    until_file_is(world, "3.0.0", "three.set");
    assert_string_equal(file_of(world, "2.0.0"), "a.set");
    set_free(&other);
}

static void test_a_file_that_is_too_large_is_not_read(void **state)
{
    struct world *world = *state;
    char path[160];
    path_of(world, "large.set", path);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(truncate(path, SCHEMA_SET_BYTES_MAX + 1), 0);
    watch(world);
    assert_true(TAILQ_EMPTY(&world->broker->negotiator.schemas));
    put_set(world, "large.set", &world->v2);
    until_file_is(world, "2.0.0", "large.set");
}

static void test_files_past_the_limit_are_not_read(void **state)
{
    struct world *world = *state;
    for (unsigned i = 0; i < SHELF_FILE_MAX; i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "%u.set", i);
        put(world, name, "", 0);
    }
    watch(world);
    put_set(world, "0.set", &world->v2); /* the last one that there is room for */
    until_file_is(world, "2.0.0", "0.set");
    put_set(world, "more.set", &world->v3);
    put_set(world, "1.set", &world->v1);
    until_file_is(world, "1.0.0", "1.set");
    assert_null(entry_of(world, "3.0.0"));
}

static void test_a_folder_that_is_not_there_is_an_error(void **state)
{
    struct world *world = *state;
    struct shelf *shelf;
    struct error_text error = {""};
    assert_int_equal(shelf_new(world->broker, "/tmp/parley-test-nowhere", &shelf, &error), -ENOENT);
    assert_words(error.text, "--schemas /tmp/parley-test-nowhere");
}

/* Until so many folders are not there. The last event says so, in @words. */
static void until_lost(struct world *world, uint32_t count, const char *words)
{
    struct broker *broker = world->broker;
    struct events_list list;
    UNTIL(assert_int_equal(broker_turn(broker, NS_PER_MS), 0), folders_lost(broker) == count);
    assert_int_equal(events_since(&broker->events, 0, &list), 0);
    const Parley__Event *event = NULL;
    for (size_t i = 0; i < list.count; i++)
        event = strcmp(list.items[i]->topic, "folder") == 0 ? list.items[i] : event;
    assert_non_null(event);
    assert_words(event->text, words);
    events_list_free(&list);
}

static void test_a_folder_that_is_renamed_away_is_taken_up_again(void **state)
{
    struct world *world = *state;
    char away[80];
    put_set(world, "two.set", &world->v2);
    watch(world);
    (void)snprintf(away, sizeof(away), "%s.away", world->folder);
    assert_int_equal(rename(world->folder, away), 0);
    until_lost(world, 1, "is not there any more");
    assert_string_equal(file_of(world, "2.0.0"), "two.set"); /* stays in force */
    assert_int_equal(rename(away, world->folder), 0);
    put_set(world, "three.set", &world->v3);
    take_away(world, "two.set");
    until_lost(world, 0, "is there again");
    assert_string_equal(file_of(world, "3.0.0"), "three.set");
    assert_string_equal(file_of(world, "2.0.0"), "");
    put_set(world, "one.set", &world->v1); /* it is watched */
    until_file_is(world, "1.0.0", "one.set");
}

static void test_a_folder_that_is_removed_is_taken_up_again(void **state)
{
    struct world *world = *state;
    watch(world);
    assert_int_equal(rmdir(world->folder), 0);
    until_lost(world, 1, "is not there any more");
    assert_int_equal(mkdir(world->folder, 0700), 0);
    put_set(world, "two.set", &world->v2);
    until_lost(world, 0, "is there again");
    assert_string_equal(file_of(world, "2.0.0"), "two.set");
}

static void test_a_folder_whose_parent_is_renamed_is_lost(void **state)
{
    struct world *world = *state;
    char parent[64];
    char away[80];
    strcpy(parent, world->folder);
    (void)snprintf(away, sizeof(away), "%s.away", parent);
    strcat(world->folder, "/in");
    assert_int_equal(mkdir(world->folder, 0700), 0);
    put_set(world, "two.set", &world->v2);
    watch(world);
    assert_int_equal(rename(parent, away), 0);
    until_lost(world, 1, "is not there any more");
    assert_int_equal(rename(away, parent), 0);
    until_lost(world, 0, "is there again");
    strcpy(world->folder, parent);
}

/* ---- Paths ---- */

static void test_a_version_in_between_that_was_never_seen_is_named(void **state)
{
    struct world *world = *state;
    publish(&world->service, 1, &world->v3);
    say_open(&world->client, 1, &world->v1, NULL);
    const Parley__Opened *opened = hear_opened(&world->client, 1, PARLEY_FAILED_PRECONDITION);
    assert_words(opened->text, "the way from things.v3 to things.v1 leads over things.v2, which "
                               "this broker has never seen");
    assert_words(opened->text, "--schemas");
    assert_words(opened->text, "on offer: 3.0.0");
}

static void test_a_client_may_not_be_the_middle(void **state)
{
    struct world *world = *state;
    publish(&world->service, 1, &world->v3);
    say_open(&world->client, 1, &world->v2, NULL);
    (void)peer_hear(&world->client, PARLEY__LINK_MESSAGE__BODY_PLAN);
    (void)hear_opened(&world->client, 1, PARLEY_OK);
    (void)hear_instances(&world->client, 1, 0, 0);
    say_open(&world->client, 2, &world->v1, NULL);
    const Parley__Opened *opened = hear_opened(&world->client, 2, PARLEY_FAILED_PRECONDITION);
    assert_words(opened->text, "things.v2, which this broker has never seen");
}

static void test_versions_that_go_round_in_a_circle_are_refused(void **state)
{
    struct world *world = *state;
    struct set a;
    struct set b;
    set_make(&a, "things", "4.0.0", "things.v4", "things.v5", 2);
    set_make(&b, "things", "5.0.0", "things.v5", "things.v4", 2);
    publish(&world->service, 1, &a);
    publish(&world->service, 2, &b);
    say_open(&world->client, 1, &world->v1, "4 || 5");
    const Parley__Opened *opened = hear_opened(&world->client, 1, PARLEY_FAILED_PRECONDITION);
    assert_words(opened->text, "more than 6 versions lie between things.v4 and things.v1");
    set_free(&a);
    set_free(&b);
}

static void test_versions_without_relation_are_refused_with_the_option_to_set(void **state)
{
    struct world *world = *state;
    struct set alone;
    set_make(&alone, "things", "4.0.0", "things.v4", NULL, 2);
    publish(&world->service, 1, &alone);
    say_open(&world->client, 1, &world->v1, NULL);
    const Parley__Opened *opened = hear_opened(&world->client, 1, PARLEY_FAILED_PRECONDITION);
    assert_words(opened->text, "no relation is declared");
    assert_words(opened->text, "(parley.interface).previous");
    set_free(&alone);
}

/* ---- Keeping ---- */

static void test_idle_schemas_of_clients_go_first(void **state)
{
    struct world *world = *state;
    publish(&world->service, 1, &world->v2);
    say_withdraw(&world->service, 1, true);
    publish(&world->service, 2, &world->v3); /* and so 2.0.0 is idle once its place is needed */
    broker_settle(world->broker);
    for (unsigned i = 0; i < BROKER_SCHEMA_IDLE_MAX + 2; i++) {
        struct set set;
        char version[16];
        (void)snprintf(version, sizeof(version), "1.0.%u", i);
        set_make(&set, "others", version, "others.v1", NULL, 1);
        say_open(&world->client, 1, &set, NULL);
        (void)hear_opened(&world->client, 1, PARLEY_UNAVAILABLE);
        Parley__Close close = PARLEY__CLOSE__INIT;
        close.has_contract_id = true;
        close.contract_id = 1;
        peer_say(&world->client, PARLEY__LINK_MESSAGE__BODY_CLOSE, &close, NULL, 0);
        set_free(&set);
    }
    broker_settle(world->broker);
    const struct negotiator *negotiator = &world->broker->negotiator;
    assert_int_equal(negotiator->idle_count, BROKER_SCHEMA_IDLE_MAX);
    assert_non_null(entry_of(world, "2.0.0"));
    assert_null(entry_of(world, "1.0.0"));
    char last[16];
    (void)snprintf(last, sizeof(last), "1.0.%d", BROKER_SCHEMA_IDLE_MAX + 1);
    assert_non_null(entry_of(world, last));
}

/* ---- The control API ---- */

static Parley__ControlReply *ask(struct world *world, const Parley__ControlRequest *request)
{
    uint8_t data[256];
    size_t bytes = parley__control_request__pack(request, data);
    uint8_t *answer;
    size_t answer_bytes;
    assert_int_equal(control_handle(world->broker, data, bytes, NULL, &answer, &answer_bytes), 0);
    ProtobufCMessage *message;
    struct error_text error = {""};
    if (wire_unpack(&parley__control_reply__descriptor, answer, answer_bytes, NULL, &message,
                    &error) < 0)
        fail_msg("%s", error.text);
    free(answer);
    return (Parley__ControlReply *)message;
}

static Parley__ControlReply *ask_schemas(struct world *world, const char *interface)
{
    Parley__SchemasRequest schemas = PARLEY__SCHEMAS_REQUEST__INIT;
    schemas.interface = (char *)(uintptr_t)interface;
    Parley__ControlRequest request = PARLEY__CONTROL_REQUEST__INIT;
    request.body_case = PARLEY__CONTROL_REQUEST__BODY_SCHEMAS;
    request.schemas = &schemas;
    return ask(world, &request);
}

static void test_a_path_is_listed_with_what_it_leads_over(void **state)
{
    struct world *world = *state;
    put_set(world, "two.set", &world->v2);
    watch(world);
    publish(&world->service, 1, &world->v3);
    say_open(&world->client, 1, &world->v1, NULL);
    (void)peer_hear(&world->client, PARLEY__LINK_MESSAGE__BODY_PLAN);
    (void)hear_opened(&world->client, 1, PARLEY_OK);
    Parley__ListRequest list = PARLEY__LIST_REQUEST__INIT;
    Parley__ControlRequest request = PARLEY__CONTROL_REQUEST__INIT;
    request.body_case = PARLEY__CONTROL_REQUEST__BODY_LIST;
    request.list = &list;
    Parley__ControlReply *reply = ask(world, &request);
    const Parley__InterfaceInfo *info = reply->list->interface[0];
    assert_int_equal(info->n_offer, 1);
    assert_string_equal(info->offer[0]->client_version, "1.0.0");
    assert_string_equal(info->offer[0]->version, "3.0.0");
    assert_int_not_equal(info->offer[0]->translation, 0);
    assert_int_equal(info->offer[0]->n_over, 1);
    assert_string_equal(info->offer[0]->over[0], "2.0.0");
    wire_free(reply);
}

static void test_the_registry_is_listed_with_hashes_and_origins(void **state)
{
    struct world *world = *state;
    put_set(world, "two.set", &world->v2);
    watch(world);
    publish(&world->service, 1, &world->v3);
    say_open(&world->client, 1, &world->v1, "1");
    (void)hear_opened(&world->client, 1, PARLEY_FAILED_PRECONDITION);
    Parley__ControlReply *reply = ask_schemas(world, "things");
    const Parley__SchemasReply *schemas = reply->schemas;
    assert_int_equal(schemas->n_schema, 3);
    const struct set *sets[] = {&world->v1, &world->v2, &world->v3};
    for (size_t i = 0; i < 3; i++) {
        const Parley__SchemaInfo *info = schemas->schema[i];
        const struct set *set = sets[info->version[0] - '1'];
        struct digest digest;
        digest_of(set->data, set->bytes, &digest);
        assert_int_equal(info->hash.len, DIGEST_BYTES);
        assert_memory_equal(info->hash.data, digest.bytes, DIGEST_BYTES);
        assert_string_equal(info->service, set->service);
        assert_int_equal(info->published, set == &world->v3);
        assert_true((info->file != NULL) == (set == &world->v2));
        assert_int_equal(info->origin, set == &world->v1   ? PARLEY__SCHEMA_INFO__ORIGIN__CLIENT
                                       : set == &world->v2 ? PARLEY__SCHEMA_INFO__ORIGIN__FOLDER
                                                           : PARLEY__SCHEMA_INFO__ORIGIN__INSTANCE);
        assert_true(info->in_force);
    }
    wire_free(reply);
    reply = ask_schemas(world, "nothing");
    assert_int_equal(reply->schemas->n_schema, 0);
    wire_free(reply);
}

/* What is known of the only content of that version. */
static Parley__SchemaInfo info_of(struct world *world, const char *version)
{
    Parley__SchemaInfo found = PARLEY__SCHEMA_INFO__INIT;
    unsigned count = 0;
    Parley__ControlReply *reply = ask_schemas(world, "things");
    for (size_t i = 0; i < reply->schemas->n_schema; i++) {
        const Parley__SchemaInfo *info = reply->schemas->schema[i];
        if (strcmp(info->version, version) != 0)
            continue;
        found.origin = info->origin;
        found.in_force = info->in_force;
        found.published = info->published;
        count++;
    }
    assert_int_equal(count, 1);
    wire_free(reply);
    return found;
}

static void test_what_was_refused_is_nobody_s_and_not_in_force(void **state)
{
    struct world *world = *state;
    struct set broken;
    set_make(&broken, "things", "2.1.0", "things.v2", "things.v1", 1); /* a method less */
    publish(&world->service, 1, &world->v2);
    publish_refused(&world->service, 2, &broken, PARLEY_FAILED_PRECONDITION, "2.1.0");
    Parley__SchemaInfo info = info_of(world, "2.1.0");
    assert_int_equal(info.origin, PARLEY__SCHEMA_INFO__ORIGIN__REFUSED);
    assert_false(info.in_force);
    assert_false(info.published);
    /* A client may have been built against it all the same. */
    say_open(&world->client, 1, &broken, "9");
    (void)hear_opened(&world->client, 1, PARLEY_FAILED_PRECONDITION);
    info = info_of(world, "2.1.0");
    assert_int_equal(info.origin, PARLEY__SCHEMA_INFO__ORIGIN__CLIENT);
    assert_true(info.in_force);
    assert_false(info.published);
    set_free(&broken);
}

static void test_a_schema_whose_file_is_gone_came_from_the_folder(void **state)
{
    struct world *world = *state;
    put_set(world, "two.set", &world->v2);
    watch(world);
    assert_int_equal(info_of(world, "2.0.0").origin, PARLEY__SCHEMA_INFO__ORIGIN__FOLDER);
    take_away(world, "two.set");
    until_file_is(world, "2.0.0", "");
    assert_int_equal(info_of(world, "2.0.0").origin, PARLEY__SCHEMA_INFO__ORIGIN__FOLDER);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_sets_in_the_folder_are_known),
        TEST(test_the_folder_is_watched),
        TEST(test_a_broken_file_leaves_in_force_what_it_held),
        TEST(test_one_version_in_two_files_counts_once),
        TEST(test_a_file_that_is_too_large_is_not_read),
        TEST(test_files_past_the_limit_are_not_read),
        TEST(test_a_folder_that_is_not_there_is_an_error),
        TEST(test_a_folder_that_is_renamed_away_is_taken_up_again),
        TEST(test_a_folder_that_is_removed_is_taken_up_again),
        TEST(test_a_folder_whose_parent_is_renamed_is_lost),
        TEST(test_a_version_in_between_that_was_never_seen_is_named),
        TEST(test_a_client_may_not_be_the_middle),
        TEST(test_versions_that_go_round_in_a_circle_are_refused),
        TEST(test_versions_without_relation_are_refused_with_the_option_to_set),
        TEST(test_idle_schemas_of_clients_go_first),
        TEST(test_a_path_is_listed_with_what_it_leads_over),
        TEST(test_the_registry_is_listed_with_hashes_and_origins),
        TEST(test_what_was_refused_is_nobody_s_and_not_in_force),
        TEST(test_a_schema_whose_file_is_gone_came_from_the_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
