/*
 * UTF-8: RFC 3629, table 3-7 of the Unicode standard. The second byte's range depends on the first,
 * which excludes overlongs, surrogates and what lies past U+10FFFF.
 *
 * Text is plain ASCII mostly, and short. So there are four ways through it:
 *
 *  - up to 32 bytes of plain text: inline (text.h), two loads at most;
 *  - plainly: runs of plain text, sixteen bytes at a step where the machine has SSE2 (every
 * x86-64), eight elsewhere, and a decoder for what is between them. This is what other machines
 * have, and what the tests hold the next one to;
 *  - AVX2, chosen when the program runs: 128 bytes of plain text at a step, and for the rest the
 *    lookup algorithm of J. Keiser and D. Lemire, "Validating UTF-8 In Less Than One Instruction
 * Per Byte", Software: Practice and Experience 51 (2021). Each byte and the one before it are
 * looked up in three tables of sixteen (by the high and low half of the byte before, by the high
 * half of the byte), each entry the set of errors that it allows; what all three allow is an error.
 * What needs more than two bytes to see, that a third or fourth byte of a character is where one
 * has to be, is a comparison with the bytes two and three before;
 *  - AVX-512, where the program finds it: text_avx512.c.
 *
 * NUL is text for protobuf and the end of it for C: `lowest` says which is meant.
 */
#include "wire/text.h"

#include <errno.h>

#include "wire/wire.h"
#if defined(TEXT_HAVE_AVX2)
#include <immintrin.h>
#endif

#define HIGH_BITS UINT64_C(0x8080808080808080)
#define LOW_BITS UINT64_C(0x7f7f7f7f7f7f7f7f)

/* Whether all eight bytes are 0x01..0x7f. x + 0x7f sets a byte's top bit unless the byte is 0; a
 * carry comes only out of a byte whose own top bit is set, and that one has failed already. */
static inline bool is_plain_word(uint64_t x)
{
    return ((x | ~(x + LOW_BITS)) & HIGH_BITS) == 0;
}

static inline uint64_t load_word(const uint8_t *data)
{
    uint64_t x;
    memcpy(&x, data, sizeof(x));
    return x;
}

/* Fewer than sixteen bytes, all 0x01..0x7f? Loads overlap in the middle. */
static inline bool is_plain_short(const uint8_t *data, size_t bytes)
{
    if (bytes >= 8)
        return is_plain_word(load_word(data)) && is_plain_word(load_word(data + bytes - 8));
    if (bytes >= 4) {
        uint32_t first, last;
        memcpy(&first, data, 4);
        memcpy(&last, data + bytes - 4, 4);
        return is_plain_word((uint64_t)first << 32 | last);
    }
    for (size_t i = 0; i < bytes; i++)
        if (data[i] == 0 || data[i] >= 0x80)
            return false;
    return true;
}

/* Bytes at the front that are all 0x01..0x7f: a multiple of a step, or all of them. */
static inline size_t plain_prefix(const uint8_t *data, size_t bytes)
{
    size_t i = 0;
#if defined(__SSE2__)
    const __m128i zero = _mm_setzero_si128();
    for (; bytes - i >= 64; i += 64) {
        /* As signed bytes, plain ones are those above zero. */
        const __m128i *at = (const __m128i *)(const void *)(data + i);
        __m128i ab = _mm_min_epu8(_mm_loadu_si128(at), _mm_loadu_si128(at + 1));
        __m128i cd = _mm_min_epu8(_mm_loadu_si128(at + 2), _mm_loadu_si128(at + 3));
        __m128i high = _mm_or_si128(_mm_or_si128(_mm_loadu_si128(at), _mm_loadu_si128(at + 1)),
                                    _mm_or_si128(_mm_loadu_si128(at + 2), _mm_loadu_si128(at + 3)));
        __m128i bad = _mm_or_si128(_mm_cmpeq_epi8(_mm_min_epu8(ab, cd), zero), high);
        if (_mm_movemask_epi8(bad) != 0)
            break;
    }
    for (; bytes - i >= 16; i += 16) {
        __m128i a = _mm_loadu_si128((const __m128i *)(const void *)(data + i));
        if (_mm_movemask_epi8(_mm_cmpgt_epi8(a, zero)) != 0xffff)
            return i;
    }
#else
    for (; bytes - i >= 16; i += 16)
        if (!is_plain_word(load_word(data + i)) || !is_plain_word(load_word(data + i + 8)))
            return i;
#endif
    /* What is left, or the last fifteen with it. */
    if (i > 0 && i < bytes)
        return is_plain_short(data + bytes - 15, 15) ? bytes : i;
    return is_plain_short(data + i, bytes - i) ? bytes : i;
}

