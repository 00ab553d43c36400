/* Values that change their type or their meaning: what the other version gets, what comes back. */
#include "rows.h"

#include <locale.h>

static struct versions versions;
static struct pairs enums, texts, numbers, offsets, blobs, times, pieces;

static int setup(void **state)
{
    (void)state;
    versions_init(&versions, CONVERT_V1_SET, CONVERT_V2_SET);
    enums = pairs_of(&versions, "convert.v1.Enums", "convert.v2.Enums", "Enum");
    texts = pairs_of(&versions, "convert.v1.Texts", "convert.v2.Texts", "Text");
    numbers = pairs_of(&versions, "convert.v1.Numbers", "convert.v2.Numbers", "Number");
    offsets = pairs_of(&versions, "convert.v1.Offsets", "convert.v2.Offsets", "Offset");
    blobs = pairs_of(&versions, "convert.v1.Blobs", "convert.v2.Blobs", "Blob");
    times = pairs_of(&versions, "convert.v1.Times", "convert.v2.Times", "Time");
    pieces = pairs_of(&versions, "convert.v1.Pieces", "convert.v2.Pieces", "Join");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    versions_deinit(&versions);
    return 0;
}

/* ---- Messages in several pieces ---- */

/* 0 says nothing in v1, but it is the last, so e is absent in v2: not what the first piece had. */
static void test_pieces_of_a_message_are_translated_as_one(void **state)
{
    (void)state;
    static const struct {
        uint8_t sent[16];
        size_t bytes;
        const char *got;
    } tries[] = {
        {{0x0a, 2, 0x60, 4, 0x0a, 2, 0x60, 0}, 8, "{\"n\": {}}"},
        {{0x0a, 2, 0x60, 4, 0x38, 1, 0x0a, 2, 0x60, 0, 0x38, 2}, 12, "{\"n\": {}}"},
        {{0x0a, 2, 0x60, 0, 0x0a, 0, 0x0a, 2, 0x60, 7}, 10, "{\"n\": {\"e\": 7}}"},
        {{0x8a, 0x00, 2, 0x60, 4, 0x0a, 0x82, 0x00, 0x60, 0}, 10, "{\"n\": {}}"},
    };
    for (size_t i = 0; i < sizeof(tries) / sizeof(tries[0]); i++) {
        struct bytes in = bytes_of(tries[i].sent, tries[i].bytes);
        struct bytes out = must_run(pieces.up, pieces.entry, in);
        assert_json(pieces.v2, out, tries[i].got, "pieces");
        free(in.data);
        free(out.data);
    }
}

static void test_more_pieces_than_may_be_joined_are_refused(void **state)
{
    (void)state;
    static const uint8_t piece[] = {0x0a, 2, 0x60, 4};
    for (size_t count = 500; count <= 3000; count += 2500) {
        struct bytes in = {malloc(count * sizeof(piece)), count * sizeof(piece)}, out = {NULL, 0};
        assert_non_null(in.data);
        for (size_t i = 0; i < count; i++)
            memcpy(in.data + i * sizeof(piece), piece, sizeof(piece));
        int r = run(pieces.up, pieces.entry, in, &out, NULL);
        assert_int_equal(r, count == 500 ? 0 : -E2BIG);
        if (r == 0)
            assert_json(pieces.v2, out, "{\"n\": {\"e\": 4}}", "500 pieces");
        free(in.data);
        free(out.data);
    }
}

/* ---- Enums ---- */

static void test_repeated_enum_with_a_stand_in_comes_back_unless_edited(void **state)
{
    (void)state;
    TRY_DOWN(&enums,
             {"{\"list\": [\"LEVEL_LOW\", \"LEVEL_PEAK\", \"LEVEL_HIGH\"]}",
              "{\"list\": [\"LEVEL_LOW\", \"LEVEL_HIGH\", \"LEVEL_HIGH\"]}",
              "{\"list\": [\"LEVEL_LOW\", \"LEVEL_HIGH\"]}",
              "{\"list\": [\"LEVEL_LOW\", \"LEVEL_HIGH\"]}"},
             {"{\"list\": [\"LEVEL_NEW\", 4, 77]}", "{\"list\": [7, \"LEVEL_HIGH\", 77]}",
              "{\"list\": []}", "{}"});
    TRY_UP(&enums,
           {"{\"list\": [\"LEVEL_GONE\", \"LEVEL_OLD\", \"LEVEL_LOW\"]}",
            "{\"list\": [\"LEVEL_NONE\", 9, \"LEVEL_LOW\"]}", "{\"list\": [\"LEVEL_NONE\", 9]}",
            "{\"list\": [\"LEVEL_NONE\", \"LEVEL_NONE\"]}"});
}

static void test_enum_in_a_oneof_comes_back_only_as_the_member_that_is_set(void **state)
{
    (void)state;
    TRY_DOWN(&enums, {"{\"pickLevel\": \"LEVEL_PEAK\"}", "{\"pickLevel\": \"LEVEL_HIGH\"}",
                      "{\"pickText\": \"x\"}", "{\"pickText\": \"x\"}"});
    TRY_DOWN(&enums,
             {"{\"pickLevel\": \"LEVEL_PEAK\"}", "{\"pickLevel\": \"LEVEL_HIGH\"}", "{}", "{}"});
    /* The text came behind the level: the level is not what the oneof holds. */
    const uint8_t both[] = {0x18, 4, 0x22, 1, 'x'};
    struct bytes in = bytes_of(both, sizeof(both)), out = must_run(enums.down, 0, in);
    assert_json(enums.v1, out, "{\"pickText\": \"x\"}", "level, then text");
    free(in.data);
    free(out.data);
}

