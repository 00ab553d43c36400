/*
 * The packing loop: one step a field, as the table says, from the struct to the window (pack.c).
 *
 * A step asks for room once, which is more than any value of bounded length takes, and then writes
 * whole words: a tag is eight bytes of its op, of which the value overwrites what is too much.
 * There are no calls on the way of a short text, a number, or a nested message; what they cost is
 * instructions, of which a number takes about 22, a short text 33 and a nested message 50.
 *
 * A step is chosen by its code. The codes of proto3's plain fields are those of their values, which
 * then say by themselves whether they are there. All others ask first, and go on with the value.
 * What protobuf-c does is the rule, odd as it may be: a text in a oneof is left out if it is the
 * default, by its address; NULL is an empty text if it is required, or in an array; bytes are there
 * if their length is not 0; -0.0 is zero.
 */
#include "wire/pack.h"

#include <errno.h>
#include <string.h>
#if PACK_BY_SIXTEEN
#include <emmintrin.h>
#endif

#include "base/call_path.h"
#include "base/copy.h"

#define ELEMENTS_AT_ONCE 12 /* varints in PACK_SLACK_BYTES */

/* ---- Values ---- */

static inline uint32_t load32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof(value));
    return value;
}

static inline uint64_t load64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof(value));
    return value;
}

static inline const void *load_pointer(const uint8_t *at)
{
    const void *value;
    memcpy(&value, at, sizeof(value));
    return value;
}

/* What a varint on the wire says of it. */
static inline uint64_t load_varint(enum pack_code kind, const uint8_t *at)
{
    switch (kind) {
    case PACK_UINT32:
        return load32(at);
    case PACK_INT32:
        return (uint64_t)(int64_t)(int32_t)load32(at);
    case PACK_SINT32:
        return (load32(at) << 1) ^ (0 - (load32(at) >> 31));
    case PACK_SINT64:
        return (load64(at) << 1) ^ (0 - (load64(at) >> 63));
    case PACK_BOOL:
        return load32(at) != 0;
    default:
        return load64(at);
    }
}

/* Whether proto3 leaves it out. */
static inline bool is_zero(enum pack_code kind, const uint8_t *at)
{
    switch (kind) {
    case PACK_FLOAT:
        return load32(at) << 1 == 0;
    case PACK_DOUBLE:
        return load64(at) << 1 == 0;
    case PACK_FIXED32:
        return load32(at) == 0;
    default:
        return load64(at) == 0;
    }
}

/* Writes eight bytes, of which those behind the tag are not yet anything. */
static inline uint8_t *put_tag(const struct pack_op *op, uint8_t *pos)
{
    memcpy(pos, op, 8);
    return pos + op->tag_bytes;
}

/* Seven bits a byte: spread out by halves, quarters and eighths, for the first eight bytes. */
uint8_t *pack_negative(uint8_t *pos, uint64_t value)
{
    uint64_t spread = value & UINT64_C(0x00ffffffffffffff);
    spread = (spread & UINT64_C(0x000000000fffffff)) | (spread & UINT64_C(0x00fffffff0000000)) << 4;
    spread = (spread & UINT64_C(0x00003fff00003fff)) | (spread & UINT64_C(0x0fffc0000fffc000)) << 2;
    spread = (spread & UINT64_C(0x007f007f007f007f)) | (spread & UINT64_C(0x3f803f803f803f80)) << 1;
    spread |= UINT64_C(0x8080808080808080);
    memcpy(pos, &spread, sizeof(spread));
    pos[8] = (uint8_t)(value >> 56 | 0x80);
    pos[9] = 1;
    return pos + 10;
}

static inline __attribute__((always_inline)) uint8_t *put_bytes(struct wire_packing *packing,
                                                                const struct pack_op *op,
                                                                uint8_t *pos, const void *data,
                                                                size_t bytes)
{
    pos = pack_varint(put_tag(op, pos), bytes);
    if (bytes - 1 < PACK_TEXT_AT_ONCE) { /* the step has asked for that, and 0 has nothing */
        copy_few(pos, data, bytes);
        return pos + bytes;
    }
    return pack_bulk(packing, pos, data, bytes);
}

