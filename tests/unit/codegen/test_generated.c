/* What protoc-gen-parley writes, compiled: the demo's interfaces, and one of odd names. The library
 * is stood in for by doubles that note what they were called with. */
#include "support/test.h"

#include <stdlib.h>
#include <string.h>

#include "catalog_v1.parley.h"
#include "catalog_v2.parley.h"
#include "odd.parley.h"
#include "schema/schema.h"

static struct {
    struct parley_client *client;
    unsigned method;
    const ProtobufCMessage *request;
    struct parley_call *call;
    ProtobufCMessage *reply;
    enum parley_status status;
    bool one_way;
    struct parley_endpoint *endpoint;
    const struct parley_interface *interface;
    const void *options;
    ProtobufCService *implementation;
} seen;

enum parley_status parley_client_call(struct parley_client *client, unsigned method,
                                      const ProtobufCMessage *request, ProtobufCMessage **ret_reply,
                                      struct parley_call *call)
{
    seen.client = client;
    seen.method = method;
    seen.request = request;
    seen.call = call;
    if (seen.status == PARLEY_OK)
        *ret_reply = seen.reply;
    return seen.status;
}

enum parley_status parley_client_send(struct parley_client *client, unsigned method,
                                      const ProtobufCMessage *request, struct parley_call *call)
{
    seen.client = client;
    seen.method = method;
    seen.request = request;
    seen.call = call;
    seen.one_way = true;
    return seen.status;
}

enum parley_status parley_client_new(struct parley_endpoint *endpoint,
                                     const struct parley_interface *interface,
                                     const struct parley_client_options *options,
                                     struct parley_client **ret_client)
{
    seen.endpoint = endpoint;
    seen.interface = interface;
    seen.options = options;
    *ret_client = seen.client;
    return seen.status;
}

enum parley_status parley_service_new(struct parley_endpoint *endpoint,
                                      const struct parley_interface *interface,
                                      ProtobufCService *implementation,
                                      const struct parley_service_options *options,
                                      struct parley_service **ret_service)
{
    seen.endpoint = endpoint;
    seen.interface = interface;
    seen.implementation = implementation;
    seen.options = options;
    *ret_service = (struct parley_service *)&seen;
    return seen.status;
}

static int reset(void **state)
{
    (void)state;
    memset(&seen, 0, sizeof(seen));
    return 0;
}

/* ---- The interface's table ---- */

static void expect_interface(const struct parley_interface *interface, const char *name,
                             const char *version, const char *service,
                             const ProtobufCServiceDescriptor *descriptor)
{
    assert_int_equal(interface->abi, PARLEY_INTERFACE_ABI);
    assert_string_equal(interface->name, name);
    assert_string_equal(interface->version, version);
    assert_ptr_equal(interface->service, descriptor);
    assert_string_equal(interface->service->name, service);

    /* What is embedded says the same. */
    struct schema *schema = NULL;
    struct error_text error = {""};
    if (schema_new(interface->descriptor_set, interface->descriptor_set_bytes, service, &schema,
                   &error) < 0)
        fail_msg("%s", error.text);
    const struct schema_service *embedded = schema_service(schema);
    assert_string_equal(embedded->interface->name, name);
    assert_string_equal(embedded->interface->version, version);
    assert_int_equal(embedded->method_count, interface->service->n_methods);
    for (size_t i = 0; i < embedded->method_count; i++) {
        const ProtobufCMethodDescriptor *method = &interface->service->methods[i];
        assert_string_equal(interface->methods[i].name, embedded->methods[i].name);
        assert_string_equal(method->name, embedded->methods[i].name);
        assert_int_equal(interface->methods[i].idempotency, embedded->methods[i].idempotency);
        assert_string_equal(method->input->name, embedded->methods[i].input->name);
        assert_string_equal(method->output->name, embedded->methods[i].output->name);
    }
    schema_unref(schema);
}

