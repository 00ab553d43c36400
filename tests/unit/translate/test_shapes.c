/* The rules on structure, by value: what docs/TRANSLATION.md promises of each. */
#include "forms.h"

/* ---- Methods ---- */

static void test_renamed_method_is_found_by_its_old_name(void **state)
{
    (void)state;
    uint32_t was = entry_of(forms.v1, "Was"), is = entry_of(forms.v2, "Is");
    assert_int_equal(plan_method(forms.up_requests, was), is);
    assert_int_equal(plan_method(forms.down_replies, was), is);
    assert_int_equal(plan_method(forms.down_requests, is), was);
    assert_int_equal(plan_method(forms.up_replies, is), was);
}

static void test_method_whose_name_was_taken_over_is_missing(void **state)
{
    (void)state;
    assert_int_equal(plan_method(forms.up_requests, entry_of(forms.v1, "Is")), PLAN_METHOD_NONE);
    assert_int_equal(plan_method(forms.down_requests, entry_of(forms.v2, "New")), PLAN_METHOD_NONE);
}

/* ---- Merge ---- */

static void test_merged_message_is_split_again(void **state)
{
    (void)state;
    static const struct trip trips[] = {
        {UP,
         "{\"author\":{\"name\":\"Ann\",\"mail\":\"a@b\"},\"title\":\"t\"}",
         "{\"author\":\"Ann <a@b>\",\"title\":\"t\"}",
         {0},
         NULL,
         NULL},
        {UP, "{\"author\":{\"name\":\"Ann\"}}", "{\"author\":\"Ann\"}", {0}, NULL, NULL},
        {UP,
         "{\"author\":{\"name\":\"Ann\",\"since\":7}}",
         "{\"author\":\"Ann\"}",
         {0},
         NULL,
         NULL},
        {UP, "{\"author\":{}}", "{}", {0}, NULL, NULL},
        {UP,
         "{\"author\":{\"name\":\"Ann\",\"since\":7}}",
         NULL,
         {0},
         "{\"author\":\"Bob <b>\"}",
         "{\"author\":{\"name\":\"Bob\",\"mail\":\"b\"}}"},
        {UP, "{\"author\":{\"name\":\"Ann\",\"since\":7}}", NULL, {3}, NULL, "{}"},
        {DOWN,
         "{\"author\":\"Ann <a@b>\"}",
         "{\"author\":{\"name\":\"Ann\",\"mail\":\"a@b\"}}",
         {0},
         NULL,
         NULL},
        {DOWN, "{\"author\":\" <>\"}", "{\"author\":{\"name\":\" <>\"}}", {0}, NULL, NULL},
    };
    assert_trips("Merged", trips);
    assert_form_comes_back("Merged", merge);
}

/* ---- Wrap and unwrap ---- */

static void test_bare_value_becomes_a_message_and_comes_back(void **state)
{
    (void)state;
    static const struct trip trips[] = {
        {UP,
         "{\"title\":\"t\",\"count\":3,\"size\":\"SIZE_SMALL\",\"ratio\":0.5,\"flag\":true}",
         "{\"title\":{\"text\":\"t\"},\"count\":{\"value\":\"3\"},\"size\":{\"size\":\"SIZE_"
         "SMALL\"},"
         "\"ratio\":{\"ratio\":0.5},\"lit\":{\"on\":true}}",
         {0},
         NULL,
         NULL},
        {UP,
         "{\"part\":{\"name\":\"p\",\"weight\":7},\"blob\":\"aGk=\"}",
         "{\"part\":{\"part\":{\"name\":\"p\",\"weight\":\"7\"}},\"blob\":{\"data\":\"aGk=\"}}",
         {0},
         NULL,
         NULL},
        {UP, "{}", "{}", {0}, NULL, NULL},
        {UP,
         "{\"part\":{},\"blob\":\"\",\"count\":0}",
         "{\"part\":{\"part\":{}},\"blob\":{},\"count\":{\"value\":\"0\"}}",
         {0},
         NULL,
         NULL},
    };
    assert_trips("Wrapped", trips);
}