/* Bytes that are not short: maybe something that stands for them. */
__attribute__((noinline)) static uint8_t *put_long_bytes(struct wire_packing *packing,
                                                         const struct pack_op *op, uint8_t *pos,
                                                         const ProtobufCBinaryData *bytes)
{
    uint8_t *place = put_tag(op, pos);
    *place++ = WIRE_REF_BYTES;
    if (pack_refers(packing, place, bytes))
        return place + WIRE_REF_BYTES;
    return put_bytes(packing, op, pos, bytes->data, bytes->len);
}

static inline uint8_t *put_binary_data(struct wire_packing *packing, const struct pack_op *op,
                                       uint8_t *pos, const ProtobufCBinaryData *bytes)
{
    if (__builtin_expect(bytes->len >= WIRE_REF_BYTES_MIN, 0))
        return put_long_bytes(packing, op, pos, bytes);
    return put_bytes(packing, op, pos, bytes->data, bytes->len);
}

/* @known: bytes of it that are not its end. */
__attribute__((noinline)) static uint8_t *put_long_text(struct wire_packing *packing,
                                                        const struct pack_op *op, uint8_t *pos,
                                                        const char *text, size_t known)
{
    return put_bytes(packing, op, pos, text, known + strlen(text + known));
}

#if PACK_BY_SIXTEEN
/* Return: bit i: byte i ends the text. */
static inline unsigned ends_in(__m128i block)
{
    return (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(block, _mm_setzero_si128()));
}

/* The first @bytes of them; zeros behind. What is behind a text's end is nobody else's to see: the
 * place may be memory that another process reads. */
static inline __m128i only(__m128i block, unsigned bytes)
{
    static const uint8_t masks[32] = {
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    };
    const uint8_t *mask = masks + 16 - bytes;
    return _mm_and_si128(block, _mm_loadu_si128((const __m128i *)(const void *)mask));
}

static inline unsigned copy_sixteen(uint8_t *to, const char *text)
{
    __m128i block = _mm_loadu_si128((const __m128i *)(const void *)text);
    unsigned ends = ends_in(block);
    if (ends)
        block = only(block, (unsigned)__builtin_ctz(ends));
    _mm_storeu_si128((__m128i *)(void *)to, block);
    return ends;
}

/* The same of the @left bytes before a page's end, fewer than sixteen, of which the last sixteen
 * are read. */
static inline unsigned copy_last(uint8_t *to, const char *text, size_t left)
{
    uint8_t both[32];
    const char *last = text - (16 - left);
    __m128i block = _mm_loadu_si128((const __m128i *)(const void *)last);
    _mm_storeu_si128((__m128i *)(void *)both, block);
    _mm_storeu_si128((__m128i *)(void *)(both + 16), block);
    const unsigned ends = ends_in(block) >> (16 - left);
    const unsigned bytes = ends ? (unsigned)__builtin_ctz(ends) : (unsigned)left;
    block = _mm_loadu_si128((const __m128i *)(const void *)(both + 16 - left));
    _mm_storeu_si128((__m128i *)(void *)to, only(block, bytes));
    return ends;
}

/* Whether sixteen bytes can be read there, for they are in one page. */
static inline bool can_read(const struct wire_packing *packing, const char *text)
{
    return ((uintptr_t)text & (PACK_PAGE_BYTES - 1)) < packing->text_reach;
}

/* A text that comes to the end of a page, of which no more is read than has to be. Its tag and
 * @bytes of it are there. */
