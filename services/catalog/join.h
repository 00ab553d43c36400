/*
 * Coming onto a bus that may not be there yet, and saying so.
 */
#ifndef CATALOG_JOIN_H
#define CATALOG_JOIN_H

#include <parley/parley.h>

#define JOIN_SECONDS 15
#define JOIN_NS (UINT64_C(1000000000) * JOIN_SECONDS)
/* What is there answers in less; what does not is said to be waited for. */
#define JOIN_FIRST_NS UINT64_C(500000000)

/**
 * join() - connect to the broker, and wait for it if it is not there
 * @program: who says on stderr what it waits for, once it has been refused and before it waits
 *
 * Return: as parley_endpoint_new(), after JOIN_NS at most.
 */
enum parley_status join(const char *program, struct parley_endpoint **ret_endpoint);

/* Says that on stderr, for other things that may come late: parley_error_text() says what. */
void join_say(const char *program);

#endif
