/* Rules on lists: repeated values and messages around them, maps and repeated entries. */
#include "forms.h"

/* ---- Lists ---- */

static void test_each_element_is_wrapped_and_unwrapped(void **state)
{
    (void)state;
    static const struct trip trips[] = {
        {UP,
         "{\"names\":[\"a\",\"\",\"a\"],\"scores\":[1,0],\"ratios\":[0,-0.5]}",
         "{\"names\":[{\"text\":\"a\"},{},{\"text\":\"a\"}],\"scores\":[{\"value\":\"1\"},{"
         "\"value\":\"0\"}],\"ratios\":[{\"ratio\":0},{\"ratio\":-0.5}]}",
         {0},
         NULL,
         NULL},
        {UP,
         "{\"parts\":[{\"name\":\"p\"},{}],\"labels\":[{\"text\":\"t\",\"language\":\"en\"},{}],"
         "\"numbers\":[{},{\"value\":\"0\"},{\"value\":\"-4\",\"unit\":\"m\"}]}",
         "{\"parts\":[{\"part\":{\"name\":\"p\"}},{\"part\":{}}],\"labels\":[\"t\",\"\"],"
         "\"numbers\":[\"0\",\"0\",\"-4\"]}",
         {0},
         NULL,
         NULL},
        {DOWN,
         "{\"names\":[{\"text\":\"a\",\"language\":\"en\"},{\"text\":\"a\"},{\"language\":\"de\"}]"
         "}",
         "{\"names\":[\"a\",\"a\",\"\"]}",
         {0},
         NULL,
         NULL},
        {DOWN,
         "{\"parts\":[{\"copies\":2},{\"part\":{}},{\"part\":{\"name\":\"p\"},\"copies\":1}]}",
         "{\"parts\":[{},{},{\"name\":\"p\"}]}",
         {0},
         NULL,
         NULL},
        {DOWN,
         "{\"labels\":[\"t\",\"\"],\"numbers\":[\"0\",\"5\"]}",
         "{\"labels\":[{\"text\":\"t\"},{}],\"numbers\":[{\"value\":\"0\"},{\"value\":\"5\"}]}",
         {0},
         NULL,
         NULL},
    };
    assert_trips("Each_", trips);
    assert_form_comes_back("Each_", each);
}

static void test_edited_list_keeps_what_belongs_to_its_values(void **state)
{
    (void)state;
    static const struct trip trips[] = {
        /* One more behind. */
        {DOWN,
         "{\"names\":[{\"text\":\"a\",\"language\":\"en\"},{\"text\":\"b\",\"language\":\"de\"}]}",
         NULL,
         {0},
         "{\"names\":[\"c\"]}",
         "{\"names\":[{\"text\":\"a\",\"language\":\"en\"},{\"text\":\"b\",\"language\":\"de\"},{"
         "\"text\":\"c\"}]}"},
        /* Another before, one deleted, another order. */
        {DOWN,
         "{\"names\":[{\"text\":\"a\",\"language\":\"en\"},{\"text\":\"b\",\"language\":\"de\"}]}",
         NULL,
         {1},
         "{\"names\":[\"c\",\"b\"]}",
         "{\"names\":[{\"text\":\"c\"},{\"text\":\"b\",\"language\":\"de\"}]}"},
        {DOWN,
         "{\"scores\":[{\"value\":\"1\",\"by\":\"x\"},{\"value\":\"2\",\"by\":\"y\"}]}",
         NULL,
         {2},
         "{\"scores\":[2,1]}",
         "{\"scores\":[{\"value\":\"2\",\"by\":\"y\"},{\"value\":\"1\"}]}"},
        {DOWN, "{\"names\":[{\"text\":\"a\",\"language\":\"en\"}]}", NULL, {1}, NULL, "{}"},
        /* Messages by place, if there are as many. */
        {DOWN,
         "{\"parts\":[{\"part\":{\"name\":\"p\"},\"copies\":2}]}",
         NULL,
         {3},
         "{\"parts\":[{\"name\":\"q\"}]}",
         "{\"parts\":[{\"part\":{\"name\":\"q\"},\"copies\":2}]}"},
        {DOWN,
         "{\"parts\":[{\"part\":{\"name\":\"p\"},\"copies\":2}]}",
         NULL,
         {0},
         "{\"parts\":[{\"name\":\"q\"}]}",
         "{\"parts\":[{\"part\":{\"name\":\"p\"}},{\"part\":{\"name\":\"q\"}}]}"},
    };
    assert_trips("Each_", trips);
}

