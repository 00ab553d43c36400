/*
 * The reference reader: a message as values, read by its schema as protobuf says, in the slowest
 * and plainest way. It shares no code with the plan runner, and it is what "the same message" means
 * in every law: scalars by their bits (NaN is itself, -0 is not 0), presence where the type has it,
 * maps by key with the last entry winning, unknown fields in the order in which they came.
 *
 * It is as strict as a reader of the bus has to be: UTF-8 without NUL in strings, no groups,
 * required fields there, nesting within the limit. Whatever a plan writes must pass.
 */
#include "laws.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct cursor {
    const uint8_t *pos, *end;
    const char *why; /* what is wrong, NULL: nothing yet */
};

static bool wrong(struct cursor *cursor, const char *why)
{
    if (!cursor->why)
        cursor->why = why;
    return false;
}

static bool read_varint(struct cursor *cursor, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < 10; i++) {
        if (cursor->pos == cursor->end)
            return wrong(cursor, "a varint is cut off");
        uint8_t byte = *cursor->pos++;
        if (i == 9 && byte > 1)
            return wrong(cursor, "a varint of more than 64 bits");
        value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte < 0x80) {
            *ret_value = value;
            return true;
        }
    }
    return wrong(cursor, "a varint of more than ten bytes");
}

static bool read_fixed(struct cursor *cursor, unsigned bytes, uint64_t *ret_value)
{
    if ((size_t)(cursor->end - cursor->pos) < bytes)
        return wrong(cursor, "a fixed value is cut off");
    *ret_value = 0;
    for (unsigned i = 0; i < bytes; i++)
        *ret_value |= (uint64_t)*cursor->pos++ << (8 * i);
    return true;
}

static bool read_bytes(struct cursor *cursor, const uint8_t **ret_data, size_t *ret_bytes)
{
    uint64_t length;
    if (!read_varint(cursor, &length))
        return false;
    if (length > (size_t)(cursor->end - cursor->pos))
        return wrong(cursor, "a length is past the end");
    *ret_data = cursor->pos;
    *ret_bytes = (size_t)length;
    cursor->pos += length;
    return true;
}

/* One code point at @pos; 0: none that may stand in a string. */
static size_t utf8_bytes(const uint8_t *pos, size_t room)
{
    static const uint32_t least[] = {0, 1, 0x80, 0x800, 0x10000};
    size_t count = pos[0] < 0x80   ? 1
                   : pos[0] < 0xc0 ? 0
                   : pos[0] < 0xe0 ? 2
                   : pos[0] < 0xf0 ? 3
                   : pos[0] < 0xf8 ? 4
                                   : 0;
    if (count == 0 || count > room)
        return 0;
    uint32_t point = count == 1 ? pos[0] : pos[0] & (0x7fu >> count);
    for (size_t i = 1; i < count; i++) {
        if ((pos[i] & 0xc0) != 0x80)
            return 0;
        point = point << 6 | (pos[i] & 0x3f);
    }
    bool surrogate = point >= 0xd800 && point < 0xe000;
    return point < least[count] || point > 0x10ffff || surrogate ? 0 : count;
}

bool text_is_valid(const uint8_t *data, size_t bytes)
{
    for (size_t i = 0; i < bytes;) {
        size_t count = utf8_bytes(data + i, bytes - i);
        if (count == 0)
            return false;
        i += count;
    }
    return true;
}

/* ---- Scalars ---- */

static enum wire_type wire_of(int type)
{
    switch (type) {
    case TYPE(STRING):
    case TYPE(BYTES):
    case TYPE(MESSAGE):
        return WIRE_BYTES;
    case TYPE(FIXED32):
    case TYPE(SFIXED32):
    case TYPE(FLOAT):
        return WIRE_32BIT;
    case TYPE(FIXED64):
    case TYPE(SFIXED64):
    case TYPE(DOUBLE):
        return WIRE_64BIT;
    default:
        return WIRE_VARINT;
    }
}

static uint64_t normal(int type, uint64_t raw)
{
    switch (type) {
    case TYPE(INT32):
    case TYPE(ENUM):
    case TYPE(SFIXED32):
        return (uint64_t)(int64_t)(int32_t)(uint32_t)raw;
    case TYPE(UINT32):
        return (uint32_t)raw;
    case TYPE(BOOL):
        return raw != 0;
    case TYPE(SINT32):
        raw = (uint32_t)raw;
        return (uint64_t)(int64_t)(int32_t)(uint32_t)((raw >> 1) ^ (0 - (raw & 1)));
    case TYPE(SINT64):
        return (raw >> 1) ^ (0 - (raw & 1));
    default:
        return raw;
    }
}

static void write_scalar(int type, uint64_t bits, struct buffer *out)
{
    if (type == TYPE(SINT64) || type == TYPE(SINT32)) {
        uint64_t zigzag = bits << 1 ^ (0 - (bits >> 63));
        buffer_varint(out, type == TYPE(SINT32) ? (uint32_t)zigzag : zigzag);
        return;
    }
    enum wire_type wire = wire_of(type);
    if (wire == WIRE_VARINT) {
        buffer_varint(out, bits);
        return;
    }
    for (unsigned i = 0; i < (wire == WIRE_32BIT ? 4 : 8); i++) {
        uint8_t byte = (uint8_t)(bits >> (8 * i));
        buffer_add(out, &byte, 1);
    }
}

