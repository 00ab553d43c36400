/*
 * UTF-8 with AVX-512, for machines that have BW, VBMI and VBMI2 (Ice Lake, Zen 4 and later). text.c
 * says what is checked.
 *
 * Each byte has a class of four bits, by one lookup, for VBMI has tables of 128: it goes on with a
 * character, or it is a lead, of three bytes at least, of four. Then, in all places,
 *
 *     goes on (i) = lead (i - 1) ^ three (i - 2) ^ four (i - 3)
 *
 * R. Clausecker and D. Lemire, "Transcoding Unicode Characters with AVX-512 Instructions",
 * Software: Practice and Experience 53 (2023), compare such sets in mask registers. Getting a mask
 * out of one costs two cycles on Zen 4, so here they stay where the lookup put them: shifted by a
 * byte less a bit, leads lie on the bits of what goes on; by two bytes less two, those of three
 * bytes do. As four bits are half a byte, two windows of 64 bytes are compared at once. The
 * exclusive "or" is as good as the plain one: where two leads ask for the same byte, the later one
 * is itself in a place where the earlier one asks for another, so the first place that is wrong is
 * seen to be.
 *
 * Windows overlap by three bytes, and nothing is carried from one to the next: their first three
 * places are judged in the window before.
 *
 * Which second bytes may follow depends on the lead only for C0, C1, E0, ED, F0, F4 and above. The
 * quick way sees that there is one of those, or a character of four bytes, and leaves the text to
 * the exact way, which has a second lookup: a lead has the set of second bytes that it refuses,
 * other bytes have the set that they belong to, and the two must be apart. That costs nearly twice
 * as much, and what was done quickly before: little, where text is full of such leads.
 */
#include "wire/text.h"

#if defined(TEXT_HAVE_AVX512)
#include <errno.h>
#include <immintrin.h>

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vbmi,avx512vbmi2")))
/* Not called: what they share stays in registers. */
#define AVX512_INLINE AVX512 __attribute__((always_inline)) static inline

#define WINDOW_BYTES 64
#define BEFORE_BYTES 3 /* at the front of a window, those that the window before has judged */
#define WINDOW_STEP (WINDOW_BYTES - BEFORE_BYTES)
#define PAIR_STEP (2 * WINDOW_STEP)
#define PAIR_BYTES (PAIR_STEP + BEFORE_BYTES)
#define LONG_BYTES 2048 /* of plain text, from where it pays to load whole lines */

/* The class of a byte; in the upper half for the second window of a pair. ASCII has none. */
enum {
    GOES_ON = 1 << 0,
    LEAD = 1 << 1,
    THREE = 1 << 2,
    FOUR = 1 << 3,    /* exactly */
    SPECIAL = 1 << 3, /* quickly: what only the exact way can judge */
};

/* Tables by row of sixteen, and in a row those apart that need it. */
#define ROW(of_0, of_1, of_d, others)                                                              \
    of_0, of_1, others, others, others, others, others, others, others, others, others, others,    \
        others, of_d, others, others
#define ROW_OF(all) ROW(all, all, all, all)
#define ROW_F(of_0, of_1_to_3, of_4, others)                                                       \
    of_0, of_1_to_3, of_1_to_3, of_1_to_3, of_4, others, others, others, others, others, others,   \
        others, others, others, others, others

/* Classes of C0 and above. */
static const uint8_t quick_leads[64] = {
    ROW(LEAD | SPECIAL, LEAD | SPECIAL, LEAD, LEAD),
    ROW_OF(LEAD),
    ROW(LEAD | THREE | SPECIAL, LEAD | THREE, LEAD | THREE | SPECIAL, LEAD | THREE),
    ROW_OF(SPECIAL),
};
static const uint8_t exact_leads[64] = {
    ROW_OF(LEAD),
    ROW_OF(LEAD),
    ROW_OF(LEAD | THREE),
    ROW_OF(LEAD | THREE | FOUR),
};

