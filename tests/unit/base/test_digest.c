/* SHA-256 as it is used here: the library's is the right one, and lists of strings stay apart. */
#include "support/test.h"

#include <string.h>

#include "base/digest.h"

static void test_the_vectors_of_fips_180_come_out(void **state)
{
    (void)state;
    static const char *const vectors[][2] = {
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    };
    for (size_t i = 0; i < 3; i++) {
        struct digest digest;
        char text[DIGEST_TEXT_BYTES];
        digest_of(vectors[i][0], strlen(vectors[i][0]), &digest);
        digest_text(&digest, text);
        assert_string_equal(text, vectors[i][1]);
    }
}

static void of_two(const char *a, const char *b, struct digest *ret_digest)
{
    struct digest_state state;
    digest_begin(&state);
    digest_add_text(&state, a);
    digest_add_text(&state, b);
    digest_end(&state, ret_digest);
}

static void test_strings_do_not_run_into_each_other(void **state)
{
    (void)state;
    struct digest one;
    struct digest other;
    of_two("ab", "c", &one);
    of_two("a", "bc", &other);
    assert_memory_not_equal(&one, &other, sizeof(one));
    of_two(NULL, "c", &one);
    of_two("", "c", &other);
    assert_memory_equal(&one, &other, sizeof(one));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_vectors_of_fips_180_come_out),
        cmocka_unit_test(test_strings_do_not_run_into_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
