/* A bus as the fake broker shows it: catalog in two versions, one version without an instance; as a
 * broker tells it, in no order. */
#ifndef PARLEY_TESTS_UNIT_CLI_BUS_H
#define PARLEY_TESTS_UNIT_CLI_BUS_H

#include "support/fake_broker.h"

/* Answers that live as long as the process. */
const Parley__ControlReply *bus_list(void);
const Parley__ControlReply *bus_list_empty(void);
const Parley__ControlReply *bus_stats(void);
const Parley__ControlReply *bus_refusal(void); /* NOT_FOUND with a sentence */

#endif