static void test_enum_in_a_map_comes_back_in_any_order_of_its_entries(void **state)
{
    (void)state;
    TRY_DOWN(&enums, {"{\"byName\": {\"a\": \"LEVEL_PEAK\", \"b\": \"LEVEL_LOW\"}}",
                      "{\"byName\": {\"a\": \"LEVEL_HIGH\", \"b\": \"LEVEL_LOW\"}}",
                      "{\"byName\": {\"a\": \"LEVEL_LOW\", \"b\": \"LEVEL_LOW\"}}",
                      "{\"byName\": {\"a\": \"LEVEL_LOW\", \"b\": \"LEVEL_LOW\"}}"});
    const char *sent = "{\"byName\": {\"a\": \"LEVEL_PEAK\", \"b\": \"LEVEL_LOW\"}}";
    struct bytes in = wire_of(enums.v2, sent), got = must_run(enums.down, 0, in);
    struct bytes swapped =
        wire_of(enums.v1, "{\"byName\": {\"b\": \"LEVEL_LOW\", \"a\": \"LEVEL_HIGH\"}}");
    struct bytes whole = with_carriers(swapped, got), back = must_run(enums.up, 0, whole);
    assert_json(enums.v2, back, sent, "entries swapped");
    free(in.data);
    free(got.data);
    free(swapped.data);
    free(whole.data);
    free(back.data);
}

static void test_duplicate_keys_of_a_map_come_back_from_a_program_that_dropped_them(void **state)
{
    (void)state;
    /* "a": PEAK, "a": LOW, "b": PEAK; a program keeps the last "a". */
    const uint8_t sent[] = {0x2a, 5,    0x0a, 1,    'a', 0x10, 4, 0x2a, 5,    0x0a, 1,
                            'a',  0x10, 2,    0x2a, 5,   0x0a, 1, 'b',  0x10, 4};
    struct bytes in = bytes_of(sent, sizeof(sent)), got = must_run(enums.down, 0, in);
    struct bytes rewritten =
        wire_of(enums.v1, "{\"byName\": {\"b\": \"LEVEL_HIGH\", \"a\": \"LEVEL_LOW\"}}");
    struct bytes whole = with_carriers(rewritten, got), back = must_run(enums.up, 0, whole);
    assert_int_equal(back.bytes, sizeof(sent));
    assert_memory_equal(back.data, sent, sizeof(sent));
    free(in.data);
    free(got.data);
    free(rewritten.data);
    free(whole.data);
    free(back.data);
}

/* @count entries of LEVEL_PEAK, all with one key; and back from a program that keeps the last. */
static bool survives_dropping_duplicates(unsigned count)
{
    static const uint8_t entry[] = {0x2a, 5, 0x0a, 1, 'a', 0x10, 4};
    uint8_t sent[128 * sizeof(entry)];
    for (unsigned i = 0; i < count; i++)
        memcpy(sent + i * sizeof(entry), entry, sizeof(entry));
    struct bytes in = bytes_of(sent, count * sizeof(entry)), got = must_run(enums.down, 0, in);
    struct bytes rewritten = wire_of(enums.v1, "{\"byName\": {\"a\": \"LEVEL_HIGH\"}}");
    struct bytes whole = with_carriers(rewritten, got), back = must_run(enums.up, 0, whole);
    bool same = back.bytes == in.bytes && memcmp(back.data, in.data, in.bytes) == 0;
    free(in.data);
    free(got.data);
    free(rewritten.data);
    free(whole.data);
    free(back.data);
    return same;
}

static void test_keys_are_compared_in_maps_of_64_entries_not_of_65(void **state)
{
    (void)state;
    assert_true(survives_dropping_duplicates(64));
    assert_false(survives_dropping_duplicates(65));
}

static void test_otherwise_stands_for_all_values_without_a_pair(void **state)
{
    (void)state;
    TRY_UP(&enums, {"{\"grade\": \"GRADE_C\", \"grades\": [\"GRADE_A\", \"GRADE_C\", 55]}",
                    "{\"grade\": \"MARK_UNKNOWN\", \"grades\": [\"MARK_A\", \"MARK_UNKNOWN\", "
                    "\"MARK_UNKNOWN\"]}",
                    "{\"grade\": \"MARK_A\", \"grades\": [\"MARK_UNKNOWN\"]}",
                    "{\"grade\": \"GRADE_A\", \"grades\": [\"GRADE_OTHER\"]}"});
    TRY_DOWN(&enums, {"{\"grade\": \"MARK_PLUS\", \"grades\": [\"MARK_PLUS\", \"MARK_B\", 9]}",
                      "{\"grade\": \"GRADE_OTHER\", \"grades\": [\"GRADE_OTHER\", \"GRADE_B\", "
                      "\"GRADE_OTHER\"]}",
                      "{\"grade\": \"GRADE_OTHER\"}", "{\"grade\": \"MARK_PLUS\"}"});
}

/* 7 goes up as 7, and would come down as what stands for all others. */
static void test_otherwise_in_one_direction_brings_back_what_the_other_let_pass(void **state)
{
    (void)state;
    TRY_UP(&enums,
           {"{\"taste\": 7}", "{\"taste\": 7}", "{\"taste\": 8}", "{\"taste\": \"TASTE_OTHER\"}"},
           {"{\"tastes\": [1, 7]}", "{\"tastes\": [1, 7]}", "{\"tastes\": [7]}",
            "{\"tastes\": [\"TASTE_OTHER\"]}"});
    TRY_DOWN(&enums, {"{\"taste\": 7, \"tastes\": [7, 1]}",
                      "{\"taste\": \"TASTE_OTHER\", \"tastes\": [\"TASTE_OTHER\", 1]}",
                      "{\"taste\": 9, \"tastes\": [9]}", "{\"taste\": 9, \"tastes\": [9]}"});
}

