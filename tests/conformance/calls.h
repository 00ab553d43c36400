/*
 * What the tests of the call path share: a service of echo in processes of its own, a client, and
 * what became of calls that do not wait.
 */
#ifndef PARLEY_TESTS_CONFORMANCE_CALLS_H
#define PARLEY_TESTS_CONFORMANCE_CALLS_H

#include "support/test.h"

#include <stddef.h>
#include <stdint.h>

#include "echo.parley.h"
#include "support/bus.h"

extern struct bus bus; /* runs while a test does */

/* ---- A process that serves ---- */

#define LATER_MAX 64

struct later {
    Echo__V1__Message_Closure closure;
    void *data;
    uint32_t number;
};
extern struct later later[LATER_MAX]; /* calls of Later that wait for their answer */
extern size_t later_count;
extern struct parley_endpoint *served;

/* Of a message that looks like one of echo's, and is none. */
const ProtobufCMessageDescriptor *calls_other_type(void);

void calls_handle_echo(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                       Echo__V1__Message_Closure closure, void *data);
void calls_handle_later(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                        Echo__V1__Message_Closure closure, void *data);

/* Publishes at `served`, which is made, and stops at SIGTERM. NULL: it could not. */
struct parley_service *calls_publish(struct bus *b, ProtobufCService *service);

/* For bus_fork(): every method, until SIGTERM. */
int calls_serve(struct bus *b, void *argument);

/* ---- The client ---- */

extern struct parley_endpoint *endpoint;
extern struct parley_client *client;

/* cmocka's. */
int calls_set_up(void **state);
int calls_tear_down(void **state);

/* Makes both, and waits for so many instances. */
void calls_connect(size_t instances);

/* A call of Echo, which must succeed. */
void calls_echo(const void *payload, size_t bytes);

struct tally {
    size_t ended, ok, failed;
    uint32_t last;
    enum parley_executed executed;
    enum parley_status status;
};

/* A closure. @data: a struct tally. */
void calls_count(const Echo__V1__Message *message, void *data);

/* Waits until so many have ended, and no more have. */
void calls_await(struct tally *tally, size_t ended);

#define call_test(f) cmocka_unit_test_setup_teardown(f, calls_set_up, calls_tear_down)

#endif
