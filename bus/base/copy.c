/*
 * Long copies between places that lie differently to cache lines: whole lines are stored, of two
 * pieces that are loaded wherever they are. All loads of a step come before its stores, so that no
 * load waits for a store that only looks as if it were to the same place (they are told apart by
 * their addresses in a page).
 */
#include "base/copy.h"

#define ROUND_BYTES ((size_t)8192) /* at once: in the first-level cache, and whole pages */

#if defined(__x86_64__)

#include <immintrin.h>

#define LINE_BYTES COPY_LINE_BYTES
#define STEP_BYTES 128 /* two lines */

__attribute__((target("avx2"))) static void copy_lines(uint8_t *to, const uint8_t *from,
                                                       size_t bytes)
{
    const size_t before = -(uintptr_t)to % LINE_BYTES;
    memcpy(to, from, LINE_BYTES); /* the first whole line is somewhere in it, or behind it */
    to += before;
    from += before;
    bytes -= before;
    for (; bytes >= STEP_BYTES; bytes -= STEP_BYTES) {
        const __m256i *in = (const __m256i *)(const void *)from;
        __m256i *out = (__m256i *)(void *)to;
        __m256i a = _mm256_loadu_si256(in), b = _mm256_loadu_si256(in + 1);
        __m256i c = _mm256_loadu_si256(in + 2), d = _mm256_loadu_si256(in + 3);
        __asm__ volatile("" : "+x"(a), "+x"(b), "+x"(c), "+x"(d));
        _mm256_store_si256(out, a);
        _mm256_store_si256(out + 1, b);
        _mm256_store_si256(out + 2, c);
        _mm256_store_si256(out + 3, d);
        to += STEP_BYTES;
        from += STEP_BYTES;
    }
    memcpy(to, from, bytes);
}

void copy_askew(void *out, const void *in, size_t bytes)
{
    if (__builtin_cpu_supports("avx2"))
        copy_lines(out, in, bytes);
    else
        memcpy(out, in, bytes);
}

#else

void copy_askew(void *out, const void *in, size_t bytes)
{
    memcpy(out, in, bytes);
}

#endif

void copy_round(void *out, const void *in, size_t bytes)
{
    uint8_t between[ROUND_BYTES + COPY_PAGE_BYTES];
    uint8_t *to = out;
    const uint8_t *from = in;
    /* Where the target is a line in front, modulo a page. */
    uint8_t *at =
        between + ((uintptr_t)to + COPY_LINE_BYTES - (uintptr_t)between) % COPY_PAGE_BYTES;
    while (bytes > 0) {
        const size_t piece = bytes < ROUND_BYTES ? bytes : ROUND_BYTES;
        copy_bytes(at, from, piece);
        memcpy(to, at, piece);
        to += piece;
        from += piece;
        bytes -= piece;
    }
}
