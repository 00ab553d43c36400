/* The ways to check text agree: on every start of a character, and on random text. */
#include "support/test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "wire/text.h"
#include "wire/wire.h"

/* A way that this machine may lack; text_check_plainly() is what it is held to. */
struct way {
    const char *name;
    bool (*is_here)(void);
    int (*check)(const uint8_t *data, size_t bytes, uint8_t lowest);
};

#if defined(TEXT_HAVE_AVX2)
static bool has_avx2(void)
{
    return text_has_avx2();
}

static bool has_avx512(void)
{
    return text_has_avx512();
}

static struct way avx2 = {"AVX2", has_avx2, text_check_avx2};
static struct way avx512 = {"AVX-512", has_avx512, text_check_avx512};

static const struct way *need(void **state)
{
    const struct way *way = *state;
    if (!way->is_here()) {
        print_message("skipped: this machine has no %s\n", way->name);
        skip();
    }
    return way;
}

static void judged_alike(const struct way *way, const uint8_t *text, size_t bytes, uint8_t lowest)
{
    int want = text_check_plainly(text, bytes, lowest);
    if (way->check(text, bytes, lowest) == want)
        return;
    for (size_t i = 0; i < bytes; i++)
        print_message("%02x ", text[i]);
    fail_msg("plainly %d, with %s not (%zu bytes, lowest %u)", want, way->name, bytes, lowest);
}

static void both_judged_alike(const struct way *way, const uint8_t *text, size_t bytes)
{
    judged_alike(way, text, bytes, TEXT_ANY);
    judged_alike(way, text, bytes, TEXT_NO_NUL);
}

/* All steps of all ways: first, middle, last, and what remains. */
#define PLACE_COUNT 620
#define END_BYTES 4

static void test_every_two_bytes_are_judged_alike_at_the_ends_of_blocks(void **state)
{
    const struct way *way = need(state);
    uint8_t text[PLACE_COUNT];
    memset(text, 'a', sizeof(text));
    for (unsigned two = 0; two < 0x10000; two++) {
        for (unsigned n = 0; n < 80; n++) {
            uint8_t *at = text + 27 + 61 * (n / 8) + n % 8; /* around 32, 64 + 61 n */
            at[0] = (uint8_t)(two >> 8);
            at[1] = (uint8_t)two;
            judged_alike(way, text, sizeof(text), two & 1 ? TEXT_ANY : TEXT_NO_NUL);
            memset(at, 'a', 2);
        }
    }
}

static void test_every_three_bytes_are_judged_alike(void **state)
{
    const struct way *way = need(state);
    uint8_t text[PLACE_COUNT];
    memset(text, 'a', sizeof(text));
    for (unsigned three = 0x800000; three < 0x1000000; three++) {
        uint8_t *at = text + three % 613; /* prime: not always the same bytes at a place */
        at[0] = (uint8_t)(three >> 16);
        at[1] = (uint8_t)(three >> 8);
        at[2] = (uint8_t)three;
        judged_alike(way, text, sizeof(text), three & 1 ? TEXT_ANY : TEXT_NO_NUL);
        memset(at, 'a', 3);
    }
}

static void test_every_start_of_a_character_is_judged_alike_everywhere(void **state)
{
    const struct way *way = need(state);
    static const uint8_t firsts[] = {0x7f, 0x80, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed,
                                     0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff};
    static const uint8_t seconds[] = {0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0};
    static const uint8_t ends[] = {0x00, 0x41, 0x80, 0xbf, 0xc2, 0xe1};
    uint8_t text[PLACE_COUNT + END_BYTES];
    memset(text, 'a', sizeof(text));
    for (size_t place = 0; place < PLACE_COUNT; place++) {
        for (unsigned n = 0; n < sizeof(firsts) * sizeof(seconds); n++) {
            for (unsigned end = 0; end < sizeof(ends) * sizeof(ends); end++) {
                uint8_t *at = text + place;
                at[0] = firsts[n / sizeof(seconds)];
                at[1] = seconds[n % sizeof(seconds)];
                at[2] = ends[end % sizeof(ends)];
                at[3] = ends[end / sizeof(ends)];
                judged_alike(way, text, sizeof(text), end & 1 ? TEXT_ANY : TEXT_NO_NUL);
                memset(at, 'a', END_BYTES);
            }
        }
    }
}

