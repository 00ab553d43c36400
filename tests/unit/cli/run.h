/* Runs the command line inside the test's process and keeps what it said. */
#ifndef PARLEY_TESTS_UNIT_CLI_RUN_H
#define PARLEY_TESTS_UNIT_CLI_RUN_H

#include <stddef.h>

#include "support/fake_broker.h"

struct run {
    int code;
    char *out, *err;
};

/* @argv: behind the program's name, NULL at the end; @in: the standard input, NULL: empty. */
struct run run_cli(const char *const *argv, const char *in);
void run_free(struct run *run);

#define RUN(...) run_cli((const char *const[]){__VA_ARGS__, NULL}, NULL)
#define RUN_WITH_INPUT(in, ...) run_cli((const char *const[]){__VA_ARGS__, NULL}, in)

/* Fails unless @text has @part in it, and shows both. */
void assert_contains(const char *text, const char *part);
/* Fails unless @text is what golden/NAME holds; with PARLEY_GOLDEN=write, writes it there first. */
void assert_golden(const char *text, const char *name);

/* The whole of a file; free(). */
char *read_file(const char *path, size_t *ret_bytes);

#endif
