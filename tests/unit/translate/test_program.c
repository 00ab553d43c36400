/* Programs from outside: verified before they run, and harmless whatever they are. */
#include "forms.h"

static struct versions shapes;

static int setup(void **state)
{
    (void)state;
    versions_init(&shapes, SHAPES_V1_SET, SHAPES_V2_SET);
    return forms_setup(state);
}

static int teardown(void **state)
{
    (void)state;
    versions_deinit(&shapes);
    return forms_teardown(state);
}

static int load(const uint8_t *data, size_t bytes, struct plan **ret_plan)
{
    struct error_text error = {""};
    int r = plan_load(data, bytes, ret_plan, &error);
    assert_true((r == 0) == (error.text[0] == '\0'));
    return r;
}

static void test_program_that_was_sent_does_the_same(void **state)
{
    (void)state;
    size_t bytes;
    const uint8_t *program = plan_program(shapes.up_requests, &bytes);
    struct plan *plan = NULL;
    assert_int_equal(load(program, bytes, &plan), 0);
    assert_int_equal(plan_class(plan), PLAN_CARRIED);
    for (uint64_t seed = 1; seed < 100; seed++) {
        struct bytes in = generate(&shapes__v1__shape__descriptor, seed, 0);
        struct bytes a = {NULL, 0}, b = {NULL, 0};
        assert_int_equal(run(shapes.up_requests, 0, in, &a, NULL), run(plan, 0, in, &b, NULL));
        assert_int_equal(a.bytes, b.bytes);
        if (a.bytes > 0)
            assert_memory_equal(a.data, b.data, a.bytes);
        free(in.data);
        free(a.data);
        free(b.data);
    }
    plan_unref(plan);
}

static void test_truncated_program_is_refused_at_every_length(void **state)
{
    (void)state;
    size_t bytes;
    const uint8_t *program = plan_program(shapes.up_requests, &bytes);
    for (size_t i = 0; i < bytes; i++) {
        struct bytes cut = bytes_of(program, i);
        struct plan *plan = NULL;
        assert_int_equal(load(cut.data, cut.bytes, &plan), -EBADMSG);
        free(cut.data);
    }
    struct bytes longer = bytes_of(program, bytes);
    longer.data = realloc(longer.data, bytes + 8);
    assert_non_null(longer.data);
    memset(longer.data + bytes, 0, 8);
    struct plan *plan = NULL;
    assert_int_equal(load(longer.data, bytes + 8, &plan), -EBADMSG);
    free(longer.data);
}

static void test_program_larger_than_the_limit_is_refused(void **state)
{
    (void)state;
    uint8_t *zero = calloc(1, PLAN_BYTES_MAX + 8);
    struct plan *plan = NULL;
    struct error_text error;
    assert_non_null(zero);
    assert_int_equal(plan_load(zero, PLAN_BYTES_MAX + 8, &plan, &error), -EBADMSG);
    assert_non_null(strstr(error.text, "no plan has"));
    assert_int_equal(plan_load(zero, PLAN_BYTES_MAX, &plan, &error), -EBADMSG);
    assert_null(strstr(error.text, "no plan has")); /* the length is not what is wrong with it */
    free(zero);
}

static void test_foreign_byte_order_and_version_are_named(void **state)
{
    (void)state;
    size_t bytes;
    const uint8_t *program = plan_program(shapes.up_requests, &bytes);
    struct bytes copy = bytes_of(program, bytes);
    struct plan *plan = NULL;
    struct error_text error;
    copy.data[0] ^= 1;
    assert_int_equal(plan_load(copy.data, bytes, &plan, &error), -EBADMSG);
    assert_non_null(strstr(error.text, "byte order"));
    copy.data[0] ^= 1;
    copy.data[4]++;
    assert_int_equal(plan_load(copy.data, bytes, &plan, &error), -EBADMSG);
    assert_non_null(strstr(error.text, "version"));
    free(copy.data);
}

/* Every program that the verifier passes runs inside its buffers: run() gives it exactly as much as
 * it was promised, and the sanitizers watch. */
