/* Long copies, wherever source and target lie, and short ones. */
#include "support/test.h"

#include <stdlib.h>
#include <string.h>

#include "base/copy.h"

#define PAGE 4096
#define BYTES_MAX (COPY_ASKEW_BYTES_MAX + 1)

static void copies_all_and_nothing_else(void (*copy)(void *out, const void *in, size_t bytes))
{
    static _Alignas(PAGE) uint8_t from[2 * PAGE + BYTES_MAX], to[2 * PAGE + BYTES_MAX];
    static uint8_t expected[sizeof(to)];
    static const size_t lengths[] = {0,
                                     1,
                                     COPY_ASKEW_BYTES_MIN - 1,
                                     COPY_ASKEW_BYTES_MIN,
                                     COPY_ASKEW_BYTES_MIN + 1,
                                     COPY_ASKEW_BYTES_MIN + 256,
                                     2 * COPY_ASKEW_BYTES_MIN,
                                     2 * COPY_ASKEW_BYTES_MIN + 77,
                                     4 * COPY_ASKEW_BYTES_MIN + 1,
                                     COPY_ASKEW_BYTES_MAX,
                                     BYTES_MAX};
    for (size_t i = 0; i < sizeof(from); i++)
        from[i] = (uint8_t)(i * 2654435761u >> 13);
    for (size_t behind = 0; behind < 70; behind++) {
        for (size_t n = 0; n < sizeof(lengths) / sizeof(lengths[0]); n++) {
            memset(to, 0xee, sizeof(to));
            memset(expected, 0xee, sizeof(expected));
            memcpy(expected + 7 + behind, from + 7, lengths[n]);
            copy(to + 7 + behind, from + 7, lengths[n]);
            assert_int_equal(memcmp(to, expected, sizeof(to)),
                             0); /* quick, where reads are watched */
        }
    }
}

static void test_all_is_copied_and_nothing_else_wherever_it_lies(void **state)
{
    (void)state;
    copies_all_and_nothing_else(copy_bytes);
}

static void test_all_is_copied_over_and_nothing_else_wherever_it_lies(void **state)
{
    (void)state;
    copies_all_and_nothing_else(copy_over);
}

static void test_few_bytes_are_copied_and_nothing_else(void **state)
{
    (void)state;
    uint8_t from[160], to[160], expected[160];
    for (size_t i = 0; i < sizeof(from); i++)
        from[i] = (uint8_t)(i + 1);
    for (size_t bytes = 0; bytes <= 130; bytes++) {
        memset(to, 0xee, sizeof(to));
        memset(expected, 0xee, sizeof(expected));
        memcpy(expected + 5, from + 3, bytes);
        copy_few(to + 5, from + 3, bytes);
        assert_memory_equal(to, expected, sizeof(to));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_is_copied_and_nothing_else_wherever_it_lies),
        cmocka_unit_test(test_all_is_copied_over_and_nothing_else_wherever_it_lies),
        cmocka_unit_test(test_few_bytes_are_copied_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
