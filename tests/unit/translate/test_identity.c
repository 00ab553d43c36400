/* The identity plan, and what holds for running any plan. */
#include "plans.h"

static struct plan *v1_requests, *v1_replies;

static int setup(void **state)
{
    (void)state;
    struct error_text error;
    if (plan_identity(&catalog__v1__catalog__descriptor, PLAN_REQUESTS, &v1_requests, &error) < 0 ||
        plan_identity(&catalog__v1__catalog__descriptor, PLAN_REPLIES, &v1_replies, &error) < 0)
        return -1;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    plan_unref(v1_requests);
    plan_unref(v1_replies);
    return 0;
}

enum { GET, LIST, SEARCH, VISIT };

static int run_bytes(const struct plan *plan, uint32_t entry, const uint8_t *data, size_t bytes)
{
    struct bytes out = {NULL, 0};
    struct plan_failure failure;
    int r = run(plan, entry, (struct bytes){(uint8_t *)(uintptr_t)data, bytes}, &out, &failure);
    free(out.data);
    return r;
}

#define RUN(plan, entry, ...)                                                                      \
    run_bytes(plan, entry, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void test_identity_copies_byte_by_byte(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed < 500; seed++) {
        struct bytes in = generate(&catalog__v1__list_reply__descriptor, seed, 20);
        struct bytes out = must_run(v1_replies, LIST, in);
        assert_int_equal(out.bytes, in.bytes);
        assert_memory_equal(out.data, in.data, in.bytes);
        free(in.data);
        free(out.data);
    }
    assert_int_equal(plan_class(v1_replies), PLAN_IDENTITY);
    assert_int_equal(plan_output_bytes_max(v1_replies, 77), 77 + 64);
}

static void test_it_is_refused_exactly_where_wire_check_refuses(void **state)
{
    (void)state;
    uint64_t random = 5;
    unsigned refused = 0;
    for (uint64_t i = 0; i < 20000; i++) {
        struct bytes in = generate(&catalog__v1__list_reply__descriptor, i / 10 + 1, 20);
        if (in.bytes > 0)
            in.data[random_below(&random, (uint32_t)in.bytes)] ^=
                (uint8_t)(1u << random_below(&random, 8));
        int want = wire_check(&catalog__v1__list_reply__descriptor, in.data, in.bytes, NULL, NULL);
        assert_int_equal(run_bytes(v1_replies, LIST, in.data, in.bytes), want);
        refused += want < 0;
        free(in.data);
    }
    assert_true(refused > 1000);
}

static void test_requests_and_replies_are_checked_as_their_own_types(void **state)
{
    (void)state;
    const uint8_t total[] = {0x10, 7};        /* ListReply.total, ListRequest.priority */
    const uint8_t section[] = {0x0a, 1, 's'}; /* ListRequest.section; ListReply.package */
    assert_int_equal(run_bytes(v1_replies, LIST, total, sizeof(total)), 0);
    assert_int_equal(run_bytes(v1_requests, LIST, section, sizeof(section)), 0);
    assert_int_equal(run_bytes(v1_replies, LIST, section, sizeof(section)), -EBADMSG);
}

static void test_entry_past_the_last_is_refused(void **state)
{
    (void)state;
    assert_int_equal(plan_entry_count(v1_requests), 4);
    assert_int_equal(run_bytes(v1_requests, 3, NULL, 0), 0);
    assert_int_equal(run_bytes(v1_requests, 4, NULL, 0), -EINVAL);
    assert_int_equal(plan_method(v1_requests, 3), 3);
    assert_int_equal(plan_method(v1_requests, 4), PLAN_METHOD_NONE);
}

static void test_output_that_is_one_byte_too_small_is_refused(void **state)
{
    (void)state;
    const uint8_t in[] = {0x0a, 2, 'h', 'i'};
    uint8_t out[4];
    size_t bytes = 99;
    assert_int_equal(plan_run(v1_requests, GET, in, 4, out, 3, &bytes, NULL), -ENOBUFS);
    assert_int_equal(bytes, 99);
    assert_int_equal(plan_run(v1_requests, GET, in, 4, out, 4, &bytes, NULL), 0);
    assert_int_equal(bytes, 4);
}

static void test_failure_says_where_and_what(void **state)
{
    (void)state;
    const uint8_t in[] = {0x10, 1, 0x0a, 5, 0x08, 1, 0x12, 1, 0xff};
    uint8_t out[sizeof(in)];
    size_t bytes;
    struct plan_failure failure = {0, 0, NULL};
    assert_int_equal(plan_run(v1_replies, LIST, in, sizeof(in), out, sizeof(out), &bytes, &failure),
                     -EBADMSG);
    assert_int_equal(failure.offset, 4);
    assert_int_equal(failure.number, 1);
    assert_string_equal(failure.what, "wrong wire type");
}

static void test_groups_are_refused(void **state)
{
    (void)state;
    assert_int_equal(RUN(v1_requests, GET, 0x7b, 0x7c), -EBADMSG);
}