static void test_tables_of_the_demo_hold_what_their_protos_say(void **state)
{
    (void)state;
    expect_interface(&catalog__v1__catalog__interface, "catalog", "1.0.0", "catalog.v1.Catalog",
                     &catalog__v1__catalog__descriptor);
    expect_interface(&catalog__v2__catalog__interface, "catalog", "2.0.0", "catalog.v2.Catalog",
                     &catalog__v2__catalog__descriptor);
    const struct parley_method *methods = catalog__v1__catalog__interface.methods;
    assert_string_equal(methods[0].name, "Get");
    assert_int_equal(methods[0].idempotency, PARLEY_NO_SIDE_EFFECTS);
    assert_string_equal(methods[3].name, "Visit");
    assert_int_equal(methods[3].idempotency, PARLEY_IDEMPOTENCY_UNKNOWN);
}

static void test_table_of_odd_names_holds_what_its_proto_says(void **state)
{
    (void)state;
    expect_interface(&my_pkg__httpapi__v1beta2__httpget__service__interface, "odd", "0.1.0-beta.2",
                     "my_pkg.HTTPApi.v1beta2.HTTPGet_Service",
                     &my_pkg__httpapi__v1beta2__httpget__service__descriptor);
}

static void test_embedded_set_has_imports_and_no_source_positions(void **state)
{
    (void)state;
    const struct parley_interface *interface = &catalog__v2__catalog__interface;
    ProtobufCMessage *message =
        protobuf_c_message_unpack(&google__protobuf__file_descriptor_set__descriptor, NULL,
                                  interface->descriptor_set_bytes, interface->descriptor_set);
    assert_non_null(message);
    const Google__Protobuf__FileDescriptorSet *set =
        (const Google__Protobuf__FileDescriptorSet *)message;
    assert_int_equal(set->n_file, 3);
    assert_string_equal(set->file[0]->name, "google/protobuf/descriptor.proto");
    assert_string_equal(set->file[1]->name, "parley/options.proto");
    assert_string_equal(set->file[2]->name, "catalog_v2.proto");
    for (size_t i = 0; i < 3; i++)
        assert_null(set->file[i]->source_code_info);
    protobuf_c_message_free_unpacked(message, NULL);
}

/* ---- Stubs ---- */

static void test_stub_passes_its_arguments_and_hands_over_the_reply(void **state)
{
    (void)state;
    Catalog__V1__SearchRequest request = CATALOG__V1__SEARCH_REQUEST__INIT;
    Catalog__V1__SearchReply reply = CATALOG__V1__SEARCH_REPLY__INIT, *got = NULL;
    struct parley_call call = {0};
    struct parley_client *client = (struct parley_client *)&call;
    seen.reply = &reply.base;
    assert_int_equal(catalog__v1__catalog__search_call(client, &request, &got, &call), PARLEY_OK);
    assert_ptr_equal(got, &reply);
    assert_ptr_equal(seen.client, client);
    assert_int_equal(seen.method, 2);
    assert_ptr_equal(seen.request, &request.base);
    assert_ptr_equal(seen.call, &call);
}

static void test_stub_leaves_the_reply_alone_on_failure(void **state)
{
    (void)state;
    Catalog__V1__GetRequest request = CATALOG__V1__GET_REQUEST__INIT;
    Catalog__V1__Package untouched = CATALOG__V1__PACKAGE__INIT, *got = &untouched;
    seen.status = PARLEY_NOT_FOUND;
    assert_int_equal(catalog__v1__catalog__get_call(NULL, &request, &got, NULL), PARLEY_NOT_FOUND);
    assert_ptr_equal(got, &untouched);
    assert_null(seen.call);
}

static void test_each_stub_calls_its_own_method(void **state)
{
    (void)state;
    Catalog__V2__GetRequest get = CATALOG__V2__GET_REQUEST__INIT;
    Catalog__V2__ListRequest list = CATALOG__V2__LIST_REQUEST__INIT;
    Catalog__V2__Package *package = NULL;
    Catalog__V2__ListReply *packages = NULL;
    Catalog__V2__VisitReply *visits = NULL;
    (void)catalog__v2__catalog__get_call(NULL, &get, &package, NULL);
    assert_int_equal(seen.method, 0);
    (void)catalog__v2__catalog__list_call(NULL, &list, &packages, NULL);
    assert_int_equal(seen.method, 1);
    (void)catalog__v2__catalog__visit_call(NULL, &get, &visits, NULL);
    assert_int_equal(seen.method, 3);
}

