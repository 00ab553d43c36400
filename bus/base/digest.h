/*
 * SHA-256, of libmd: the library that dpkg uses, and so one that every Debian has.
 */
#ifndef PARLEY_BASE_DIGEST_H
#define PARLEY_BASE_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#include <sha2.h>

#define DIGEST_BYTES 32
#define DIGEST_TEXT_BYTES (2 * DIGEST_BYTES + 1)

struct digest {
    uint8_t bytes[DIGEST_BYTES];
};

struct digest_state {
    SHA2_CTX context;
};

void digest_begin(struct digest_state *state);
void digest_add(struct digest_state *state, const void *data, size_t bytes);
/* The length (32 bits, little-endian), then the bytes: no two lists of strings look alike. NULL is
 * as "". */
void digest_add_text(struct digest_state *state, const char *text);
void digest_add_u32(struct digest_state *state, uint32_t value);
void digest_end(struct digest_state *state, struct digest *ret_digest);

void digest_of(const void *data, size_t bytes, struct digest *ret_digest);
/* Lower-case hexadecimal and a NUL. */
void digest_text(const struct digest *digest, char ret_text[DIGEST_TEXT_BYTES]);

#endif
