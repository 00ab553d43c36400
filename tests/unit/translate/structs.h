/* Plans that end in structs. */
#ifndef PARLEY_TESTS_TRANSLATE_STRUCTS_H
#define PARLEY_TESTS_TRANSLATE_STRUCTS_H

#include "plans.h"
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

/* Unpacks from memory of exactly that size. */
static inline int unpack(const struct plan_binding *binding, uint32_t entry, struct bytes in,
                         ProtobufCMessage **ret_message, struct plan_failure *ret_failure)
{
    uint8_t *source = malloc(in.bytes + (in.bytes == 0));
    assert_non_null(source);
    if (in.bytes > 0)
        memcpy(source, in.data, in.bytes);
    int r = plan_unpack(binding, entry, source, in.bytes, ret_message, ret_failure);
    free(source);
    return r;
}

#endif