/* Sets of second bytes: low half of what one belongs to, high half of what a lead refuses. */
enum {
    FROM_80 = 1 << 0,
    FROM_90 = 1 << 1,
    FROM_A0 = 1 << 2,
    NOT_80 = FROM_80 << 4,
    NOT_90 = FROM_90 << 4,
    NOT_A0 = FROM_A0 << 4,
    NONE = NOT_80 | NOT_90 | NOT_A0,
};
/* Of 80 and above. */
static const uint8_t second_sets[128] = {
    ROW_OF(FROM_80),
    ROW_OF(FROM_90),
    ROW_OF(FROM_A0),
    ROW_OF(FROM_A0),
    ROW(NONE, NONE, 0, 0),
    ROW_OF(0),
    ROW(NOT_80 | NOT_90, 0, NOT_A0, 0),
    ROW_F(NOT_80, 0, NOT_90 | NOT_A0, NONE),
};

/* Of many windows, place by place: what is never undone. */
struct seen {
    __m512i least;
    __m512i order;   /* GOES_ON: something goes on where nothing should, or the reverse */
    __m512i special; /* SPECIAL; other bits mean nothing */
    __m512i refused; /* not zero: a second byte that its lead refuses */
};

AVX512_INLINE __m512i load(const uint8_t *data)
{
    return _mm512_loadu_si512(data);
}

AVX512_INLINE __m512i or3(__m512i a, __m512i b, __m512i c)
{
    return _mm512_ternarylogic_epi64(a, b, c, 0xfe);
}

AVX512_INLINE __m512i xor3(__m512i a, __m512i b, __m512i c)
{
    return _mm512_ternarylogic_epi64(a, b, c, 0x96);
}

/* The eight bytes before each eight; none before the first. */
AVX512_INLINE __m512i eight_before(__m512i block)
{
    return _mm512_alignr_epi64(block, _mm512_setzero_si512(), 7);
}

/* By the seven low bits of what is not ASCII; ASCII has no bits. */
AVX512_INLINE __m512i look_up(__m512i block, __m512i below_c0, __m512i leads)
{
    return _mm512_maskz_permutex2var_epi8(_mm512_movepi8_mask(block), below_c0, block, leads);
}

AVX512_INLINE __m512i classes_of(__m512i block, const uint8_t leads[64])
{
    return look_up(block, _mm512_set1_epi8(GOES_ON), load(leads));
}

/* Of @a in the low halves, of @b in the high ones. */
AVX512_INLINE __m512i pair_classes(__m512i a, __m512i b, const uint8_t leads[64])
{
    const __m512i low = _mm512_set1_epi8(0x0f);
    __m512i first = classes_of(a, leads);
    __m512i second = look_up(b, _mm512_set1_epi8(16 * GOES_ON), _mm512_slli_epi16(load(leads), 4));
    return _mm512_ternarylogic_epi64(first, second, low, 0xe4); /* low ? first : second */
}

AVX512_INLINE __m512i quick_order(__m512i classes)
{
    __m512i before = eight_before(classes);
    return xor3(_mm512_shldi_epi64(classes, before, 8 - 1),
                _mm512_shldi_epi64(classes, before, 16 - 2), classes);
}

AVX512_INLINE __m512i exact_order(__m512i classes)
{
    __m512i before = eight_before(classes);
    return _mm512_xor_si512(quick_order(classes), _mm512_shldi_epi64(classes, before, 24 - 3));
}

AVX512_INLINE __m512i sets_of(__m512i block)
{
    return look_up(block, load(second_sets), load(second_sets + 64));
}

/* In the low half of a byte: the sets that it belongs to and that the one before refuses. */
AVX512_INLINE __m512i refused_sets(__m512i sets)
{
    return _mm512_and_si512(sets, _mm512_shldi_epi64(sets, eight_before(sets), 8 - 4));
}

AVX512_INLINE void see_exactly(struct seen *seen, __m512i a, __m512i b)
{
    __m512i classes = pair_classes(a, b, exact_leads);
    __m512i sets_a = sets_of(a), sets_b = sets_of(b);
    seen->least = _mm512_min_epu8(seen->least, _mm512_min_epu8(a, b));
    seen->order = _mm512_or_si512(seen->order, exact_order(classes));
    seen->refused = or3(seen->refused, refused_sets(sets_a), refused_sets(sets_b));
}

