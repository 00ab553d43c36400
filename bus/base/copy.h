/*
 * memcpy() of what may be long, wherever it lies.
 *
 * glibc copies from 2 KiB to a mebibyte by `rep movsb` on AMD's processors of today (seen on Zen
 * 4), and that is slow where target and source lie differently to cache lines: a tenth to a half
 * where the target begins 16 to 63 bytes behind the source, modulo a page, and 12 to 30 times as
 * long at 1 to 15: 18.7 us instead of 1.2 for 64 KiB. It happens to whoever packs bytes that begin
 * with a page into a block that does, for the field's tag and length come first; and to whoever
 * copies such bytes to what malloc() gives, 16 bytes behind a page. There a loop is as fast as
 * memcpy() at its best.
 */
#ifndef PARLEY_BASE_COPY_H
#define PARLEY_BASE_COPY_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define COPY_LINE_BYTES 64
#define COPY_PAGE_BYTES 4096
#define COPY_ASKEW_BYTES_MIN ((size_t)4096)
#define COPY_ASKEW_BYTES_MAX ((size_t)1 << 20) /* memcpy() has such a loop for more */

/* copy.c: memcpy() of some kilobytes at least. */
void copy_askew(void *out, const void *in, size_t bytes);

static inline void copy_bytes(void *out, const void *in, size_t bytes)
{
#if defined(__x86_64__)
    if (__builtin_expect(
            bytes - COPY_ASKEW_BYTES_MIN <= COPY_ASKEW_BYTES_MAX - COPY_ASKEW_BYTES_MIN, 0) &&
        ((uintptr_t)out - (uintptr_t)in) % 64 != 0) {
        copy_askew(out, in, bytes);
        return;
    }
#endif
    memcpy(out, in, bytes);
}

/* copy.c: copy_over() where memcpy() would be slow. */
void copy_round(void *out, const void *in, size_t bytes);

/* memcpy() to memory that another core has read since, as a peer has: its lines are there, not
 * here. `rep movsb` takes a line over without asking what is in it, which is a third of the time
 * that any loop of stores takes, from some 2 KiB on (seen on Zen 5); but not where the target
 * begins 1 to 63 bytes behind the source, modulo a page. There the bytes go by memory that lies
 * well. */
static inline void copy_over(void *out, const void *in, size_t bytes)
{
#if defined(__x86_64__)
    const size_t behind = ((uintptr_t)out - (uintptr_t)in) % COPY_PAGE_BYTES;
    if (__builtin_expect(
            bytes - COPY_ASKEW_BYTES_MIN <= COPY_ASKEW_BYTES_MAX - COPY_ASKEW_BYTES_MIN, 0) &&
        behind > 0 && behind < COPY_LINE_BYTES) {
        copy_round(out, in, bytes);
        return;
    }
#endif
    memcpy(out, in, bytes);
}

/* memcpy() of what is most often 32 to 64 bytes: two halves that may overlap, without a call and
 * what that makes its caller put aside. */
#define COPY_FEW_BYTES_MAX 64
static inline void copy_few(void *out, const void *in, size_t bytes)
{
    enum { HALF = COPY_FEW_BYTES_MAX / 2 };
    if (__builtin_expect(bytes - HALF <= HALF, 1)) {
        memcpy(out, in, HALF);
        memcpy((uint8_t *)out + bytes - HALF, (const uint8_t *)in + bytes - HALF, HALF);
        return;
    }
    memcpy(out, in, bytes);
}

#endif
