/*
 * Who dials in a publisher's place, where neither the kernel nor a certificate tells who it is.
 *
 * A publisher that knows of this (PublishRequest.proves) is told a token with its URL. Who dials is
 * first asked for it, by a request like any: parley.bus, Prove. Only the right answer makes it an
 * instance. Who answers something else, or nothing for a second, is hung up on; and whoever dials
 * meanwhile takes its place, so that a stranger cannot hold it by saying nothing. What a token does
 * not do is to hide: who sees the bytes on their way can have it.
 */
#include <endian.h>
#include <string.h>

#include "base/clock.h"
#include "base/random.h"
#include "broker/guest.h"
#include "control/bus_frame.h"

#define PROOF_NS NS_PER_S

void guest_proof_init(struct guest_proof *proof, bool asked)
{
    const uint64_t words[] = {random_id(), random_id()};
    static_assert(sizeof(words) == SERVE_TOKEN_BYTES, "a token is two of them");
    *proof = (struct guest_proof){.asked = asked, .by_ns = CLOCK_NEVER};
    memcpy(proof->token, words, sizeof(words));
}

void guest_proof_begin(struct guest_proof *proof, const struct replier_peer *peer)
{
    proof->peer = *peer;
    proof->number++;
    proof->by_ns = clock_add(clock_now_ns(), PROOF_NS);
    proof->due = true;
}

void guest_proof_ask(struct guest_proof *proof, struct requester *line)
{
    static const char interface[] = "parley.bus", method[] = "Prove";
    const struct bus_frame frame = {
        .header = {.kind = FRAME_REQUEST,
                   .method = BUS_FRAME_METHOD_BY_NAME,
                   .call_id = proof->number,
                   .time_left_us = (uint32_t)(PROOF_NS / NS_PER_US)},
        .interface = {interface, sizeof(interface) - 1},
        .method = {method, sizeof(method) - 1},
    };
    size_t bytes = bus_frame_head_bytes(&frame);
    uint8_t *data;
    if (!proof->due || !requester_connected(line) || requester_send_begin(line, bytes, &data) < 0 ||
        bus_frame_write(&frame, data, bytes) < 0)
        return;
    proof->due = requester_send_end(line, bytes, proof->number) != 0;
}

/* In a time that does not tell how many bytes are right. */
static bool is_token(const struct guest_proof *proof, const uint8_t *data, size_t bytes)
{
    uint8_t differs = 0;
    if (bytes != sizeof(proof->token))
        return false;
    for (size_t i = 0; i < bytes; i++)
        differs |= data[i] ^ proof->token[i];
    return differs == 0;
}

enum guest_proven guest_proof_check(const struct guest_proof *proof, uint32_t number,
                                    const uint8_t *data, size_t bytes)
{
    struct bus_frame frame;
    if (number != proof->number)
        return GUEST_OLD;
    if (bus_frame_read(data, bytes, &frame, NULL) < 0 || frame.header.kind != FRAME_RESPONSE ||
        frame.header.status != PARLEY_OK)
        return GUEST_WRONG;
    return is_token(proof, frame.payload, frame.payload_bytes) ? GUEST_PROVEN : GUEST_WRONG;
}