__attribute__((noinline)) static uint8_t *put_text_at_edge(struct wire_packing *packing,
                                                           const struct pack_op *op, uint8_t *pos,
                                                           const char *text, size_t bytes)
{
    uint8_t *to = pos + op->tag_bytes + 1;
    while (bytes < PACK_TEXT_AT_ONCE - 16 && packing->text_reach > 0) {
        const size_t left = PACK_PAGE_BYTES - ((uintptr_t)(text + bytes) & (PACK_PAGE_BYTES - 1));
        const unsigned ends = left < 16 ? copy_last(to + bytes, text + bytes, left)
                                        : copy_sixteen(to + bytes, text + bytes);
        if (ends) {
            bytes += (unsigned)__builtin_ctz(ends);
            to[-1] = (uint8_t)bytes;
            return to + bytes;
        }
        bytes += left < 16 ? left : 16;
    }
    return put_long_text(packing, op, pos, text, bytes);
}
#endif

static inline uint8_t *put_text(struct wire_packing *packing, const struct pack_op *op,
                                uint8_t *pos, const char *text)
{
#if PACK_BY_SIXTEEN
    uint8_t *to = put_tag(op, pos) + 1;
    if (__builtin_expect(!can_read(packing, text), 0))
        return put_text_at_edge(packing, op, pos, text, 0);
    unsigned ends = copy_sixteen(to, text);
    if (__builtin_expect(ends != 0, 1)) {
        size_t bytes = (unsigned)__builtin_ctz(ends);
        to[-1] = (uint8_t)bytes;
        return to + bytes;
    }
    for (unsigned bytes = 16; bytes < PACK_TEXT_AT_ONCE; bytes += 16) {
        if (__builtin_expect(!can_read(packing, text + bytes), 0))
            return put_text_at_edge(packing, op, pos, text, bytes);
        ends = copy_sixteen(to + bytes, text + bytes);
        if (ends) {
            bytes += (unsigned)__builtin_ctz(ends);
            to[-1] = (uint8_t)bytes;
            return to + bytes;
        }
    }
    return put_long_text(packing, op, pos, text, PACK_TEXT_AT_ONCE);
#else
    return put_long_text(packing, op, pos, text, 0);
#endif
}

/* ---- Arrays ---- */

static uint8_t *put_texts(struct wire_packing *packing, const struct pack_op *op, uint8_t *pos,
                          const uint8_t *array, size_t count)
{
    for (size_t i = 0; i < count && pos; i++) {
        const char *text = load_pointer(array + i * sizeof(text));
        pos = pack_room(packing, pos);
        if (pos)
            pos = put_text(packing, op, pos, text ? text : "");
    }
    return pos;
}

/* Everything but messages, each with its tag. */
__attribute__((noinline)) static uint8_t *put_repeated(struct wire_packing *packing,
                                                       const struct pack_op *op,
                                                       const uint8_t *message, uint8_t *pos)
{
    size_t count = load64(message + op->quantifier);
    const uint8_t *at = load_pointer(message + op->offset);
    if (op->kind == PACK_TEXT)
        return put_texts(packing, op, pos, at, count);
    for (; count > 0 && pos; count--, at += op->element_bytes) {
        pos = pack_room(packing, pos);
        if (!pos)
            break;
        const ProtobufCBinaryData *bytes;
        switch (op->kind) {
        case PACK_BYTES:
            bytes = (const ProtobufCBinaryData *)(const void *)at;
            pos = put_binary_data(packing, op, pos, bytes);
            break;
        case PACK_FIXED32:
        case PACK_FLOAT:
            pos = put_tag(op, pos);
            memcpy(pos, at, 4);
            pos += 4;
            break;
        case PACK_FIXED64:
        case PACK_DOUBLE:
            pos = put_tag(op, pos);
            memcpy(pos, at, 8);
            pos += 8;
            break;
        default:
            pos = pack_varint(put_tag(op, pos), load_varint(op->kind, at));
        }
    }
    return pos;
}

static inline __attribute__((always_inline)) uint8_t *
put_elements(struct wire_packing *packing, uint8_t *pos, const uint8_t *at, size_t count,
             enum pack_code kind, size_t element_bytes)
{
    while (count > 0) {
        pos = pack_room(packing, pos);
        if (!pos)
            return NULL;
        size_t some = count < ELEMENTS_AT_ONCE ? count : ELEMENTS_AT_ONCE;
        for (size_t i = 0; i < some; i++, at += element_bytes)
            pos = pack_varint(pos, load_varint(kind, at));
        count -= some;
    }
    return pos;
}