static void test_what_a_wrapping_message_also_holds_stays_with_an_edited_value(void **state)
{
    (void)state;
    static const struct trip trips[] = {
        {DOWN,
         "{\"title\":{\"text\":\"t\",\"language\":\"en\"}}",
         "{\"title\":\"t\"}",
         {0},
         "{\"title\":\"u\"}",
         "{\"title\":{\"text\":\"u\",\"language\":\"en\"}}"},
        /* Without presence, an emptied value leaves the rest. */
        {DOWN,
         "{\"title\":{\"text\":\"t\",\"language\":\"en\"}}",
         "{\"title\":\"t\"}",
         {1},
         NULL,
         "{\"title\":{\"language\":\"en\"}}"},
        /* With presence in both: absent in the message. */
        {DOWN,
         "{\"count\":{\"value\":\"3\",\"unit\":\"m\"}}",
         "{\"count\":3}",
         {2},
         NULL,
         "{\"count\":{\"unit\":\"m\"}}"},
        /* With presence of the bare value alone: absent means the message is. */
        {DOWN,
         "{\"blob\":{\"data\":\"aGk=\",\"type\":\"x\"}}",
         "{\"blob\":\"aGk=\"}",
         {6},
         NULL,
         "{}"},
        {DOWN,
         "{\"part\":{\"part\":{\"name\":\"p\"},\"copies\":2}}",
         "{\"part\":{\"name\":\"p\"}}",
         {0},
         "{\"part\":{\"weight\":5}}",
         "{\"part\":{\"part\":{\"name\":\"p\",\"weight\":\"5\"},\"copies\":2}}"},
    };
    assert_trips("Wrapped", trips);
}

static void test_wrapping_message_is_as_present_as_it_was(void **state)
{
    (void)state;
    static const struct trip trips[] = {
        {DOWN, "{\"title\":{}}", "{}", {0}, NULL, NULL},
        {DOWN, "{\"title\":{\"language\":\"en\"}}", "{}", {0}, NULL, NULL},
        {DOWN, "{\"count\":{}}", "{}", {0}, NULL, NULL},
        {DOWN, "{\"count\":{\"unit\":\"m\"}}", "{}", {0}, NULL, NULL},
        {DOWN, "{\"count\":{\"value\":\"0\"}}", "{\"count\":0}", {0}, NULL, NULL},
        {DOWN, "{\"blob\":{}}", "{\"blob\":\"\"}", {0}, NULL, NULL},
        {DOWN, "{\"ratio\":{}}", "{}", {0}, NULL, NULL},
        {DOWN, "{\"ratio\":{\"ratio\":0}}", "{}", {0}, NULL, NULL},
        {DOWN,
         "{\"ratio\":{\"ratio\":0,\"notes\":[\"n\"]}}",
         "{}",
         {0},
         "{\"ratio\":2}",
         "{\"ratio\":{\"ratio\":2,\"notes\":[\"n\"]}}"},
        {DOWN, "{\"part\":{\"copies\":1}}", "{}", {0}, NULL, NULL},
        {DOWN, "{\"part\":{\"part\":{}}}", "{\"part\":{}}", {0}, NULL, NULL},
    };
    assert_trips("Wrapped", trips);
}

static void test_message_becomes_a_bare_value_and_comes_back(void **state)
{
    (void)state;
    static const struct trip trips[] = {
        {UP,
         "{\"label\":{\"text\":\"t\",\"language\":\"en\",\"tags\":[1,2]}}",
         "{\"label\":\"t\"}",
         {0},
         NULL,
         NULL},
        {UP,
         "{\"label\":{\"text\":\"t\",\"language\":\"en\"}}",
         NULL,
         {0},
         "{\"label\":\"u\"}",
         "{\"label\":{\"text\":\"u\",\"language\":\"en\"}}"},
        {UP, "{\"sureLabel\":{}}", "{\"sureLabel\":\"\"}", {0}, NULL, NULL},
        {UP, "{\"sureLabel\":{\"language\":\"en\"}}", "{\"sureLabel\":\"\"}", {5}, NULL, "{}"},
        {UP, "{\"number\":{\"value\":\"0\",\"unit\":\"m\"}}", "{}", {0}, NULL, NULL},
        {UP,
         "{\"sureNumber\":{\"unit\":\"m\"}}",
         "{}",
         {0},
         "{\"sureNumber\":\"1\"}",
         "{\"sureNumber\":{\"value\":\"1\",\"unit\":\"m\"}}"},
        {DOWN,
         "{\"label\":\"t\",\"number\":4,\"sureLabel\":\"\",\"sureNumber\":\"0\"}",
         "{\"label\":{\"text\":\"t\"},\"number\":{\"value\":\"4\"},\"sureLabel\":{},"
         "\"sureNumber\":{\"value\":\"0\"}}",
         {0},
         NULL,
         NULL},
    };
    assert_trips("Unwrapped", trips);
}