/* ---- Trees ---- */

struct tree *tree_new(struct arena *arena, const struct schema_message *type)
{
    struct tree *tree = arena_alloc(arena, sizeof(*tree));
    tree->type = type;
    tree->fields = arena_alloc(arena, type->field_count * sizeof(*tree->fields));
    return tree;
}

struct value *values_add(struct arena *arena, struct values *values)
{
    if (values->count == values->capacity) {
        size_t capacity = 2 * values->capacity + 1;
        struct value *list = arena_alloc(arena, capacity * sizeof(*list));
        if (values->count > 0)
            memcpy(list, values->list, values->count * sizeof(*list));
        values->list = list;
        values->capacity = capacity;
    }
    return &values->list[values->count++];
}

void tree_add_unknown(struct arena *arena, struct tree *tree, const struct unknown *unknown)
{
    if (tree->unknown_count == tree->unknown_capacity) {
        size_t capacity = 2 * tree->unknown_capacity + 2;
        struct unknown *list = arena_alloc(arena, capacity * sizeof(*list));
        if (tree->unknown_count > 0)
            memcpy(list, tree->unknowns, tree->unknown_count * sizeof(*list));
        tree->unknowns = list;
        tree->unknown_capacity = capacity;
    }
    tree->unknowns[tree->unknown_count++] = *unknown;
}

static bool read_fields(struct arena *arena, struct tree *tree, struct cursor *cursor, int depth);

static bool read_unknown(struct arena *arena, struct tree *tree, struct cursor *cursor,
                         uint32_t number, enum wire_type type)
{
    struct unknown unknown = {.number = number, .type = type};
    bool read = type == WIRE_VARINT  ? read_varint(cursor, &unknown.bits)
                : type == WIRE_64BIT ? read_fixed(cursor, 8, &unknown.bits)
                : type == WIRE_32BIT ? read_fixed(cursor, 4, &unknown.bits)
                : type == WIRE_BYTES ? read_bytes(cursor, &unknown.data, &unknown.bytes)
                                     : wrong(cursor, "a group");
    if (read)
        tree_add_unknown(arena, tree, &unknown);
    return read;
}

static bool read_scalar(struct cursor *cursor, int type, uint64_t *ret_bits)
{
    uint64_t raw;
    enum wire_type wire = wire_of(type);
    if (!(wire == WIRE_VARINT ? read_varint(cursor, &raw)
                              : read_fixed(cursor, wire == WIRE_32BIT ? 4 : 8, &raw)))
        return false;
    *ret_bits = normal(type, raw);
    return true;
}

/* Of a oneof: another member is there now. */
static void forget(struct tree *tree, struct values *values)
{
    if (values->count > 0 && values->list[0].tree)
        tree->pieces |= tree_in_pieces(values->list[0].tree);
    values->count = 0;
}

/* The place for one more value of the field: a singular field has only one. */
static struct value *place(struct arena *arena, struct tree *tree, const struct schema_field *field)
{
    size_t index = (size_t)(field - tree->type->fields);
    struct values *values = &tree->fields[index];
    if (field->oneof >= 0)
        for (size_t i = 0; i < tree->type->field_count; i++)
            if (i != index && tree->type->fields[i].oneof == field->oneof)
                forget(tree, &tree->fields[i]);
    if (!field->repeated && values->count == 1)
        return &values->list[0];
    struct value *value = values_add(arena, values);
    *value = (struct value){0};
    return value;
}

static bool read_value(struct arena *arena, struct tree *tree, const struct schema_field *field,
                       struct cursor *cursor, int depth)
{
    const uint8_t *data;
    size_t bytes;
    if (!read_bytes(cursor, &data, &bytes))
        return false;
    struct value *value = place(arena, tree, field);
    if (field->type != TYPE(MESSAGE)) {
        value->data = data;
        value->bytes = bytes;
        return field->type == TYPE(BYTES) || text_is_valid(data, bytes) ||
               wrong(cursor, "a string is not UTF-8 without NUL");
    }
    if (depth == WIRE_DEPTH_MAX)
        return wrong(cursor, "nested too deep");
    tree->pieces |= value->tree != NULL;
    if (!value->tree)
        value->tree = tree_new(arena, field->message);
    struct cursor nested = {data, data + bytes, NULL};
    return read_fields(arena, value->tree, &nested, depth + 1) || wrong(cursor, nested.why);
}

static bool read_packed(struct arena *arena, struct tree *tree, const struct schema_field *field,
                        struct cursor *cursor)
{
    const uint8_t *data;
    size_t bytes;
    if (!read_bytes(cursor, &data, &bytes))
        return false;
    struct cursor nested = {data, data + bytes, NULL};
    while (nested.pos < nested.end) {
        const uint8_t *at = nested.pos;
        struct value *value = place(arena, tree, field);
        if (!read_scalar(&nested, field->type, &value->bits))
            return wrong(cursor, nested.why);
        if (field->type == TYPE(BOOL) && (nested.pos - at != 1 || *at > 1))
            return wrong(cursor, "a packed bool that is neither 0 nor 1");
    }
    return true;
}

