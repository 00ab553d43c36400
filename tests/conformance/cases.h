/*
 * A suite's cases, each with each implementation of what the suite is about.
 */
#ifndef PARLEY_TESTS_CONFORMANCE_CASES_H
#define PARLEY_TESTS_CONFORMANCE_CASES_H

#include <stddef.h>

struct fixture; /* each suite has its own */

struct test_case {
    const char *name;
    void (*run)(struct fixture *f);
};

#define CASE(function)                                                                             \
    {                                                                                              \
#function, function                                                                        \
    }

#define CASES_MAX 40
#define CASES_KIND_MAX 4

/* A case with an implementation, by its index: makes the fixture, and ends it. */
typedef void cases_run_fn(size_t kind, const struct test_case *test_case);

/* What main() returns. @kinds: what implementations are called. TEST_FILTER picks some of the
 * tests: "stream, tcp: *dials*". */
int cases_run(const char *suite, const char *const *kinds, size_t kind_count,
              const struct test_case *cases, size_t case_count, cases_run_fn *run);

#endif
