/*
 * Scalars: decoded by the source's kind, converted, encoded by the target's.
 *
 * A value is an integer of any of protobuf's widths and signs, held in 128 bits so that a factor
 * cannot overflow it. What does not fit the target's kind is -ERANGE: there is no value that would
 * be less wrong than the error. What fits, but would come back as another value (the remainder of a
 * division, an enum value that has a stand-in), is noted in the field's slot, and carried along at
 * the end of the message; a field that has no slot for it (in a repeated field or a oneof) refuses
 * with -ERANGE as well.
 */
#include "translate/fast.h"

static int64_t unzigzag(uint64_t raw)
{
    return (int64_t)(raw >> 1 ^ (0 - (raw & 1)));
}

/* The bits of an encoded value. Checked before, so that it cannot fail. */
uint64_t run_bits(enum wire_type wire, const uint8_t *pos, const uint8_t **ret_pos)
{
    uint64_t raw = 0;
    if (wire == WIRE_VARINT) {
        const uint8_t *after = run_read_varint(pos, pos + 10, &raw);
        *ret_pos = after ? after : pos + 1;
        return raw;
    }
    size_t bytes = wire == WIRE_32BIT ? 4 : 8;
    for (size_t i = 0; i < bytes; i++)
        raw |= (uint64_t)pos[i] << (8 * i);
    *ret_pos = pos + bytes;
    return raw;
}

int128 run_number(enum kind kind, uint64_t raw)
{
    switch (kind) {
    case KIND_INT32:
    case KIND_ENUM:
    case KIND_SFIXED32:
        return (int32_t)(uint32_t)raw;
    case KIND_SINT32:
        return unzigzag((uint32_t)raw);
    case KIND_UINT32:
    case KIND_FIXED32:
        return (uint32_t)raw;
    case KIND_BOOL:
        return raw != 0;
    case KIND_SINT64:
        return unzigzag(raw);
    case KIND_INT64:
    case KIND_SFIXED64:
        return (int64_t)raw;
    default:
        return raw;
    }
}

static bool fits(enum kind kind, int128 value)
{
    switch (kind) {
    case KIND_INT32:
    case KIND_ENUM:
    case KIND_SFIXED32:
    case KIND_SINT32:
        return value >= INT32_MIN && value <= INT32_MAX;
    case KIND_UINT32:
    case KIND_FIXED32:
        return value >= 0 && value <= UINT32_MAX;
    case KIND_BOOL:
        return value >= 0 && value <= 1;
    case KIND_UINT64:
    case KIND_FIXED64:
        return value >= 0 && value <= UINT64_MAX;
    default:
        return value >= INT64_MIN && value <= INT64_MAX;
    }
}

static int32_t map_value(const struct plan *plan, const struct program_map *map, int32_t value,
                         bool *ret_lost)
{
    const struct program_pair *pairs = plan->pairs + map->pair_first;
    uint32_t low = 0, high = map->pair_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (pairs[middle].source < value)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == map->pair_count || pairs[low].source != value) {
        /* Declared by neither: it stays what it is, unless the rule has something else for it. */
        *ret_lost = (map->flags & (MAP_OTHERWISE | MAP_ONE_WAY)) != 0;
        return map->flags & MAP_OTHERWISE ? map->otherwise : value;
    }
    *ret_lost = (pairs[low].flags & PAIR_LOST) != 0;
    return pairs[low].target;
}

static int128 convert(const struct plan *plan, const struct program_op *op, int128 value,
                      bool *ret_lost)
{
    *ret_lost = false;
    if (op->convert == PROGRAM_NONE)
        return value;
    const struct program_convert *convert = &plan->converts[op->convert];
    switch (convert->mode) {
    case CONVERT_MULTIPLY:
        return value * (int128)convert->factor;
    case CONVERT_DIVIDE:
        *ret_lost = value % (int128)convert->factor != 0;
        return value / (int128)convert->factor;
    case CONVERT_MAP:
        if (value < INT32_MIN || value > INT32_MAX)
            return value;
        return map_value(plan, &plan->maps[convert->map], (int32_t)value, ret_lost);
    default:
        return value;
    }
}