static void test_packed_values_stay_packed(void **state)
{
    (void)state;
    const uint8_t sent[] = {0x0a, 3, 2, 4, 1}, want[] = {0x0a, 3, 1, 2, 2};
    struct bytes in = bytes_of(sent, sizeof(sent)), got = must_run(enums.down, 0, in);
    assert_true(got.bytes > sizeof(want));
    assert_memory_equal(got.data, want, sizeof(want));
    struct bytes back = must_run(enums.up, 0, got);
    assert_int_equal(back.bytes, sizeof(sent));
    assert_memory_equal(back.data, sent, sizeof(sent));
    free(in.data);
    free(got.data);
    free(back.data);
}

/* ---- Text and numbers ---- */

static void test_text_that_is_not_canonical_comes_back_unless_edited(void **state)
{
    (void)state;
    TRY_UP(&texts,
           {"{\"number\": \"007\"}", "{\"number\": 7}", "{\"number\": 8}", "{\"number\": \"8\"}"},
           {"{\"number\": \"-12\"}", "{\"number\": -12}", NULL, NULL},
           {"{\"number\": \"+0\"}", "{}", "{\"number\": 1}", "{\"number\": \"1\"}"},
           {"{\"number\": \"x\"}", NULL, NULL, NULL}, {"{\"number\": \"1 \"}", NULL, NULL, NULL},
           {"{\"number\": \"2147483648\"}", NULL, NULL, NULL},
           {"{\"number\": \"99999999999999999999999999999999999999999\"}", NULL, NULL, NULL},
           {"{\"list\": [\"1\", \"02\", \"-3\"]}", "{\"list\": [1, 2, -3]}", "{\"list\": [1, 2]}",
            "{\"list\": [\"1\", \"2\"]}"},
           {"{\"list\": [\"\"]}", NULL, NULL, NULL});
    TRY_DOWN(&texts, {"{\"number\": -2147483648, \"list\": [0, 5]}",
                      "{\"number\": \"-2147483648\", \"list\": [\"0\", \"5\"]}",
                      "{\"number\": \"05\"}", "{\"number\": 5}"});
}

static void test_a_number_has_at_most_128_bytes_of_text(void **state)
{
    (void)state;
    char sent[160];
    for (int bytes = 128; bytes <= 129; bytes++) {
        (void)snprintf(sent, sizeof(sent), "{\"number\": \"%0*d\"}", bytes, 7);
        TRY_UP(&texts, {sent, bytes == 128 ? "{\"number\": 7}" : NULL, NULL, NULL});
        (void)snprintf(sent, sizeof(sent), "{\"real\": \"%0*d\"}", bytes, 7);
        TRY_UP(&numbers, {sent, bytes == 128 ? "{\"real\": 7}" : NULL, NULL, NULL});
    }
}

static void test_canonical_text_costs_nothing(void **state)
{
    (void)state;
    struct bytes in = wire_of(texts.v1, "{\"number\": \"7\", \"list\": [\"1\", \"2\"]}");
    struct bytes got = must_run(texts.up, 1, in);
    struct bytes want = wire_of(texts.v2, "{\"number\": 7}");
    assert_int_equal(got.bytes, want.bytes + 4);
    free(in.data);
    free(got.data);
    free(want.data);
}

static void test_absent_text_is_an_absent_number(void **state)
{
    (void)state;
    TRY_UP(&texts, {"{\"maybe\": \"0\"}", "{\"maybe\": 0}", "{}", "{}"},
           {"{\"maybe\": \"\"}", NULL, NULL, NULL},
           {"{\"maybe\": \"00\"}", "{\"maybe\": 0}", "{\"maybe\": 1}", "{\"maybe\": \"1\"}"},
           {"{\"half\": \"0\"}", "{\"half\": 0}", "{}", "{}"},
           {"{\"whole\": \"0\"}", "{}", "{\"whole\": 3}", "{\"whole\": \"3\"}"});
    TRY_DOWN(&texts, {"{\"half\": 0}", "{\"half\": \"0\"}", "{}", "{}"},
             {"{\"whole\": 5}", "{\"whole\": \"5\"}", "{\"whole\": \"0\"}", "{}"});
}

static void test_text_in_a_oneof_and_in_a_map_converts(void **state)
{
    (void)state;
    TRY_UP(&texts, {"{\"pickNumber\": \"0x\"}", NULL, NULL, NULL},
           {"{\"pickNumber\": \"0012\"}", "{\"pickNumber\": 12}", "{\"pickText\": \"a\"}",
            "{\"pickText\": \"a\"}"},
           {"{\"pickNumber\": \"0\"}", "{\"pickNumber\": 0}", "{}", "{}"},
           {"{\"counts\": {\"a\": \"01\", \"b\": \"2\"}}", "{\"counts\": {\"a\": 1, \"b\": 2}}",
            "{\"counts\": {\"a\": 1}}", "{\"counts\": {\"a\": \"1\"}}"},
           {"{\"counts\": {\"a\": \"\"}}", NULL, NULL, NULL});
}