/* Bytes of the well-formed character at the front: 1..4, or 0. Its first byte is not ASCII. */
static size_t character_bytes(const uint8_t *data, size_t bytes)
{
    uint8_t first = data[0], low = 0x80, high = 0xbf;
    size_t size;
    if (first >= 0xc2 && first <= 0xdf) {
        size = 2;
    } else if (first >= 0xe0 && first <= 0xef) {
        size = 3;
        low = first == 0xe0 ? 0xa0 : 0x80;
        high = first == 0xed ? 0x9f : 0xbf;
    } else if (first >= 0xf0 && first <= 0xf4) {
        size = 4;
        low = first == 0xf0 ? 0x90 : 0x80;
        high = first == 0xf4 ? 0x8f : 0xbf;
    } else {
        return 0;
    }
    if (bytes < size || data[1] < low || data[1] > high)
        return 0;
    for (size_t i = 2; i < size; i++)
        if ((data[i] & 0xc0) != 0x80)
            return 0;
    return size;
}

/* From where it is no plain text any more. Out of line: most text never gets here. */
__attribute__((noinline)) static int check_slowly(const uint8_t *data, size_t bytes, uint8_t lowest)
{
    size_t i = 0;
    while (i < bytes) {
        /* Up to eight characters one by one, then try for a run again. */
        for (unsigned n = 0; n < 8 && i < bytes; n++) {
            if (data[i] < 0x80) {
                if (data[i] < lowest)
                    return -EBADMSG;
                i++;
                continue;
            }
            size_t size = character_bytes(data + i, bytes - i);
            if (size == 0)
                return -EBADMSG;
            i += size;
        }
        i += plain_prefix(data + i, bytes - i);
    }
    return 0;
}

int text_check_plainly(const uint8_t *data, size_t bytes, uint8_t lowest)
{
    size_t plain = plain_prefix(data, bytes);
    return plain == bytes ? 0 : check_slowly(data + plain, bytes - plain, lowest);
}

#if defined(TEXT_HAVE_AVX2)
#define AVX2 __attribute__((target("avx2")))

/* What can be wrong with two bytes in a row; CARRY is what the low half of the first has no say in.
 */
enum pair_error {
    TOO_SHORT = 1 << 0,      /* a character begins where another should go on */
    TOO_LONG = 1 << 1,       /* goes on though it ended */
    OVERLONG_3 = 1 << 2,     /* e0 80..9f */
    TOO_LARGE = 1 << 3,      /* f4 90..bf, f5.. 90..bf */
    SURROGATE = 1 << 4,      /* ed a0..bf */
    OVERLONG_2 = 1 << 5,     /* c0, c1 */
    TOO_LARGE_1000 = 1 << 6, /* f5.. 80..8f */
    OVERLONG_4 = 1 << 6,     /* f0 80..8f */
    TWO_CONTINUE = 1 << 7,   /* fine, or not: by the bytes before */
    CARRY = TOO_SHORT | TOO_LONG | TWO_CONTINUE,
    LARGE = CARRY | TOO_LARGE | TOO_LARGE_1000,
};

/* The block @bytes earlier: the last of @before, then the first of @now. */
#define EARLIER(before, now, bytes)                                                                \
    _mm256_alignr_epi8(now, _mm256_permute2x128_si256(before, now, 0x21), 16 - (bytes))

#define TABLE(...) _mm256_broadcastsi128_si256(_mm_setr_epi8(__VA_ARGS__))

