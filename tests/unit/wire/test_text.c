/* The ways to check text agree: on every start of a character, and on random text. */
#include "support/test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "wire/text.h"
#include "wire/wire.h"

#if defined(TEXT_HAVE_AVX2)
static bool need_avx2(void)
{
    if (!text_has_avx2())
        print_message("skipped: this machine has no AVX2\n");
    return text_has_avx2();
}

static void both_agree(const uint8_t *text, size_t bytes)
{
    for (uint8_t lowest = TEXT_ANY; lowest <= TEXT_NO_NUL; lowest++) {
        int want = text_check_plainly(text, bytes, lowest);
        if (text_check_avx2(text, bytes, lowest) == want)
            continue;
        for (size_t i = 0; i < bytes; i++)
            print_message("%02x ", text[i]);
        fail_msg("plainly %d, with AVX2 not (%zu bytes, lowest %u)", want, bytes, lowest);
    }
}

static void test_every_start_of_a_character_is_judged_alike(void **state)
{
    (void)state;
    if (!need_avx2())
        skip();
    static const uint8_t ends[] = {0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f,
                                   0xa0, 0xbf, 0xc0, 0xe1, 0xf1, 0xff};
    uint8_t text[40];
    memset(text, 'a', sizeof(text));
    for (unsigned first = 0; first < 256; first++) {
        for (unsigned second = 0; second < 256; second++) {
            for (unsigned end = 0; end < sizeof(ends) * sizeof(ends); end++) {
                /* Across the end of a block, and at the end of the text. */
                for (unsigned at = 29; at <= 36; at += 7) {
                    uint8_t *start = text + at;
                    start[0] = (uint8_t)first;
                    start[1] = (uint8_t)second;
                    start[2] = ends[end % sizeof(ends)];
                    start[3] = ends[end / sizeof(ends)];
                    int want = text_check_plainly(text, sizeof(text), TEXT_ANY);
                    if (text_check_avx2(text, sizeof(text), TEXT_ANY) != want)
                        both_agree(text, sizeof(text));
                    memset(start, 'a', 4);
                }
            }
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
    (void)state;
    if (!need_avx2())
        skip();
    uint64_t random = 5;
    unsigned good = 0, bad = 0;
    for (unsigned i = 0; i < 60000; i++) {
        uint8_t buffer[900];
        size_t bytes =
            random_text(&random, buffer, random_below(&random, i % 2 ? sizeof(buffer) : 37));
        uint8_t *text = malloc(bytes + 1); /* so that a sanitizer sees what is read */
        assert_non_null(text);
        memcpy(text, buffer, bytes);
        both_agree(text, bytes);
        if (bytes <= TEXT_SHORT_BYTES_MAX) {
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
    const struct CMUnitTest tests[] = {
#if defined(TEXT_HAVE_AVX2)
        cmocka_unit_test(test_every_start_of_a_character_is_judged_alike),
        cmocka_unit_test(test_random_text_is_judged_alike),
#endif
        cmocka_unit_test(test_short_text_is_judged_alike_with_and_without_room_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
