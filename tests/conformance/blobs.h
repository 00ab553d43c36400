/* The services of the tests of bytes that travel as references, in both versions. */
#ifndef PARLEY_TESTS_CONFORMANCE_BLOBS_H
#define PARLEY_TESTS_CONFORMANCE_BLOBS_H

#include <stddef.h>
#include <stdint.h>

#include "support/bus.h"

/* What Look's `number` says was live. */
enum blob_live {
    BLOB_DATA = 1,
    BLOB_GONE = 2,
    BLOB_CODED = 4,
    BLOB_PIECE = 8,
    BLOB_LEFT = 16,
    BLOB_MORE = 256, /* times how many of them */
};

/* For bus_fork(). @version: "1" or "2". */
int blobs_serve(struct bus *bus, void *version);

/* Bytes that differ for each @first. */
void blob_fill(uint8_t *data, size_t bytes, uint8_t first);

#endif
