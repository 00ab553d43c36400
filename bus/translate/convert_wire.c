/*
 * Values of fields that wait: read from the private copy, converted by their rule, written. The
 * pass has checked what is read here, with the same op.
 */
#include "translate/convert_inner.h"

/* ---- Values on the wire ---- */

/* Seconds and nanos, field by field: pieces of a message merge. */
static int read_time(struct run *run, const struct program_op *op, const uint8_t *pos,
                     const uint8_t *end, struct value *value)
{
    while (pos < end) {
        const uint8_t *at = pos;
        uint32_t tag;
        uint64_t bits;
        pos = run_read_u32(pos, end, &tag);
        if (!pos)
            return run_fail(run, -EBADMSG, at, op->number, "truncated or malformed tag");
        const uint8_t *after;
        int r = run_skip_unknown(run, tag, at, pos, end, &after);
        if (r < 0)
            return r;
        if (tag == (1u << 3 | WIRE_VARINT) && run_read_varint(pos, after, &bits))
            value->number = (int64_t)bits;
        else if (tag == (2u << 3 | WIRE_VARINT) && run_read_varint(pos, after, &bits))
            value->nanos = (int32_t)(uint32_t)bits;
        else
            value->extra = true;
        pos = after;
    }
    return 0;
}

/* The value of @kind at @pos, which was checked. @value: what has been read of a time so far. */
int convert_read(struct run *run, const struct program_op *op, enum kind kind, const uint8_t *pos,
                 const uint8_t *end, struct value *value, const uint8_t **ret_pos)
{
    uint32_t bytes = 0;
    value->coding = CODING_NONE;
    value->inexact = false;
    switch (kind) {
    case KIND_STRING:
    case KIND_BYTES:
    case KIND_MESSAGE:
        pos = run_read_length(pos, end, &bytes);
        if (!pos)
            return run_fail(run, -EBADMSG, end, op->number, "length past the end");
        *ret_pos = pos + bytes;
        if (kind == KIND_MESSAGE) {
            value->form = VALUE_TIME;
            return read_time(run, op, pos, pos + bytes, value);
        }
        value->form = VALUE_TEXT;
        value->data = pos;
        value->bytes = bytes;
        return 0;
    case KIND_FLOAT:
    case KIND_DOUBLE:
        value->form = VALUE_REAL;
        value->bits = run_bits(program_wire_type(kind), pos, ret_pos);
        if (kind == KIND_FLOAT) {
            uint32_t narrow = (uint32_t)value->bits;
            float single;
            memcpy(&single, &narrow, sizeof(single));
            value->real = (double)single;
        } else {
            memcpy(&value->real, &value->bits, sizeof(value->real));
        }
        return 0;
    default:
        value->form = VALUE_NUMBER;
        value->number = run_number(kind, run_bits(program_wire_type(kind), pos, ret_pos));
        return 0;
    }
}

/* What a field that is not there has. */
void convert_reset_to(struct value *value, enum kind kind)
{
    scalar_clear(value);
    value->form = kind == KIND_STRING || kind == KIND_BYTES   ? VALUE_TEXT
                  : kind == KIND_FLOAT || kind == KIND_DOUBLE ? VALUE_REAL
                  : kind == KIND_MESSAGE                      ? VALUE_TIME
                                                              : VALUE_NUMBER;
}

static int write_text(struct run *run, const struct value *value)
{
    struct open_length open;
    uint8_t chunk[TEXT_CHUNK_BYTES];
    int r = run_open_length(run, text_coded_bytes(value), &open);
    if (r == 0 && value->coding == CODING_NONE)
        r = run_write_bytes(run, value->data, value->bytes);
    size_t offset = 0;
    for (size_t bytes; r == 0 && (bytes = text_chunk(value, &offset, chunk)) > 0;)
        r = run_write_bytes(run, chunk, bytes);
    return r < 0 ? r : run_close_length(run, &open);
}

static int write_time(struct run *run, const struct value *value)
{
    uint8_t buffer[24], *end = buffer + 1;
    if (value->number != 0) {
        *end++ = 1 << 3 | WIRE_VARINT;
        end = wire_write_varint(end, (uint64_t)(int64_t)value->number);
    }
    if (value->nanos != 0) {
        *end++ = 2 << 3 | WIRE_VARINT;
        end = wire_write_varint(end, (uint64_t)(int64_t)value->nanos);
    }
    buffer[0] = (uint8_t)(end - buffer - 1);
    return run_write_bytes(run, buffer, (size_t)(end - buffer));
}

/* Without its tag. */
int convert_write(struct run *run, enum kind kind, const struct value *value)
{
    uint8_t buffer[10];
    if (value->form == VALUE_TEXT)
        return write_text(run, value);
    if (value->form == VALUE_TIME)
        return write_time(run, value);
    if (kind == KIND_FLOAT || kind == KIND_DOUBLE)
        kind = kind == KIND_FLOAT ? KIND_FIXED32 : KIND_FIXED64;
    int64_t bits = value->form == VALUE_REAL ? (int64_t)value->bits : (int64_t)value->number;
    uint8_t *end = run_encode(buffer, kind, bits);
    return run_write_bytes(run, buffer, (size_t)(end - buffer));
}

/* ---- One value by the rule ---- */

/* What is written for @in, and whether it would not come back. Return: 0; 1: nothing is; < 0. */
int convert_resolve(struct run *run, const struct program_op *op,
                    const struct program_convert *convert, const struct value *in,
                    const uint8_t *at, struct value *out, bool *lost)
{
    enum domain domain = scalar_convert(run->plan, convert, false, in, out);
    if (domain == DOMAIN_GOOD) {
        *lost |= !scalar_comes_back(run->plan, convert, in, out);
        return 0;
    }
    *lost = true;
    if (domain == DOMAIN_ALIEN || domain == DOMAIN_ABSENT)
        return 1;
    if (domain == DOMAIN_NOTHING && (convert->flags & CONVERT_OTHERWISE)) {
        scalar_otherwise(run->plan, convert, out);
        return 0;
    }
    if (domain == DOMAIN_RANGE && convert->out_of_domain == 1)
        return 0; /* the nearest */
    if (convert->out_of_domain != 0) {
        scalar_default(convert, out);
        return 0;
    }
    return run_fail(run, -ERANGE, at, op->number, "the value has no place in this version");
}

const struct program_convert *convert_of(const struct run *run, const struct program_op *op)
{
    return &run->plan->converts[op->convert];
}

/* The next record of the field. Return: 1: there is one; 0: none; < 0. */
int convert_next_record(struct run *run, const struct program_op *op, struct look *look,
                        enum wire_type *ret_type, const uint8_t **ret_value,
                        const uint8_t **ret_after)
{
    while (look->pos < look->end) {
        const uint8_t *at = look->pos, *after;
        uint32_t tag;
        const uint8_t *value = run_read_u32(at, look->end, &tag);
        if (!value)
            return run_fail(run, -EBADMSG, at, op->number, "truncated or malformed tag");
        int r = run_skip_unknown(run, tag, at, value, look->end, &after);
        if (r < 0)
            return r;
        look->pos = after;
        if (tag >> 3 != op->number)
            continue;
        *ret_type = (enum wire_type)(tag & 7);
        *ret_value = value;
        *ret_after = after;
        return 1;
    }
    return 0;
}
