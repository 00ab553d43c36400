/*
 * Packing what this side sends: requests by a client, replies by a service.
 *
 * A client has a packer for the methods' inputs, a service for their outputs, made when it is made.
 * What packing needs besides is the endpoint's, for one message at a time: from wire_pack(), which
 * tells the length, to body_write() in frames.h, where there is room for it, nothing else is
 * packed, as no closure and no handler runs in between.
 */
#include "rpc/internal.h"

#include <errno.h>
#include <string.h>

int packer_of(const ProtobufCServiceDescriptor *service, enum plan_payload payload,
              struct wire_packer **ret_packer, struct error_text *error)
{
    _cleanup_(freep) const ProtobufCMessageDescriptor **types =
        calloc(service->n_methods + 1, sizeof(*types));
    for (unsigned i = 0; types && i < service->n_methods; i++)
        types[i] =
            payload == PLAN_REQUESTS ? service->methods[i].input : service->methods[i].output;
    int r = types ? wire_packer_new(types, service->n_methods, ret_packer) : -ENOMEM;
    return r < 0 ? error_set(error, r, "out of memory for packing messages") : 0;
}

enum parley_status packing_failed(int r, const char **ret_why)
{
    switch (r) {
    case -E2BIG:
        *ret_why = "is larger than 64 MiB";
        return PARLEY_RESOURCE_EXHAUSTED;
    case -ELOOP:
        *ret_why = "has more than 32 messages one in the other, or holds itself";
        return PARLEY_INVALID_ARGUMENT;
    case -EINVAL:
        *ret_why = "is not of the method's type, or holds a message that is not of its field's";
        return PARLEY_INVALID_ARGUMENT;
    case -ESTALE:
        *ret_why = "was changed while it was sent";
        return PARLEY_INVALID_ARGUMENT;
    default:
        *ret_why = strerror(-r);
        return status_from_errno(r);
    }
}