static void test_wrapping_message_is_filled_up_to_the_limit_of_fields(void **state)
{
    (void)state;
    /* v2's title: 4,095 or 4,096 times a language of no bytes, and no text. */
    for (size_t fields = WIRE_FIELDS_MAX - 1; fields <= WIRE_FIELDS_MAX; fields++) {
        struct bytes in = {malloc(2 * WIRE_FIELDS_MAX + 8), 0}, up = {NULL, 0};
        assert_non_null(in.data);
        uint8_t *out = wire_write_tag(in.data, 1, WIRE_BYTES);
        out = wire_write_varint(out, 2 * fields);
        for (size_t i = 0; i < fields; i++) {
            out = wire_write_tag(out, 1, WIRE_BYTES);
            *out++ = 0;
        }
        in.bytes = (size_t)(out - in.data);
        struct bytes down = must_go(DOWN, "Wrapped", in);
        struct bytes set = edited(false, "Wrapped", down, NULL, "{\"title\":\"t\"}");
        assert_int_equal(go(UP, "Wrapped", down, &up), 0);
        assert_true(same_message(&forms__v2__wrap__descriptor, in, up));
        free(up.data);
        up.data = NULL;
        assert_int_equal(go(UP, "Wrapped", set, &up), fields < WIRE_FIELDS_MAX ? 0 : -E2BIG);
        free(up.data);
        free(set.data);
        free(down.data);
        free(in.data);
    }
}

static void test_wrapped_and_unwrapped_every_message_comes_back(void **state)
{
    (void)state;
    assert_form_comes_back("Wrapped", wrap);
    assert_form_comes_back("Unwrapped", unwrap);
}

/* ---- Repeated and singular ---- */

static void test_picked_element_stands_for_the_list(void **state)
{
    (void)state;
    static const struct trip trips[] = {
        {UP,
         "{\"names\":[\"a\",\"b\",\"c\"],\"scores\":[1,2,3],\"only\":[7]}",
         "{\"name\":\"a\",\"scores\":\"3\",\"only\":7}",
         {0},
         NULL,
         NULL},
        {UP,
         "{\"parts\":[{\"name\":\"p\",\"weight\":1},{\"name\":\"q\"}],\"sure\":[\"\",\"x\",\"\"]}",
         "{\"part\":{\"name\":\"p\",\"weight\":\"1\"},\"sure\":\"\"}",
         {0},
         NULL,
         NULL},
        {UP,
         "{\"sizes\":[\"SIZE_SMALL\",\"SIZE_LARGE\"],\"ratios\":[1.5,-2]}",
         "{\"sizes\":\"SIZE_SMALL\",\"ratios\":-2}",
         {0},
         NULL,
         NULL},
        {DOWN,
         "{\"name\":\"a\",\"scores\":\"3\",\"part\":{},\"sure\":\"\"}",
         "{\"names\":[\"a\"],\"scores\":[3],\"parts\":[{}],\"sure\":[\"\"]}",
         {0},
         NULL,
         NULL},
        {DOWN,
         "{\"nicks\":[\"a\",\"b\"],\"level\":[\"4\",\"5\"],\"rank\":[0]}",
         "{\"nick\":\"b\",\"level\":4,\"rank\":0}",
         {0},
         NULL,
         NULL},
    };
    assert_trips("Picked", trips);
}

static void test_list_of_defaults_is_no_empty_list(void **state)
{
    (void)state;
    static const struct trip trips[] = {
        {UP, "{\"names\":[\"\"],\"scores\":[0],\"only\":[0]}", "{}", {0}, NULL, NULL},
        {UP, "{\"names\":[\"\",\"b\"],\"scores\":[1,0]}", "{}", {0}, NULL, NULL},
        {UP, "{\"names\":[\"\",\"\"],\"sure\":[\"\"]}", "{\"sure\":\"\"}", {0}, NULL, NULL},
        {UP, "{\"names\":[\"\"]}", "{}", {0}, "{\"name\":\"n\"}", "{\"names\":[\"n\"]}"},
        {UP, "{}", "{}", {0}, NULL, NULL},
    };
    assert_trips("Picked", trips);
}

