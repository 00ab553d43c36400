/* Comparing the replies of a call and of its copy. */
#include "support/test.h"

#include <string.h>

#include "rpc/internal.h"

#include "echo.parley.h"

static char path[160];
static const char *how;

static bool same(const Echo__V1__Message *a, const Echo__V1__Message *b)
{
    return mirror_same(&a->base, &b->base, path, sizeof(path), &how);
}

static void test_equal_messages_are_the_same(void **state)
{
    (void)state;
    Echo__V1__Message a = ECHO__V1__MESSAGE__INIT, b = ECHO__V1__MESSAGE__INIT;
    assert_true(same(&a, &b));
    a.number = b.number = 7;
    assert_true(same(&a, &b));
}

static void test_the_first_field_that_differs_is_named(void **state)
{
    (void)state;
    Echo__V1__Message a = ECHO__V1__MESSAGE__INIT, b = ECHO__V1__MESSAGE__INIT;
    a.number = 7;
    assert_false(same(&a, &b));
    assert_string_equal(path, "number");
    assert_string_equal(how, "another value");
    b.number = 7;
    a.payload = (ProtobufCBinaryData){.len = 3, .data = (uint8_t *)(uintptr_t) "abc"};
    b.payload = (ProtobufCBinaryData){.len = 3, .data = (uint8_t *)(uintptr_t) "abd"};
    assert_false(same(&a, &b));
    assert_string_equal(path, "payload");
}

static void test_fields_that_the_client_does_not_know_do_not_count(void **state)
{
    (void)state;
    Echo__V1__Message a = ECHO__V1__MESSAGE__INIT, b = ECHO__V1__MESSAGE__INIT;
    ProtobufCMessageUnknownField unknown = {.tag = 99,
                                            .wire_type = PROTOBUF_C_WIRE_TYPE_VARINT,
                                            .len = 1,
                                            .data = (uint8_t *)&(char){1}};
    a.base.n_unknown_fields = 1;
    a.base.unknown_fields = &unknown;
    assert_true(same(&a, &b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal_messages_are_the_same),
        cmocka_unit_test(test_the_first_field_that_differs_is_named),
        cmocka_unit_test(test_fields_that_the_client_does_not_know_do_not_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
