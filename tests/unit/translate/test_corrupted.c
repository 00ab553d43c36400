/*
 * Corrupted plans: whatever is done to a program, plan_load() refuses it, or plan_run() stays
 * within its buffers. Programs with every rule come from the generator of tests/laws; bytes and
 * words of them are changed, and what still loads is run on messages, with memory that ends at a
 * page which may not be touched. tests/fuzz looks for the same with a fuzzer's patience.
 */
#include "support/test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "laws/ways.h"

#define MESSAGE_BYTES_MAX ((size_t)1 << 16)

static struct guarded sources, outputs;

static int setup(void **state)
{
    (void)state;
    ways_begin(); /* machine code from the first run on */
    sources = guarded_new(MESSAGE_BYTES_MAX);
    outputs = guarded_new(5 * MESSAGE_BYTES_MAX + 4096);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    guarded_free(&sources);
    guarded_free(&outputs);
    return 0;
}

/* Words that mean something in a program: indexes, ends, none. */
static uint32_t interesting(uint64_t *random)
{
    static const uint32_t words[] = {0,
                                     1,
                                     2,
                                     3,
                                     7,
                                     63,
                                     64,
                                     255,
                                     256,
                                     65535,
                                     65536,
                                     UINT32_MAX,
                                     UINT32_MAX - 1,
                                     INT32_MAX,
                                     UINT32_C(1) << 31};
    return words[random_below(random, sizeof(words) / sizeof(words[0]))];
}

static void corrupt(uint8_t *program, size_t bytes, uint64_t *random)
{
    for (uint32_t n = 1 + random_below(random, 3); n > 0; n--) {
        size_t at = random_below(random, (uint32_t)bytes);
        uint32_t word;
        memcpy(&word, program + (at & ~(size_t)3), sizeof(word));
        switch (random_below(random, 5)) {
        case 0:
            word = interesting(random);
            break;
        case 1:
            word += random_below(random, 2) ? 1 : UINT32_MAX;
            break;
        case 2: /* of somewhere else in the program */
            memcpy(&word, program + (random_below(random, (uint32_t)bytes) & ~UINT32_C(3)),
                   sizeof(word));
            break;
        case 3:
            word ^= UINT32_C(1) << random_below(random, 32);
            break;
        default:
            program[at] = (uint8_t)random_next(random);
            continue;
        }
        memcpy(program + (at & ~(size_t)3), &word, sizeof(word));
    }
}

static void run_guarded(const struct plan *plan, const struct buffer *message, uint64_t seed)
{
    uint8_t *source = guarded_at_end(&sources, message->bytes);
    if (message->bytes > 0)
        memcpy(source, message->data, message->bytes);
    size_t most = plan_output_bytes_max(plan, message->bytes), bytes = 0;
    uint8_t *out = guarded_at_end(&outputs, most);
    struct plan_failure failure = {0, 0, NULL};
    for (uint32_t entry = 0; entry < 2; entry++) {
        int r = plan_run(plan, entry, source, message->bytes, out, most, &bytes, &failure);
        if (r == 0 && bytes > most)
            fail_msg("seed %llu: %zu bytes in room for %zu", (unsigned long long)seed, bytes, most);
    }
    if (!guarded_is_intact(&outputs, out))
        fail_msg("seed %llu: wrote in front of the output", (unsigned long long)seed);
}

/* Returns whether it still loads. */
static bool try_corrupted(const struct plan *plan, const struct buffer messages[2], uint64_t seed)
{
    size_t bytes;
    const uint8_t *program = plan_program(plan, &bytes);
    uint8_t *copy = malloc(bytes);
    assert_non_null(copy);
    memcpy(copy, program, bytes);
    uint64_t random = seed;
    corrupt(copy, bytes, &random);
    struct plan *loaded = NULL;
    struct error_text error = {""};
    int r = plan_load(copy, bytes, &loaded, &error);
    free(copy);
    if (r < 0) {
        assert_int_equal(r, -EBADMSG);
        assert_true(error.text[0] != '\0');
        return false;
    }
    for (int i = 0; i < 2; i++)
        run_guarded(loaded, &messages[i], seed);
    plan_unref(loaded);
    return true;
}

static void make_messages(const struct law_case *c, int version, uint64_t seed,
                          struct buffer ret_messages[2])
{
    const struct schema_message *type = schema_service(c->schemas[version])->methods[0].input;
    for (uint64_t i = 0; i < 2; i++) {
        ret_messages[i] = (struct buffer){NULL, 0, 0};
        message_random(type, seed + i, 10, &ret_messages[i]);
        if (ret_messages[i].bytes > MESSAGE_BYTES_MAX)
            ret_messages[i].bytes = 0;
    }
    message_mutate(seed, &ret_messages[1]);
}

static void test_corrupted_plans_are_refused_or_stay_in_their_buffers(void **state)
{
    (void)state;
    static struct law_case c;
    struct law_counts counts = {0};
    struct law_failure failure = {0};
    unsigned loaded = 0, refused = 0;
    for (uint64_t seed = 1; seed <= 600; seed++) {
        case_plan(&c, seed);
        assert_int_equal(case_build(&c, true, &counts, &failure), 0);
        for (int down = 0; down < 2; down++) {
            struct buffer messages[2];
            make_messages(&c, down, seed, messages);
            for (uint64_t i = 0; i < 40; i++) {
                bool loads =
                    try_corrupted(down ? c.down[0] : c.up[0], messages, seed << 16 | i << 1);
                loaded += loads;
                refused += !loads;
            }
            buffer_free(&messages[0]);
            buffer_free(&messages[1]);
        }
        case_clear(&c);
    }
    /* Or it would have tried only one of the two. */
    assert_true(loaded > 1000);
    assert_true(refused > 1000);
}

static void test_truncated_and_lengthened_plans_are_refused(void **state)
{
    (void)state;
    static struct law_case c;
    struct law_counts counts = {0};
    struct law_failure failure = {0};
    case_plan(&c, 3);
    assert_int_equal(case_build(&c, true, &counts, &failure), 0);
    size_t bytes;
    const uint8_t *program = plan_program(c.up[0], &bytes);
    uint8_t *copy = must_alloc(bytes + 8);
    memcpy(copy, program, bytes);
    struct plan *plan = NULL;
    for (size_t n = 0; n <= bytes + 8; n++) {
        struct error_text error = {""};
        int r = plan_load(copy, n, &plan, &error);
        assert_int_equal(r, n == bytes ? 0 : -EBADMSG);
        if (r == 0)
            plan = plan_unref(plan);
        else
            assert_true(error.text[0] != '\0');
    }
    free(copy);
    case_clear(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_corrupted_plans_are_refused_or_stay_in_their_buffers),
        cmocka_unit_test(test_truncated_and_lengthened_plans_are_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