/* Not zero where something is wrong by this block and the same one, two and three bytes earlier. */
AVX2 static inline __m256i block_errors(__m256i now, __m256i first, __m256i second, __m256i third)
{
    const __m256i by_first_high =
        TABLE(TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG,
              (char)TWO_CONTINUE, (char)TWO_CONTINUE, (char)TWO_CONTINUE, (char)TWO_CONTINUE,
              TOO_SHORT | OVERLONG_2, TOO_SHORT, TOO_SHORT | OVERLONG_3 | SURROGATE,
              TOO_SHORT | TOO_LARGE | TOO_LARGE_1000 | OVERLONG_4);
    const __m256i by_first_low =
        TABLE((char)(CARRY | OVERLONG_2 | OVERLONG_3 | OVERLONG_4), (char)(CARRY | OVERLONG_2),
              (char)CARRY, (char)CARRY, (char)(CARRY | TOO_LARGE), (char)LARGE, (char)LARGE,
              (char)LARGE, (char)LARGE, (char)LARGE, (char)LARGE, (char)LARGE, (char)LARGE,
              (char)(LARGE | SURROGATE), (char)LARGE, (char)LARGE);
    const int continues = TOO_LONG | OVERLONG_2 | TWO_CONTINUE;
    const __m256i by_second_high = TABLE(
        TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT,
        (char)(continues | OVERLONG_3 | TOO_LARGE_1000 | OVERLONG_4),
        (char)(continues | OVERLONG_3 | TOO_LARGE), (char)(continues | SURROGATE | TOO_LARGE),
        (char)(continues | SURROGATE | TOO_LARGE), TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT);
    const __m256i low = _mm256_set1_epi8(0x0f);
    __m256i wrong = _mm256_and_si256(
        _mm256_and_si256(
            _mm256_shuffle_epi8(by_first_high, _mm256_and_si256(_mm256_srli_epi16(first, 4), low)),
            _mm256_shuffle_epi8(by_first_low, _mm256_and_si256(first, low))),
        _mm256_shuffle_epi8(by_second_high, _mm256_and_si256(_mm256_srli_epi16(now, 4), low)));
    /* A byte two behind e0.., three behind f0..: there, and only there, two may continue. */
    __m256i three = _mm256_subs_epu8(second, _mm256_set1_epi8((char)(0xe0 - 0x80)));
    __m256i four = _mm256_subs_epu8(third, _mm256_set1_epi8((char)(0xf0 - 0x80)));
    __m256i must = _mm256_and_si256(_mm256_or_si256(three, four), _mm256_set1_epi8((char)0x80));
    return _mm256_xor_si256(must, wrong);
}

/* Of a block that registers hold, and the one before it. */
AVX2 static inline __m256i block_errors_after(__m256i before, __m256i now)
{
    return block_errors(now, EARLIER(before, now, 1), EARLIER(before, now, 2),
                        EARLIER(before, now, 3));
}

/* Not zero if a character begins at the end of the block that does not end there. */
AVX2 static inline __m256i block_open(__m256i block)
{
    const __m256i most = _mm256_setr_epi8(-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
                                          -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
                                          -1, (char)(0xf0 - 1), (char)(0xe0 - 1), (char)(0xc0 - 1));
    return _mm256_subs_epu8(block, most);
}

AVX2 static inline __m256i load_block(const uint8_t *data)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)data);
}

/* As signed bytes, plain ones are at least 1; with NUL allowed, at least 0. */
AVX2 static inline bool is_plain_block(__m256i block, __m256i below)
{
    return _mm256_movemask_epi8(_mm256_cmpgt_epi8(block, below)) == -1;
}

/* Of a block in memory that has three bytes before it: loads cost less than shifting. */
AVX2 static inline __m256i block_errors_at(const uint8_t *data)
{
    return block_errors(load_block(data), load_block(data - 1), load_block(data - 2),
                        load_block(data - 3));
}

/* The last bytes, fewer than a block: with blanks behind them, before which a character must end.
 */
AVX2 static inline __m256i rest_errors(const uint8_t *data, size_t bytes, __m256i before,
                                       __m256i nul)
{
    uint8_t rest[32];
    memset(rest, ' ', sizeof(rest));
    memcpy(rest, data, bytes);
    __m256i now = load_block(rest);
    return _mm256_or_si256(block_errors_after(before, now), _mm256_cmpeq_epi8(now, nul));
}

