/* Runs a program to its end and keeps what it said. */
#ifndef PARLEY_TESTS_SUPPORT_PROGRAM_H
#define PARLEY_TESTS_SUPPORT_PROGRAM_H

#include <stddef.h>

/* @argv: with the program's path first, NULL at the end. @output: what it wrote to both outputs,
 * cut and NUL-terminated. Return: its exit status, or -signal. Fails the test after 10 s. */
int program_run(const char *const *argv, char *output, size_t bytes);

#endif
