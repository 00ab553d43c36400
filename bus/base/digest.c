#include "base/digest.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static_assert(SHA256_DIGEST_LENGTH == DIGEST_BYTES, "SHA-256 has 256 bits");

void digest_begin(struct digest_state *state)
{
    SHA256Init(&state->context);
}

void digest_add(struct digest_state *state, const void *data, size_t bytes)
{
    if (bytes > 0)
        SHA256Update(&state->context, data, bytes);
}

void digest_add_u32(struct digest_state *state, uint32_t value)
{
    const uint8_t bytes[] = {(uint8_t)value, (uint8_t)(value >> 8), (uint8_t)(value >> 16),
                             (uint8_t)(value >> 24)};
    digest_add(state, bytes, sizeof(bytes));
}

void digest_add_text(struct digest_state *state, const char *text)
{
    size_t bytes = text ? strlen(text) : 0;
    digest_add_u32(state, (uint32_t)bytes);
    digest_add(state, text, bytes);
}

void digest_end(struct digest_state *state, struct digest *ret_digest)
{
    SHA256Final(ret_digest->bytes, &state->context);
}

void digest_of(const void *data, size_t bytes, struct digest *ret_digest)
{
    struct digest_state state;
    digest_begin(&state);
    digest_add(&state, data, bytes);
    digest_end(&state, ret_digest);
}

void digest_text(const struct digest *digest, char ret_text[DIGEST_TEXT_BYTES])
{
    for (size_t i = 0; i < DIGEST_BYTES; i++)
        (void)snprintf(ret_text + 2 * i, 3, "%02x", digest->bytes[i]);
}
