/* How the broker stays small. */
#ifndef PARLEY_BROKER_TRIM_H
#define PARLEY_BROKER_TRIM_H

/* Before there are threads: one heap for all of them. */
void trim_begin(void);
/* When it is ready: gives back what only the start needed. */
void trim_end(void);

#endif