/* A list of @count messages with something beside their values. */
static struct bytes titles(unsigned count)
{
    struct bytes in = {malloc(count * 16), 0};
    assert_non_null(in.data);
    for (unsigned i = 0; i < count; i++) {
        /* names { language "l" text "000" } */
        uint8_t title[] = {0x0a, 8, 0x0a, 1, 'l', 0x12, 3, 0, 0, 0};
        title[7] = (uint8_t)('0' + i / 100);
        title[8] = (uint8_t)('0' + i / 10 % 10);
        title[9] = (uint8_t)('0' + i % 10);
        memcpy(in.data + in.bytes, title, sizeof(title));
        in.bytes += sizeof(title);
    }
    return in;
}

static void test_64_deleted_elements_are_looked_past_and_not_65(void **state)
{
    (void)state;
    for (unsigned deleted = 64; deleted <= 65; deleted++) {
        char set[64];
        struct bytes in = titles(deleted + 1), down = must_go(DOWN, "Each_", in);
        (void)snprintf(set, sizeof(set), "{\"names\":[\"%03u\"]}", deleted);
        static const uint32_t clear[] = {1, 0};
        struct bytes other = edited(false, "Each_", down, clear, set);
        struct bytes up = must_go(UP, "Each_", other);
        (void)snprintf(set, sizeof(set), "{\"names\":[{\"text\":\"%03u\"%s}]}", deleted,
                       deleted == 64 ? ",\"language\":\"l\"" : "");
        assert_json(true, "Each_", up, set);
        free(in.data);
        free(down.data);
        free(other.data);
        free(up.data);
    }
}

/* ---- Entries ---- */

static void test_list_becomes_a_map_and_comes_back(void **state)
{
    (void)state;
    static const struct trip trips[] = {
        {UP,
         "{\"items\":[{\"name\":\"a\",\"amount\":1},{\"name\":\"b\",\"amount\":2}]}",
         "{\"items\":{\"a\":\"1\",\"b\":\"2\"}}",
         {0},
         NULL,
         NULL},
        {UP,
         "{\"items\":[{\"name\":\"a\",\"amount\":1,\"note\":\"n\"},{}]}",
         NULL,
         {0},
         NULL,
         NULL},
        {UP,
         "{\"shelves\":[{\"place\":-3,\"part\":{\"name\":\"p\"},\"marks\":[1,2]},{\"part\":{}},{"
         "\"place\":1}]}",
         NULL,
         {0},
         NULL,
         NULL},
        {UP,
         "{\"plain\":{\"a\":{\"weight\":3}}}",
         "{\"plain\":{\"a\":{\"weight\":\"3\"}}}",
         {0},
         NULL,
         NULL},
        {DOWN,
         "{\"items\":{\"a\":\"1\",\"\":\"2\"}}",
         "{\"items\":[{\"name\":\"a\",\"amount\":1},{\"amount\":2}]}",
         {0},
         NULL,
         NULL},
        {DOWN,
         "{\"counts\":[{\"of\":\"a\",\"count\":\"1\",\"note\":\"n\"}],\"parts\":[{\"number\":0,"
         "\"part\":{}},{\"part\":{\"name\":\"p\"}}]}",
         NULL,
         {0},
         NULL,
         NULL},
        {DOWN,
         "{\"counts\":[{\"of\":\"a\",\"count\":\"1\"}],\"parts\":[{\"number\":4,\"part\":{\"name\":"
         "\"p\"}}]}",
         "{\"counts\":{\"a\":1},\"parts\":{\"4\":{\"name\":\"p\"}}}",
         {0},
         NULL,
         NULL},
    };
    assert_trips("Tabled", trips);
}

static void test_last_entry_of_a_key_is_the_entry_and_the_others_travel(void **state)
{
    (void)state;
    static const struct trip trips[] = {
        {UP,
         "{\"items\":[{\"name\":\"a\",\"amount\":1},{\"name\":\"b\"},{\"name\":\"a\",\"amount\":2}]"
         "}",
         "{\"items\":{\"b\":\"0\",\"a\":\"2\"}}",
         {0},
         NULL,
         NULL},
        /* Edited: the value is new, what said nothing still says nothing. */
        {UP,
         "{\"items\":[{\"name\":\"a\",\"amount\":1},{\"name\":\"a\",\"amount\":2,\"note\":\"n\"}]}",
         NULL,
         {1},
         "{\"items\":{\"a\":\"7\"}}",
         "{\"items\":[{\"name\":\"a\",\"amount\":1},{\"name\":\"a\",\"amount\":7,\"note\":\"n\"}]"
         "}"},
        {UP,
         "{\"items\":[{\"name\":\"a\",\"amount\":1},{\"name\":\"a\",\"amount\":2}]}",
         NULL,
         {1},
         "{\"items\":{\"c\":\"7\"}}",
         "{\"items\":[{\"name\":\"c\",\"amount\":7}]}"},
        {UP,
         "{\"items\":[{\"name\":\"a\",\"amount\":1},{\"name\":\"a\",\"amount\":2}]}",
         NULL,
         {1},
         NULL,
         "{}"},
    };
    assert_trips("Tabled", trips);
}

