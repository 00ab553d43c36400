/*
 * Metadata on their way: blocks of pairs, and what the W3C says of some (rpc.h has how they are
 * made).
 */
#ifndef PARLEY_RPC_METADATA_H
#define PARLEY_RPC_METADATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* ---- metadata.c ---- */

/* Adds those pairs of a checked block that calls inherit, unless @out has their keys. @out has room
 * for RPC_METADATA_BLOCK_BYTES_MAX, and *@bytes_used in it. Return: 0 or -EINVAL: too much. */
int metadata_inherit(const uint8_t *block, size_t bytes, uint8_t *out, size_t *bytes_used,
                     struct error_text *error);
int metadata_check(const uint8_t *block, size_t bytes); /* 0 or -EBADMSG */
const char *metadata_find(const uint8_t *block, size_t bytes, const char *key, size_t *ret_bytes);
void metadata_remove(uint8_t *block, size_t *bytes, const char *key); /* all of that key */
const char *metadata_get(const uint8_t *block, size_t bytes, const char *key, size_t key_bytes,
                         size_t *ret_bytes);
/* "parley." and on: the bus says these, nobody else can. */
bool metadata_key_is_reserved(const char *key, size_t bytes);
/* How many bytes at the beginning of a block are pairs parley.peer.*: the relay's, who asks. */
size_t metadata_peer_bytes(const uint8_t *block, size_t bytes);

/* ---- w3c.c ---- */

bool traceparent_is_valid(const char *text, size_t bytes);
/* Each shortens in place to what may travel on. Return: the bytes left; 0: nothing. */
size_t tracestate_tidy(char *text, size_t bytes);
size_t baggage_tidy(char *text, size_t bytes);
/* A checked block: what the W3C lets travel, and no reserved key. @beside: the call's trace travels
 * as bytes of its own, and a traceparent in the block is none. Return: the bytes left. */
size_t metadata_tidy(uint8_t *block, size_t bytes, bool beside);

#endif
