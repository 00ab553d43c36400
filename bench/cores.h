/* Which cores the two sides of a benchmark run on. */
#ifndef PARLEY_BENCH_CORES_H
#define PARLEY_BENCH_CORES_H

#include <stdbool.h>

/* Two cores that share no more than a cache, if there are such; else two threads of one; else, and
 * then it returns true, the same one twice. -1: it cannot be told. */
bool cores_choose(int ret_cpus[2]);
/* This thread, and those that it starts; -1: anywhere. */
void cores_pin(int cpu);

#endif
