#include "support/test.h"

#include <stdio.h>
#include <string.h>

#include "bench/load.h"

static void test_rates_are_taken_in_their_order(void **state)
{
    (void)state;
    struct load_rates rates;
    struct error_text error = {""};
    assert_int_equal(load_parse_rates("100,1000,50000000", &rates, &error), 0);
    assert_int_equal(rates.count, 3);
    assert_int_equal(rates.rates[0], 100);
    assert_int_equal(rates.rates[2], 50000000);
}

static void check_refused(const char *text, const char *words)
{
    struct load_rates rates = {.count = 77};
    struct error_text error = {""};
    assert_int_equal(load_parse_rates(text, &rates, &error), -1);
    assert_string_equal(error.text, words);
    assert_int_equal(rates.count, 77);
}

static void test_what_is_no_rate_is_refused_with_a_sentence(void **state)
{
    (void)state;
    const char *no_list = "rates are numbers with commas between them";
    check_refused("", no_list);
    check_refused("1000,", no_list);
    check_refused(",1000", no_list);
    check_refused("1000 2000", no_list);
    check_refused("-1000", no_list);
    check_refused("+1000", no_list);
    check_refused(" 1000", no_list);
    check_refused("1e3", no_list);
    check_refused("18446744073709551616", no_list);
    check_refused("99", "a rate is 100 to 50000000 calls a second, not 99");
    check_refused("50000001", "a rate is 100 to 50000000 calls a second, not 50000001");
    check_refused("4294968296", "a rate is 100 to 50000000 calls a second, not 4294968296");
    check_refused("2000,1000", "rates must ascend, 1000 does not");
    check_refused("1000,1000", "rates must ascend, 1000 does not");
}

static void test_rates_are_as_many_as_there_is_room_for(void **state)
{
    (void)state;
    char text[256] = "";
    struct load_rates rates;
    struct error_text error = {""};
    for (int i = 0; i < LOAD_RATE_COUNT_MAX; i++)
        (void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%d", i ? "," : "",
                       100 + i);
    assert_int_equal(load_parse_rates(text, &rates, &error), 0);
    assert_int_equal(rates.count, LOAD_RATE_COUNT_MAX);
    strcat(text, ",1000");
    check_refused(text, "more than 16 rates");
}

static void test_seed_is_a_number_of_64_bits(void **state)
{
    (void)state;
    uint64_t seed = 5;
    struct error_text error = {""};
    assert_int_equal(load_parse_seed("18446744073709551615", &seed, &error), 0);
    assert_true(seed == UINT64_MAX);
    assert_int_equal(load_parse_seed("18446744073709551616", &seed, &error), -1);
    assert_string_equal(error.text, "a seed is a number of 64 bits");
    assert_int_equal(load_parse_seed("7x", &seed, &error), -1);
    assert_int_equal(load_parse_seed("", &seed, &error), -1);
    assert_true(seed == UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rates_are_taken_in_their_order),
        cmocka_unit_test(test_what_is_no_rate_is_refused_with_a_sentence),
        cmocka_unit_test(test_rates_are_as_many_as_there_is_room_for),
        cmocka_unit_test(test_seed_is_a_number_of_64_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