static void test_strings_with_nul_are_refused(void **state)
{
    (void)state;
    assert_int_equal(RUN(v1_requests, GET, 0x0a, 2, 'a', 0), -EBADMSG);
    assert_int_equal(RUN(v1_requests, GET, 0x0a, 2, 'a', 'b'), 0);
}

/* ---- Limits, through a type that nests: shapes' Plain ---- */

static struct plan *shapes_identity(void)
{
    struct plan *plan = NULL;
    struct error_text error;
    assert_int_equal(plan_identity(&shapes__v1__shapes__descriptor, PLAN_REQUESTS, &plan, &error),
                     0);
    return plan;
}

/* @bytes: of the innermost message, in @out already. */
static size_t nested_around(uint8_t *out, size_t bytes, uint8_t tag, unsigned depth)
{
    for (unsigned i = 1; i < depth; i++) {
        memmove(out + 2, out, bytes);
        out[0] = tag;
        out[1] = (uint8_t)bytes;
        bytes += 2;
    }
    return bytes;
}

static size_t nested(uint8_t *out, uint8_t tag, unsigned depth)
{
    return nested_around(out, 0, tag, depth);
}

static void test_depth_is_bounded_checked_and_translated(void **state)
{
    (void)state;
    struct plan *plan = shapes_identity();
    struct versions shapes;
    versions_init(&shapes, SHAPES_V1_SET, SHAPES_V2_SET);
    uint8_t bytes[4 * WIRE_DEPTH_MAX];
    size_t size = nested(bytes, 0x1a, WIRE_DEPTH_MAX);
    assert_int_equal(run_bytes(plan, 1, bytes, size), 0);
    size = nested(bytes, 0x1a, WIRE_DEPTH_MAX + 1);
    assert_int_equal(run_bytes(plan, 1, bytes, size), -E2BIG);
    size = nested(bytes, 0x22, WIRE_DEPTH_MAX); /* Tree.tree: renumbered at every level */
    assert_int_equal(run_bytes(shapes.up_requests, 4, bytes, size), 0);
    size = nested(bytes, 0x22, WIRE_DEPTH_MAX + 1);
    assert_int_equal(run_bytes(shapes.up_requests, 4, bytes, size), -E2BIG);
    versions_deinit(&shapes);
    plan_unref(plan);
}

static void test_fields_that_wait_are_bounded(void **state)
{
    (void)state;
    struct versions shapes;
    versions_init(&shapes, SHAPES_V1_SET, SHAPES_V2_SET);
    /* Every Leaf keeps five slots open: the depth where they run out comes before the limit. The field
     * that nobody knows is there because messages without such a one need no slots to speak of. */
    static const uint8_t unknown[] = {0xf8, 0x01, 0x00};
    uint8_t bytes[4 * WIRE_DEPTH_MAX], out[8192];
    size_t ret_bytes;
    unsigned depth = 1;
    int r = 0;
    struct plan_failure failure = {0, 0, ""};
    for (; r == 0 && depth < WIRE_DEPTH_MAX; depth++) {
        memcpy(bytes + 3, unknown, sizeof(unknown));
        size_t size = nested_around(bytes + 3, sizeof(unknown), 0x1a, depth);
        bytes[0] = 0x8a;
        bytes[1] = 0x01;
        bytes[2] = (uint8_t)size;
        r = plan_run(shapes.up_requests, 0, bytes, size + 3, out, sizeof(out), &ret_bytes,
                     &failure);
    }
    assert_int_equal(r, -E2BIG);
    assert_string_equal(failure.what, "too many fields that wait for their message");
    assert_true(depth > 20);
    versions_deinit(&shapes);
}

static void test_fields_are_bounded_checked_and_translated(void **state)
{
    (void)state;
    struct versions catalog;
    versions_init(&catalog, CATALOG_V1_SET, CATALOG_V2_SET);
    static uint8_t bytes[3 * (WIRE_FIELDS_MAX + 1)];
    for (size_t i = 0; i <= WIRE_FIELDS_MAX; i++)
        memcpy(bytes + 3 * i, (const uint8_t[]){0x0a, 1, 'n'}, 3);
    size_t size = 3 * (size_t)WIRE_FIELDS_MAX;
    assert_int_equal(run_bytes(v1_requests, GET, bytes, size), 0);
    assert_int_equal(run_bytes(v1_requests, GET, bytes, size + 3), -E2BIG);
    assert_int_equal(run_bytes(catalog.up_requests, GET, bytes, size), 0);
    assert_int_equal(run_bytes(catalog.up_requests, GET, bytes, size + 3), -E2BIG);
    versions_deinit(&catalog);
}

