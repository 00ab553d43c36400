/* The plugin as protoc sees it: a request in, a response out. PARLEY_GOLDEN_UPDATE=1 rewrites the
 * golden files instead of comparing with them. */
#include "unit/schema/sets.h"

#include <errno.h>

#include "codegen/codegen.h"

typedef Google__Protobuf__Compiler__CodeGeneratorRequest Request;
typedef Google__Protobuf__Compiler__CodeGeneratorResponse Response;
typedef Google__Protobuf__FileDescriptorSet Files;

/* A request for the last file of the set at @path, as @change has made it. */
static Response *run(const char *path, void (*change)(Files *files, Request *request))
{
    struct set set = set_read(path);
    Files *files = set_unpack(&set);
    Request request = GOOGLE__PROTOBUF__COMPILER__CODE_GENERATOR_REQUEST__INIT;
    char *wanted[] = {files->file[files->n_file - 1]->name};
    request.file_to_generate = wanted;
    request.n_file_to_generate = 1;
    if (change)
        change(files, &request);
    request.proto_file = files->file;
    request.n_proto_file = files->n_file;
    size_t bytes = protobuf_c_message_get_packed_size(&request.base), response_bytes;
    uint8_t *data = malloc(bytes), *response_data = NULL;
    assert_non_null(data);
    assert_int_equal(protobuf_c_message_pack(&request.base, data), bytes);
    struct error_text error;
    if (codegen_run(data, bytes, &response_data, &response_bytes, &error) < 0)
        fail_msg("%s", error.text);
    ProtobufCMessage *response = NULL;
    assert_int_equal(wire_unpack(&google__protobuf__compiler__code_generator_response__descriptor,
                                 response_data, response_bytes, NULL, &response, &error),
                     0);
    free(response_data);
    free(data);
    wire_free(files);
    free(set.data);
    return (Response *)response;
}

static void expect_error(const char *path, void (*change)(Files *files, Request *request),
                         const char *sentence)
{
    Response *response = run(path, change);
    assert_int_equal(response->n_file, 0);
    if (!response->error || !strstr(response->error, sentence))
        fail_msg("\"%s\" instead of \"%s\"", response->error ? response->error : "", sentence);
    wire_free(response);
}

/* ---- What is generated ---- */

static void expect_golden(const char *name, const char *content)
{
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/%s", GOLDEN_DIR, name);
    if (getenv("PARLEY_GOLDEN_UPDATE")) {
        FILE *file = fopen(path, "wb");
        assert_non_null(file);
        assert_int_equal(fwrite(content, 1, strlen(content), file), strlen(content));
        assert_int_equal(fclose(file), 0);
        return;
    }
    struct set golden = set_read(path);
    golden.data[golden.bytes] = '\0';
    assert_string_equal(content, (const char *)golden.data);
    free(golden.data);
}

/* The imports would be most of the golden file, and change with every option that Parley gets. */
static void without_imports(Files *files, Request *request)
{
    (void)request;
    files->file[0] = files->file[files->n_file - 1];
    files->n_file = 1;
}

static void test_files_are_those_of_the_golden_folder(void **state)
{
    (void)state;
    Response *response = run(GREET_SET, without_imports);
    assert_null(response->error);
    assert_int_equal(response->supported_features, 1);
    assert_int_equal(response->n_file, 2);
    assert_string_equal(response->file[0]->name, "greet.parley.h");
    assert_string_equal(response->file[1]->name, "greet.parley.c");
    expect_golden("greet.parley.h", response->file[0]->content);
    expect_golden("greet.parley.c", response->file[1]->content);
    wire_free(response);
}

static void test_same_request_gives_the_same_bytes(void **state)
{
    (void)state;
    Response *first = run(ODD_SET, NULL), *second = run(ODD_SET, NULL);
    assert_int_equal(first->n_file, 2);
    for (size_t i = 0; i < 2; i++)
        assert_string_equal(first->file[i]->content, second->file[i]->content);
    wire_free(first);
    wire_free(second);
}

static char folder_name[] = "a-b/c.d/greet.x.proto";

static void in_a_folder(Files *files, Request *request)
{
    without_imports(files, request);
    files->file[0]->name = folder_name;
    request->file_to_generate[0] = folder_name;
}

static void test_files_stand_in_the_folder_of_their_proto(void **state)
{
    (void)state;
    Response *response = run(GREET_SET, in_a_folder);
    assert_int_equal(response->n_file, 2);
    assert_string_equal(response->file[0]->name, "a-b/c.d/greet.x.parley.h");
    assert_non_null(strstr(response->file[0]->content, "#include \"a-b/c.d/greet.x.pb-c.h\""));
    assert_non_null(
        strstr(response->file[0]->content, "#ifndef PARLEY_a_2db_2fc_2ed_2fgreet_2ex_INCLUDED"));
    assert_non_null(strstr(response->file[1]->content, "#include \"a-b/c.d/greet.x.parley.h\""));
    wire_free(response);
}

static void test_header_is_usable_from_cplusplus(void **state)
{
    (void)state;
    Response *response = run(GREET_SET, NULL);
    assert_non_null(strstr(response->file[0]->content, "extern \"C\" {"));
    wire_free(response);
}

static void test_comment_of_a_method_cannot_end_the_comment_around_it(void **state)
{
    (void)state;
    Response *response = run(GREET_SET, NULL);
    assert_non_null(strstr(response->file[0]->content, "leaves / * no * / trace."));
    assert_null(strstr(response->file[0]->content, "no */ trace"));
    wire_free(response);
}

