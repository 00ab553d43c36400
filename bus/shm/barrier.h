/* Fences of other processes. Thread: any. */
#ifndef PARLEY_SHM_BARRIER_H
#define PARLEY_SHM_BARRIER_H

#include <stdbool.h>

/* Whether barrier_all() works here and reaches this process. */
bool barrier_able(void);

/**
 * barrier_all() - a full fence in every process that is barrier_able(), and here
 * Between each two of their instructions, or before or behind all: some time during this call.
 * Return: false if the system forbids it by now; then it has waited a millisecond instead.
 */
bool barrier_all(void);

#endif
