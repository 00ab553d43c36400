/*
 * Inside wire and translate: the check of a string, for loops that have many short ones.
 */
#ifndef PARLEY_WIRE_TEXT_H
#define PARLEY_WIRE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

/* What text may begin with: anything, or anything but NUL. */
#define TEXT_ANY UINT8_C(0)
#define TEXT_NO_NUL UINT8_C(1)

#define TEXT_SHORT_BYTES_MAX 32

/* The ways to check, of which wire_check_utf8() and wire_check_string() choose the fastest that
 * this machine has; apart, so that tests can compare them. Each: 0 or -EBADMSG. */
int text_check_plainly(const uint8_t *data, size_t bytes, uint8_t lowest);
#if defined(__x86_64__)
#define TEXT_HAVE_AVX2 1
static inline bool text_has_avx2(void)
{
    return __builtin_cpu_supports("avx2");
}
int text_check_avx2(const uint8_t *data, size_t bytes, uint8_t lowest);
/* TEXT_SHORT_BYTES_MAX at most, without NUL, and as many may be read from @data on. */
int text_check_short_avx2(const uint8_t *data, size_t bytes);
#define TEXT_HAVE_AVX512 1
static inline bool text_has_avx512(void)
{
    return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vbmi") &&
           __builtin_cpu_supports("avx512vbmi2");
}
int text_check_avx512(const uint8_t *data, size_t bytes, uint8_t lowest);
#endif
/* The fastest. */
int text_check(const uint8_t *data, size_t bytes, uint8_t lowest);

#if defined(__SSE2__)
/* Bit i: byte i of the sixteen is 0x01..0x7f. As signed bytes those are the ones above zero. */
static inline unsigned text_plain_bits(const uint8_t *data)
{
    __m128i block = _mm_loadu_si128((const __m128i *)(const void *)data);
    return (unsigned)_mm_movemask_epi8(_mm_cmpgt_epi8(block, _mm_setzero_si128()));
}
#endif

/* Whether it is TEXT_SHORT_BYTES_MAX bytes at most, all 0x01..0x7f. So many can be read from @data on. */
static inline bool text_is_plain(const uint8_t *data, size_t bytes)
{
#if defined(__SSE2__)
    /* The first that is not plain is none of them. (All bits above those of the blocks are set.) */
    uint64_t plain = text_plain_bits(data);
    if (__builtin_expect(bytes <= (unsigned)__builtin_ctz(~(unsigned)plain), 1))
        return true;
    plain |= (uint64_t)text_plain_bits(data + 16) << 16;
    return bytes <= (unsigned)__builtin_ctzll(~plain);
#else
    unsigned plain = bytes <= TEXT_SHORT_BYTES_MAX;
    for (size_t i = 0; i < bytes && plain; i++)
        plain = data[i] - 1u < 0x7f;
    return plain;
#endif
}

/* UTF-8 without NUL, of which most are short and ASCII. @room: bytes that may be read from @data
 * on, those of the text and others behind it. */
static inline bool text_is_string(const uint8_t *data, size_t bytes, size_t room)
{
#if defined(__SSE2__)
    if (bytes <= 16) {
        if (room >= 16) {
            unsigned mask = (1u << bytes) - 1;
            if (__builtin_expect((text_plain_bits(data) & mask) == mask, 1))
                return true;
        }
    } else if (bytes <= TEXT_SHORT_BYTES_MAX) {
        if (__builtin_expect((text_plain_bits(data) & text_plain_bits(data + bytes - 16)) == 0xffff,
                             1))
            return true;
    }
#else
    (void)room;
#endif
#if defined(TEXT_HAVE_AVX2)
    if (bytes <= TEXT_SHORT_BYTES_MAX && room >= TEXT_SHORT_BYTES_MAX && text_has_avx2())
        return text_check_short_avx2(data, bytes) == 0;
#endif
    return text_check(data, bytes, TEXT_NO_NUL) == 0;
}

#endif