static void test_entry_keeps_what_else_it_holds_by_its_key(void **state)
{
    (void)state;
    static const struct trip trips[] = {
        {UP,
         "{\"items\":[{\"name\":\"a\",\"amount\":1,\"note\":\"x\"},{\"name\":\"b\",\"amount\":2,"
         "\"note\":\"y\"}]}",
         NULL,
         {1},
         "{\"items\":{\"c\":\"3\",\"b\":\"9\"}}",
         "{\"items\":[{\"name\":\"b\",\"amount\":9,\"note\":\"y\"},{\"name\":\"c\",\"amount\":3}]"
         "}"},
        {UP,
         "{\"shelves\":[{\"place\":1,\"part\":{\"name\":\"p\"},\"marks\":[5]}]}",
         NULL,
         {0},
         "{\"shelves\":{\"1\":{\"name\":\"q\"}}}",
         "{\"shelves\":[{\"place\":1,\"part\":{\"name\":\"q\"},\"marks\":[5]}]}"},
    };
    assert_trips("Tabled", trips);
}

static void test_second_entry_of_a_key_is_refused_where_keys_are_unique(void **state)
{
    (void)state;
    static const char *const lists[] = {"{\"unique\":[{\"name\":\"a\"},{\"name\":\"b\"}]}",
                                        "{\"unique\":[{\"name\":\"a\"},{\"name\":\"a\"}]}"};
    for (size_t i = 0; i < 2; i++) {
        struct bytes in = from_json(false, "Tabled", lists[i]), out = {NULL, 0};
        assert_int_equal(go(UP, "Tabled", in, &out), i == 0 ? 0 : -ERANGE);
        free(in.data);
        free(out.data);
    }
}

static void test_duplicates_of_a_map_say_nothing_and_come_back(void **state)
{
    (void)state;
    /* v2's items: "a": 1, "a": 2 */
    static const uint8_t wire[] = {0x0a, 5, 0x0a, 1, 'a', 0x10, 1, 0x0a, 5, 0x0a, 1, 'a', 0x10, 2};
    struct bytes in = bytes_of(wire, sizeof(wire)), down = must_go(DOWN, "Tabled", in);
    assert_json(DOWN, "Tabled", down, "{\"items\":[{\"name\":\"a\",\"amount\":2}]}");
    struct bytes up = must_go(UP, "Tabled", down);
    assert_true(same_message(&forms__v2__table__descriptor, in, up));
    free(in.data);
    free(down.data);
    free(up.data);
}

/* v1's map has something to come back for, in another order than what v2 has made of the list. */
static void test_edited_order_of_a_list_comes_back_through_a_map(void **state)
{
    (void)state;
    /* v1's counts: "a": 1, with an unknown field; "b": 2 */
    static const uint8_t wire[] = {0x22, 7,    0x0a, 1,    'a', 0x10, 1,    0x78,
                                   1,    0x22, 5,    0x0a, 1,   'b',  0x10, 2};
    static const char list[] = "{\"counts\":[{\"of\":\"c\",\"count\":3},{\"of\":\"b\",\"count\":2},"
                               "{\"of\":\"a\",\"count\":1}]}";
    static const uint32_t clear[] = {4, 0};
    struct bytes in = bytes_of(wire, sizeof(wire)), up = must_go(UP, "Tabled", in);
    struct bytes other = edited(true, "Tabled", up, clear, list);
    struct bytes down = must_go(DOWN, "Tabled", other);
    assert_json(DOWN, "Tabled", down, "{\"counts\":{\"a\":1,\"b\":2,\"c\":3}}");
    struct bytes again = must_go(UP, "Tabled", down);
    assert_json(UP, "Tabled", again, list);
    free(in.data);
    free(up.data);
    free(other.data);
    free(down.data);
    free(again.data);
}