static inline __attribute__((always_inline)) uint8_t *
put_varints(struct wire_packing *packing, const struct pack_op *op, uint8_t *pos, const uint8_t *at,
            size_t count, enum pack_code kind, size_t element_bytes)
{
    uint8_t *start = put_tag(op, pos);
    if (packing->mode == PACK_SMALL) {
        size_t width = wire_varint_size(count); /* at least */
        pos = put_elements(packing, start + width, at, count, kind, element_bytes);
        return pos ? pack_length(packing, start, width, pos) : NULL;
    }
    uint64_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += wire_varint_size(load_varint(kind, at + i * element_bytes));
    return put_elements(packing, pack_varint(start, bytes), at, count, kind, element_bytes);
}

__attribute__((noinline)) static uint8_t *put_packed(struct wire_packing *packing,
                                                     const struct pack_op *op,
                                                     const uint8_t *message, uint8_t *pos)
{
    size_t count = load64(message + op->quantifier);
    const uint8_t *at = load_pointer(message + op->offset);
    if (count == 0)
        return pos;
    if (count > WIRE_MESSAGE_BYTES_MAX)
        return pack_fail(packing, -E2BIG);
    pos = pack_room(packing, pos);
    if (!pos)
        return NULL;
    switch (op->kind) {
    case PACK_UINT32:
        return put_varints(packing, op, pos, at, count, PACK_UINT32, 4);
    case PACK_INT32:
        return put_varints(packing, op, pos, at, count, PACK_INT32, 4);
    case PACK_SINT32:
        return put_varints(packing, op, pos, at, count, PACK_SINT32, 4);
    case PACK_INT64:
        return put_varints(packing, op, pos, at, count, PACK_INT64, 8);
    case PACK_SINT64:
        return put_varints(packing, op, pos, at, count, PACK_SINT64, 8);
    case PACK_BOOL:
        return put_varints(packing, op, pos, at, count, PACK_BOOL, sizeof(protobuf_c_boolean));
    default:
        return put_bytes(packing, op, pos, at, count * op->element_bytes);
    }
}

__attribute__((noinline)) static uint8_t *put_unknown(struct wire_packing *packing,
                                                      const ProtobufCMessage *message, uint8_t *pos)
{
    for (unsigned i = 0; i < message->n_unknown_fields; i++) {
        const ProtobufCMessageUnknownField *field = &message->unknown_fields[i];
        pos = pack_room(packing, pos);
        if (pos)
            pos = pack_bulk(
                packing, pack_varint(pos, (uint64_t)field->tag << 3 | (uint64_t)field->wire_type),
                field->data, field->len);
        if (!pos)
            return NULL;
    }
    return pos;
}

/* ---- Types ---- */

/* Of a struct that another copy of the generated code made, the descriptor is elsewhere. */
__attribute__((cold, noinline)) static bool is_alike(const ProtobufCMessageDescriptor *type,
                                                     const ProtobufCMessageDescriptor *wanted)
{
    return type && type->magic == PROTOBUF_C__MESSAGE_DESCRIPTOR_MAGIC &&
           type->sizeof_message == wanted->sizeof_message && type->n_fields == wanted->n_fields &&
           strcmp(type->name, wanted->name) == 0;
}

bool pack_is_of(const ProtobufCMessage *message, const struct pack_table *table)
{
    return __builtin_expect(message->descriptor == table->type, 1) ||
           is_alike(message->descriptor, table->type);
}

/* ---- The loop ---- */

static inline __attribute__((always_inline)) uint8_t *put_number(struct wire_packing *packing,
                                                                 const struct pack_op *op,
                                                                 const uint8_t *message,
                                                                 uint8_t *pos, enum pack_code kind)
{
    uint64_t value = load_varint(kind, message + op->offset);
    if (value == 0) {
        if (op->code == kind)
            return pos;
    }
    pos = pack_room(packing, pos);
    return pos ? pack_varint(put_tag(op, pos), value) : NULL;
}

