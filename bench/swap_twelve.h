/* A changed schema at twelve endpoints. */
#ifndef PARLEY_BENCH_SWAP_TWELVE_H
#define PARLEY_BENCH_SWAP_TWELVE_H

#include "bench.h"

int swap_twelve(struct bench_run *run);

#endif
