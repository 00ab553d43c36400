#include "support/test.h"

#include "conformance/cases.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

struct run {
    const struct test_case *test_case;
    size_t kind;
    cases_run_fn *run;
};

static void run_case(void **state)
{
    const struct run *run = *state;
    run->run(run->kind, run->test_case);
}

int cases_run(const char *suite, const char *const *kinds, size_t kind_count,
              const struct test_case *cases, size_t case_count, cases_run_fn *run)
{
    static struct run runs[CASES_KIND_MAX * CASES_MAX];
    static char names[CASES_KIND_MAX * CASES_MAX][120];
    static struct CMUnitTest tests[CASES_KIND_MAX * CASES_MAX];
    size_t n = 0;
    assert(kind_count <= CASES_KIND_MAX && case_count <= CASES_MAX);
    if (getenv("TEST_FILTER"))
        cmocka_set_test_filter(getenv("TEST_FILTER"));
    for (size_t k = 0; k < kind_count; k++) {
        for (size_t c = 0; c < case_count; c++, n++) {
            runs[n] = (struct run){&cases[c], k, run};
            snprintf(names[n], sizeof(names[n]), "%s: %s", kinds[k], cases[c].name);
            tests[n] = (struct CMUnitTest){names[n], run_case, NULL, NULL, &runs[n]};
        }
    }
    return _cmocka_run_group_tests(suite, tests, n, NULL, NULL);
}
