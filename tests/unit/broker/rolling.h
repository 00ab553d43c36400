/*
 * What the tests of rollouts in the broker share: a broker with a state folder, an endpoint that
 * publishes `things` in two versions, one that counts calls of them, and a clock of their own.
 */
#ifndef PARLEY_TESTS_UNIT_BROKER_ROLLING_H
#define PARLEY_TESTS_UNIT_BROKER_ROLLING_H

#include "peers.h"

#include <stdbool.h>

#include "broker/rollouts.h"

#define DOCUMENT_OF(name, interface, rest)                                                         \
    "apiVersion: parley.dev/v1alpha1\n"                                                            \
    "kind: Rollout\n"                                                                              \
    "metadata:\n"                                                                                  \
    "  name: " name "\n"                                                                           \
    "spec:\n"                                                                                      \
    "  interface: " interface "\n"                                                                 \
    "  stable: \"~1\"\n"                                                                           \
    "  canary: \"~2\"\n" rest
#define STEPS                                                                                      \
    "  steps:\n"                                                                                   \
    "  - {weight: 5, hold: 10s}\n"                                                                 \
    "  - {weight: 30, hold: 10s}\n"                                                                \
    "  gates: {minCalls: 50, interval: 1s}\n"
#define DOCUMENT DOCUMENT_OF("shop", "things", STEPS)

struct world {
    struct broker *broker;
    struct peer service, client;
    struct set v1, v2;
    char folder[64], state[64];
    Parley__ControlReply *reply; /* to what was asked last */
};
extern struct world world; /* of the test that runs */

/* cmocka's. */
int world_begin(void **state);
int world_end(void **state);
#define rolling_test(f) cmocka_unit_test_setup_teardown(f, world_begin, world_end)

/* The broker, with or without its folder of documents, and the endpoints. */
void start(bool with_folder);
void stop(void);
void start_again(bool with_folder);
void both_publish(void);
/* The clock, and what is due then. */
void go_on(uint64_t ns);

/* ---- Asking: the answer is in world.reply ---- */

void ask(int body_case, void *body);
void order(Parley__RolloutAction action, const char *name);
#define ORDER(action, name) order(PARLEY__ROLLOUT_ACTION__ROLLOUT_##action, name)
void apply(const char *document);
void route(double v1, double v2, bool force);
void succeeds(void);
void is_refused(enum parley_status status, const char *words);

/* What the canary gets by the interface's weights. */
uint32_t canary_share(void);
/* Of the rollout `shop`. */
const char *phase(void);
unsigned step(void);

/* The client counts more calls that a version served. */
void count(const char *served, uint64_t calls, uint64_t errors);
/* Twelve seconds of it, one call in ten to the canary. */
void traffic(uint64_t canary_errors);
/* Copies of stable calls that went to the canary, of which one in ten was answered differently. */
void count_copies(uint64_t copies);

#endif
