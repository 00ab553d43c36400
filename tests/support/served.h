/*
 * A broker in a thread of the test's process, and services, each with a thread and an endpoint of
 * its own. What of theirs fails ends the test's process.
 */
#ifndef PARLEY_TESTS_SUPPORT_SERVED_H
#define PARLEY_TESTS_SUPPORT_SERVED_H

#include "support/test.h"

#include <stddef.h>

#include <parley/parley.h>

#include "broker/broker.h"

#define PATIENCE_NS (UINT64_C(20) * 1000000000)

struct served {
    char folder[64], socket[96];
    struct broker *broker; /* the test's only while it is on hold */
};
extern struct served served;

/* Makes the folder: its name is for URLs in the options. */
void served_prepare(void);
/* The broker is made, and goes. @options: its socket is filled in here. */
void served_begin(const struct broker_options *options);
/* Ends the services that run, too. Return: 0; -1: something was left in the folder. */
int served_end(void);

/* The broker does nothing until it goes on: what is its own can be looked at and changed. */
void served_hold(void);
void served_go(void);

/* What one of the services' threads does; all but the name in that thread. */
struct served_service {
    const char *name; /* of its endpoint */
    enum parley_status (*serve)(struct parley_endpoint *endpoint);
    void (*end)(void); /* before its endpoint is freed; NULL: nothing */
};

#define SERVICES_MAX 3

/* Waits until it serves. */
void served_start(size_t i, const struct served_service *service);
void served_stop(size_t i); /* safe if it does not run */

#endif