static inline __attribute__((always_inline)) uint8_t *
put_fixed(struct wire_packing *packing, const struct pack_op *op, const uint8_t *message,
          uint8_t *pos, enum pack_code kind, size_t bytes)
{
    const uint8_t *at = message + op->offset;
    if (is_zero(kind, at) && op->code == kind)
        return pos;
    pos = pack_room(packing, pos);
    if (!pos)
        return NULL;
    pos = put_tag(op, pos);
    memcpy(pos, at, bytes);
    return pos + bytes;
}

static inline uint8_t *put_string(struct wire_packing *packing, const struct pack_op *op,
                                  const uint8_t *message, uint8_t *pos)
{
    const char *text = load_pointer(message + op->offset);
    if (!text || !*text) {
        if (op->code == PACK_TEXT)
            return pos;
        text = "";
    }
    pos = pack_room(packing, pos);
    return pos ? put_text(packing, op, pos, text) : NULL;
}

static inline uint8_t *put_binary(struct wire_packing *packing, const struct pack_op *op,
                                  const uint8_t *message, uint8_t *pos)
{
    const ProtobufCBinaryData *bytes =
        (const ProtobufCBinaryData *)(const void *)(message + op->offset);
    if (bytes->len == 0 && op->code == PACK_BYTES)
        return pos;
    pos = pack_room(packing, pos);
    return pos ? put_binary_data(packing, op, pos, bytes) : NULL;
}

static bool is_set(const struct pack_op *op, const uint8_t *message)
{
    const void *text = load_pointer(message + op->offset);
    return text && text != op->absent;
}

/* Whether a field whose presence is not for its value to say is there. */
static inline bool is_there(const struct pack_op *op, const uint8_t *message)
{
    switch (op->code) {
    case PACK_HAS:
        return load32(message + op->quantifier) != 0;
    case PACK_CASE:
        return load32(message + op->quantifier) == op->number;
    case PACK_SET:
        return is_set(op, message);
    case PACK_CASE_SET:
        return load32(message + op->quantifier) == op->number && is_set(op, message);
    default:
        return true;
    }
}

/* The next step of the loop below: each ends in a jump of its own, which the processor learns to
 * foresee from those before it. */
#define STEP(code_) goto *steps[code_]
#define NEXT()                                                                                     \
    do {                                                                                           \
        op++;                                                                                      \
        STEP(op->code);                                                                            \
    } while (0)
#define NEXT_IF(pos_)                                                                              \
    do {                                                                                           \
        pos = (pos_);                                                                              \
        if (__builtin_expect(!pos, 0))                                                             \
            return NULL;                                                                           \
        NEXT();                                                                                    \
    } while (0)

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic" /* labels as values */