static void test_what_is_out_of_domain_is_an_error_or_clamped_or_carried(void **state)
{
    (void)state;
    TRY_UP(&texts, {"{\"carried\": \"x\"}", "{}", "{\"carried\": 1}", "{\"carried\": \"1\"}"},
           {"{\"carried\": \"2147483648\"}", "{}", NULL, NULL},
           {"{\"clamped\": \"2147483648\"}", "{\"clamped\": 2147483647}", "{\"clamped\": 5}",
            "{\"clamped\": \"5\"}"},
           {"{\"clamped\": \"-99999999999999999999999999999999999999999999\"}",
            "{\"clamped\": -2147483648}", NULL, NULL},
           {"{\"clamped\": \"x\"}", "{}", NULL, NULL},
           {"{\"otherwise\": \"x\"}", "{\"otherwise\": -1}", "{\"otherwise\": -2}",
            "{\"otherwise\": \"-2\"}"},
           {"{\"otherwise\": \"2147483648\"}", NULL, NULL, NULL});
    TRY_DOWN(&texts, {"{\"toText\": \"abc\"}", "{}", "{\"toText\": \"3\"}", "{\"toText\": \"3\"}"},
             {"{\"toTexts\": [\"1\", \"b\", \"03\"]}", "{\"toTexts\": [1, -5, 3]}",
              "{\"toTexts\": [1, -5]}", "{\"toTexts\": [\"1\", \"-5\"]}"});
}

static void test_names_of_an_enum_are_text(void **state)
{
    (void)state;
    TRY_UP(&texts,
           {"{\"level\": \"high\"}", "{\"level\": \"LEVEL_HIGH\"}", "{\"level\": \"LEVEL_LOW\"}",
            "{\"level\": \"low\"}"},
           {"{\"level\": \"High\"}", "{\"level\": \"LEVEL_PEAK\"}", "{}", "{}"},
           {"{\"level\": \"none\"}", "{}", "{\"level\": \"LEVEL_NEW\"}", "{\"level\": \"new\"}"},
           {"{\"levels\": [\"LEVEL_NONE\", \"LEVEL_NEW\", \"what\"]}",
            "{\"levels\": [\"LEVEL_NONE\", \"LEVEL_NEW\", \"LEVEL_NONE\"]}",
            "{\"levels\": [\"LEVEL_NONE\"]}", "{\"levels\": [\"LEVEL_NONE\"]}"},
           {"{\"toName\": \"LEVEL_OLD\", \"toNames\": [\"LEVEL_LOW\", 77]}",
            "{\"toName\": \"old\", \"toNames\": [\"low\", \"unknown\"]}", "{\"toName\": \"low\"}",
            "{\"toName\": \"LEVEL_LOW\"}"},
           {"{\"toName\": 77}", NULL, NULL, NULL});
    TRY_DOWN(&texts,
             {"{\"level\": 77}", "{\"level\": \"strange\"}", "{\"level\": \"peak\"}",
              "{\"level\": \"LEVEL_PEAK\"}"},
             {"{\"toNames\": [\"HIGH\", \"high\"]}",
              "{\"toNames\": [\"LEVEL_GONE\", \"LEVEL_HIGH\"]}", NULL, NULL});
}

static void test_bools_are_text(void **state)
{
    (void)state;
    TRY_UP(&texts, {"{\"flag\": \"true\"}", "{\"flag\": true}", "{}", "{}"},
           {"{\"flag\": \"false\"}", "{}", "{\"flag\": true}", "{\"flag\": \"true\"}"},
           {"{\"flag\": \"yes\"}", NULL, NULL, NULL});
    TRY_DOWN(&texts, {"{\"flag\": true}", "{\"flag\": \"true\"}", "{\"flag\": \"false\"}", "{}"});
}

static void test_numbers_in_text_are_scaled(void **state)
{
    (void)state;
    TRY_UP(&texts, {"{\"kilo\": \"12\"}", "{\"units\": \"12000\"}", "{\"units\": \"12345\"}",
                    "{\"kilo\": \"12\"}"});
    TRY_DOWN(&texts, {"{\"units\": \"12345\"}", "{\"kilo\": \"12\"}", "{\"kilo\": \"13\"}",
                      "{\"units\": \"13000\"}"});
}

/* ---- Numbers ---- */

static void test_reals_become_the_nearest_integers(void **state)
{
    (void)state;
    TRY_UP(&numbers, {"{\"ratio\": 3}", "{\"ratio\": 3}", NULL, NULL},
           {"{\"ratio\": 2.5}", "{\"ratio\": 2}", "{\"ratio\": 3}", "{\"ratio\": 3}"},
           {"{\"ratio\": 3.5}", "{\"ratio\": 4}", NULL, NULL},
           {"{\"ratio\": -0.75}", "{\"ratio\": -1}", NULL, NULL},
           {"{\"ratio\": 1e300}", NULL, NULL, NULL}, {"{\"ratio\": \"NaN\"}", NULL, NULL, NULL},
           {"{\"ratio\": \"Infinity\"}", NULL, NULL, NULL},
           {"{\"ratio\": -0.0}", "{}", "{\"ratio\": 1}", "{\"ratio\": 1}"},
           {"{\"ratios\": [1, 2.25, -7]}", "{\"ratios\": [1, 2, -7]}", "{\"ratios\": [1, 2]}",
            "{\"ratios\": [1, 2]}"});
    TRY_DOWN(&numbers, {"{\"ratio\": 2147483647, \"ratios\": [0, -1]}",
                        "{\"ratio\": 2147483647, \"ratios\": [0, -1]}", "{\"ratio\": 0.4}", "{}"});
}

