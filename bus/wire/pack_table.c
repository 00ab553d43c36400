/*
 * Tables for packing: from protobuf-c's descriptors, of every type that a message can hold.
 *
 * A type is found once, however often it is used, so that recursive types have an end. All is in
 * four arrays that point into each other; counting comes first, so that nothing moves later.
 *
 * What protobuf_c_message_pack() decides anew for each field of each message is decided here: its
 * tag's bytes, where the value lies, and which rule says whether it is there. The order of the
 * questions is protobuf-c's: `required` before oneof, oneof before has_.
 */
#include "wire/pack.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"

/* Types in the order in which they were found. */
struct found {
    const ProtobufCMessageDescriptor **types;
    size_t count, max;
    size_t op_count;
};

static void found_free(struct found *found)
{
    free(found->types);
}

static size_t found_index(const struct found *found, const ProtobufCMessageDescriptor *type)
{
    size_t i = 0;
    while (i < found->count && found->types[i] != type)
        i++;
    return i;
}

static int found_add(struct found *found, const ProtobufCMessageDescriptor *type)
{
    if (found_index(found, type) < found->count)
        return 0;
    if (found->count == found->max) {
        size_t max = found->max ? 2 * found->max : 16;
        const ProtobufCMessageDescriptor **types = realloc(found->types, max * sizeof(*types));
        if (!types)
            return -ENOMEM;
        found->types = types;
        found->max = max;
    }
    found->types[found->count++] = type;
    found->op_count += type->n_fields + 1;
    return 0;
}

static int found_all(struct found *found, const ProtobufCMessageDescriptor *const *types,
                     size_t count)
{
    int r = 0;
    for (size_t i = 0; i < count && r == 0; i++)
        r = found_add(found, types[i]);
    for (size_t i = 0; i < found->count && r == 0; i++) {
        const ProtobufCMessageDescriptor *type = found->types[i];
        for (unsigned j = 0; j < type->n_fields && r == 0; j++) {
            if (type->fields[j].type == PROTOBUF_C_TYPE_MESSAGE)
                r = found_add(found, type->fields[j].descriptor);
        }
    }
    return r;
}

/* ---- Fields ---- */

static const struct {
    uint8_t kind, wire, element_bytes;
} values[] = {
    [PROTOBUF_C_TYPE_INT32] = {PACK_INT32, WIRE_VARINT, 4},
    [PROTOBUF_C_TYPE_SINT32] = {PACK_SINT32, WIRE_VARINT, 4},
    [PROTOBUF_C_TYPE_SFIXED32] = {PACK_FIXED32, WIRE_32BIT, 4},
    [PROTOBUF_C_TYPE_INT64] = {PACK_INT64, WIRE_VARINT, 8},
    [PROTOBUF_C_TYPE_SINT64] = {PACK_SINT64, WIRE_VARINT, 8},
    [PROTOBUF_C_TYPE_SFIXED64] = {PACK_FIXED64, WIRE_64BIT, 8},
    [PROTOBUF_C_TYPE_UINT32] = {PACK_UINT32, WIRE_VARINT, 4},
    [PROTOBUF_C_TYPE_FIXED32] = {PACK_FIXED32, WIRE_32BIT, 4},
    [PROTOBUF_C_TYPE_UINT64] = {PACK_INT64, WIRE_VARINT, 8},
    [PROTOBUF_C_TYPE_FIXED64] = {PACK_FIXED64, WIRE_64BIT, 8},
    [PROTOBUF_C_TYPE_FLOAT] = {PACK_FLOAT, WIRE_32BIT, 4},
    [PROTOBUF_C_TYPE_DOUBLE] = {PACK_DOUBLE, WIRE_64BIT, 8},
    [PROTOBUF_C_TYPE_BOOL] = {PACK_BOOL, WIRE_VARINT, sizeof(protobuf_c_boolean)},
    [PROTOBUF_C_TYPE_ENUM] = {PACK_INT32, WIRE_VARINT, 4},
    [PROTOBUF_C_TYPE_STRING] = {PACK_TEXT, WIRE_BYTES, sizeof(char *)},
    [PROTOBUF_C_TYPE_BYTES] = {PACK_BYTES, WIRE_BYTES, sizeof(ProtobufCBinaryData)},
    [PROTOBUF_C_TYPE_MESSAGE] = {PACK_MESSAGE, WIRE_BYTES, sizeof(ProtobufCMessage *)},
};