static void test_conveniences_whose_names_are_taken_are_left_out(void **state)
{
    (void)state;
    Response *response = run(ODD_SET, NULL);
    const char *header = response->file[0]->content;
    assert_null(strstr(header, "__connect(struct parley_endpoint"));
    assert_null(strstr(header, "__serve(struct parley_endpoint"));
    assert_non_null(strstr(header, "__connect_call(struct parley_client"));
    wire_free(response);
    response = run(GREET_SET, NULL);
    header = response->file[0]->content;
    assert_non_null(strstr(header, "greet__v1__greeter__connect(struct parley_endpoint"));
    assert_non_null(strstr(header, "greet__v1__greeter__serve(struct parley_endpoint"));
    wire_free(response);
}

static void without_service(Files *files, Request *request)
{
    (void)request;
    files->file[files->n_file - 1]->n_service = 0;
}

static void test_file_without_a_service_gives_nothing(void **state)
{
    (void)state;
    Response *response = run(GREET_SET, without_service);
    assert_null(response->error);
    assert_int_equal(response->n_file, 0);
    wire_free(response);
}

/* ---- What is refused ---- */

static void two_services(Files *files, Request *request)
{
    (void)request;
    static Google__Protobuf__ServiceDescriptorProto *services[2];
    Google__Protobuf__FileDescriptorProto *file = files->file[files->n_file - 1];
    services[0] = services[1] = file->service[0];
    file->service = services;
    file->n_service = 2;
}

static void without_option(Files *files, Request *request)
{
    (void)request;
    files->file[files->n_file - 1]->options = NULL;
}

static void with_parameter(Files *files, Request *request)
{
    (void)files;
    request->parameter = (char *)"colour=red";
}

static void not_in_request(Files *files, Request *request)
{
    (void)files;
    request->file_to_generate[0] = (char *)"elsewhere.proto";
}

static void no_stream_up(Files *files, Request *request)
{
    (void)request;
    files->file[files->n_file - 1]->service[0]->method[2]->client_streaming = 0;
}

static void no_streams(Files *files, Request *request)
{
    no_stream_up(files, request);
    files->file[files->n_file - 1]->service[0]->method[3]->server_streaming = 0;
}

static void method_interface(Files *files, Request *request)
{
    (void)request;
    files->file[files->n_file - 1]->service[0]->method[0]->name = (char *)"Interface";
}

static void test_what_cannot_be_generated_is_said_to_protoc(void **state)
{
    (void)state;
    expect_error(
        GREET_SET, without_option,
        "greet.proto: service greet.v1.Greeter: its file has no option (parley.interface)");
    expect_error(GREET_SET, two_services,
                 "greet.proto has 2 services; an interface is one service");
    expect_error(GREET_SET, with_parameter, "the parameter \"colour=red\" is not known");
    expect_error(GREET_SET, not_in_request, "elsewhere.proto is to be generated, but not in");
    expect_error(GREET_SET, method_interface, "its method greet__v1__greeter__interface() and");
    expect_error(STREAMS_SET, NULL, "streams.proto: service streams.v1.Streams: method Up streams");
    expect_error(STREAMS_SET, no_stream_up, "service streams.v1.Streams: method Down streams");
    expect_error(STREAMS_SET, no_streams,
                 "the stub of method Get would be streams__v1__streams__get_call(), which is");
}

static void test_what_is_no_request_is_an_error(void **state)
{
    (void)state;
    uint8_t *response = NULL;
    size_t bytes;
    struct error_text error;
    assert_int_equal(codegen_run((const uint8_t *)"\x7a\x05", 2, &response, &bytes, &error),
                     -EBADMSG);
    assert_non_null(strstr(error.text, "no CodeGeneratorRequest"));
    assert_null(response);
}

static void test_request_cut_at_any_byte_is_an_error_or_an_answer(void **state)
{
    (void)state;
    struct set set = set_read(GREET_SET);
    Files *files = set_unpack(&set);
    without_imports(files, NULL);
    Request request = GOOGLE__PROTOBUF__COMPILER__CODE_GENERATOR_REQUEST__INIT;
    request.file_to_generate = (char *[]){files->file[0]->name};
    request.n_file_to_generate = 1;
    request.proto_file = files->file;
    request.n_proto_file = files->n_file;
    size_t bytes = protobuf_c_message_get_packed_size(&request.base);
    uint8_t *data = malloc(bytes);
    assert_non_null(data);
    assert_int_equal(protobuf_c_message_pack(&request.base, data), bytes);
    unsigned errors = 0;
    for (size_t cut = 0; cut < bytes; cut++) {
        uint8_t *copy = malloc(cut > 0 ? cut : 1), *response = NULL;
        size_t response_bytes;
        assert_non_null(copy);
        memcpy(copy, data, cut);
        errors += codegen_run(copy, cut, &response, &response_bytes, NULL) < 0;
        free(response);
        free(copy);
    }
    assert_true(errors > bytes / 2);
    free(data);
    wire_free(files);
    free(set.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files_are_those_of_the_golden_folder),
        cmocka_unit_test(test_same_request_gives_the_same_bytes),
        cmocka_unit_test(test_files_stand_in_the_folder_of_their_proto),
        cmocka_unit_test(test_header_is_usable_from_cplusplus),
        cmocka_unit_test(test_comment_of_a_method_cannot_end_the_comment_around_it),
        cmocka_unit_test(test_conveniences_whose_names_are_taken_are_left_out),
        cmocka_unit_test(test_file_without_a_service_gives_nothing),
        cmocka_unit_test(test_what_cannot_be_generated_is_said_to_protoc),
        cmocka_unit_test(test_what_is_no_request_is_an_error),
        cmocka_unit_test(test_request_cut_at_any_byte_is_an_error_or_an_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