static int decode_next(struct run *run, const struct program_op *op, const uint8_t *at,
                       const uint8_t *pos, const uint8_t **ret_pos, struct slot *ret_value)
{
    int128 value =
        run_number((enum kind)op->kind, run_bits((enum wire_type)op->wire, pos, ret_pos));
    int128 mapped = convert(run->plan, op, value, &ret_value->lost);
    if (!fits((enum kind)op->written, mapped))
        return run_fail(run, -ERANGE, at, op->number, "the value has no place in this version");
    bool strict = op->slot == PROGRAM_SLOT_NONE || (op->flags & OP_STRICT);
    if (ret_value->lost && strict)
        return run_fail(run, -ERANGE, at, op->number, "the value has no place in this version");
    if ((op->flags & OP_OWN_PRESENCE) && mapped == 0)
        ret_value->lost = true;
    ret_value->value = (int64_t)value;
    ret_value->mapped = (int64_t)mapped;
    return 0;
}

int run_decode(struct run *run, const struct program_op *op, const uint8_t *at, const uint8_t *pos,
               struct slot *ret_value)
{
    const uint8_t *after;
    if (fast_convert(run->plan, op, run_bits((enum wire_type)op->wire, pos, &after), ret_value))
        return 0;
    return decode_next(run, op, at, pos, &after, ret_value);
}

uint8_t *run_encode(uint8_t *out, enum kind kind, int64_t value)
{
    uint64_t raw = (uint64_t)value;
    if (kind == KIND_SINT32 || kind == KIND_SINT64)
        raw = raw << 1 ^ (uint64_t)(value >> 63);
    enum wire_type wire = program_wire_type(kind);
    if (wire == WIRE_VARINT)
        return wire_write_varint(out, raw);
    unsigned bytes = wire == WIRE_32BIT ? 4 : 8;
    for (unsigned i = 0; i < bytes; i++)
        *out++ = (uint8_t)(raw >> (8 * i));
    return out;
}

static int write_value(struct run *run, const struct program_op *op, int64_t mapped)
{
    uint8_t buffer[10];
    uint8_t *end = run_encode(buffer, (enum kind)op->written, mapped);
    return run_write_bytes(run, buffer, (size_t)(end - buffer));
}

static int packed(struct run *run, const struct program_op *op, const uint8_t *at,
                  const uint8_t *pos, const uint8_t *end)
{
    struct open_length open;
    uint32_t bytes;
    pos = run_read_length(pos, end, &bytes);
    if (!pos)
        return run_fail(run, -EBADMSG, at, op->number, "length past the end");
    int r = run_write_tag(run, (op->tag & ~UINT32_C(7)) | WIRE_BYTES);
    if (r == 0)
        r = run_open_length(run, bytes, &open);
    while (r == 0 && pos < end) {
        struct slot value = {0};
        r = decode_next(run, op, at, pos, &pos, &value);
        if (r == 0)
            r = write_value(run, op, value.mapped);
    }
    return r < 0 ? r : run_close_length(run, &open);
}

int run_scalar(struct run *run, struct frame *frame, const struct program_op *op,
               enum wire_type type, const uint8_t *at, const uint8_t *pos, const uint8_t *end)
{
    if (type == WIRE_BYTES)
        return packed(run, op, at, pos, end);
    struct slot unused = {0};
    struct slot *slot = op->slot == PROGRAM_SLOT_NONE ? &unused : &frame->slots[op->slot];
    slot->seen = true;
    slot->data = at;
    slot->bytes = (uint32_t)(end - at);
    int r = run_decode(run, op, at, pos, slot);
    if (r == 0)
        r = run_write_tag(run, op->tag);
    return r < 0 ? r : write_value(run, op, slot->mapped);
}
