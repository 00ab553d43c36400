#include "cli/json.h"

#include <inttypes.h>

void json_set_id(json_t *object, const char *key, uint64_t id)
{
    json_object_set_new(object, key, json_sprintf("%016" PRIx64, id));
}

void json_set_text(json_t *object, const char *key, const char *text)
{
    json_t *value = text ? json_string(text) : NULL;
    json_object_set_new(object, key, value ? value : json_null());
}

void json_print(FILE *out, json_t *value, unsigned indent)
{
    size_t flags = JSON_REAL_PRECISION(15) | JSON_ENCODE_ANY;
    json_dumpf(value, out, indent ? flags | JSON_INDENT(indent) : flags);
    fputc('\n', out);
    json_decref(value);
}