static void test_edited_element_keeps_the_others_and_a_deleted_one_takes_them(void **state)
{
    (void)state;
    static const struct trip trips[] = {
        {UP,
         "{\"names\":[\"a\",\"b\",\"c\"],\"scores\":[1,2,3]}",
         NULL,
         {0},
         "{\"name\":\"x\",\"scores\":\"9\"}",
         "{\"names\":[\"x\",\"b\",\"c\"],\"scores\":[1,2,9]}"},
        /* Without presence, emptied is the default, not deleted. */
        {UP, "{\"names\":[\"a\",\"b\"]}", NULL, {1}, NULL, "{\"names\":[\"\",\"b\"]}"},
        {UP, "{\"names\":[\"a\"]}", NULL, {1}, NULL, "{}"},
        {UP, "{\"sure\":[\"a\",\"b\"]}", NULL, {3}, NULL, "{}"},
        {UP, "{\"parts\":[{\"name\":\"p\"},{\"name\":\"q\"}]}", NULL, {4}, NULL, "{}"},
        {UP,
         "{\"parts\":[{\"name\":\"p\"},{\"name\":\"q\"}]}",
         NULL,
         {0},
         "{\"part\":{\"weight\":\"5\"}}",
         "{\"parts\":[{\"name\":\"p\",\"weight\":5},{\"name\":\"q\"}]}"},
        {DOWN,
         "{\"nicks\":[\"a\",\"b\"]}",
         NULL,
         {0},
         "{\"nick\":\"x\"}",
         "{\"nicks\":[\"a\",\"x\"]}"},
    };
    assert_trips("Picked", trips);
}

static void test_only_element_refuses_a_second_one(void **state)
{
    (void)state;
    static const char *const lists[] = {"{\"only\":[1]}", "{\"only\":[1,2]}"};
    for (size_t i = 0; i < 2; i++) {
        struct bytes in = from_json(false, "Picked", lists[i]), out = {NULL, 0};
        assert_int_equal(go(UP, "Picked", in, &out), i == 0 ? 0 : -ERANGE);
        free(in.data);
        free(out.data);
    }
}

static void test_packed_and_unpacked_elements_are_picked_from(void **state)
{
    (void)state;
    /* scores: 1 alone, [2, 3] packed, an empty packed field, 4 alone */
    static const uint8_t scores[] = {0x10, 1, 0x12, 2, 2, 3, 0x12, 0, 0x10, 4};
    for (size_t bytes = 2; bytes <= sizeof(scores); bytes++) {
        if (bytes == 3 || bytes == 4 || bytes == 5 || bytes == 7 || bytes == 9)
            continue;
        struct bytes in = bytes_of(scores, bytes), up = must_go(UP, "Picked", in);
        assert_json(UP, "Picked", up,
                    bytes == 2    ? "{\"scores\":\"1\"}"
                    : bytes == 10 ? "{\"scores\":\"4\"}"
                                  : "{\"scores\":\"3\"}");
        struct bytes back = must_go(DOWN, "Picked", up);
        assert_true(same_message(&forms__v1__pick__descriptor, in, back));
        free(in.data);
        free(up.data);
        free(back.data);
    }
}

static void test_empty_element_with_a_long_length_is_empty(void **state)
{
    (void)state;
    static const uint8_t names[] = {0x0a, 0x80, 0}; /* one name of 0 bytes */
    struct bytes in = bytes_of(names, sizeof(names)), up = must_go(UP, "Picked", in);
    struct bytes rewritten = canonical(&forms__v2__pick__descriptor, up);
    struct bytes back = must_go(DOWN, "Picked", rewritten);
    assert_true(same_message(&forms__v1__pick__descriptor, in, back));
    free(in.data);
    free(up.data);
    free(rewritten.data);
    free(back.data);
}

static void test_picked_from_every_message_comes_back(void **state)
{
    (void)state;
    assert_form_comes_back("Picked", pick);
}

/* ---- Oneofs ---- */

