/* What the compiler refuses, by name and with a way out; and how methods and versions pair. */
#include "plans.h"

/* A set with text replaced by text of the same length, everywhere in it. */
static void replace(struct set *set, const char *text, const char *by)
{
    size_t bytes = strlen(text);
    unsigned count = 0;
    assert_int_equal(strlen(by), bytes);
    for (size_t i = 0; i + bytes <= set->bytes; i++) {
        if (memcmp(set->data + i, text, bytes) != 0)
            continue;
        memcpy(set->data + i, by, bytes);
        count++;
    }
    assert_true(count > 0);
}

static struct schema *schema_of(struct set set)
{
    struct schema *schema = NULL;
    struct error_text error = {""};
    if (schema_new(set.data, set.bytes, NULL, &schema, &error) < 0)
        fail_msg("%s", error.text);
    free(set.data);
    return schema;
}

/* Compiles shapes' v1 against a v2 in which one text is another; both directions must refuse. */
static void assert_refused(const char *text, const char *by, const char *says, const char *also)
{
    struct set set = set_read(SHAPES_V2_SET);
    replace(&set, text, by);
    struct schema *v1 = schema_read(SHAPES_V1_SET), *v2 = schema_of(set);
    for (int payload = PLAN_REQUESTS; payload <= PLAN_REPLIES; payload++) {
        struct plan *plan = NULL;
        struct error_text error = {""};
        assert_int_equal(plan_compile(v1, v2, (enum plan_payload)payload, &plan, &error), -EINVAL);
        assert_null(plan);
        if (!strstr(error.text, says) || !strstr(error.text, also))
            fail_msg("\"%s\" has no \"%s\" and \"%s\"", error.text, says, also);
    }
    schema_unref(v1);
    schema_unref(v2);
}

static void test_versions_without_a_relation_are_refused(void **state)
{
    (void)state;
    assert_refused("\x1a\x09shapes.v1", "\x1a\x09shapes.v7", "previous", "no relation");
}

static void test_rename_from_nothing_is_refused(void **state)
{
    (void)state;
    assert_refused("\x0a\x06"
                   "colour",
                   "\x0a\x06"
                   "coluor",
                   "shapes.v2.Shape.paint", "coluor");
}

static void test_two_fields_from_one_are_refused(void **state)
{
    (void)state;
    assert_refused("\x0a\x06"
                   "colour",
                   "\x0a\x06"
                   "narrow",
                   "shapes.v2.Shape.", "paired");
}

static void test_move_to_nowhere_is_refused(void **state)
{
    (void)state;
    assert_refused("place.home", "place.hole", "(parley.message).move", "names no field");
    assert_refused("place.home", "place.more", "(parley.message).move", "names no field");
    assert_refused("place.inner.floor", "place.inner.fleur", "(parley.message).move",
                   "place.inner");
}

static void test_move_of_another_type_is_refused(void **state)
{
    (void)state;
    assert_refused("\x0a\x05"
                   "ratio\x12\x0bplace.ratio",
                   "\x0a\x05"
                   "fixed\x12\x0bplace.ratio",
                   "(parley.message).move", "already");
}

static void test_patterns_that_do_not_parse_are_refused(void **state)
{
    (void)state;
    assert_refused("{name} <{mail}>", "{name} <{nail}>", "shapes.v2.Shape.author", "nail");
    assert_refused("{name} <{mail}>", "{name}{mail}...", "(parley.field).split", "separator");
    assert_refused("{name} <{mail}>", "{name} <{name}>", "(parley.field).split", "twice");
    assert_refused("{name} <{mail}>", "{name} <{mail]>", "(parley.field).split", "without its }");
    assert_refused("{name} <{mail}>", "no fields in it", "(parley.field).split", "no field");
}

static void test_drop_of_nothing_or_without_reason_is_refused(void **state)
{
    (void)state;
    assert_refused("\x0a\x07removed", "\x0a\x07removal", "(parley.message).drop", "removal");
    assert_refused("\x0a\x07removed\x1a\x0fnobody reads it",
                   "\x0a\x07removed\x12\x0fnobody reads it", "(parley.message).drop", "reason");
}

static void test_restore_from_a_field_that_only_one_version_has_is_refused(void **state)
{
    (void)state;
    assert_refused("<{name}/{tag}>", "<{added}/tags>", "restore", "{added}");
    assert_refused("<{name}/{tag}>", "<{words}/tags>", "restore", "singular string");
}

static void test_stand_in_that_does_not_exist_is_refused(void **state)
{
    (void)state;
    assert_refused("\x12\x0a"
                   "COLOUR_RED",
                   "\x12\x0a"
                   "COLOUR_RAD",
                   "PAINT_PINK", "COLOUR_RAD");
    assert_refused("\x0a\x0a"
                   "COLOUR_RED",
                   "\x0a\x0a"
                   "COLOUR_RAD",
                   "PAINT_CRIMSON", "COLOUR_RAD");
}