static void test_doubles_that_are_no_floats_come_back(void **state)
{
    (void)state;
    TRY_UP(&numbers,
           {"{\"narrow\": 0.1}", "{\"narrow\": 0.1}", "{\"narrow\": 0.5}", "{\"narrow\": 0.5}"},
           {"{\"narrow\": 1e300}", NULL, NULL, NULL},
           {"{\"narrow\": \"-Infinity\"}", "{\"narrow\": \"-Infinity\"}", NULL, NULL},
           {"{\"narrow\": 1e-300}", "{}", "{\"narrow\": 1}", "{\"narrow\": 1}"},
           {"{\"small\": 0.1}", "{\"small\": 0.10000000149011612}", "{\"small\": 0.1}",
            "{\"small\": 0.1}"});
    TRY_DOWN(&numbers, {"{\"small\": 0.1}", "{\"small\": 0.1}", "{\"small\": 2}", "{\"small\": 2}"},
             {"{\"toReal\": 1.5}", "{\"toReal\": \"2\"}", NULL, NULL});
    TRY_UP(&numbers,
           {"{\"toReal\": \"18446744073709551615\"}", "{\"toReal\": 1.8446744073709552e19}",
            "{\"toReal\": 7}", "{\"toReal\": \"7\"}"});
}

static void test_integers_become_bools_and_enums(void **state)
{
    (void)state;
    TRY_UP(&numbers, {"{\"flag\": 1}", "{\"flag\": true}", "{}", "{}"},
           {"{\"flag\": 2}", NULL, NULL, NULL}, {"{\"flag\": -1}", NULL, NULL, NULL},
           {"{\"level\": 2}", "{\"level\": \"LEVEL_LOW\"}", "{\"level\": \"LEVEL_NEW\"}",
            "{\"level\": 7}"},
           {"{\"level\": 99}", "{\"level\": 99}", NULL, NULL},
           {"{\"gradeNumber\": \"GRADE_C\"}", "{\"gradeNumber\": 3}", "{\"gradeNumber\": -3}",
            "{\"gradeNumber\": -3}"});
}

static void test_linear_numbers_are_exact_or_come_back(void **state)
{
    (void)state;
    TRY_UP(&numbers, {"{\"centi\": 150}", "{\"whole\": 1.5}", "{\"whole\": 2}", "{\"centi\": 200}"},
           {"{\"kib\": [1, 2]}", "{\"bytes\": [\"1024\", \"2048\"]}", NULL, NULL});
    TRY_DOWN(&numbers,
             {"{\"bytes\": [\"1024\", \"4113\"]}", "{\"kib\": [1, 4]}", "{\"kib\": [1, 5]}",
              "{\"bytes\": [\"1024\", \"5120\"]}"},
             {"{\"whole\": 0.015}", "{\"centi\": 2}", "{\"centi\": 3}", "{\"whole\": 0.03}"},
             {"{\"bytes\": [\"18446744073709551615\"]}", NULL, NULL, NULL});
}

static void test_an_absent_number_with_an_offset_is_0(void **state)
{
    (void)state;
    TRY_UP(&offsets,
           {"{\"celsius\": 100, \"kelvin\": 273}", "{\"fahrenheit\": 212}",
            "{\"fahrenheit\": 50, \"celsius\": 1}", "{\"celsius\": 10, \"kelvin\": 274}"},
           {"{}", "{\"fahrenheit\": 32, \"celsius\": -273}", "{\"celsius\": -272}",
            "{\"celsius\": -17.77777777777778, \"kelvin\": 1}"},
           {"{\"celsius\": 0.1}", "{\"fahrenheit\": 32.18, \"celsius\": -273}",
            "{\"fahrenheit\": 32, \"celsius\": -273}", "{}"},
           {"{\"kelvin\": -2147483648}", NULL, NULL, NULL});
    TRY_DOWN(&offsets,
             {"{}", "{\"celsius\": -17.77777777777778, \"kelvin\": 273, \"high\": 7}",
              "{\"celsius\": 10, \"kelvin\": 273}", "{\"fahrenheit\": 50}"},
             {"{\"fahrenheit\": 1, \"celsius\": -273}",
              "{\"celsius\": -17.22222222222222, \"high\": 7}", NULL, NULL});
}

/* A 0 that says nothing must not be left where the message before had nothing. */
static void test_an_absent_number_comes_back_as_absent(void **state)
{
    (void)state;
    uint8_t nothing = 0;
    struct bytes got = must_run(offsets.up, offsets.entry, (struct bytes){&nothing, 0});
    struct bytes back = must_run(offsets.down, offsets.entry, got);
    assert_json(offsets.v2, got, "{\"fahrenheit\": 32, \"celsius\": -273}", "nothing");
    struct wire_reader reader = {back.data, back.data + back.bytes};
    while (reader.pos < reader.end) {
        uint32_t number = 0;
        enum wire_type type = WIRE_VARINT;
        assert_int_equal(wire_read_tag(&reader, &number, &type), 0);
        assert_int_not_equal(number, 3);
        assert_int_equal(wire_skip(&reader, number, type), 0);
    }
    free(got.data);
    free(back.data);
}