static void test_elements_are_bounded_checked_and_translated(void **state)
{
    (void)state;
    struct versions catalog;
    versions_init(&catalog, CATALOG_V1_SET, CATALOG_V2_SET);
    size_t size = 2 * ((size_t)WIRE_ELEMENTS_MAX + 1);
    uint8_t *bytes = malloc(size);
    assert_non_null(bytes);
    for (size_t i = 0; i < size; i += 2)
        memcpy(bytes + i, (const uint8_t[]){0x0a, 0}, 2);
    assert_int_equal(run_bytes(v1_replies, LIST, bytes, size - 2), 0);
    assert_int_equal(run_bytes(v1_replies, LIST, bytes, size), -E2BIG);
    assert_int_equal(run_bytes(catalog.up_replies, LIST, bytes, size - 2), 0);
    assert_int_equal(run_bytes(catalog.up_replies, LIST, bytes, size), -E2BIG);
    free(bytes);
    versions_deinit(&catalog);
}

static void test_message_is_bounded(void **state)
{
    (void)state;
    size_t size = (size_t)WIRE_MESSAGE_BYTES_MAX + 1, bytes;
    uint8_t *in = calloc(1, size), *out = malloc(size);
    assert_non_null(in);
    assert_non_null(out);
    assert_int_equal(plan_run(v1_requests, GET, in, size, out, size, &bytes, NULL), -E2BIG);
    /* At the limit: one string that fills it. */
    memset(in, 'a', size);
    in[0] = 0x0a;
    (void)wire_write_varint(in + 1, WIRE_MESSAGE_BYTES_MAX - 5);
    assert_int_equal(plan_run(v1_requests, GET, in, size - 1, out, size, &bytes, NULL), 0);
    assert_int_equal(bytes, size - 1);
    free(in);
    free(out);
}

static void test_output_of_a_translation_is_bounded(void **state)
{
    (void)state;
    struct versions catalog;
    versions_init(&catalog, CATALOG_V1_SET, CATALOG_V2_SET);
    /* Unknown fields whose number v2 has, one byte each, between known ones: a carrier for each. */
    uint8_t in[4000], out[32768];
    for (size_t i = 0; i < sizeof(in); i += 4)
        memcpy(in + i, (const uint8_t[]){0x68, 1, 0x60, 1}, 4);
    size_t bytes = 0;
    struct plan_failure failure = {0, 0, ""};
    assert_int_equal(plan_run(catalog.up_replies, GET, in, 2000, out, sizeof(out), &bytes, NULL),
                     0);
    assert_true(bytes > 2000 && bytes <= 4 * 2000 + 4096);
    /* The copy of the source lies behind it, and a message that turns out empty is taken back. */
    size_t room = 2000 + bytes + 16;
    assert_int_equal(plan_run(catalog.up_replies, GET, in, 2000, out, room, &bytes, NULL), 0);
    assert_int_equal(
        plan_run(catalog.up_replies, GET, in, 2000, out, 2000 + bytes - 1, &bytes, &failure),
        -ENOBUFS);
    assert_string_equal(failure.what, "the output buffer is too small");
    versions_deinit(&catalog);
}

static void test_required_field_that_is_missing_is_refused(void **state)
{
    (void)state;
    /* UninterpretedOption.NamePart in a message, through a service made for it. */
    const ProtobufCMethodDescriptor method = {"m",
                                              &google__protobuf__uninterpreted_option__descriptor,
                                              &google__protobuf__uninterpreted_option__descriptor};
    ProtobufCServiceDescriptor service = catalog__v1__catalog__descriptor;
    service.n_methods = 1;
    service.methods = &method;
    struct plan *plan = NULL;
    struct error_text error;
    assert_int_equal(plan_identity(&service, PLAN_REQUESTS, &plan, &error), 0);
    assert_int_equal(RUN(plan, 0, 0x12, 5, 0x0a, 1, 'n', 0x10, 1), 0);
    assert_int_equal(RUN(plan, 0, 0x12, 3, 0x0a, 1, 'n'), -EBADMSG);
    assert_int_equal(RUN(plan, 0, 0x12, 2, 0x10, 1), -EBADMSG);
    plan_unref(plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_identity_copies_byte_by_byte),
        cmocka_unit_test(test_it_is_refused_exactly_where_wire_check_refuses),
        cmocka_unit_test(test_requests_and_replies_are_checked_as_their_own_types),
        cmocka_unit_test(test_entry_past_the_last_is_refused),
        cmocka_unit_test(test_output_that_is_one_byte_too_small_is_refused),
        cmocka_unit_test(test_failure_says_where_and_what),
        cmocka_unit_test(test_groups_are_refused),
        cmocka_unit_test(test_strings_with_nul_are_refused),
        cmocka_unit_test(test_depth_is_bounded_checked_and_translated),
        cmocka_unit_test(test_fields_that_wait_are_bounded),
        cmocka_unit_test(test_fields_are_bounded_checked_and_translated),
        cmocka_unit_test(test_elements_are_bounded_checked_and_translated),
        cmocka_unit_test(test_message_is_bounded),
        cmocka_unit_test(test_output_of_a_translation_is_bounded),
        cmocka_unit_test(test_required_field_that_is_missing_is_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
