/*
 * The transcript of a negotiation.
 *
 * Two programs that negotiate must end up knowing the same: not only what was chosen, but out of
 * what. If one of them, or something between them, changed the ranges, dropped the better version
 * from the answer, or called a lossy translation a lossless one, the two would go on with different
 * ideas of what they agreed on. So both hash what was asked and what was answered, and the client
 * compares, as TLS does with its handshake.
 *
 * The hash does not authenticate: both ends of the socket are known from the kernel. It finds
 * mistakes: an answer to another question, a release that reads a field otherwise.
 *
 * An answer is chained to the one before, so that offers that come later are covered together with
 * their order. Every part has its length before it, and every hash begins with words that say what
 * it is over: no two different negotiations have the same bytes.
 */
#include "control/transcript.h"

#include <string.h>

void transcript_begin(const struct transcript_offer *offer, struct digest *ret_digest)
{
    struct digest_state state;
    digest_begin(&state);
    digest_add_text(&state, "parley transcript 1: offer");
    digest_add_text(&state, offer->interface);
    digest_add_text(&state, offer->version);
    digest_add_text(&state, offer->accept);
    digest_add_text(&state, offer->service);
    digest_add(&state, offer->descriptor_set->bytes, DIGEST_BYTES);
    digest_end(&state, ret_digest);
}

void transcript_answer(struct digest *digest, Parley__Offer *const *offers, size_t count)
{
    struct digest_state state;
    digest_begin(&state);
    digest_add_text(&state, "parley transcript 1: answer");
    digest_add(&state, digest->bytes, DIGEST_BYTES);
    digest_add_u32(&state, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        digest_add_text(&state, offers[i]->version);
        digest_add_u32(&state, (uint32_t)offers[i]->translation);
    }
    digest_end(&state, digest);
}

bool transcript_is(const struct digest *digest, protobuf_c_boolean has_bytes,
                   const ProtobufCBinaryData *bytes)
{
    return has_bytes && bytes->len == DIGEST_BYTES &&
           memcmp(bytes->data, digest->bytes, DIGEST_BYTES) == 0;
}