AVX512_INLINE void see_quickly(struct seen *seen, __m512i a, __m512i b)
{
    __m512i classes = pair_classes(a, b, quick_leads);
    seen->least = _mm512_min_epu8(seen->least, _mm512_min_epu8(a, b));
    seen->order = _mm512_or_si512(seen->order, quick_order(classes));
    seen->special = _mm512_or_si512(seen->special, classes);
}

/* Two pairs in fewer instructions than one after the other. */
AVX512_INLINE void see_two_quickly(struct seen *seen, const uint8_t *at)
{
    __m512i a = load(at), b = load(at + WINDOW_STEP);
    __m512i c = load(at + PAIR_STEP), d = load(at + PAIR_STEP + WINDOW_STEP);
    __asm__("" : "+v"(a), "+v"(b), "+v"(c), "+v"(d)); /* or gcc loads twice, across lines */
    __m512i ab = pair_classes(a, b, quick_leads), cd = pair_classes(c, d, quick_leads);
    __m512i least = _mm512_min_epu8(_mm512_min_epu8(a, b), _mm512_min_epu8(c, d));
    seen->least = _mm512_min_epu8(seen->least, least);
    seen->order = or3(seen->order, quick_order(ab), quick_order(cd));
    seen->special = or3(seen->special, ab, cd);
}

/* Fewer than a window; behind them blanks, before which a character must end. */
AVX512_INLINE __m512i load_some(const uint8_t *data, size_t bytes)
{
    __mmask64 inside = (UINT64_C(1) << bytes) - 1;
    return _mm512_mask_loadu_epi8(_mm512_set1_epi8(' '), inside, data);
}

AVX512_INLINE void see_pair(struct seen *seen, const uint8_t *at, bool exact)
{
    __m512i a = load(at), b = load(at + WINDOW_STEP);
    __asm__("" : "+v"(a), "+v"(b)); /* or gcc loads twice, across lines */
    if (exact)
        see_exactly(seen, a, b);
    else
        see_quickly(seen, a, b);
}

/* The last @left bytes before @end, of which the first three have been judged, and at least a pair
 * of windows is in memory. What is less than one is looked at with bytes before it, once more. */
AVX512_INLINE void see_rest(struct seen *seen, const uint8_t *end, ptrdiff_t left, bool exact)
{
    for (; !exact && left >= PAIR_STEP + PAIR_BYTES; left -= 2 * PAIR_STEP)
        see_two_quickly(seen, end - left);
    for (; left >= PAIR_BYTES; left -= PAIR_STEP)
        see_pair(seen, end - left, exact);
    if (left > BEFORE_BYTES)
        see_pair(seen, end - PAIR_BYTES, exact);
}

/* Whether a character begins that does not end before @end. */
AVX512_INLINE bool is_open(const uint8_t *end)
{
    return end[-1] >= 0xc0 || end[-2] >= 0xe0 || end[-3] >= 0xf0;
}

AVX512_INLINE struct seen seen_nothing(void)
{
    const __m512i zero = _mm512_setzero_si512();
    return (struct seen){_mm512_set1_epi8(-1), zero, zero, zero};
}

AVX512_INLINE bool has_special(const struct seen *seen)
{
    const __m512i special = _mm512_set1_epi8((char)(SPECIAL | 16 * SPECIAL));
    return _mm512_test_epi8_mask(seen->special, special) != 0;
}

/* @first: the pair where the text begins. There is nothing before its first window; of all others
 * the first places mean nothing. */
AVX512_INLINE int verdict(const struct seen *first, const struct seen *rest, uint8_t lowest)
{
    const __mmask64 before = (1 << BEFORE_BYTES) - 1;
    const __m512i both = _mm512_set1_epi8(GOES_ON | 16 * GOES_ON);
    const __m512i where_first = _mm512_mask_set1_epi8(both, before, GOES_ON);
    const __m512i where_rest = _mm512_maskz_mov_epi8(~before, both);
    __m512i order = _mm512_or_si512(_mm512_and_si512(first->order, where_first),
                                    _mm512_and_si512(rest->order, where_rest));
    __m512i wrong = or3(order, first->refused, rest->refused);
    __m512i least = _mm512_min_epu8(first->least, rest->least);
    __mmask64 low = _mm512_cmplt_epu8_mask(least, _mm512_set1_epi8((char)lowest));
    return (_mm512_test_epi8_mask(wrong, wrong) | low) == 0 ? 0 : -EBADMSG;
}

