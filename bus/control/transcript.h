/*
 * The transcript of a negotiation: a hash over what a client asked for and what it was answered,
 * which both sides compute. docs/PROTOCOL.md has the encoding.
 */
#ifndef PARLEY_CONTROL_TRANSCRIPT_H
#define PARLEY_CONTROL_TRANSCRIPT_H

#include <stdbool.h>

#include "base/digest.h"
#include "parley/link.pb-c.h"

/* The strings as they are in Open; NULL is as "". */
struct transcript_offer {
    const char *interface, *version, *accept, *service;
    const struct digest *descriptor_set;
};

/* Where every transcript of that contract begins. */
void transcript_begin(const struct transcript_offer *offer, struct digest *ret_digest);
/* One answer more: those offers, in that order. @digest: the transcript so far, and afterwards. */
void transcript_answer(struct digest *digest, Parley__Offer *const *offers, size_t count);
/* Whether what the other side computed is the same. */
bool transcript_is(const struct digest *digest, protobuf_c_boolean has_bytes,
                   const ProtobufCBinaryData *bytes);

#endif
