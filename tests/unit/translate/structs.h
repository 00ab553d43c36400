/* Plans that end in structs. */
#ifndef PARLEY_TESTS_TRANSLATE_STRUCTS_H
#define PARLEY_TESTS_TRANSLATE_STRUCTS_H

#include "plans.h"
#include "support/both_ways.h"
#include "support/same_structs.h"

static inline struct plan_binding *
must_bind(struct plan *plan, const ProtobufCServiceDescriptor *service, enum plan_payload payload)
{
    struct plan_binding *binding = NULL;
    struct error_text error = {""};
    int r = plan_bind(plan, service, payload, &binding, &error);
    if (r < 0)
        fail_msg("plan_bind: %d: %s", r, error.text);
    return binding;
}

/* Unpacks by the loop and by machine code, which have to agree, from memory of exactly that size.
 */
static inline int unpack(struct plan_binding *binding, uint32_t entry, struct bytes in,
                         ProtobufCMessage **ret_message, struct plan_failure *ret_failure)
{
    const char *difference;
    int r =
        unpack_both_ways(binding, entry, in.data, in.bytes, ret_message, ret_failure, &difference);
    if (difference)
        fail_msg("%s", difference);
    return r;
}

#endif