static void test_a_real_as_text_reads_back_as_the_same(void **state)
{
    (void)state;
    TRY_DOWN(&numbers, {"{\"real\": 0.1}", "{\"real\": \"0.1\"}", NULL, NULL},
             {"{\"real\": 1e+100}", "{\"real\": \"1e+100\"}", NULL, NULL},
             {"{\"real\": 5e-324}", "{\"real\": \"4.94065645841247e-324\"}", NULL, NULL},
             {"{\"real\": 123456789}", "{\"real\": \"123456789\"}", NULL, NULL},
             {"{\"real\": 0.30000000000000004}", "{\"real\": \"0.30000000000000004\"}", NULL, NULL},
             {"{\"real\": \"NaN\"}", "{\"real\": \"NaN\"}", NULL, NULL},
             {"{\"real\": \"-Infinity\"}", "{\"real\": \"-Infinity\"}", NULL, NULL},
             {"{\"single\": 0.1}", "{\"single\": \"0.1\"}", NULL, NULL});
    TRY_UP(
        &numbers, {"{\"real\": \"0.50\"}", "{\"real\": 0.5}", "{\"real\": 2}", "{\"real\": \"2\"}"},
        {"{\"real\": \"-.5E1\"}", "{\"real\": -5}", NULL, NULL},
        {"{\"real\": \"inf\"}", "{\"real\": \"Infinity\"}", NULL, NULL},
        {"{\"real\": \"1,5\"}", NULL, NULL, NULL}, {"{\"real\": \"0x10\"}", NULL, NULL, NULL},
        {"{\"real\": \" 1\"}", NULL, NULL, NULL}, {"{\"real\": \"1e\"}", NULL, NULL, NULL},
        {"{\"real\": \"1e999\"}", NULL, NULL, NULL}, {"{\"single\": \"1e39\"}", NULL, NULL, NULL});
}

static void test_the_sign_of_zero_comes_back(void **state)
{
    (void)state;
    /* -0.0 as text is "-0"; as an integer it is 0, and comes along. */
    const uint8_t zero[] = {0x09, 0, 0, 0, 0, 0, 0, 0, 0x80};
    struct bytes in = bytes_of(zero, sizeof(zero)), got = must_run(numbers.up, numbers.entry, in);
    struct bytes back = must_run(numbers.down, numbers.entry, got);
    assert_json(numbers.v2, got, "{}", "-0.0");
    assert_int_equal(back.bytes, sizeof(zero));
    assert_memory_equal(back.data, zero, sizeof(zero));
    free(in.data);
    free(got.data);
    free(back.data);
    TRY_DOWN(&numbers, {"{\"real\": -0.0}", "{\"real\": \"-0\"}", "{\"real\": \"0\"}", "{}"});
}

static void test_the_comma_of_a_locale_is_no_point(void **state)
{
    (void)state;
    if (!setlocale(LC_ALL, "de_DE.UTF-8") && !setlocale(LC_ALL, "fr_FR.UTF-8")) {
        print_message("skipped: this machine has no locale with a decimal comma\n");
        skip();
    }
    TRY_DOWN(&numbers, {"{\"real\": 1.5}", "{\"real\": \"1.5\"}", NULL, NULL});
    (void)setlocale(LC_ALL, "C");
}

static void test_the_nearest_number_stands_for_one_that_does_not_fit(void **state)
{
    (void)state;
    TRY_UP(&numbers,
           {"{\"clamped\": -1.5, \"carried\": -1.5}", "{}", "{\"clamped\": 1, \"carried\": 2}",
            "{\"clamped\": 1, \"carried\": 2}"},
           {"{\"clamped\": 1e10, \"carried\": 1e10}", "{\"clamped\": 4294967295}", NULL, NULL},
           {"{\"clamped\": \"NaN\", \"carried\": \"NaN\"}", "{}", NULL, NULL});
    TRY_DOWN(&numbers, {"{\"bounded\": \"1000000000000\"}", "{\"bounded\": 2147483647}",
                        "{\"bounded\": 2}", "{\"bounded\": \"6\"}"});
}

/* ---- Bytes ---- */

static void test_bytes_are_hex_and_base64_text(void **state)
{
    (void)state;
    TRY_UP(&blobs,
           {"{\"hex\": \"AP8Q\"}", "{\"hex\": \"00ff10\"}", "{\"hex\": \"AB\"}",
            "{\"hex\": \"qw==\"}"},
           {"{\"fromHex\": \"00fF\"}", "{\"fromHex\": \"AP8=\"}", "{\"fromHex\": \"AA==\"}",
            "{\"fromHex\": \"00\"}"},
           {"{\"fromHex\": \"abc\"}", NULL, NULL, NULL},
           {"{\"fromHex\": \"zz\"}", NULL, NULL, NULL},
           {"{\"base64\": \"AP8Q\"}", "{\"base64\": \"AP8Q\"}", "{\"base64\": \"AA\"}",
            "{\"base64\": \"AA==\"}"},
           {"{\"fromBase64\": [\"AA\", \"AAAA\", \"AB==\", \"!\", \"\"]}",
            "{\"fromBase64\": [\"AA==\", \"AAAA\", \"AA==\", \"\", \"\"]}",
            "{\"fromBase64\": [\"AA==\"]}", "{\"fromBase64\": [\"AA==\"]}"});
    TRY_DOWN(&blobs, {"{\"hex\": \"0G\"}", NULL, NULL, NULL},
             {"{\"fromHex\": \"q80=\"}", "{\"fromHex\": \"abcd\"}", "{\"fromHex\": \"ABCE\"}",
              "{\"fromHex\": \"q84=\"}"},
             {"{\"fromBase64\": [\"AAECAw==\"]}", "{\"fromBase64\": [\"AAECAw==\"]}", NULL, NULL});
}