static void run_whatever_it_is(const uint8_t *data, size_t bytes, uint64_t *random,
                               unsigned *ret_loaded)
{
    struct plan *plan = NULL;
    if (plan_load(data, bytes, &plan, NULL) < 0)
        return;
    ++*ret_loaded;
    for (unsigned i = 0; i < 3; i++) {
        struct bytes in =
            generate(&shapes__v1__shape__descriptor, 1 + random_below(random, 1000), 5);
        struct bytes out = {NULL, 0};
        uint32_t entry = random_below(random, 4);
        (void)run(plan, entry, in, &out, NULL);
        free(out.data);
        free(in.data);
    }
    plan_unref(plan);
}

static void test_corrupted_program_is_refused_or_harmless(void **state)
{
    (void)state;
    const struct plan *plans[] = {shapes.up_requests, shapes.down_requests, shapes.up_replies,
                                  shapes.down_replies};
    uint64_t random = 99;
    unsigned loaded = 0;
    for (unsigned i = 0; i < 40000; i++) {
        size_t bytes;
        const uint8_t *program = plan_program(plans[i % 4], &bytes);
        struct bytes copy = bytes_of(program, bytes);
        for (uint32_t n = 1 + random_below(&random, 3); n > 0; n--) {
            uint32_t at = random_below(&random, (uint32_t)bytes);
            if (random_below(&random, 2))
                copy.data[at] ^= (uint8_t)(1u << random_below(&random, 8));
            else
                copy.data[at] = (uint8_t)random_below(&random, 4);
        }
        run_whatever_it_is(copy.data, copy.bytes, &random, &loaded);
        free(copy.data);
    }
    assert_true(loaded > 1000);
}

/* The same for the rules on structure, whose emits look at a message twice. */
static void test_corrupted_program_of_forms_is_refused_or_harmless(void **state)
{
    (void)state;
    const struct plan *plans[] = {forms.up_requests, forms.down_requests};
    const ProtobufCServiceDescriptor *services[] = {&forms__v1__forms__descriptor,
                                                    &forms__v2__forms__descriptor};
    uint64_t random = 5;
    unsigned loaded = 0;
    for (unsigned i = 0; i < 20000; i++) {
        size_t bytes;
        const uint8_t *program = plan_program(plans[i % 2], &bytes);
        struct bytes copy = bytes_of(program, bytes);
        for (uint32_t n = 1 + random_below(&random, 8); n > 0; n--)
            copy.data[random_below(&random, (uint32_t)bytes)] = (uint8_t)random_below(&random, 16);
        struct plan *plan = NULL;
        if (plan_load(copy.data, bytes, &plan, NULL) == 0) {
            loaded++;
            for (unsigned n = 0; n < 6; n++) {
                uint32_t entry = random_below(&random, services[i % 2]->n_methods);
                struct bytes in = generate(services[i % 2]->methods[entry].input,
                                           1 + random_below(&random, 1000), 5);
                struct bytes out = {NULL, 0};
                (void)run(plan, entry, in, &out, NULL);
                free(out.data);
                free(in.data);
            }
            plan_unref(plan);
        }
        free(copy.data);
    }
    assert_true(loaded > 500);
}

static void test_a_plan_lives_as_long_as_its_last_reference(void **state)
{
    (void)state;
    struct plan *plan = NULL;
    struct error_text error;
    assert_int_equal(plan_identity(&shapes__v1__shapes__descriptor, PLAN_REQUESTS, &plan, &error),
                     0);
    struct plan *other = plan_ref(plan);
    assert_null(plan_unref(plan));
    assert_int_equal(plan_entry_count(other), 5);
    assert_null(plan_unref(other));
    assert_null(plan_unref(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_program_that_was_sent_does_the_same),
        cmocka_unit_test(test_truncated_program_is_refused_at_every_length),
        cmocka_unit_test(test_program_larger_than_the_limit_is_refused),
        cmocka_unit_test(test_foreign_byte_order_and_version_are_named),
        cmocka_unit_test(test_corrupted_program_is_refused_or_harmless),
        cmocka_unit_test(test_corrupted_program_of_forms_is_refused_or_harmless),
        cmocka_unit_test(test_a_plan_lives_as_long_as_its_last_reference),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
