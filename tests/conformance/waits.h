/*
 * What the two programs of the wait suite share: a waiter of one backend and a socketpair, and the
 * running of each case with each backend. One that does not work on this machine is skipped by
 * name, with the reason.
 *
 * Each case gets a fresh waiter. Where a case could hang if the code were wrong, it waits with
 * PATIENCE_NS, which a right implementation never uses up.
 */
#ifndef PARLEY_TESTS_CONFORMANCE_WAITS_H
#define PARLEY_TESTS_CONFORMANCE_WAITS_H

#include "support/test.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "conformance/cases.h"
#include "wait/wait.h"

#define PATIENCE_NS (20 * NS_PER_S)

struct fixture {
    struct wait *wait;
    int ours, peers; /* a socketpair; ours is to be registered */
    char tag, other_tag;
};

void socket_pair(int *ret_a, int *ret_b);
void send_byte(int fd);
/* Reads, or writes, until there is no more. */
void drain(int fd);
void fill(int fd);
/* Registers `ours` with `tag`. */
void add(struct fixture *f, uint32_t events);
/* The next event must be of this tag; returns what happened to it. */
uint32_t expect(struct fixture *f, const void *tag);
void expect_nothing(struct fixture *f);
bool readable(int fd);
bool hung_up(int fd);

/* ---- Running ---- */

/* Each of @cases with each backend: what main() returns. */
int run_cases(const struct test_case *cases, size_t case_count);

#endif
