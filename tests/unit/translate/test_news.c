/* Fields that the newer version has alone: defaults, computed text, and what may be lost. */
#include "rows.h"

static struct versions versions;
static struct pairs news, losses;

static int setup(void **state)
{
    (void)state;
    versions_init(&versions, CONVERT_V1_SET, CONVERT_V2_SET);
    news = pairs_of(&versions, "convert.v1.News", "convert.v2.News", "New");
    losses = pairs_of(&versions, "convert.v1.Losses", "convert.v2.Losses", "Lose");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    versions_deinit(&versions);
    return 0;
}

#define USUAL                                                                                      \
    "\"count\": 12, \"maybe\": 7, \"channel\": \"stable\", \"level\": \"LEVEL_PEAK\", "            \
    "\"ratio\": 0, \"flag\": true, \"most\": \"18446744073709551615\""

static void test_what_the_older_version_does_not_say_is_the_default(void **state)
{
    (void)state;
    TRY_UP(&news, {"{}", "{" USUAL "}", NULL, NULL},
           {"{\"name\": \"a\", \"version\": \"1\"}",
            "{\"name\": \"a\", \"version\": \"1\", \"label\": \"a_1\", " USUAL "}",
            "{\"name\": \"b\", \"version\": \"1\", \"label\": \"b_1\", \"count\": 3}",
            "{\"name\": \"b\", \"version\": \"1\"}"});
}

static void test_the_default_costs_nothing(void **state)
{
    (void)state;
    struct bytes in = wire_of(news.v2, "{" USUAL "}"), got = must_run(news.down, news.entry, in);
    assert_int_equal(got.bytes, 0);
    free(in.data);
    free(got.data);
}

static void test_other_values_and_absence_come_back(void **state)
{
    (void)state;
    TRY_DOWN(
        &news, {"{}", "{}", NULL, NULL}, {"{" USUAL "}", "{}", NULL, NULL},
        {"{\"count\": 13, \"maybe\": 0, \"channel\": \"beta\", \"ratio\": 0.5, \"flag\": true}",
         "{}", NULL, NULL},
        {"{\"maybe\": 7, \"ratio\": -0.0, \"level\": 99, \"plain\": 4}", "{}", NULL, NULL},
        {"{\"name\": \"x\", " USUAL "}", "{\"name\": \"x\"}", "{\"name\": \"y\"}",
         "{\"name\": \"y\", \"label\": \"y_\", " USUAL "}"});
}

static void test_explicit_zero_beside_a_default_comes_back(void **state)
{
    (void)state;
    const uint8_t zero[] = {0x18, 0};
    struct bytes in = bytes_of(zero, sizeof(zero)), got = must_run(news.down, news.entry, in);
    struct bytes back = must_run(news.up, news.entry, got);
    assert_json(news.v2, back, "{}", "explicit 0");
    free(in.data);
    free(got.data);
    free(back.data);
}

static void test_computed_text_that_the_template_does_not_give_comes_back(void **state)
{
    (void)state;
    TRY_DOWN(&news,
             {"{\"name\": \"a\", \"version\": \"1\", \"label\": \"mine\", " USUAL "}",
              "{\"name\": \"a\", \"version\": \"1\"}", "{\"name\": \"b\", \"version\": \"1\"}",
              "{\"name\": \"b\", \"version\": \"1\", \"label\": \"b_1\", " USUAL "}"},
             {"{\"name\": \"a\", " USUAL "}", "{\"name\": \"a\"}", NULL, NULL},
             {"{\"label\": \"alone\", " USUAL "}", "{}", "{\"name\": \"b\"}",
              "{\"name\": \"b\", \"label\": \"b_\", " USUAL "}"});
}

static void assert_lost(const struct pairs *pairs, bool down, const char *sent, const char *there,
                        const char *back)
{
    const struct schema_message *here = down ? pairs->v2 : pairs->v1;
    struct bytes in = wire_of(here, sent);
    struct bytes got = must_run(down ? pairs->down : pairs->up, pairs->entry, in);
    struct bytes want = wire_of(down ? pairs->v1 : pairs->v2, there);
    assert_int_equal(got.bytes, want.bytes); /* no carrier */
    assert_json(down ? pairs->v1 : pairs->v2, got, there, sent);
    struct bytes again = must_run(down ? pairs->up : pairs->down, pairs->entry, got);
    assert_json(here, again, back, sent);
    free(in.data);
    free(got.data);
    free(want.data);
    free(again.data);
}

static void test_what_may_be_lost_is_not_carried(void **state)
{
    (void)state;
    assert_lost(&losses, true,
                "{\"levels\": [\"LEVEL_PEAK\"], \"bytes\": \"4113\", \"added\": \"x\"}",
                "{\"levels\": [\"LEVEL_HIGH\"], \"kib\": 4}",
                "{\"levels\": [\"LEVEL_HIGH\"], \"bytes\": \"4096\"}");
    assert_lost(&losses, false,
                "{\"number\": \"007\", \"gone\": \"x\", \"made\": \"y\", \"kept\": \"k\"}",
                "{\"number\": 7, \"kept\": \"k\"}",
                "{\"number\": \"7\", \"kept\": \"k\", \"made\": \"k!\"}");
}

static void test_a_plan_that_may_lose_something_says_so(void **state)
{
    (void)state;
    assert_int_equal(plan_class(versions.up_requests), PLAN_LOSSY);
    assert_int_equal(plan_class(versions.down_requests), PLAN_LOSSY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_the_older_version_does_not_say_is_the_default),
        cmocka_unit_test(test_the_default_costs_nothing),
        cmocka_unit_test(test_other_values_and_absence_come_back),
        cmocka_unit_test(test_explicit_zero_beside_a_default_comes_back),
        cmocka_unit_test(test_computed_text_that_the_template_does_not_give_comes_back),
        cmocka_unit_test(test_what_may_be_lost_is_not_carried),
        cmocka_unit_test(test_a_plan_that_may_lose_something_says_so),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