static bool is_packed(const ProtobufCFieldDescriptor *field)
{
    return field->label == PROTOBUF_C_LABEL_REPEATED &&
           (field->flags & PROTOBUF_C_FIELD_FLAG_PACKED);
}

static enum pack_code code_of(const ProtobufCFieldDescriptor *field, enum pack_code kind)
{
    bool text = kind == PACK_TEXT;
    if (field->label == PROTOBUF_C_LABEL_REQUIRED)
        return PACK_ALWAYS;
    if (field->label == PROTOBUF_C_LABEL_REPEATED)
        return is_packed(field)       ? PACK_PACKED
               : kind == PACK_MESSAGE ? PACK_MESSAGES
                                      : PACK_REPEATED;
    if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
        return text ? PACK_CASE_SET : PACK_CASE;
    if (field->label == PROTOBUF_C_LABEL_OPTIONAL && kind != PACK_MESSAGE)
        return text ? PACK_SET : PACK_HAS;
    return kind;
}

static void fill_op(const struct found *found, const struct pack_table *tables,
                    const ProtobufCFieldDescriptor *field, struct pack_op *op)
{
    enum pack_code kind = values[field->type].kind;
    enum wire_type wire = is_packed(field) ? WIRE_BYTES : (enum wire_type)values[field->type].wire;
    op->code = (uint8_t)code_of(field, kind);
    op->kind = (uint8_t)kind;
    op->tag_bytes = (uint8_t)(wire_write_tag(op->tag, field->id, wire) - op->tag);
    op->offset = field->offset;
    op->quantifier = field->quantifier_offset;
    op->number = field->id;
    op->element_bytes = values[field->type].element_bytes;
    if (kind == PACK_MESSAGE)
        op->table = &tables[found_index(found, field->descriptor)];
    else if (kind == PACK_TEXT)
        op->absent = field->default_value;
}

static void fill(struct wire_packer *packer, const struct found *found,
                 const ProtobufCMessageDescriptor *const *types)
{
    struct pack_op *op = packer->ops;
    for (size_t i = 0; i < found->count; i++) {
        const ProtobufCMessageDescriptor *type = found->types[i];
        packer->tables[i] = (struct pack_table){.type = type, .ops = op};
        for (unsigned j = 0; j < type->n_fields; j++)
            fill_op(found, packer->tables, &type->fields[j], op++);
        (op++)->code = PACK_END;
    }
    for (size_t i = 0; i < packer->entry_count; i++)
        packer->entries[i] = &packer->tables[found_index(found, types[i])];
}

int wire_packer_new(const ProtobufCMessageDescriptor *const *types, size_t type_count,
                    struct wire_packer **ret_packer)
{
    _cleanup_(found_free) struct found found = {0};
    int r = found_all(&found, types, type_count);
    if (r < 0)
        return r;
    struct wire_packer *packer = calloc(1, sizeof(*packer));
    if (!packer)
        return -ENOMEM;
    packer->entry_count = type_count;
    packer->entries = calloc(type_count + 1, sizeof(*packer->entries));
    packer->tables = calloc(found.count + 1, sizeof(*packer->tables));
    packer->ops = calloc(found.op_count + 1, sizeof(*packer->ops));
    if (!packer->entries || !packer->tables || !packer->ops) {
        wire_packer_free(packer);
        return -ENOMEM;
    }
    fill(packer, &found, types);
    *ret_packer = packer;
    return 0;
}

struct wire_packer *wire_packer_free(struct wire_packer *packer)
{
    if (packer) {
        free(packer->entries);
        free(packer->tables);
        free(packer->ops);
        free(packer);
    }
    return NULL;
}
