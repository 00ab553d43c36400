/*
 * What the tests of bytes that travel as references share: a bus, a service of blobs in a process
 * of its own, and a client.
 */
#ifndef PARLEY_TESTS_CONFORMANCE_BLOB_CLIENT_H
#define PARLEY_TESTS_CONFORMANCE_BLOB_CLIENT_H

#include "support/test.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "blob_v1.parley.h"
#include "conformance/blobs.h"
#include "support/bus.h"

#define MIB ((size_t)1 << 20)

extern struct bus bus; /* runs while a test does */
extern struct parley_endpoint *endpoint;
extern struct parley_client *client;
extern pid_t service;

/* cmocka's. */
int blobs_set_up(void **state);
int blobs_tear_down(void **state);

/* Makes service, endpoint and client. @version: of the service: "1" or "2". */
void blobs_connect(const char *version);

/* A buffer that is filled: blob_fill(). */
struct parley_buffer *blob_buffer(size_t bytes, uint8_t first);
ProtobufCBinaryData blob_bytes(const struct parley_buffer *buffer, size_t bytes);
void assert_same(ProtobufCBinaryData a, ProtobufCBinaryData b);
void assert_filled(ProtobufCBinaryData data, size_t bytes, uint8_t first);

/* Calls of Look, of which the second compares what comes back. Return: the reply; what the service
 * says was live. */
Blob__V1__Blob *blob_look(const Blob__V1__Blob *request);
uint32_t blob_look_at(ProtobufCBinaryData data);
/* A call of Make: a reply of so many bytes in a buffer; @all: in every field. */
Blob__V1__Blob *blob_make(size_t bytes, uint8_t first, bool all);

#endif
