#include "support/test.h"

#include "bench/gates_sim.h"

/* Seeded, so each run is the same; ./run bench gates has the thousands. */
#define ROLLOUTS 8

static void test_same_seed_is_the_same_rollout(void **state)
{
    (void)state;
    struct sim_outcome a = sim_run(&sim_scenarios[8], 42), b = sim_run(&sim_scenarios[8], 42);
    assert_true(a.exposed == b.exposed && a.seconds == b.seconds);
    assert_true(a.rolled_back == b.rolled_back && a.completed == b.completed);
    b = sim_run(&sim_scenarios[8], 43);
    assert_true(a.exposed != b.exposed);
}

static void test_bad_canaries_go_back_before_30_percent_and_healthy_ones_do_not(void **state)
{
    (void)state;
    for (unsigned i = 0; i < sim_scenario_count && sim_scenarios[i].cluster <= 1; i++) {
        for (uint64_t seed = 1; seed <= ROLLOUTS; seed++) {
            struct sim_outcome outcome = sim_run(&sim_scenarios[i], seed * 1000003);
            bool healthy = sim_scenarios[i].fault == SIM_HEALTHY;
            if (outcome.rolled_back != !healthy || outcome.completed != healthy ||
                (!healthy && outcome.late))
                fail_msg("%s, seed %u: %s", sim_scenarios[i].name, (unsigned)seed,
                         outcome.rolled_back ? "rolled back" : "not rolled back");
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_seed_is_the_same_rollout),
        cmocka_unit_test(test_bad_canaries_go_back_before_30_percent_and_healthy_ones_do_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
