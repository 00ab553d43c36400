/*
 * What is translated: an order of about 300 bytes (order_v1.proto, order_v2.proto) and the record
 * of a package as the demo's catalogue serves it, each in both versions, and the conversion as
 * somebody would write it by hand with protobuf-c.
 */
#ifndef PARLEY_BENCH_MESSAGES_H
#define PARLEY_BENCH_MESSAGES_H

#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#define MESSAGE_BYTES_MAX 4096

struct packed {
    uint8_t data[MESSAGE_BYTES_MAX];
    size_t bytes;
};

void messages_pack(const ProtobufCMessage *message, struct packed *ret_packed);

/* What conversions by hand use: "Name <mail>" cut in two where it is (@ret_email untouched if it is
 * not of that form), and a, @between, b, @behind as a new string. */
void messages_split(char *text, char **ret_name, char **ret_email);
char *messages_join(ProtobufCAllocator *allocator, const char *a, const char *between,
                    const char *b, const char *behind);

/* malloc() and free(). */
extern ProtobufCAllocator messages_malloc;
/* From one block, from its start after messages_bump_reset(); freeing does nothing. */
extern ProtobufCAllocator messages_bump;
void messages_bump_reset(void);

/* Unpacks @in, converts it field by field, packs it into @out (MESSAGE_BYTES_MAX) and frees what it
 * took from @allocator, which is never NULL. Strings are borrowed from the unpacked message, not
 * copied. Return: how long it became; 0 if @in is none. */
typedef size_t convert_by_hand(ProtobufCAllocator *allocator, const uint8_t *in, size_t bytes,
                               uint8_t *out);

convert_by_hand order_up, order_down, record_up, record_down;

/* The messages, in the words of either version. What version 1 does not have is not in the order's
 * version 2; in the record's it is: a description of 646 bytes, and the name of a source package.
 */
void order_v1(struct packed *ret_packed);
void order_v2(struct packed *ret_packed);
void record_v1(struct packed *ret_packed);
void record_v2(struct packed *ret_packed);
/* The record again, as the first and as the last of six versions say it (chain_v1.proto to
 * chain_v6.proto); the last has nothing that the first does not. */
void chain_first(struct packed *ret_packed);
void chain_last(struct packed *ret_packed);

#endif
