/* Members of JSON objects. */
#ifndef PARLEY_REPORT_SET_H
#define PARLEY_REPORT_SET_H

#include <stdint.h>

#include <jansson.h>
#include <protobuf-c/protobuf-c.h>

/* Left out if there is none, or if it is no UTF-8. */
void report_set_text(json_t *object, const char *name, const char *text);
/* 16 hexadecimal digits: a 64-bit number is none that JSON can keep. */
void report_set_id(json_t *object, const char *name, uint64_t id);
/* Those of the message's optional uint32 and uint64 fields that it has, by their names; of numbers
 * below @below. */
void report_set_counts(json_t *object, const ProtobufCMessage *message, uint32_t below);

#endif