static const char *const kinds[] = {"a",
                                    "\xc3\xa9",
                                    "\xe3\x81\x82",
                                    "\xe0\xb8\x81",
                                    "\xed\x95\x9c",
                                    "\xf0\x9f\x98\x80",
                                    "\xf3\xa0\x84\x80"};
#define KIND_COUNT (sizeof(kinds) / sizeof(kinds[0]))

/* Text of one kind, in memory that ends with it, so that a sanitizer sees what is read; what is
 * left at its front is plain. The caller frees. */
static uint8_t *text_of_kind(const char *kind, size_t bytes)
{
    size_t one = strlen(kind), front = bytes % one;
    uint8_t *text = malloc(bytes + (bytes == 0));
    assert_non_null(text);
    memset(text, 'a', front);
    for (size_t i = front; i < bytes; i += one)
        memcpy(text + i, kind, one);
    return text;
}

static void test_text_cut_anywhere_is_judged_alike(void **state)
{
    const struct way *way = need(state);
    for (unsigned kind = 0; kind < KIND_COUNT; kind++) {
        for (size_t bytes = 0; bytes <= PLACE_COUNT; bytes++) {
            uint8_t *text = text_of_kind(kinds[kind], bytes);
            assert_int_equal(way->check(text, bytes, TEXT_NO_NUL), 0);
            for (size_t cut = 1; cut <= END_BYTES && cut <= bytes; cut++) {
                uint8_t *front = malloc(bytes - cut + 1);
                assert_non_null(front);
                memcpy(front + 1, text, bytes - cut);
                both_judged_alike(way, front + 1, bytes - cut);
                both_judged_alike(way, text + cut, bytes - cut);
                free(front);
            }
            free(text);
        }
    }
}

static void test_one_byte_changed_anywhere_is_judged_alike(void **state)
{
    const struct way *way = need(state);
    static const uint8_t others[] = {0x00, 0x01, 0x7f, 0x80, 0xbf, 0xc0, 0xc3, 0xe0,
                                     0xe3, 0xed, 0xf0, 0xf1, 0xf4, 0xf5, 0xff};
    for (unsigned kind = 0; kind < KIND_COUNT; kind++) {
        for (size_t bytes = 1; bytes <= PLACE_COUNT; bytes += bytes < 260 ? 1 : 23) {
            uint8_t *text = text_of_kind(kinds[kind], bytes);
            for (size_t at = 0; at < bytes; at++) {
                uint8_t old = text[at];
                for (unsigned n = 0; n < sizeof(others); n++) {
                    text[at] = others[n];
                    both_judged_alike(way, text, bytes);
                }
                text[at] = old;
            }
            free(text);
        }
    }
}

static void test_long_plain_text_is_judged_alike_wherever_it_is_not_plain(void **state)
{
    const struct way *way = need(state);
    static const size_t sizes[] = {2047, 2048, 2400};
    uint8_t text[2400 + 64];
    memset(text, 'a', sizeof(text));
    for (size_t start = 0; start < 64; start++) {
        for (size_t at = 0; at < 2400; at += at < 400 ? 1 : 37) {
            uint8_t old = text[start + at];
            text[start + at] = start & 1 ? 0x00 : 0xc3;
            for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
                both_judged_alike(way, text + start, sizes[i]);
            text[start + at] = old;
        }
    }
}

/* Characters of all lengths, in runs, some broken. */
static size_t random_text(uint64_t *random, uint8_t *out, size_t most)
{
    static const char *const characters[] = {"a",
                                             "z",
                                             "\x7f",
                                             "\xc2\x80",
                                             "\xdf\xbf",
                                             "\xe0\xa0\x80",
                                             "\xed\x9f\xbf",
                                             "\xee\x80\x80",
                                             "\xef\xbf\xbf",
                                             "\xf0\x90\x80\x80",
                                             "\xf4\x8f\xbf\xbf"};
    size_t bytes = 0;
    const char *one = "a";
    while (bytes + 4 < most) {
        if (random_below(random, 3) == 0)
            one = characters[random_below(random, sizeof(characters) / sizeof(characters[0]))];
        memcpy(out + bytes, one, strlen(one));
        bytes += strlen(one);
        if (random_below(random, 40) == 0) { /* blocks of plain text in between */
            size_t run = random_below(random, 300);
            run = bytes + run + 4 < most ? run : 0;
            memset(out + bytes, 'a', run);
            bytes += run;
        }
    }
    for (uint32_t n = random_below(random, 3); n > 0 && bytes > 0; n--)
        out[random_below(random, (uint32_t)bytes)] = (uint8_t)random_next(random);
    return bytes;
}

