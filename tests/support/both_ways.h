/* Structs by machine code and by the loop, in memory that ends where the next page may not be
 * touched, for no sanitizer sees what machine code touches. */
#ifndef PARLEY_TESTS_SUPPORT_BOTH_WAYS_H
#define PARLEY_TESTS_SUPPORT_BOTH_WAYS_H

#include "translate/plan.h"

/* plan_unpack(), by the loop; and once more by machine code, if there is some. Nobody else uses the
 * binding meanwhile. *ret_difference: NULL, or what of it is not the same; *ret_message is there
 * even so. */
int unpack_both_ways(struct plan_binding *binding, uint32_t entry, const uint8_t *data,
                     size_t bytes, ProtobufCMessage **ret_message, struct plan_failure *ret_failure,
                     const char **ret_difference);

#endif