CALL_PATH uint8_t *pack_fields(struct wire_packing *packing, const struct pack_table *table,
                               const ProtobufCMessage *outermost)
{
    static const void *const steps[] = {
        [PACK_UINT32] = &&uint32,     [PACK_INT32] = &&int32,     [PACK_SINT32] = &&sint32,
        [PACK_INT64] = &&int64,       [PACK_SINT64] = &&sint64,   [PACK_BOOL] = &&boolean,
        [PACK_FIXED32] = &&fixed32,   [PACK_FIXED64] = &&fixed64, [PACK_FLOAT] = &&real32,
        [PACK_DOUBLE] = &&real64,     [PACK_TEXT] = &&text,       [PACK_BYTES] = &&bytes,
        [PACK_MESSAGE] = &&message,   [PACK_ALWAYS] = &&presence, [PACK_HAS] = &&presence,
        [PACK_CASE] = &&presence,     [PACK_SET] = &&presence,    [PACK_CASE_SET] = &&presence,
        [PACK_MESSAGES] = &&messages, [PACK_REPEATED] = &&array,  [PACK_PACKED] = &&packed,
        [PACK_END] = &&end,
    };
    struct pack_frame frames[WIRE_DEPTH_MAX], *frame = frames;
    /* A frame that needs more than the short way: none but the last, or, in large messages, all. */
    const bool small = packing->mode == PACK_SMALL;
    const struct pack_frame *deepest = small ? frames + WIRE_DEPTH_MAX - 1 : frames;
    const uint8_t *message = (const uint8_t *)outermost;
    const ProtobufCMessage *nested;
    const struct pack_op *op = table->ops;
    uint8_t *pos = packing->begin;
    size_t count;
    STEP(op->code);

uint32:
    NEXT_IF(put_number(packing, op, message, pos, PACK_UINT32));
int32:
    NEXT_IF(put_number(packing, op, message, pos, PACK_INT32));
sint32:
    NEXT_IF(put_number(packing, op, message, pos, PACK_SINT32));
int64:
    NEXT_IF(put_number(packing, op, message, pos, PACK_INT64));
sint64:
    NEXT_IF(put_number(packing, op, message, pos, PACK_SINT64));
boolean:
    NEXT_IF(put_number(packing, op, message, pos, PACK_BOOL));
fixed32:
    NEXT_IF(put_fixed(packing, op, message, pos, PACK_FIXED32, 4));
fixed64:
    NEXT_IF(put_fixed(packing, op, message, pos, PACK_FIXED64, 8));
real32:
    NEXT_IF(put_fixed(packing, op, message, pos, PACK_FLOAT, 4));
real64:
    NEXT_IF(put_fixed(packing, op, message, pos, PACK_DOUBLE, 8));
text:
    NEXT_IF(put_string(packing, op, message, pos));
bytes:
    NEXT_IF(put_binary(packing, op, message, pos));
array:
    NEXT_IF(put_repeated(packing, op, message, pos));
packed:
    NEXT_IF(put_packed(packing, op, message, pos));
presence:
    if (!is_there(op, message))
        NEXT();
    STEP(op->kind);

message:
    nested = load_pointer(message + op->offset);
    if (!nested && op->code != PACK_ALWAYS)
        NEXT();
    frame->left = 0;
    goto begin;
messages:
    count = load64(message + op->quantifier);
    if (count == 0)
        NEXT();
    frame->next = load_pointer(message + op->offset);
    frame->left = count;
following:
    frame->left--;
    nested = *frame->next++;
begin:
    pos = pack_room(packing, pos);
    if (!pos)
        return NULL;
    pos = put_tag(op, pos);
    if (__builtin_expect(!nested, 0)) { /* required; or in an array, where nobody asks */
        *pos++ = 0;
        goto ended;
    }
    if (nested->descriptor != op->table->type && !pack_is_of(nested, op->table))
        return pack_fail(packing, -EINVAL);
    frame->op = op;
    frame->message = message;
    frame->start = pos++;
    if (__builtin_expect(frame >= deepest, 0)) {
        if (frame == frames + WIRE_DEPTH_MAX - 1)
            return pack_fail(packing, -ELOOP);
        pos = pack_begin(packing, frame, pos - 1);
        if (!pos)
            return NULL;
    }
    message = (const uint8_t *)nested;
    op = op->table->ops;
    frame++;
    STEP(op->code);

end:
    nested = (const ProtobufCMessage *)(const void *)message;
    if (__builtin_expect(nested->n_unknown_fields > 0, 0)) {
        pos = put_unknown(packing, nested, pos);
        if (!pos)
            return NULL;
    }
    if (frame == frames)
        return pos;
    frame--;
    message = frame->message;
    op = frame->op;
    if (__builtin_expect(frame >= deepest || pos - frame->start > 0x80, 0)) {
        pos = small ? pack_length(packing, frame->start, 1, pos) : pack_end(packing, frame, pos);
        if (!pos)
            return NULL;
    } else {
        *frame->start = (uint8_t)(pos - frame->start - 1);
    }
ended:
    if (frame->left > 0)
        goto following;
    NEXT();
}
#pragma GCC diagnostic pop