static void test_random_text_is_judged_alike(void **state)
{
    const struct way *way = need(state);
    uint64_t random = 5;
    unsigned good = 0, bad = 0;
    for (unsigned i = 0; i < 60000; i++) {
        uint8_t buffer[900];
        size_t bytes =
            random_text(&random, buffer, random_below(&random, i % 2 ? sizeof(buffer) : 37));
        uint8_t *text = malloc(bytes + 1); /* so that a sanitizer sees what is read */
        assert_non_null(text);
        memcpy(text, buffer, bytes);
        both_judged_alike(way, text, bytes);
        if (bytes <= TEXT_SHORT_BYTES_MAX && text_has_avx2()) {
            uint8_t more[TEXT_SHORT_BYTES_MAX];
            memset(more, 0x80, sizeof(more));
            memcpy(more, text, bytes);
            assert_int_equal(text_check_short_avx2(more, bytes),
                             text_check_plainly(text, bytes, TEXT_NO_NUL));
        }
        *(text_check_plainly(text, bytes, TEXT_ANY) == 0 ? &good : &bad) += 1;
        free(text);
    }
    assert_true(good > 1000);
    assert_true(bad > 1000);
}
#endif

static void test_short_text_is_judged_alike_with_and_without_room_behind(void **state)
{
    (void)state;
    uint64_t random = 9;
    unsigned good = 0;
    for (unsigned i = 0; i < 60000; i++) {
        size_t bytes = random_below(&random, 40);
        uint8_t text[64], alone[40];
        memset(text, random_below(&random, 2) ? 'a' : 0, sizeof(text));
        memset(text, 'a', bytes);
        if (bytes > 0 && random_below(&random, 2))
            text[random_below(&random, (uint32_t)bytes)] = (uint8_t)random_next(&random);
        memcpy(alone, text, bytes);
        bool want = wire_check_string(alone, bytes) == 0;
        assert_int_equal(text_is_string(text, bytes, sizeof(text)), want);
        assert_int_equal(text_check_plainly(text, bytes, TEXT_NO_NUL) == 0, want);
        uint8_t *exact = malloc(bytes + (bytes == 0));
        assert_non_null(exact);
        memcpy(exact, text, bytes);
        assert_int_equal(text_is_string(exact, bytes, bytes), want);
        free(exact);
        good += want;
    }
    assert_true(good > 1000 && good < 59000);
}

int main(void)
{
#if defined(TEXT_HAVE_AVX2)
#define TEST_OF(way, test)                                                                         \
    {                                                                                              \
#test ", " #way, test, NULL, NULL, &(way)                                                  \
    }
#define TESTS_OF(way)                                                                              \
    TEST_OF(way, test_every_two_bytes_are_judged_alike_at_the_ends_of_blocks),                     \
        TEST_OF(way, test_every_three_bytes_are_judged_alike),                                     \
        TEST_OF(way, test_every_start_of_a_character_is_judged_alike_everywhere),                  \
        TEST_OF(way, test_text_cut_anywhere_is_judged_alike),                                      \
        TEST_OF(way, test_one_byte_changed_anywhere_is_judged_alike),                              \
        TEST_OF(way, test_long_plain_text_is_judged_alike_wherever_it_is_not_plain),               \
        TEST_OF(way, test_random_text_is_judged_alike)
#endif
    const struct CMUnitTest tests[] = {
#if defined(TEXT_HAVE_AVX2)
        TESTS_OF(avx2),
        TESTS_OF(avx512),
#endif
        cmocka_unit_test(test_short_text_is_judged_alike_with_and_without_room_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
