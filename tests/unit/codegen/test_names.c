#include "support/test.h"

#include <stdlib.h>

#include "codegen/codegen.h"

static void expect_lower(const char *name, const char *expected)
{
    struct text text = {0};
    names_lower(&text, name);
    assert_string_equal(text.data, expected);
    free(text.data);
}

static void expect_full(const char *package, const char *local, const char *lower, const char *type)
{
    struct text text = {0};
    names_full_lower(&text, package, local);
    assert_string_equal(text.data, lower);
    free(text.data);
    text = (struct text){0};
    names_full_type(&text, package, local);
    assert_string_equal(text.data, type);
    free(text.data);
}

/* What protoc-gen-c 1.4.1 makes of them. */
static void test_methods_are_named_as_protoc_gen_c_does(void **state)
{
    (void)state;
    expect_lower("Get", "get");
    expect_lower("GetPackage", "get_package");
    expect_lower("HTTPGet", "httpget");
    expect_lower("GetHTTP", "get_http");
    expect_lower("get_x_Y", "get_x__y");
    expect_lower("V2List2Items", "v2_list2_items");
    expect_lower("X", "x");
    expect_lower("_lead", "_lead");
    expect_lower("A_B", "a__b");
}

static void test_full_names_are_joined_by_two_underscores(void **state)
{
    (void)state;
    expect_full("catalog.v1", "Package", "catalog__v1__package", "Catalog__V1__Package");
    expect_full("", "Ping", "ping", "Ping");
    expect_full("my_pkg.HTTPApi.v1beta2", "getX1Reply.inner_thing",
                "my_pkg__httpapi__v1beta2__get_x1_reply__inner_thing",
                "MyPkg__HTTPApi__V1beta2__GetX1Reply__InnerThing");
    expect_full("a", "_lead", "a___lead", "A__Lead");
    expect_full("a", "ABC2Def_ghi", "a__abc2_def_ghi", "A__ABC2DefGhi");
    expect_full("a", "lower_Svc", "a__lower__svc", "A__LowerSvc");
}

static void test_constants_are_the_same_in_capitals(void **state)
{
    (void)state;
    struct text text = {0};
    names_full_upper(&text, "my_pkg.HTTPApi.v1beta2", "getX1Reply.inner_thing");
    assert_string_equal(text.data, "MY_PKG__HTTPAPI__V1BETA2__GET_X1_REPLY__INNER_THING");
    text.bytes = 0;
    names_upper(&text, "nameX");
    assert_string_equal(text.data, "NAME_X");
    free(text.data);
}

/* FileOptions with one unknown field, (pb_c_file) = CONTENT. */
static Google__Protobuf__FileOptions *options_of(const char *content, size_t bytes)
{
    static uint8_t data[64];
    static ProtobufCMessageUnknownField field;
    static Google__Protobuf__FileOptions options;
    google__protobuf__file_options__init(&options); /* the INIT macro names deprecated fields */
    data[0] = (uint8_t)bytes;
    for (size_t i = 0; i < bytes; i++)
        data[i + 1] = (uint8_t)content[i];
    field = (ProtobufCMessageUnknownField){
        .tag = 1019,
        .wire_type = PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED,
        .len = bytes + 1,
        .data = data,
    };
    options.base.n_unknown_fields = 1;
    options.base.unknown_fields = &field;
    return &options;
}

static const char *c_package(const char *content, size_t bytes, char *buffer, size_t room)
{
    static Google__Protobuf__FileDescriptorProto file;
    file = (Google__Protobuf__FileDescriptorProto)GOOGLE__PROTOBUF__FILE_DESCRIPTOR_PROTO__INIT;
    file.package = (char *)"own.package";
    file.options = options_of(content, bytes);
    return names_c_package(&file, buffer, room);
}

static void test_package_in_c_stands_in_for_the_package(void **state)
{
    (void)state;
    char buffer[8];
    assert_string_equal(c_package("\x08\x01\x32\x06my.Own\x20\x01", 12, buffer, 8), "my.Own");
    assert_string_equal(c_package("\x08\x01", 2, buffer, 8), "own.package");
    assert_string_equal(c_package("", 0, buffer, 8), "own.package");
    /* Cut off, or too long for the buffer: as if it were not there. */
    assert_string_equal(c_package("\x32\x06my.O", 6, buffer, 8), "own.package");
    assert_string_equal(c_package("\x32\x08my.Own.x", 10, buffer, 8), "own.package");
}

static void test_flags_are_read_from_options_that_arrive_as_unknown(void **state)
{
    (void)state;
    assert_int_equal(pb_c_flag(NULL, 2), -1);
    assert_int_equal(pb_c_flag(&options_of("", 0)->base, 2), -1);
    assert_int_equal(pb_c_flag(&options_of("\x10\x01", 2)->base, 2), 1);
    assert_int_equal(pb_c_flag(&options_of("\x10\x00", 2)->base, 2), 0);
    assert_int_equal(pb_c_flag(&options_of("\x10\x01", 2)->base, 3), -1);
    /* The last one wins; others, and text, are passed over. */
    assert_int_equal(pb_c_flag(&options_of("\x10\x01\x32\x01x\x18\x01\x10\x00", 9)->base, 2), 0);
    /* Cut off: what came before counts. */
    assert_int_equal(pb_c_flag(&options_of("\x10\x01\x32\x05x", 5)->base, 2), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_methods_are_named_as_protoc_gen_c_does),
        cmocka_unit_test(test_full_names_are_joined_by_two_underscores),
        cmocka_unit_test(test_constants_are_the_same_in_capitals),
        cmocka_unit_test(test_package_in_c_stands_in_for_the_package),
        cmocka_unit_test(test_flags_are_read_from_options_that_arrive_as_unknown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
