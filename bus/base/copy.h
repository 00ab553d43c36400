/*
 * memcpy() of what may be long, wherever it lies.
 *
 * glibc copies from 4 KiB to some 100 KiB by `rep movsb` on AMD's processors of today (seen on Zen
 * 4), and that takes 12 to 27 times as long where the target begins 1 to 15 bytes behind the
 * source, modulo a page: 18.7 us instead of 1.1 for 64 KiB. It happens to whoever packs bytes that
 * begin with a page into a block that does, for the field's tag and length come first. Pieces as
 * short as these memcpy() loads whole before it stores them, so that no load waits for a store that
 * only looks as if it were to the same place: 1.5 us. Longer pieces are slower, and what is longer
 * than COPY_PIECES_BYTES_MAX glibc copies past the cache, at the same speed wherever it lies.
 */
#ifndef PARLEY_BASE_COPY_H
#define PARLEY_BASE_COPY_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define COPY_PIECE_BYTES ((size_t)256)
#define COPY_PIECES_BYTES_MIN ((size_t)4096)
#define COPY_PIECES_BYTES_MAX ((size_t)512 << 10)

static inline void copy_bytes(void *out, const void *in, size_t bytes)
{
#if defined(__x86_64__)
    const size_t behind = ((uintptr_t)out - (uintptr_t)in) % 4096;
    if (__builtin_expect(bytes - COPY_PIECES_BYTES_MIN <=
                             COPY_PIECES_BYTES_MAX - COPY_PIECES_BYTES_MIN,
                         0) &&
        behind - 1 < 15) {
        uint8_t *to = out;
        const uint8_t *from = in;
        for (; bytes > COPY_PIECE_BYTES; bytes -= COPY_PIECE_BYTES) {
            memcpy(to, from, COPY_PIECE_BYTES);
            /* Or a compiler may see that it is one copy. */
            __asm__ volatile("" : "+r"(to), "+r"(from) : : "memory");
            to += COPY_PIECE_BYTES;
            from += COPY_PIECE_BYTES;
        }
        memcpy(to, from, bytes);
        return;
    }
#endif
    memcpy(out, in, bytes);
}

/* memcpy() of what is most often 32 to 64 bytes: two halves that may overlap, without a call and
 * what that makes its caller put aside. */
static inline void copy_few(void *out, const void *in, size_t bytes)
{
    enum { HALF = 32 };
    if (__builtin_expect(bytes - HALF <= HALF, 1)) {
        memcpy(out, in, HALF);
        memcpy((uint8_t *)out + bytes - HALF, (const uint8_t *)in + bytes - HALF, HALF);
        return;
    }
    memcpy(out, in, bytes);
}

#endif
