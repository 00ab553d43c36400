/*
 * What the two directions of the JSON mapping share; nothing outside the room includes it.
 */
#ifndef PARLEY_SCHEMA_JSON_H
#define PARLEY_SCHEMA_JSON_H

#include "schema/schema.h"
#include "wire/wire.h"

/* How one value of the field travels, not packed. */
enum wire_type json_wire_type(const struct schema_field *field);

/* Both: *ret is the caller's, free(); NUL-terminated beyond its length. */
int base64_encode(const uint8_t *data, size_t bytes, char **ret_text, size_t *ret_bytes);
/* Standard and URL-safe alphabet, padded or not. Return: 0, -EINVAL, -ENOMEM. */
int base64_decode(const char *text, size_t bytes, char **ret_data, size_t *ret_bytes);

#endif
