/*
 * An interface of 200 messages, as descriptor sets: what a registry has to cope with, not what
 * anybody should write by hand.
 */
#ifndef PARLEY_BENCH_LARGE_H
#define PARLEY_BENCH_LARGE_H

#include <stddef.h>
#include <stdint.h>

#define LARGE_MESSAGE_COUNT 200
#define LARGE_INTERFACE "bench-large"

enum large_version {
    LARGE_1_0_0,
    LARGE_1_1_0, /* a field, a value and a method more; breaks nothing */
    LARGE_2_0_0, /* every message renumbered, with six rules each, and one more (a contact) */
    LARGE_2_0_0_MENDED, /* the same version with another unit in every message */
};

/* A google.protobuf.FileDescriptorSet; *ret_set: free(). Aborts if there is no memory. */
void large_set(enum large_version version, uint8_t **ret_set, size_t *ret_bytes);

#endif