AVX512 __attribute__((noinline)) static int check_exactly(const uint8_t *data, size_t bytes,
                                                          uint8_t lowest)
{
    struct seen first = seen_nothing(), rest = seen_nothing();
    if (bytes >= PAIR_BYTES) {
        see_pair(&first, data, true);
        see_rest(&rest, data + bytes, (ptrdiff_t)bytes - PAIR_STEP, true);
    } else {
        see_exactly(&first, load(data), load_some(data + WINDOW_STEP, bytes - WINDOW_STEP));
    }
    return is_open(data + bytes) ? -EBADMSG : verdict(&first, &rest, lowest);
}

AVX512_INLINE int check_quickly(const uint8_t *data, size_t bytes, uint8_t lowest)
{
    struct seen first = seen_nothing(), rest = seen_nothing();
    see_pair(&first, data, false);
    if (has_special(&first))
        return check_exactly(data, bytes, lowest);
    see_rest(&rest, data + bytes, (ptrdiff_t)bytes - PAIR_STEP, false);
    if (has_special(&rest))
        return check_exactly(data, bytes, lowest);
    return is_open(data + bytes) ? -EBADMSG : verdict(&first, &rest, lowest);
}

/* Fewer bytes than a window, so that a blank is behind them. */
AVX512_INLINE int check_one(const uint8_t *data, size_t bytes, uint8_t lowest)
{
    __m512i block = load_some(data, bytes), sets = sets_of(block);
    __m512i order = exact_order(classes_of(block, exact_leads));
    /* Bits 0: order; the rest of the low half: sets that are refused. */
    __m512i wrong = _mm512_ternarylogic_epi64(refused_sets(sets), order, _mm512_set1_epi8(GOES_ON),
                                              0xf8); /* a | (b & c) */
    __mmask64 low = _mm512_cmplt_epu8_mask(block, _mm512_set1_epi8((char)lowest));
    return (_mm512_test_epi8_mask(wrong, wrong) | low) == 0 ? 0 : -EBADMSG;
}

/* From where it is no plain text any more. Short text is not worth a second look. */
AVX512 __attribute__((noinline)) static int check_windows(const uint8_t *data, size_t bytes,
                                                          uint8_t lowest)
{
    if (bytes < WINDOW_BYTES)
        return check_one(data, bytes, lowest);
    if (bytes < PAIR_BYTES)
        return check_exactly(data, bytes, lowest);
    return check_quickly(data, bytes, lowest);
}

/* As signed bytes, plain ones are at least 1; with NUL allowed, at least 0. */
AVX512_INLINE bool is_plain(__m512i block, __m512i below)
{
    return _mm512_cmpgt_epi8_mask(block, below) == ~UINT64_C(0);
}

AVX512 int text_check_avx512(const uint8_t *data, size_t bytes, uint8_t lowest)
{
    const __m512i below = _mm512_set1_epi8((char)(lowest - 1));
    size_t i = 0;
    /* Text that is not plain is not plain at its front, mostly. */
    if (bytes >= 256 && !is_plain(load(data), below))
        return check_windows(data, bytes, lowest);
    /* From a line's start: a load across two costs half as much again. */
    if (bytes >= LONG_BYTES)
        i = WINDOW_BYTES - (uintptr_t)data % WINDOW_BYTES;
    for (; bytes - i >= 256; i += 256) {
        __m512i ab = _mm512_min_epi8(load(data + i), load(data + i + 64));
        __m512i cd = _mm512_min_epi8(load(data + i + 128), load(data + i + 192));
        if (!is_plain(_mm512_min_epi8(ab, cd), below))
            return check_windows(data + i, bytes - i, lowest);
    }
    for (; bytes - i >= 64; i += 64)
        if (!is_plain(load(data + i), below))
            return check_windows(data + i, bytes - i, lowest);
    if (is_plain(load_some(data + i, bytes - i), below))
        return 0;
    return check_windows(data + i, bytes - i, lowest);
}
#endif