static void test_long_bytes_are_coded_piece_by_piece(void **state)
{
    (void)state;
    for (unsigned bytes = 0; bytes < 300; bytes++) {
        uint8_t data[304] = {0x0a, 0, 0}, *content = data + 2 + (bytes >= 128);
        data[1] = bytes < 128 ? (uint8_t)bytes : (uint8_t)(bytes | 0x80);
        if (bytes >= 128)
            data[2] = (uint8_t)(bytes >> 7);
        for (unsigned i = 0; i < bytes; i++)
            content[i] = (uint8_t)(i * 7 + bytes);
        for (uint8_t tag = 0x0a; tag <= 0x1a; tag += 0x10) {
            data[0] = tag;
            struct bytes in = bytes_of(data, (size_t)(content - data) + bytes);
            struct bytes got = must_run(blobs.up, blobs.entry, in),
                         back = must_run(blobs.down, blobs.entry, got);
            /* Of nothing, nothing is written. */
            assert_int_equal(back.bytes, bytes > 0 ? in.bytes : 0);
            if (bytes > 0)
                assert_memory_equal(back.data, in.data, in.bytes);
            free(in.data);
            free(got.data);
            free(back.data);
        }
    }
}

static void test_bytes_that_are_no_text_are_carried_if_the_rule_says_so(void **state)
{
    (void)state;
    TRY_UP(
        &blobs,
        {"{\"utf8\": \"YWI=\"}", "{\"utf8\": \"ab\"}", "{\"utf8\": \"c\"}", "{\"utf8\": \"Yw==\"}"},
        {"{\"utf8\": \"/w==\"}", "{}", "{\"utf8\": \"c\"}", "{\"utf8\": \"Yw==\"}"},
        {"{\"utf8\": \"AA==\"}", "{}", NULL, NULL});
}

/* ---- Times ---- */

static void test_times_are_integers_of_a_unit(void **state)
{
    (void)state;
    TRY_UP(&times,
           {"{\"seconds\": \"5\"}", "{\"seconds\": {\"seconds\": \"5\"}}",
            "{\"seconds\": {\"seconds\": \"5\", \"nanos\": 1}}", "{\"seconds\": \"5\"}"},
           {"{\"seconds\": \"-5\"}", "{\"seconds\": {\"seconds\": \"-5\"}}", "{}", "{}"},
           {"{\"seconds\": \"253402300800\"}", NULL, NULL, NULL},
           {"{\"millis\": \"-1\"}", "{\"millis\": {\"seconds\": \"-1\", \"nanos\": 999000000}}",
            NULL, NULL},
           {"{\"millis\": \"9223372036854775807\"}",
            "{\"millis\": {\"seconds\": \"253402300799\", \"nanos\": 999999999}}", "{}", "{}"},
           {"{\"toMillis\": {\"seconds\": \"1\", \"nanos\": 5000000}}", "{\"toMillis\": \"1005\"}",
            "{\"toMillis\": \"-1\"}",
            "{\"toMillis\": {\"seconds\": \"-1\", \"nanos\": 999000000}}"},
           {"{\"toMillis\": {\"seconds\": \"1\", \"nanos\": 5000001}}", "{\"toMillis\": \"1005\"}",
            "{\"toMillis\": \"1006\"}", "{\"toMillis\": {\"seconds\": \"1\", \"nanos\": 6000000}}"},
           {"{\"toMillis\": {}}", "{}", "{\"toMillis\": \"1000\"}",
            "{\"toMillis\": {\"seconds\": \"1\"}}"},
           {"{\"toMillis\": {\"nanos\": -1}}", NULL, NULL, NULL},
           {"{\"spanMicros\": \"-1500000\"}",
            "{\"spanMicros\": {\"seconds\": \"-1\", \"nanos\": -500000000}}", NULL, NULL},
           {"{\"spanToMillis\": {\"nanos\": -1999999}}", "{\"spanToMillis\": \"-1\"}", NULL, NULL},
           {"{\"list\": [\"1\", \"0\", \"-1\"]}",
            "{\"list\": [{\"nanos\": 1}, {}, {\"seconds\": \"-1\", \"nanos\": 999999999}]}", NULL,
            NULL},
           {"{\"maybe\": \"0\"}", "{\"maybe\": {}}", "{}", "{}"});
    TRY_DOWN(&times, {"{\"maybe\": {\"nanos\": 1}}", "{\"maybe\": \"0\"}", "{}", "{}"},
             {"{\"list\": [{\"nanos\": 7}, {\"nanos\": 8}]}", "{\"list\": [\"7\", \"8\"]}",
              "{\"list\": [\"7\"]}", "{\"list\": [{\"nanos\": 7}]}"});
}