static void test_plain_fields_become_a_oneof_and_come_back(void **state)
{
    (void)state;
    static const struct trip trips[] = {
        {UP, "{\"text\":\"t\",\"flag\":true}", "{\"text\":\"t\",\"flag\":true}", {0}, NULL, NULL},
        {UP, "{\"text\":\"t\",\"number\":3}", "{\"number\":\"3\"}", {0}, NULL, NULL},
        {UP,
         "{\"text\":\"t\",\"number\":3,\"part\":{\"name\":\"p\"}}",
         "{\"part\":{\"name\":\"p\"}}",
         {0},
         NULL,
         NULL},
        {UP,
         "{\"text\":\"t\",\"size\":\"SIZE_NONE\"}",
         "{\"size\":\"SIZE_NONE\"}",
         {0},
         NULL,
         NULL},
        {UP, "{}", "{}", {0}, NULL, NULL},
        {DOWN, "{\"number\":\"0\"}", "{}", {0}, NULL, NULL},
        {DOWN, "{\"text\":\"\"}", "{}", {0}, NULL, NULL},
        {DOWN, "{\"part\":{}}", "{\"part\":{}}", {0}, NULL, NULL},
        {DOWN, "{\"size\":\"SIZE_LARGE\"}", "{\"size\":\"SIZE_LARGE\"}", {0}, NULL, NULL},
    };
    assert_trips("Joined", trips);
}

static void test_edit_of_a_oneof_keeps_away_what_it_excludes(void **state)
{
    (void)state;
    static const struct trip trips[] = {
        /* Another value of what won: its neighbours come back. */
        {UP,
         "{\"text\":\"t\",\"number\":3}",
         NULL,
         {0},
         "{\"number\":\"4\"}",
         "{\"text\":\"t\",\"number\":4}"},
        /* Another member, or none: they do not. */
        {UP, "{\"text\":\"t\",\"number\":3}", NULL, {1}, "{\"text\":\"u\"}", "{\"text\":\"u\"}"},
        {UP, "{\"text\":\"t\",\"number\":3}", NULL, {0}, "{\"part\":{}}", "{\"part\":{}}"},
        {UP, "{\"text\":\"t\",\"number\":3}", NULL, {1}, NULL, "{}"},
        /* A member that was its default, unlike nothing. */
        {DOWN, "{\"number\":\"0\"}", NULL, {0}, "{\"text\":\"t\"}", "{\"text\":\"t\"}"},
        {DOWN,
         "{\"number\":\"0\"}",
         NULL,
         {0},
         "{\"flag\":true}",
         "{\"number\":\"0\",\"flag\":true}"},
    };
    assert_trips("Joined", trips);
}

static void test_oneof_becomes_plain_fields_and_comes_back(void **state)
{
    (void)state;
    static const struct trip trips[] = {
        {UP,
         "{\"text\":\"t\",\"other\":\"o\"}",
         "{\"text\":\"t\",\"other\":\"o\"}",
         {0},
         NULL,
         NULL},
        {UP, "{\"number\":0}", "{}", {0}, NULL, NULL},
        {UP, "{\"gone\":\"g\"}", "{}", {0}, NULL, NULL},
        {UP, "{\"gone\":\"g\"}", NULL, {0}, "{\"text\":\"t\"}", "{\"text\":\"t\"}"},
        {UP, "{\"part\":{\"name\":\"p\"}}", NULL, {1}, NULL, "{}"},
        {DOWN,
         "{\"text\":\"t\",\"number\":5,\"part\":{\"name\":\"p\"}}",
         "{\"text\":\"t\"}",
         {0},
         NULL,
         NULL},
        {DOWN, "{\"text\":\"t\",\"number\":5}", "{\"text\":\"t\"}", {0}, "{\"gone\":\"g\"}", "{}"},
    };
    assert_trips("Parted", trips);
}

static void test_member_that_one_version_has_alone_travels(void **state)
{
    (void)state;
    static const struct trip trips[] = {
        {UP, "{\"gone\":{\"name\":\"p\"}}", "{}", {0}, NULL, NULL},
        {UP, "{\"gone\":{\"name\":\"p\"}}", "{}", {0}, "{\"number\":0}", "{\"number\":0}"},
        {UP, "{\"gone\":{\"name\":\"p\"}}", "{}", {0}, "{\"added\":1}", "{}"},
        {UP, "{\"text\":\"t\"}", "{\"text\":\"t\"}", {0}, NULL, NULL},
        {DOWN, "{\"added\":0}", "{}", {0}, NULL, NULL},
        {DOWN, "{\"added\":7}", "{}", {0}, "{\"text\":\"\"}", "{\"text\":\"\"}"},
    };
    assert_trips("Grown", trips);
}

