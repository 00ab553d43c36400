#include "support/test.h"

#include "bench/names.h"

static const char *const names[] = {"nng-ipc/awake/64", "nng-ipc/awake/4096", "nng-tcp", "unix"};

static const char *name_of(const void *data, size_t index)
{
    (void)data;
    return names[index];
}

static void test_name_is_meant_whole_or_by_its_first_parts(void **state)
{
    (void)state;
    assert_true(names_list("nng-ipc", names[0]));
    assert_true(names_list("nng-ipc/awake", names[0]));
    assert_true(names_list("nng-ipc/awake/64", names[0]));
    assert_false(names_list("nng", names[0]));
    assert_false(names_list("nng-ipc/awake/6", names[0]));
    assert_false(names_list("nng-ipc/awake/64/more", names[0]));
    assert_false(names_list("", names[0]));
}

static void test_one_of_a_list_is_enough(void **state)
{
    (void)state;
    assert_true(names_list("unix,nng-tcp", names[2]));
    assert_true(names_list("nng-tcp,unix", names[2]));
    assert_false(names_list("unix,nng-ipc", names[2]));
}

static void test_every_one_of_a_list_must_be_known(void **state)
{
    (void)state;
    assert_true(names_known("unix", name_of, NULL, 4));
    assert_true(names_known("unix,nng-ipc/awake", name_of, NULL, 4));
    assert_false(names_known("unix,nobody", name_of, NULL, 4));
    assert_false(names_known("", name_of, NULL, 4));
    assert_false(names_known("unix,", name_of, NULL, 4));
    assert_false(names_known(",unix", name_of, NULL, 4));
    assert_false(names_known("unix", name_of, NULL, 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_name_is_meant_whole_or_by_its_first_parts),
        cmocka_unit_test(test_one_of_a_list_is_enough),
        cmocka_unit_test(test_every_one_of_a_list_must_be_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
