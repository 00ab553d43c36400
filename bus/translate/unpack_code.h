/*
 * Inside unpacking: machine code for a binding's tables (unpack_code.c).
 */
#ifndef PARLEY_TRANSLATE_UNPACK_CODE_H
#define PARLEY_TRANSLATE_UNPACK_CODE_H

#include "translate/code.h"

struct unpack;
struct plan_binding;

/* A longer message's own fields, not those in it, go through the loop: so no message that comes
 * here has more fields than it may. */
#define UNPACK_CODE_BYTES_MAX (2 * WIRE_FIELDS_MAX)

/* The message from @pos to @end, of the table whose code begins at @target. */
typedef int unpack_enter(struct unpack *u, uint8_t *message, const uint8_t *pos, const uint8_t *end,
                         unsigned depth, const uint8_t *target);

/* Immutable once it is made. */
struct unpack_code {
    struct code *code;
    unpack_enter *enter;
    const uint8_t *base; /* that bound_table.code_at counts from */
};

/* For all tables of the binding that it can be made for, whose code_at it sets. NULL: there is
 * none, and everything goes through the loop. */
struct unpack_code *unpack_code_new(const struct plan_binding *binding);
struct unpack_code *unpack_code_free(struct unpack_code *code); /* NULL is fine; NULL */

/* What is used a few times only is done before its code were made. */
#define UNPACK_CODE_USES_BEFORE 63

/* For tests, while no other thread uses the binding. */
enum unpack_code_use {
    UNPACK_CODE_NEVER,
    UNPACK_CODE_AT_ONCE,
};
void plan_binding_use_code(struct plan_binding *binding, enum unpack_code_use use); /* unpack_cross.c */

/* plan_unpack_copy() as it is for messages that are not small, or are translated; for any. For
 * tests, too. unpack_cross.c */
int plan_unpack_any(const struct plan_binding *binding, uint32_t entry, const uint8_t *source,
                    size_t source_bytes, ProtobufCMessage **ret_message, const uint8_t **ret_copy,
                    struct plan_failure *ret_failure);

#endif
