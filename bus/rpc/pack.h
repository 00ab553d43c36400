/*
 * Messages of ours (pack.c).
 */
#ifndef PARLEY_RPC_PACK_H
#define PARLEY_RPC_PACK_H

#include <parley/status.h>

#include "base/error.h"
#include "translate/plan.h"
#include "wire/wire.h"

/* For the requests (replies) of a service's methods, by index. */
int packer_of(const ProtobufCServiceDescriptor *service, enum plan_payload payload,
              struct wire_packer **ret_packer, struct error_text *error);
/* What a call ends as whose message wire_pack() or wire_pack_write() refused; @ret_why is what
 * follows "the request" or "the reply". */
enum parley_status packing_failed(int r, const char **ret_why);

#endif
