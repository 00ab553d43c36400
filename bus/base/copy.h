/*
 * memcpy() of what may be long, wherever it lies.
 *
 * Zen 3 and 4 copy with `rep movsb` from 4 KiB to some 100 KiB in glibc, and that takes twenty
 * times as long where the target begins 1 to 15 bytes behind the source, modulo a page: 18.7 us
 * instead of 1.1 for 64 KiB. It happens to whoever packs bytes that begin with a page into a block
 * that does, for the field's tag and length come first. In short pieces memcpy() goes another way.
 */
#ifndef PARLEY_BASE_COPY_H
#define PARLEY_BASE_COPY_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define COPY_PIECE_BYTES ((size_t)1024)

static inline void copy_bytes(void *out, const void *in, size_t bytes)
{
#if defined(__x86_64__)
    size_t behind = ((uintptr_t)out - (uintptr_t)in) % 4096;
    if (__builtin_expect(behind - 1 < 31 && bytes > 2 * COPY_PIECE_BYTES, 0)) {
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

#endif
