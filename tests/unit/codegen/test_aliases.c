/* The alias header, compiled: three translation units of one source with different values of the
 * define in one binary, beside one that uses names with versions. The library is stood in for by
 * doubles. */
#include "support/test.h"

#include <string.h>

#include "alias_user.h"
#include "shop_v2.parley.h"
/* Both in one: the aliases of version 1 here, beside the names of version 2. */
#include "shop.parley.h"

static const struct parley_interface *connected;
static const ProtobufCMessageDescriptor *called_with;

enum parley_status parley_client_call(struct parley_client *client, unsigned method,
                                      const ProtobufCMessage *request, ProtobufCMessage **ret_reply,
                                      struct parley_call *call)
{
    (void)client, (void)ret_reply, (void)call;
    assert_int_equal(method, 0);
    called_with = request->descriptor;
    return PARLEY_NOT_FOUND;
}

enum parley_status parley_client_send(struct parley_client *client, unsigned method,
                                      const ProtobufCMessage *request, struct parley_call *call)
{
    (void)client, (void)method, (void)request, (void)call;
    return PARLEY_NOT_FOUND;
}

enum parley_status parley_client_new(struct parley_endpoint *endpoint,
                                     const struct parley_interface *interface,
                                     const struct parley_client_options *options,
                                     struct parley_client **ret_client)
{
    (void)endpoint, (void)options, (void)ret_client;
    connected = interface;
    return PARLEY_OK;
}

enum parley_status parley_service_new(struct parley_endpoint *endpoint,
                                      const struct parley_interface *interface,
                                      ProtobufCService *implementation,
                                      const struct parley_service_options *options,
                                      struct parley_service **ret_service)
{
    (void)endpoint, (void)interface, (void)implementation, (void)options, (void)ret_service;
    fail();
    return PARLEY_OK;
}

static void expect_version(const struct alias_user *user, int api,
                           const struct parley_interface *interface,
                           const ProtobufCMessageDescriptor *item)
{
    assert_int_equal(user->api, api);
    assert_ptr_equal(user->interface, interface);
    assert_ptr_equal(user->item, item);
    assert_int_equal(user->item_bytes, item->sizeof_message);
    assert_int_equal(user->kind_count, 1);
    assert_int_equal(user->connect(NULL), PARLEY_OK);
    assert_ptr_equal(connected, interface);
    assert_int_equal(user->get(), 2 + strlen("good day"));
    assert_ptr_equal(called_with, item);
    assert_ptr_equal(user->shop->descriptor, interface->service);
}

static void test_define_chooses_the_version_of_a_translation_unit(void **state)
{
    (void)state;
    expect_version(&alias_user_1, 1, &shop__v1__shop__interface, &shop__v1__item__descriptor);
    expect_version(&alias_user_2, 2, &shop__v2__shop__interface, &shop__v2__item__descriptor);
    assert_int_not_equal(alias_user_1.item_bytes, alias_user_2.item_bytes);
}

static void test_without_a_define_it_is_the_first_version(void **state)
{
    (void)state;
    expect_version(&alias_user_default, 1, &shop__v1__shop__interface, &shop__v1__item__descriptor);
}

static void test_names_with_a_version_stand_beside_aliases(void **state)
{
    (void)state;
    Shop__Item first = SHOP__ITEM__INIT;
    Shop__V1__Item same = SHOP__V1__ITEM__INIT;
    Shop__V2__Item second = SHOP__V2__ITEM__INIT;
    same = first;
    assert_ptr_equal(same.base.descriptor, &shop__v1__item__descriptor);
    assert_ptr_equal(second.base.descriptor, &shop__v2__item__descriptor);
    assert_string_equal(shop__item__greeting__default_value, "hello");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_define_chooses_the_version_of_a_translation_unit),
        cmocka_unit_test(test_without_a_define_it_is_the_first_version),
        cmocka_unit_test(test_names_with_a_version_stand_beside_aliases),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
