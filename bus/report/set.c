/* Members of JSON objects. */
#include "report/set.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

void report_set_text(json_t *object, const char *name, const char *text)
{
    if (text)
        (void)json_object_set_new(object, name, json_string(text));
}

void report_set_id(json_t *object, const char *name, uint64_t id)
{
    (void)json_object_set_new(object, name, json_sprintf("%016" PRIx64, id));
}

/* Whether it is a count that the message has. */
static bool has_count(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    if (field->label != PROTOBUF_C_LABEL_OPTIONAL ||
        (field->type != PROTOBUF_C_TYPE_UINT32 && field->type != PROTOBUF_C_TYPE_UINT64))
        return false;
    protobuf_c_boolean has;
    memcpy(&has, (const char *)message + field->quantifier_offset, sizeof(has));
    return has;
}

void report_set_counts(json_t *object, const ProtobufCMessage *message, uint32_t below)
{
    const ProtobufCMessageDescriptor *descriptor = message->descriptor;
    for (unsigned i = 0; i < descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
        const void *at = (const char *)message + field->offset;
        if (field->id >= below || !has_count(message, field))
            continue;
        json_int_t value = field->type == PROTOBUF_C_TYPE_UINT32
                               ? (json_int_t) * (const uint32_t *)at
                               : (json_int_t) * (const uint64_t *)at;
        (void)json_object_set_new(object, field->name, json_integer(value));
    }
}
