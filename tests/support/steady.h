/*
 * Somebody who minds their own business: an echo service and a client that calls it without pause,
 * in processes of their own, so that a test can tell whether they noticed anything.
 */
#ifndef PARLEY_TESTS_SUPPORT_STEADY_H
#define PARLEY_TESTS_SUPPORT_STEADY_H

#include <stdint.h>
#include <sys/types.h>

#include "support/bus.h"

struct steady {
    struct bus *bus;
    char log[96]; /* what the service's library says */
    pid_t service, client;
    int ask, answer; /* pipes to and from the client */
};

/* Both are up when it returns; fails the test if they are not in time. */
void steady_start(struct steady *steady, struct bus *bus);
/* Ends both; before bus_stop(). */
void steady_stop(struct steady *steady);

/* Waits until the client has made some more calls. Fails the test if one of all its calls, ever,
 * failed or was answered wrongly, or if it makes none. */
void steady_check(struct steady *steady);
/* Fails the test unless the service's log gets the text in time. */
void steady_expect_log(struct steady *steady, const char *text);

#endif