static void test_members_are_spread_over_other_oneofs(void **state)
{
    (void)state;
    static const struct trip trips[] = {
        {UP, "{\"a\":\"a\",\"c\":{\"name\":\"p\"}}", "{\"c\":{\"name\":\"p\"}}", {0}, NULL, NULL},
        {UP,
         "{\"b\":1,\"c\":{\"name\":\"p\"}}",
         "{\"b\":1,\"c\":{\"name\":\"p\"}}",
         {0},
         NULL,
         NULL},
        {UP, "{\"b\":0,\"d\":\"\",\"e\":\"e\"}", "{\"d\":\"\",\"e\":\"e\"}", {0}, NULL, NULL},
        {UP, "{\"a\":\"a\",\"c\":{\"name\":\"p\"}}", NULL, {3}, "{\"e\":\"e\"}", "{\"e\":\"e\"}"},
        {UP,
         "{\"a\":\"a\",\"c\":{}}",
         NULL,
         {0},
         "{\"c\":{\"name\":\"q\"}}",
         "{\"a\":\"a\",\"c\":{\"name\":\"q\"}}"},
        {DOWN, "{\"a\":\"a\",\"b\":1}", "{\"a\":\"a\"}", {0}, NULL, NULL},
        {DOWN, "{\"e\":\"\",\"d\":\"d\"}", "{\"d\":\"d\"}", {0}, NULL, NULL},
    };
    assert_trips("Spreads", trips);
}

static void test_last_member_on_the_wire_wins_and_begins_anew(void **state)
{
    (void)state;
    /* v1's Spread.y: c {name "p"}, d "x", c {weight 5}: c is {weight 5}. */
    static const uint8_t wire[] = {0x1a, 3, 0x0a, 1, 'p', 0x22, 1, 'x', 0x1a, 2, 0x10, 5};
    struct bytes in = bytes_of(wire, sizeof(wire)), up = must_go(UP, "Spreads", in);
    assert_json(UP, "Spreads", up, "{\"c\":{\"weight\":\"5\"}}");
    free(in.data);
    free(up.data);
}

static void test_regrouped_oneofs_of_every_message_come_back(void **state)
{
    (void)state;
    assert_form_comes_back("Joined", join);
    assert_form_comes_back("Parted", part4);
    assert_form_comes_back("Grown", grow);
    assert_form_comes_back("Spreads", spread);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_renamed_method_is_found_by_its_old_name),
        cmocka_unit_test(test_method_whose_name_was_taken_over_is_missing),
        cmocka_unit_test(test_merged_message_is_split_again),
        cmocka_unit_test(test_bare_value_becomes_a_message_and_comes_back),
        cmocka_unit_test(test_what_a_wrapping_message_also_holds_stays_with_an_edited_value),
        cmocka_unit_test(test_wrapping_message_is_as_present_as_it_was),
        cmocka_unit_test(test_message_becomes_a_bare_value_and_comes_back),
        cmocka_unit_test(test_wrapping_message_is_filled_up_to_the_limit_of_fields),
        cmocka_unit_test(test_wrapped_and_unwrapped_every_message_comes_back),
        cmocka_unit_test(test_picked_element_stands_for_the_list),
        cmocka_unit_test(test_list_of_defaults_is_no_empty_list),
        cmocka_unit_test(test_edited_element_keeps_the_others_and_a_deleted_one_takes_them),
        cmocka_unit_test(test_only_element_refuses_a_second_one),
        cmocka_unit_test(test_packed_and_unpacked_elements_are_picked_from),
        cmocka_unit_test(test_empty_element_with_a_long_length_is_empty),
        cmocka_unit_test(test_picked_from_every_message_comes_back),
        cmocka_unit_test(test_plain_fields_become_a_oneof_and_come_back),
        cmocka_unit_test(test_edit_of_a_oneof_keeps_away_what_it_excludes),
        cmocka_unit_test(test_oneof_becomes_plain_fields_and_comes_back),
        cmocka_unit_test(test_member_that_one_version_has_alone_travels),
        cmocka_unit_test(test_members_are_spread_over_other_oneofs),
        cmocka_unit_test(test_last_member_on_the_wire_wins_and_begins_anew),
        cmocka_unit_test(test_regrouped_oneofs_of_every_message_come_back),
    };
    return cmocka_run_group_tests(tests, forms_setup, forms_teardown);
}