static void test_many_entries_are_told_apart(void **state)
{
    (void)state;
    enum { COUNT = 5000 };
    struct bytes in = {malloc(COUNT * 16), 0};
    assert_non_null(in.data);
    for (uint32_t i = 0; i < COUNT; i++) {
        uint8_t *out = in.data + in.bytes;
        char name[8];
        int bytes = snprintf(name, sizeof(name), "%u", i % (COUNT - 1));
        *out++ = 0x0a; /* items */
        *out++ = (uint8_t)(2 + bytes + 2);
        *out++ = 0x0a; /* name */
        *out++ = (uint8_t)bytes;
        memcpy(out, name, (size_t)bytes);
        out += bytes;
        *out++ = 0x10; /* amount */
        *out++ = (uint8_t)(i & 0x7f);
        in.bytes = (size_t)(out - in.data);
    }
    struct bytes up = must_go(UP, "Tabled", in);
    Forms__V2__Table *table = must_unpack(&forms__v2__table__descriptor, up);
    assert_int_equal(table->n_items, COUNT - 1);
    assert_string_equal(table->items[0]->key, "1"); /* "0" came again at the end */
    struct bytes down = must_go(DOWN, "Tabled", up);
    assert_true(same_message(&forms__v1__table__descriptor, in, down));
    wire_free(table);
    free(in.data);
    free(up.data);
    free(down.data);
}

static void test_whole_messages_go_into_a_map_without_their_key(void **state)
{
    (void)state;
    static const struct trip trips[] = {
        {UP,
         "{\"cards\":[{\"name\":\"a\",\"amount\":1},{\"name\":\"b\"},{}]}",
         "{\"cards\":{\"a\":{\"amount\":\"1\"},\"b\":{},\"\":{}}}",
         {0},
         NULL,
         NULL},
        {UP,
         "{\"cards\":[{\"name\":\"a\",\"gone\":\"g\"},{\"name\":\"a\",\"amount\":2}]}",
         "{\"cards\":{\"a\":{\"amount\":\"2\"}}}",
         {0},
         NULL,
         NULL},
        {UP,
         "{\"cards\":[{\"name\":\"a\",\"amount\":1,\"gone\":\"g\"},{\"name\":\"b\"}]}",
         NULL,
         {0},
         "{\"cards\":{\"c\":{\"amount\":\"3\"}}}",
         "{\"cards\":[{\"name\":\"a\",\"amount\":1,\"gone\":\"g\"},{\"name\":\"b\"},{\"name\":"
         "\"c\",\"amount\":3}]}"},
        {DOWN,
         "{\"cards\":{\"a\":{\"amount\":\"1\",\"added\":\"x\"}}}",
         "{\"cards\":[{\"name\":\"a\",\"amount\":1}]}",
         {0},
         NULL,
         NULL},
        {DOWN,
         "{\"drawer\":[{\"place\":3,\"name\":\"n\"},{\"place\":0},{\"place\":-1,\"amount\":2}]}",
         "{\"drawer\":{\"3\":{\"name\":\"n\"},\"0\":{},\"-1\":{\"amount\":2}}}",
         {0},
         NULL,
         NULL},
        {DOWN,
         "{\"drawer\":[{\"name\":\"n\"}]}",
         "{\"drawer\":{\"0\":{\"name\":\"n\"}}}",
         {0},
         NULL,
         NULL},
        {UP,
         "{\"drawer\":{\"4\":{\"name\":\"n\",\"gone\":\"g\"}}}",
         "{\"drawer\":[{\"place\":4,\"name\":\"n\"}]}",
         {0},
         NULL,
         NULL},
    };
    assert_trips("Tabled", trips);
}

static void test_entries_of_every_message_come_back(void **state)
{
    (void)state;
    assert_form_comes_back("Tabled", table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_element_is_wrapped_and_unwrapped),
        cmocka_unit_test(test_edited_list_keeps_what_belongs_to_its_values),
        cmocka_unit_test(test_64_deleted_elements_are_looked_past_and_not_65),
        cmocka_unit_test(test_list_becomes_a_map_and_comes_back),
        cmocka_unit_test(test_last_entry_of_a_key_is_the_entry_and_the_others_travel),
        cmocka_unit_test(test_entry_keeps_what_else_it_holds_by_its_key),
        cmocka_unit_test(test_second_entry_of_a_key_is_refused_where_keys_are_unique),
        cmocka_unit_test(test_duplicates_of_a_map_say_nothing_and_come_back),
        cmocka_unit_test(test_edited_order_of_a_list_comes_back_through_a_map),
        cmocka_unit_test(test_many_entries_are_told_apart),
        cmocka_unit_test(test_whole_messages_go_into_a_map_without_their_key),
        cmocka_unit_test(test_entries_of_every_message_come_back),
    };
    return cmocka_run_group_tests(tests, forms_setup, forms_teardown);
}
