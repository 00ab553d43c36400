/*
 * In the place of the relay, the directory and the registry: one interface, "echo", with the
 * versions 1.0.0, 1.2.0 and 2.0.0, all of echo.proto. A call waits until it is ended by hand.
 */
#ifndef PARLEY_FAKE_RELAY_H
#define PARLEY_FAKE_RELAY_H

#include "broker/broker.h"
#include "broker/relay.h"

struct fake_call {
    struct relay_ask ask; /* of the last relay_start(); its payload and metadata are copies */
    uint8_t payload[65536], metadata[20480];
    char accept[64];
    char version[32]; /* that relay_find() was asked for; "": none */
    bool waits;
};

extern struct fake_call fake_call;
extern uint32_t fake_schema_users;
/* What relay_start() refuses with; OK: it does not. */
extern enum parley_status fake_refusal;

void fake_relay_set_up(struct broker *broker);
void fake_relay_tear_down(void);
/* Ends the call. */
void fake_end(const struct relay_end *end);

#endif