static bool read_field(struct arena *arena, struct tree *tree, struct cursor *cursor, int depth)
{
    uint64_t tag;
    const uint8_t *at = cursor->pos;
    if (!read_varint(cursor, &tag))
        return false;
    if (cursor->pos - at > 5 || tag > UINT32_MAX || tag >> 3 == 0)
        return wrong(cursor, "an impossible tag");
    enum wire_type type = (enum wire_type)(tag & 7);
    const struct schema_field *field = NULL;
    for (size_t i = 0; i < tree->type->field_count; i++)
        if (tree->type->fields[i].number == tag >> 3)
            field = &tree->type->fields[i];
    if (!field)
        return read_unknown(arena, tree, cursor, (uint32_t)(tag >> 3), type);
    enum wire_type expected = wire_of(field->type);
    if (type == WIRE_BYTES && expected != WIRE_BYTES && field->repeated)
        return read_packed(arena, tree, field, cursor);
    if (type != expected)
        return wrong(cursor, "a wrong wire type");
    if (type == WIRE_BYTES)
        return read_value(arena, tree, field, cursor, depth);
    return read_scalar(cursor, field->type, &place(arena, tree, field)->bits);
}

static bool read_fields(struct arena *arena, struct tree *tree, struct cursor *cursor, int depth)
{
    while (cursor->pos < cursor->end)
        if (!read_field(arena, tree, cursor, depth))
            return false;
    return true;
}

/* Of the whole message, when its pieces have been put together. */
static bool has_required(const struct tree *tree)
{
    for (size_t i = 0; i < tree->type->field_count; i++) {
        const struct values *values = &tree->fields[i];
        if (tree->type->fields[i].required && values->count == 0)
            return false;
        for (size_t j = 0; j < values->count; j++)
            if (values->list[j].tree && !has_required(values->list[j].tree))
                return false;
    }
    return true;
}

struct tree *tree_read(struct arena *arena, const struct schema_message *type, const uint8_t *data,
                       size_t bytes, const char **ret_why)
{
    struct tree *tree = tree_new(arena, type);
    static const uint8_t nothing[1];
    data = bytes > 0 ? data : nothing;
    struct cursor cursor = {data, data + bytes, NULL};
    if (!read_fields(arena, tree, &cursor, 1)) {
        *ret_why = cursor.why;
        return NULL;
    }
    if (!has_required(tree)) {
        *ret_why = "a required field is missing";
        return NULL;
    }
    return tree;
}

/* ---- Writing ---- */

static void write_unknowns(const struct tree *tree, struct buffer *out)
{
    for (size_t i = 0; i < tree->unknown_count; i++) {
        const struct unknown *unknown = &tree->unknowns[i];
        if (unknown->type == WIRE_BYTES) {
            buffer_field_bytes(out, unknown->number, unknown->data, unknown->bytes);
            continue;
        }
        buffer_tag(out, unknown->number, unknown->type);
        write_scalar(unknown->type == WIRE_VARINT  ? TYPE(UINT64)
                     : unknown->type == WIRE_64BIT ? TYPE(FIXED64)
                                                   : TYPE(FIXED32),
                     unknown->bits, out);
    }
}

static bool is_default(const struct schema_field *field, const struct value *value)
{
    return field->type == TYPE(STRING) || field->type == TYPE(BYTES) ? value->bytes == 0
                                                                     : value->bits == 0;
}

static void write_values(const struct schema_field *field, const struct values *values,
                         bool unknown_first, struct buffer *out)
{
    bool packable = field->repeated && wire_of(field->type) != WIRE_BYTES && field->packed;
    if (packable && values->count > 0) {
        struct buffer packed = {0};
        for (size_t i = 0; i < values->count; i++)
            write_scalar(field->type, values->list[i].bits, &packed);
        buffer_field_message(out, field->number, &packed);
        return;
    }
    for (size_t i = 0; i < values->count; i++) {
        const struct value *value = &values->list[i];
        if (field->type == TYPE(MESSAGE)) {
            struct buffer nested = {0};
            tree_write(value->tree, unknown_first, &nested);
            buffer_field_message(out, field->number, &nested);
        } else if (wire_of(field->type) == WIRE_BYTES) {
            if (field->repeated || field->presence || value->bytes > 0)
                buffer_field_bytes(out, field->number, value->data, value->bytes);
        } else if (field->repeated || field->presence || !is_default(field, value)) {
            buffer_tag(out, field->number, wire_of(field->type));
            write_scalar(field->type, value->bits, out);
        }
    }
}

void tree_write(const struct tree *tree, bool unknown_first, struct buffer *out)
{
    if (unknown_first)
        write_unknowns(tree, out);
    for (size_t i = 0; i < tree->type->field_count; i++)
        write_values(&tree->type->fields[i], &tree->fields[i], unknown_first, out);
    if (!unknown_first)
        write_unknowns(tree, out);
}
