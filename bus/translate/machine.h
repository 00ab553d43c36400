/*
 * Inside the plan runner: translation by machine code.
 *
 * A table that is run often gets machine code of its own, which does what the loop of quick.c does
 * with the table's records, and the same for the messages that are nested in its own: it is the
 * loop, unrolled over the records, with all that they say worked out. It gives up where the loop
 * gives up, and leaves everything unusual to the same functions of C's. The loop of check.c has its
 * own, which writes nothing.
 *
 * Code is made at a table's MACHINE_RUNS-th run as the outermost of the short way, by whichever
 * thread that is in, and published by one store; so who never calls, or seldom, does not pay for
 * it: not a broker, not a swap of plans. It needs x86-64 with AVX2 and BMI2, and memory that may be
 * executed (code.h), and no shadow stack. All of a plan's goes with the plan.
 */
#ifndef PARLEY_TRANSLATE_MACHINE_H
#define PARLEY_TRANSLATE_MACHINE_H

#include "translate/fast.h"

#define MACHINE_RUNS 64
#define MACHINE_NEVER UINT32_MAX
#define MACHINE_BYTES_MAX (256u << 10) /* of all that is made for one plan */

/* For tests: code is made at this run of a table; 0: as at the start. Before any plan runs. */
void machine_set_runs(uint32_t runs);

/* Whether this process can have any: the processor, the system, the environment. */
bool machine_possible(void);

/* Counts a run, and makes the code if it is time. NULL: there is none. Any thread. */
machine_function machine_count(const struct plan *plan, const struct fast_table *fast,
                               struct machine_code *code);

/* @code: one of @fast's two. */
static inline machine_function machine_of(const struct plan *plan, const struct fast_table *fast,
                                          struct machine_code *code)
{
    /* acquire: pairs with the release in machine_count(), so that the code is there. */
    machine_function made = atomic_load_explicit(&code->made, memory_order_acquire);
    return made ? made : machine_count(plan, fast, code);
}

/* When nobody runs the plan any more. */
void machine_free(struct plan *plan);
/* Bytes of code that the plan has. */
uint32_t machine_bytes(const struct plan *plan);

#endif