AVX2 __attribute__((noinline)) static int check_blocks(const uint8_t *data, size_t bytes,
                                                       uint8_t lowest)
{
    const __m256i below = _mm256_set1_epi8((char)(lowest - 1));
    const __m256i nul = lowest ? _mm256_setzero_si256() : _mm256_set1_epi8(-1); /* 0xff: never */
    __m256i errors = _mm256_setzero_si256();
    size_t i = 0;
    if (bytes >= 32) {
        __m256i now = load_block(data);
        errors = _mm256_or_si256(block_errors_after(errors, now), _mm256_cmpeq_epi8(now, nul));
        i = 32;
    }
    for (; bytes - i >= 128; i += 128) {
        const uint8_t *at = data + i;
        __m256i a = load_block(at), b = load_block(at + 32);
        __m256i c = load_block(at + 64), d = load_block(at + 96);
        __m256i least = _mm256_min_epi8(_mm256_min_epi8(a, b), _mm256_min_epi8(c, d));
        if (is_plain_block(least, below)) {
            errors = _mm256_or_si256(errors, block_open(load_block(at - 32)));
            continue;
        }
        least = _mm256_min_epu8(_mm256_min_epu8(a, b), _mm256_min_epu8(c, d));
        errors = _mm256_or_si256(errors, _mm256_cmpeq_epi8(least, nul));
        for (size_t k = 0; k < 128; k += 32)
            errors = _mm256_or_si256(errors, block_errors_at(at + k));
    }
    for (; bytes - i >= 32; i += 32) {
        errors = _mm256_or_si256(errors, block_errors_at(data + i));
        errors = _mm256_or_si256(errors, _mm256_cmpeq_epi8(load_block(data + i), nul));
    }
    if (bytes < 32 + 3) {
        __m256i before = i > 0 ? load_block(data + i - 32) : _mm256_setzero_si256();
        errors = _mm256_or_si256(errors, rest_errors(data + i, bytes - i, before, nul));
    } else {
        __m256i last = load_block(data + bytes - 32); /* some of it once more */
        errors = _mm256_or_si256(errors, block_errors_at(data + bytes - 32));
        errors = _mm256_or_si256(errors, _mm256_cmpeq_epi8(last, nul));
        errors = _mm256_or_si256(errors, block_open(last));
    }
    return _mm256_testz_si256(errors, errors) ? 0 : -EBADMSG;
}

AVX2 int text_check_short_avx2(const uint8_t *data, size_t bytes)
{
    /* What is behind the text becomes spaces. */
    const __m256i places =
        _mm256_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20,
                         21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31);
    __m256i inside = _mm256_cmpgt_epi8(_mm256_set1_epi8((char)bytes), places);
    __m256i block = _mm256_blendv_epi8(_mm256_set1_epi8(' '), load_block(data), inside);
    const __m256i zero = _mm256_setzero_si256();
    __m256i errors =
        _mm256_or_si256(block_errors_after(zero, block), _mm256_cmpeq_epi8(block, zero));
    errors = _mm256_or_si256(errors, block_open(block));
    return _mm256_testz_si256(errors, errors) ? 0 : -EBADMSG;
}

AVX2 int text_check_avx2(const uint8_t *data, size_t bytes, uint8_t lowest)
{
    const __m256i below = _mm256_set1_epi8((char)(lowest - 1));
    size_t i = 0;
    for (; bytes - i >= 128; i += 128) {
        __m256i a = load_block(data + i), b = load_block(data + i + 32);
        __m256i c = load_block(data + i + 64), d = load_block(data + i + 96);
        __m256i least = _mm256_min_epi8(_mm256_min_epi8(a, b), _mm256_min_epi8(c, d));
        if (!is_plain_block(least, below))
            return check_blocks(data + i, bytes - i, lowest);
    }
    for (; bytes - i >= 32; i += 32)
        if (!is_plain_block(load_block(data + i), below))
            return check_blocks(data + i, bytes - i, lowest);
    if (i == bytes)
        return 0;
    if (i > 0 ? is_plain_block(load_block(data + bytes - 32), below)
              : plain_prefix(data, bytes) == bytes)
        return 0;
    return check_blocks(data + i, bytes - i, lowest);
}

int text_check(const uint8_t *data, size_t bytes, uint8_t lowest)
{
    if (bytes > TEXT_SHORT_BYTES_MAX && text_has_avx512())
        return text_check_avx512(data, bytes, lowest);
    if (bytes > TEXT_SHORT_BYTES_MAX && text_has_avx2())
        return text_check_avx2(data, bytes, lowest);
    return text_check_plainly(data, bytes, lowest);
}
#else
int text_check(const uint8_t *data, size_t bytes, uint8_t lowest)
{
    return text_check_plainly(data, bytes, lowest);
}
#endif

int wire_check_utf8(const uint8_t *data, size_t bytes)
{
    return text_check(data, bytes, TEXT_ANY);
}

int wire_check_string(const uint8_t *data, size_t bytes)
{
    return text_check(data, bytes, TEXT_NO_NUL);
}
