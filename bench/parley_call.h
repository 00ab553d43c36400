/* Calls through Parley: a broker in the benchmark's folder, a service and a client in processes of
 * their own, written as any user of libparley would. */
#ifndef PARLEY_BENCH_PARLEY_CALL_H
#define PARLEY_BENCH_PARLEY_CALL_H

#include "bench.h"

/* For struct bench: start and end parleyd. $PARLEYD names another one than was built. */
int parley_call_begin(const char *folder, struct error_text *error);
void parley_call_end(void);

/* Both sides never sleep. */
int parley_call_spinning(struct bench_run *run);
/* Both sides with the default options: they sleep when there is nothing to do for long. */
int parley_call_default(struct bench_run *run);

#endif
