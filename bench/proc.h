/* What the kernel says of a process. */
#ifndef PARLEY_BENCH_PROC_H
#define PARLEY_BENCH_PROC_H

#include <stdint.h>
#include <sys/types.h>

/* Memory of its own, in RAM: heap, stack, written data. Bytes; -1 if it cannot be told. */
double proc_private_bytes(pid_t pid);
/* What is in RAM of its mappings of memfds of that name: its own and its peers'. */
double proc_memfd_bytes(pid_t pid, const char *name);
/* How often its threads have gone to sleep by themselves: voluntary context switches. */
double proc_sleeps(pid_t pid);

/* How often a thread got a core: changes when it lost one meanwhile. To be read often: a descriptor
 * for its schedstat, -1 if there is none; about a microsecond a look. */
int proc_slices_open(pid_t tid);
uint64_t proc_slices(int fd);

#endif
