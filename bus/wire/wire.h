/*
 * The wire room: protobuf's encoding, bounded.
 *
 * For private memory only: what a peer can still change enters through the plan runner
 * (translate/plan.h), which reads each byte once.
 */
#ifndef PARLEY_WIRE_WIRE_H
#define PARLEY_WIRE_WIRE_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <protobuf-c/protobuf-c.h>

#include "base/error.h"

/* Limits on everything that a peer sends. */
#define WIRE_MESSAGE_BYTES_MAX (UINT32_C(64) << 20)
#define WIRE_DEPTH_MAX 32    /* nested messages; the outermost is 1 */
#define WIRE_FIELDS_MAX 4096 /* occurrences of fields a message, elements of repeated ones apart   \
                              */
#define WIRE_ELEMENTS_MAX (UINT32_C(1) << 20) /* of repeated fields, over the whole message */
#define WIRE_NUMBER_MAX ((UINT32_C(1) << 29) - 1)
#define WIRE_DECLARED_MAX 4096 /* fields that a message type may declare */

enum wire_type {
    WIRE_VARINT = 0,
    WIRE_64BIT = 1,
    WIRE_BYTES = 2,
    WIRE_GROUP_START = 3,
    WIRE_GROUP_END = 4,
    WIRE_32BIT = 5,
};

struct wire_reader {
    const uint8_t *pos;
    const uint8_t *end;
};

/* Each returns 0, or -EBADMSG on truncation, an overlong varint, number 0 or a bad wire type. */
int wire_read_varint(struct wire_reader *reader, uint64_t *ret_value);
int wire_read_tag(struct wire_reader *reader, uint32_t *ret_number, enum wire_type *ret_type);
int wire_read_bytes(struct wire_reader *reader, const uint8_t **ret_data, size_t *ret_bytes);
int wire_skip(struct wire_reader *reader, uint32_t number, enum wire_type type); /* groups too */

/* Bytes that a varint takes: 1..10. */
static inline size_t wire_varint_size(uint64_t value)
{
    return (size_t)(9 * (64 - __builtin_clzll(value | 1)) + 64) / 64;
}
/* Writes it and returns the byte behind; the caller has made room. */
uint8_t *wire_write_varint(uint8_t *out, uint64_t value);
uint8_t *wire_write_tag(uint8_t *out, uint32_t number, enum wire_type type);

/* Whether it is UTF-8 as protobuf requires of strings (RFC 3629: no surrogates, no overlongs). */
int wire_check_utf8(const uint8_t *data, size_t bytes);
/* The same, and without NUL: protobuf-c's strings end at one, so that a reader would see less than
 * what was sent. Every message that enters a process is held to this. Both: 0 or -EBADMSG. */
int wire_check_string(const uint8_t *data, size_t bytes);

/* ---- Unpacking into protobuf-c's structs ---- */

/**
 * wire_check() - whether protobuf-c can unpack this safely
 *
 * Well-formed by @descriptor, within the limits above, strings UTF-8 without NUL, required fields
 * present. Packed and unpacked are both read; unknown fields are skipped within bounds. Groups are
 * refused wherever they are, for protobuf-c cannot skip them. @limits NULL: the defaults.
 * Return: 0; -EBADMSG, -E2BIG with field and offset in @error.
 */
struct wire_limits {
    uint32_t bytes_max, depth_max, fields_max, elements_max;
};
int wire_check(const ProtobufCMessageDescriptor *descriptor, const uint8_t *data, size_t bytes,
               const struct wire_limits *limits, struct error_text *error);

/**
 * wire_unpack_checked() - unpack into one block what wire_check() or the plan runner has passed
 * @ret_message: the caller's; wire_free(). All of it, structs, strings and arrays, is bumped from
 *               chunks that hang on the first.
 * Return: 0; -ENOMEM; -E2BIG if it would take more than wire_unpacked_bytes_max(); -EBADMSG if
 * protobuf-c refuses it all the same.
 */
int wire_unpack_checked(const ProtobufCMessageDescriptor *descriptor, const uint8_t *data,
                        size_t bytes, ProtobufCMessage **ret_message);
/* The most memory that unpacking @bytes may take: 128 MiB + 64 x. protobuf-c's structs are larger
 * than what they are made from, and merging split messages copies arrays again and again. */
static inline size_t wire_unpacked_bytes_max(size_t bytes)
{
    return ((size_t)128 << 20) + 64 * bytes;
}
/* wire_check(), then wire_unpack_checked(). */
int wire_unpack(const ProtobufCMessageDescriptor *descriptor, const uint8_t *data, size_t bytes,
                const struct wire_limits *limits, ProtobufCMessage **ret_message,
                struct error_text *error);
/* Frees what the two returned. NULL is fine. Returns NULL. */
void *wire_free(void *message);

/* So that the thread's next message of so many bytes, all told, finds a block. No memory: then it
 * asks for one. */
void wire_block_prepare(size_t bytes);

/* What an unpacked message needs beside its block: let go by wire_free(). */
struct wire_hold {
    void (*release)(struct wire_hold *hold);
};
void wire_hold_on(void *message, struct wire_hold *hold); /* @message has none yet */
/* The message's hold, which is the caller's from now on; NULL: it has none. */
struct wire_hold *wire_hold_take(void *message);

/* ---- Packing protobuf-c's structs ---- */

/* How the messages of some types are packed: @types, and all that they can hold. Made once, of
 * descriptors; not changed by packing. Return: 0 or -ENOMEM. */