static void test_unary_against_streaming_is_refused(void **state)
{
    (void)state;
    struct set set = set_read(SHAPES_V2_SET);
    Google__Protobuf__FileDescriptorSet *files = set_unpack(&set);
    Google__Protobuf__FileDescriptorProto *file = files->file[files->n_file - 1];
    file->service[0]->method[1]->has_server_streaming = 1;
    file->service[0]->method[1]->server_streaming = 1;
    struct schema *v1 = schema_read(SHAPES_V1_SET), *v2 = schema_of(set_pack(files));
    struct plan *plan = NULL;
    struct error_text error = {""};
    assert_int_equal(plan_compile(v1, v2, PLAN_REQUESTS, &plan, &error), -EINVAL);
    assert_non_null(strstr(error.text, "method Get is unary"));
    wire_free(files);
    free(set.data);
    schema_unref(v1);
    schema_unref(v2);
}

static void test_methods_pair_by_name_and_may_be_missing(void **state)
{
    (void)state;
    struct versions shapes;
    versions_init(&shapes, SHAPES_V1_SET, SHAPES_V2_SET);
    /* v1: Get, Same, Old, Nothing. v2: Nothing, Get, Same, New. */
    assert_int_equal(plan_method(shapes.up_requests, 0), 1);
    assert_int_equal(plan_method(shapes.up_requests, 1), 2);
    assert_int_equal(plan_method(shapes.up_requests, 2), PLAN_METHOD_NONE);
    assert_int_equal(plan_method(shapes.up_requests, 3), 0);
    assert_int_equal(plan_method(shapes.up_replies, 0), 3);
    assert_int_equal(plan_method(shapes.up_replies, 3), PLAN_METHOD_NONE);
    uint8_t out[8192];
    size_t bytes;
    assert_int_equal(plan_run(shapes.up_requests, 2, out, 0, out, sizeof(out), &bytes, NULL),
                     -EINVAL);
    versions_deinit(&shapes);
}

static void test_a_version_with_itself_is_the_identity(void **state)
{
    (void)state;
    struct schema *v1 = schema_read(SHAPES_V1_SET);
    struct plan *plan = compile(v1, v1, PLAN_REPLIES);
    assert_int_equal(plan_class(plan), PLAN_IDENTITY);
    for (uint64_t seed = 1; seed < 200; seed++) {
        struct bytes in = generate(&shapes__v1__shape__descriptor, seed, 20);
        struct bytes out = must_run(plan, 0, in);
        assert_int_equal(out.bytes, in.bytes);
        assert_memory_equal(out.data, in.data, in.bytes);
        free(in.data);
        free(out.data);
    }
    plan_unref(plan);
    schema_unref(v1);
}

static void test_minor_versions_need_no_rules(void **state)
{
    (void)state;
    struct set set = set_read(SHAPES_V1_SET);
    Google__Protobuf__FileDescriptorSet *files = set_unpack(&set);
    Google__Protobuf__FileDescriptorProto *file = files->file[files->n_file - 1];
    file->message_type[1]->n_field -= 1; /* one without Shape.flag */
    struct schema *less = schema_of(set_pack(files)), *more = schema_read(SHAPES_V1_SET);
    struct plan *up = compile(less, more, PLAN_REQUESTS),
                *down = compile(more, less, PLAN_REQUESTS);
    assert_int_equal(plan_class(up), PLAN_IDENTITY);
    assert_int_equal(plan_class(down), PLAN_IDENTITY);
    const uint8_t flag[] = {0xe0, 0x12, 1};
    struct bytes in = bytes_of(flag, sizeof(flag)), out = must_run(down, 0, in);
    assert_int_equal(out.bytes, sizeof(flag));
    assert_memory_equal(out.data, flag, sizeof(flag));
    free(in.data);
    free(out.data);
    plan_unref(up);
    plan_unref(down);
    wire_free(files);
    free(set.data);
    schema_unref(less);
    schema_unref(more);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_versions_without_a_relation_are_refused),
        cmocka_unit_test(test_rename_from_nothing_is_refused),
        cmocka_unit_test(test_two_fields_from_one_are_refused),
        cmocka_unit_test(test_move_to_nowhere_is_refused),
        cmocka_unit_test(test_move_of_another_type_is_refused),
        cmocka_unit_test(test_patterns_that_do_not_parse_are_refused),
        cmocka_unit_test(test_drop_of_nothing_or_without_reason_is_refused),
        cmocka_unit_test(test_restore_from_a_field_that_only_one_version_has_is_refused),
        cmocka_unit_test(test_stand_in_that_does_not_exist_is_refused),
        cmocka_unit_test(test_unary_against_streaming_is_refused),
        cmocka_unit_test(test_methods_pair_by_name_and_may_be_missing),
        cmocka_unit_test(test_a_version_with_itself_is_the_identity),
        cmocka_unit_test(test_minor_versions_need_no_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