static void test_times_are_text(void **state)
{
    (void)state;
    TRY_UP(&times,
           {"{\"text\": \"2026-11-22T18:00:00Z\"}", "{\"text\": {\"seconds\": \"1795370400\"}}",
            "{\"text\": {\"seconds\": \"1795370400\", \"nanos\": 1000}}",
            "{\"text\": \"2026-11-22T18:00:00.000001Z\"}"},
           {"{\"text\": \"2026-11-22T19:00:00.50+01:00\"}",
            "{\"text\": {\"seconds\": \"1795370400\", \"nanos\": 500000000}}",
            "{\"text\": {\"seconds\": \"0\"}}", "{\"text\": \"1970-01-01T00:00:00Z\"}"},
           {"{\"text\": \"0001-01-01T00:00:00Z\"}", "{\"text\": {\"seconds\": \"-62135596800\"}}",
            NULL, NULL},
           {"{\"text\": \"2024-02-29T00:00:00Z\"}", "{\"text\": {\"seconds\": \"1709164800\"}}",
            NULL, NULL},
           {"{\"text\": \"2023-02-29T00:00:00Z\"}", NULL, NULL, NULL},
           {"{\"text\": \"2023-02-28T24:00:00Z\"}", NULL, NULL, NULL},
           {"{\"text\": \"2023-02-28 00:00:00Z\"}", NULL, NULL, NULL},
           {"{\"text\": \"0001-01-01T00:00:00+00:01\"}", NULL, NULL, NULL},
           {"{\"toText\": {\"seconds\": \"-1\", \"nanos\": 123000000}}",
            "{\"toText\": \"1969-12-31T23:59:59.123Z\"}", NULL, NULL},
           {"{\"toText\": {\"seconds\": \"253402300800\"}}", NULL, NULL, NULL},
           {"{\"spanText\": \"1.5s\"}",
            "{\"spanText\": {\"seconds\": \"1\", \"nanos\": 500000000}}", "{\"spanText\": {}}",
            "{\"spanText\": \"0s\"}"},
           {"{\"spanText\": \"-0.000000001s\"}", "{\"spanText\": {\"nanos\": -1}}", NULL, NULL},
           {"{\"spanText\": \"1.5\"}", NULL, NULL, NULL},
           {"{\"spanToText\": {\"seconds\": \"-3\", \"nanos\": -5000000}}",
            "{\"spanToText\": \"-3.005s\"}", NULL, NULL},
           {"{\"texts\": [\"2s\", \"nonsense\"]}",
            "{\"texts\": [{\"seconds\": \"2\"}, {\"seconds\": \"1\", \"nanos\": 500000000}]}",
            "{\"texts\": [{\"seconds\": \"2\"}]}", "{\"texts\": [\"2s\"]}"});
}

static void test_pieces_of_a_time_are_one_time(void **state)
{
    (void)state;
    /* Timestamp {seconds: 1}, and behind another field, {nanos: 5000000}. */
    const uint8_t sent[] = {0x1a, 2, 0x08, 1, 0x08, 9, 0x1a, 5, 0x10, 0xc0, 0x96, 0xb1, 2};
    struct bytes in = bytes_of(sent, sizeof(sent)), got = must_run(times.up, times.entry, in);
    assert_json(times.v2, got, "{\"seconds\": {\"seconds\": \"9\"}, \"toMillis\": \"1005\"}",
                "two pieces");
    free(in.data);
    free(got.data);
}

static void test_unknown_fields_of_a_time_come_back(void **state)
{
    (void)state;
    const uint8_t sent[] = {0x1a, 4, 0x08, 1, 0x18, 7};
    struct bytes in = bytes_of(sent, sizeof(sent)), got = must_run(times.up, times.entry, in);
    struct bytes back = must_run(times.down, times.entry, got);
    assert_int_equal(back.bytes, sizeof(sent));
    assert_memory_equal(back.data, sent, sizeof(sent));
    free(in.data);
    free(got.data);
    free(back.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_repeated_enum_with_a_stand_in_comes_back_unless_edited),
        cmocka_unit_test(test_enum_in_a_oneof_comes_back_only_as_the_member_that_is_set),
        cmocka_unit_test(test_enum_in_a_map_comes_back_in_any_order_of_its_entries),
        cmocka_unit_test(test_duplicate_keys_of_a_map_come_back_from_a_program_that_dropped_them),
        cmocka_unit_test(test_keys_are_compared_in_maps_of_64_entries_not_of_65),
        cmocka_unit_test(test_otherwise_stands_for_all_values_without_a_pair),
        cmocka_unit_test(test_otherwise_in_one_direction_brings_back_what_the_other_let_pass),
        cmocka_unit_test(test_packed_values_stay_packed),
        cmocka_unit_test(test_text_that_is_not_canonical_comes_back_unless_edited),
        cmocka_unit_test(test_a_number_has_at_most_128_bytes_of_text),
        cmocka_unit_test(test_canonical_text_costs_nothing),
        cmocka_unit_test(test_absent_text_is_an_absent_number),
        cmocka_unit_test(test_text_in_a_oneof_and_in_a_map_converts),
        cmocka_unit_test(test_what_is_out_of_domain_is_an_error_or_clamped_or_carried),
        cmocka_unit_test(test_names_of_an_enum_are_text),
        cmocka_unit_test(test_bools_are_text),
        cmocka_unit_test(test_numbers_in_text_are_scaled),
        cmocka_unit_test(test_reals_become_the_nearest_integers),
        cmocka_unit_test(test_doubles_that_are_no_floats_come_back),
        cmocka_unit_test(test_integers_become_bools_and_enums),
        cmocka_unit_test(test_linear_numbers_are_exact_or_come_back),
        cmocka_unit_test(test_an_absent_number_with_an_offset_is_0),
        cmocka_unit_test(test_an_absent_number_comes_back_as_absent),
        cmocka_unit_test(test_a_real_as_text_reads_back_as_the_same),
        cmocka_unit_test(test_the_sign_of_zero_comes_back),
        cmocka_unit_test(test_the_comma_of_a_locale_is_no_point),
        cmocka_unit_test(test_the_nearest_number_stands_for_one_that_does_not_fit),
        cmocka_unit_test(test_bytes_are_hex_and_base64_text),
        cmocka_unit_test(test_long_bytes_are_coded_piece_by_piece),
        cmocka_unit_test(test_bytes_that_are_no_text_are_carried_if_the_rule_says_so),
        cmocka_unit_test(test_times_are_integers_of_a_unit),
        cmocka_unit_test(test_times_are_text),
        cmocka_unit_test(test_pieces_of_a_message_are_translated_as_one),
        cmocka_unit_test(test_more_pieces_than_may_be_joined_are_refused),
        cmocka_unit_test(test_pieces_of_a_time_are_one_time),
        cmocka_unit_test(test_unknown_fields_of_a_time_come_back),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
