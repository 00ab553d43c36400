/*
 * Inside the translate room: memory for machine code.
 *
 * Code is written into ordinary memory first (asm_x86.h), then copied to pages of its own, which
 * are never writable and executable at once. Where the system refuses such pages (SELinux,
 * systemd's MemoryDenyWriteExecute, a seccomp filter), or PARLEY_MACHINE_CODE=0 is set, or the
 * processor is another one, there is none, and everything runs as it does without.
 *
 * Any thread.
 */
#ifndef PARLEY_TRANSLATE_CODE_H
#define PARLEY_TRANSLATE_CODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CODE_BYTES_MAX (1u << 20) /* of one piece */

#if defined(__x86_64__) && !defined(__ILP32__) && defined(__linux__)
#define CODE_HAVE 1
#else
#define CODE_HAVE 0
#endif

struct code;

/* Whether it is worth assembling: what was refused once is refused. */
bool code_allowed(void);

/* Return: 0; -ENOTSUP: not allowed; -E2BIG; -ENOMEM; -EACCES: the system refuses it, from now on.
 */
int code_new(const uint8_t *code, size_t bytes, struct code **ret_code);
struct code *code_free(struct code *code);

/* The function that begins at @offset; to be cast to what it is. */
void (*code_function(const struct code *code, size_t offset))(void);
size_t code_bytes(const struct code *code);

/* For tests: as the environment (1, 0), or as a system that refuses, or as at the start (-1). */
enum code_switch { CODE_AS_SET = -1, CODE_OFF, CODE_ON, CODE_REFUSED };
void code_set_switch(enum code_switch to);

#endif
