#include "support/test.h"

#include <stdio.h>
#include <string.h>

#include "rpc/internal.h"

static struct stats stats;

static int set_up(void **state)
{
    (void)state;
    struct error_text error = {0};
    return stats_init(&stats, 1, &error);
}

static int tear_down(void **state)
{
    (void)state;
    stats_deinit(&stats);
    return 0;
}

static struct stats_cell *cell_of_method(const char *method)
{
    return stats_cell_find(&stats, STATS_CLIENT, "orders", method, "1.0.0", "2.0.0");
}

static void test_a_cell_has_its_names_and_is_found_again(void **state)
{
    (void)state;
    struct stats_cell *cell = cell_of_method("Get");
    assert_int_equal(cell->side, STATS_CLIENT);
    assert_string_equal(cell->interface_name, "orders");
    assert_string_equal(cell->method, "Get");
    assert_string_equal(cell->asked, "1.0.0");
    assert_string_equal(cell->served, "2.0.0");
    assert_ptr_equal(cell_of_method("Get"), cell);
    assert_ptr_not_equal(cell_of_method("GetAll"), cell);
    assert_ptr_not_equal(stats_cell_find(&stats, STATS_SERVICE, "orders", "Get", "1.0.0", "2.0.0"),
                         cell);
}

static void test_names_are_cut_past_the_limit(void **state)
{
    (void)state;
    char name[STATS_NAME_BYTES + 1] = {0};
    memset(name, 'x', STATS_NAME_BYTES - 1);
    struct stats_cell *longest = cell_of_method(name);
    assert_string_equal(longest->method, name);
    name[STATS_NAME_BYTES - 1] = 'y';
    struct stats_cell *cut = cell_of_method(name);
    assert_int_equal(strlen(cut->method), STATS_NAME_BYTES - 1);
    assert_ptr_equal(cut, longest); /* what is past the limit tells nobody apart */
    assert_string_equal(cut->asked, "1.0.0");
}

static void test_the_last_cell_takes_all_others(void **state)
{
    (void)state;
    char name[STATS_NAME_BYTES];
    for (int i = 0; i < STATS_CELL_MAX; i++) {
        (void)snprintf(name, sizeof(name), "Method%d", i);
        assert_ptr_equal(cell_of_method(name), &stats.cells[i]);
    }
    assert_string_equal(stats.cells[STATS_CELL_MAX - 2].interface_name, "orders");
    assert_string_equal(stats.cells[STATS_CELL_MAX - 1].interface_name, "(others)");
    assert_string_equal(stats.cells[STATS_CELL_MAX - 1].method, "");
    assert_ptr_equal(cell_of_method("One"), &stats.cells[STATS_CELL_MAX - 1]);
    assert_ptr_equal(cell_of_method("Method0"), &stats.cells[0]);
}

int main(void)
{
#define STATS(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        STATS(test_a_cell_has_its_names_and_is_found_again),
        STATS(test_names_are_cut_past_the_limit),
        STATS(test_the_last_cell_takes_all_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
