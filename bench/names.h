/* What --only means, in all benchmarks. */
#ifndef PARLEY_BENCH_NAMES_H
#define PARLEY_BENCH_NAMES_H

#include <stdbool.h>
#include <stddef.h>

/* Whether @name is @wanted, of @bytes, or @wanted is the first parts of it: "nng-ipc" of
 * "nng-ipc/awake/64/apart". */
bool names_is(const char *name, const char *wanted, size_t bytes);
/* Whether @name is called by one of @names, which have commas between them. */
bool names_list(const char *names, const char *name);
/* Whether each of @names calls one of those that name_of(@data, 0 to @count - 1) knows. */
bool names_known(const char *names, const char *(*name_of)(const void *data, size_t index),
                 const void *data, size_t count);

#endif
