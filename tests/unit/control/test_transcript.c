/* The transcript of a negotiation: its encoding does not change, and everything counts. */
#include "support/test.h"

#include <string.h>

#include "control/transcript.h"

static struct digest set;

static void begin(const char *accept, struct digest *ret_digest)
{
    const struct transcript_offer offer = {
        .interface = "catalog",
        .version = "1.0.0",
        .accept = accept,
        .service = "catalog.v1.Catalog",
        .descriptor_set = &set,
    };
    transcript_begin(&offer, ret_digest);
}

static Parley__Offer offer_make(const char *version, Parley__TranslationClass translation)
{
    Parley__Offer offer = PARLEY__OFFER__INIT;
    offer.version = (char *)(uintptr_t)version;
    offer.has_translation = true;
    offer.translation = translation;
    return offer;
}

static int setup(void **state)
{
    (void)state;
    digest_of("a descriptor set", 16, &set);
    return 0;
}

/* Written down, so that two releases agree. The figure is that of docs/PROTOCOL.md's encoding, made
 * with another program (Python's hashlib). */
static void test_the_encoding_is_the_documented_one(void **state)
{
    (void)state;
    struct digest digest;
    char text[DIGEST_TEXT_BYTES];
    begin("~2.1, ~1.4", &digest);
    digest_text(&digest, text);
    assert_string_equal(text, "aa9c08e0ad8f2fbfd5cf541ba395c536235d0191f210383fb86f69fb05098ab2");
    Parley__Offer two = offer_make("2.1.0", PARLEY__TRANSLATION_CLASS__CARRIED);
    Parley__Offer one = offer_make("1.4.2", PARLEY__TRANSLATION_CLASS__IDENTITY);
    Parley__Offer *offers[] = {&two, &one};
    transcript_answer(&digest, offers, 2);
    digest_text(&digest, text);
    assert_string_equal(text, "1e9e154f58e3fa491839de6c4aae73e31fac3a1a6c0d3844b48299e8d378842a");
}

static void test_every_part_of_the_question_counts(void **state)
{
    (void)state;
    const char *const base[] = {"catalog", "1.0.0", "~1", "catalog.v1.Catalog"};
    struct digest first;
    for (int changed = -1; changed < 5; changed++) {
        const char *parts[4];
        memcpy(parts, base, sizeof(parts));
        if (changed >= 0 && changed < 4)
            parts[changed] = "other";
        struct digest other_set = set;
        other_set.bytes[DIGEST_BYTES - 1] ^= changed == 4;
        const struct transcript_offer offer = {parts[0], parts[1], parts[2], parts[3], &other_set};
        struct digest digest;
        transcript_begin(&offer, &digest);
        if (changed < 0)
            first = digest;
        else
            assert_memory_not_equal(&digest, &first, sizeof(digest));
    }
}

static void test_versions_classes_order_and_what_came_before_count(void **state)
{
    (void)state;
    Parley__Offer two = offer_make("2.0.0", PARLEY__TRANSLATION_CLASS__ISO);
    Parley__Offer lossy = offer_make("2.0.0", PARLEY__TRANSLATION_CLASS__LOSSY);
    Parley__Offer one = offer_make("1.0.0", PARLEY__TRANSLATION_CLASS__IDENTITY);
    Parley__Offer *answers[][2] = {
        {&two, &one}, {&one, &two}, {&lossy, &one}, {&two, &two}, {&one, &one}};
    struct digest digests[7];
    for (size_t i = 0; i < 5; i++) {
        begin("~1", &digests[i]);
        transcript_answer(&digests[i], answers[i], 2);
    }
    begin("~1", &digests[5]); /* one after the other is not both at once */
    transcript_answer(&digests[5], answers[0], 1);
    transcript_answer(&digests[5], answers[0] + 1, 1);
    begin("~2", &digests[6]);
    transcript_answer(&digests[6], answers[0], 2);
    for (size_t i = 0; i < 7; i++)
        for (size_t j = 0; j < i; j++)
            assert_memory_not_equal(&digests[i], &digests[j], sizeof(digests[i]));
}

static void test_only_the_same_32_bytes_are_the_same(void **state)
{
    (void)state;
    struct digest digest;
    begin("~1", &digest);
    uint8_t copy[DIGEST_BYTES + 1] = {0};
    memcpy(copy, digest.bytes, DIGEST_BYTES);
    ProtobufCBinaryData bytes = {.len = DIGEST_BYTES, .data = copy};
    assert_true(transcript_is(&digest, true, &bytes));
    assert_false(transcript_is(&digest, false, &bytes));
    bytes.len = DIGEST_BYTES + 1;
    assert_false(transcript_is(&digest, true, &bytes));
    bytes.len = DIGEST_BYTES - 1;
    assert_false(transcript_is(&digest, true, &bytes));
    bytes.len = DIGEST_BYTES;
    copy[0] ^= 1;
    assert_false(transcript_is(&digest, true, &bytes));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_encoding_is_the_documented_one),
        cmocka_unit_test(test_every_part_of_the_question_counts),
        cmocka_unit_test(test_versions_classes_order_and_what_came_before_count),
        cmocka_unit_test(test_only_the_same_32_bytes_are_the_same),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