struct wire_packer;
int wire_packer_new(const ProtobufCMessageDescriptor *const *types, size_t type_count,
                    struct wire_packer **ret_packer);
struct wire_packer *wire_packer_free(struct wire_packer *packer); /* NULL is fine */

/* What one thread needs for packing, one message after the other. */
struct wire_packing;
int wire_packing_new(struct wire_packing **ret_packing); /* 0 or -ENOMEM */
struct wire_packing *wire_packing_free(struct wire_packing *packing); /* NULL is fine */

/**
 * wire_pack() - pack a message as far as needed to know its length
 * @type:      which of the packer's types it is, by index
 * @ret_bytes: what wire_pack_write() will write
 *
 * The bytes are those that protobuf_c_message_pack() would write. A message of up to
 * WIRE_PACK_WINDOW_BYTES is packed, in @packing; a larger one is measured. Both are for
 * wire_pack_write(), until the next call of this.
 *
 * Return: 0; -E2BIG: larger than WIRE_MESSAGE_BYTES_MAX; -ELOOP: nested deeper than WIRE_DEPTH_MAX,
 * or for ever; -EINVAL: it, or a message in it, is of another type than its place is for; -ENOMEM.
 */
#define WIRE_PACK_WINDOW_BYTES 65536
int wire_pack(struct wire_packing *packing, const struct wire_packer *packer, size_t type,
              const ProtobufCMessage *message, size_t *ret_bytes);
/* The same of a message that is small enough, straight to where it goes, which another process may
 * read meanwhile: there is nothing in it but the message's bytes and zeros, and constants.
 * @room: bytes at @out, WIRE_PACK_AT_SLACK more than the message has. WIRE_PACK_AT_OVER bytes behind
 * the message may be written, too. Return: 0; -ENOBUFS: it is too large, or wire_pack() will say
 * what is wrong with it; then something was written. */
#define WIRE_PACK_AT_SLACK 128
#define WIRE_PACK_AT_OVER 16
int wire_pack_at(struct wire_packing *packing, const struct wire_packer *packer, size_t type,
                 const ProtobufCMessage *message, uint8_t *out, size_t room, size_t *ret_bytes);
/* What was packed last. Borrowed, until the next wire_pack(). */
struct wire_packed {
    const uint8_t *data; /* NULL: it is large, wire_pack_write() makes it */
    size_t bytes;
};
static inline const struct wire_packed *wire_packed(const struct wire_packing *packing)
{
    return (const struct wire_packed *)(const void *)packing; /* its first member */
}
/* Puts it there, all of @ret_bytes and nothing behind. What is large is read again and copied once.
 * @out may be NULL if there is nothing.
 * Return: 0; -ESTALE if the message has changed meanwhile; any other error of wire_pack() that it
 * has now. */
int wire_pack_write(struct wire_packing *packing, uint8_t *out);

/* ---- Bytes that are referred to, not copied ---- */

/* Of what takes their place in the message, so that all lengths around them are right. */
#define WIRE_REF_BYTES 16
#define WIRE_REFS_MAX 16        /* of one message; what is more is copied */
#define WIRE_REF_BYTES_MIN 4096 /* what is shorter is copied */

struct wire_ref {
    const uint8_t *data;
    uint32_t bytes;
    uint32_t place; /* of the stand-in, from the message's start */
};

/* Whether the bytes of a field are to be referred to, if @before others are already: then it writes
 * what stands for them, WIRE_REF_BYTES. Asked again for each pass over the message: must answer alike. */
typedef bool (*wire_refers)(void *userdata, const uint8_t *data, size_t bytes, size_t before,
                            uint8_t *stand_in);

/* wire_pack(), with references in fields of type bytes. -E2BIG: larger than WIRE_MESSAGE_BYTES_MAX,
 * what they refer to included. */
int wire_pack_refs(struct wire_packing *packing, const struct wire_packer *packer, size_t type,
                   const ProtobufCMessage *message, wire_refers refers, void *userdata,
                   size_t *ret_bytes);
/* wire_pack_at(), with references; -ENOBUFS for -E2BIG. Where they are is known at once. */
int wire_pack_refs_at(struct wire_packing *packing, const struct wire_packer *packer, size_t type,
                      const ProtobufCMessage *message, wire_refers refers, void *userdata,
                      uint8_t *out, size_t room, size_t *ret_bytes);
/* The message that was packed last, without references. */
int wire_pack_again(struct wire_packing *packing, size_t *ret_bytes);
/* Where the stand-ins are, from the message's start, ascending. How many: known after wire_pack();
 * where: after wire_pack_write(). Borrowed. */
const uint32_t *wire_packed_places(const struct wire_packing *packing, size_t *ret_count);

/**
 * wire_expand() - put the bytes where the stand-ins are
 * @message: private
 * @refs: by ascending place; what they refer to may be live shared memory, and is read once
 * @ret_message: malloc'ed
 *
 * Return: 0; -EBADMSG: a place is not all of a field's content, or not in the message, or what is on
 * the way to it is not well-formed; -E2BIG: more than WIRE_REFS_MAX, or than
 * WIRE_MESSAGE_BYTES_MAX; -ENOMEM.
 */
int wire_expand(const uint8_t *message, size_t bytes, const struct wire_ref *refs, size_t count,
                uint8_t **ret_message, size_t *ret_bytes);

#endif