static void test_a_one_way_stub_sends_its_own_method(void **state)
{
    (void)state;
    Catalog__V2__GetRequest request = CATALOG__V2__GET_REQUEST__INIT;
    struct parley_call call = {0};
    struct parley_client *client = (struct parley_client *)&call;
    seen.status = PARLEY_UNAVAILABLE;
    assert_int_equal(catalog__v2__catalog__visit_send(client, &request, &call), PARLEY_UNAVAILABLE);
    assert_true(seen.one_way);
    assert_ptr_equal(seen.client, client);
    assert_int_equal(seen.method, 3);
    assert_ptr_equal(seen.request, &request.base);
    assert_ptr_equal(seen.call, &call);
}

static void test_stubs_of_odd_names_have_the_types_that_protoc_gen_c_gave(void **state)
{
    (void)state;
    MyPkg__HTTPApi__V1beta2__Lead lead = MY_PKG__HTTPAPI__V1BETA2___LEAD__INIT;
    MyPkg__HTTPApi__V1beta2__GetX1Reply__InnerThing *inner = NULL;
    Google__Protobuf__FieldOptions *options = NULL;
    MyPkg__HTTPApi__V1beta2__Lead *connected = NULL;
    (void)my_pkg__httpapi__v1beta2__httpget__service__get_x__y_call(NULL, &lead, &inner, NULL);
    assert_int_equal(seen.method, 1);
    (void)my_pkg__httpapi__v1beta2__httpget__service__v2_list2_items_call(NULL, &lead, &options,
                                                                          NULL);
    assert_int_equal(seen.method, 3);
    (void)my_pkg__httpapi__v1beta2__httpget__service__connect_call(NULL, &lead, &connected, NULL);
    assert_int_equal(seen.method, 4);
}

/* ---- Conveniences ---- */

static void test_connect_and_serve_name_the_interface(void **state)
{
    (void)state;
    int place = 0;
    struct parley_endpoint *endpoint = (struct parley_endpoint *)&place;
    struct parley_client *client = NULL;
    struct parley_client_options client_options = {0};
    seen.client = (struct parley_client *)&place;
    assert_int_equal(catalog__v1__catalog__connect(endpoint, &client_options, &client), PARLEY_OK);
    assert_ptr_equal(client, &place);
    assert_ptr_equal(seen.endpoint, endpoint);
    assert_ptr_equal(seen.interface, &catalog__v1__catalog__interface);
    assert_ptr_equal(seen.options, &client_options);

    Catalog__V2__Catalog_Service implementation = {.base = {.descriptor = NULL}};
    struct parley_service_options service_options = {0};
    struct parley_service *service = NULL;
    seen.status = PARLEY_ALREADY_EXISTS;
    assert_int_equal(
        catalog__v2__catalog__serve(endpoint, &implementation, &service_options, &service),
        PARLEY_ALREADY_EXISTS);
    assert_ptr_equal(seen.interface, &catalog__v2__catalog__interface);
    assert_ptr_equal(seen.implementation, &implementation.base);
    assert_ptr_equal(seen.options, &service_options);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_tables_of_the_demo_hold_what_their_protos_say, reset),
        cmocka_unit_test_setup(test_table_of_odd_names_holds_what_its_proto_says, reset),
        cmocka_unit_test_setup(test_embedded_set_has_imports_and_no_source_positions, reset),
        cmocka_unit_test_setup(test_stub_passes_its_arguments_and_hands_over_the_reply, reset),
        cmocka_unit_test_setup(test_stub_leaves_the_reply_alone_on_failure, reset),
        cmocka_unit_test_setup(test_each_stub_calls_its_own_method, reset),
        cmocka_unit_test_setup(test_a_one_way_stub_sends_its_own_method, reset),
        cmocka_unit_test_setup(test_stubs_of_odd_names_have_the_types_that_protoc_gen_c_gave,
                               reset),
        cmocka_unit_test_setup(test_connect_and_serve_name_the_interface, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
