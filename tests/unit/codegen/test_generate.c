/* The plugin as protoc sees it: a request in, a response out. PARLEY_GOLDEN_UPDATE=1 rewrites the
 * golden files instead of comparing with them. */
#include "unit/schema/sets.h"

#include <errno.h>

#include "codegen/codegen.h"
#include "schema/diff.h"

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

typedef Google__Protobuf__SourceCodeInfo__Location Location;

/* Where a diff would say that @path is: at the longest beginning of it that has a position. */
static const Location *place_of(const Files *positions, const char *file, const Location *wanted)
{
    const Location *best = NULL;
    for (size_t f = 0; f < positions->n_file; f++) {
        const Google__Protobuf__SourceCodeInfo *info = positions->file[f]->source_code_info;
        for (size_t i = 0; strcmp(positions->file[f]->name, file) == 0 && i < info->n_location;
             i++) {
            const Location *one = info->location[i];
            bool begins = one->n_path <= wanted->n_path &&
                          memcmp(one->path, wanted->path, one->n_path * sizeof(*one->path)) == 0;
            if (begins && (!best || one->n_path > best->n_path))
                best = one;
        }
    }
    return best;
}

/* What a diff can point to is where the .proto has it, though most positions are left out. */
static void check_positions(const char *path)
{
    struct set set = set_read(path), kept;
    Files *files = set_unpack(&set);
    Request request = GOOGLE__PROTOBUF__COMPILER__CODE_GENERATOR_REQUEST__INIT;
    request.proto_file = files->file;
    request.n_proto_file = files->n_file;
    const Google__Protobuf__FileDescriptorProto *file = files->file[files->n_file - 1];
    assert_int_equal(embed_positions(&request, file, &kept.data, &kept.bytes), 0);
    Files *positions = set_unpack(&kept);
    size_t checked = 0, total = file->source_code_info->n_location;
    for (size_t i = 0; i < total; i++) {
        const Location *wanted = file->source_code_info->location[i];
        if (!diff_points_to(wanted->path, wanted->n_path))
            continue;
        const Location *place = place_of(positions, file->name, wanted);
        assert_non_null(place);
        assert_null(place->leading_comments);
        assert_null(place->trailing_comments);
        assert_int_equal(place->span[0], wanted->span[0]);
        assert_int_equal(place->span[1], wanted->span[1]);
        checked++;
    }
    assert_true(checked > 10);
    assert_true(positions->file[positions->n_file - 1]->source_code_info->n_location < checked);
    for (size_t i = 0; i < positions->n_file; i++)
        assert_string_not_equal(positions->file[i]->name, "parley/options.proto");
    wire_free(positions);
    wire_free(files);
    free(kept.data);
    free(set.data);
}

static void test_positions_of_what_a_diff_can_point_to_are_kept(void **state)
{
    (void)state;
    check_positions(GREET_SET);
    check_positions(SHOP_SET);
    check_positions(ODD_SET);
}

static void without_info(Files *files, Request *request)
{
    without_imports(files, request);
    files->file[0]->source_code_info = NULL;
}

static void test_without_positions_none_are_embedded(void **state)
{
    (void)state;
    Response *response = run(GREET_SET, without_info);
    assert_null(strstr(response->file[1]->content, "positions"));
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
    assert_null(strstr(header, "__delete_send(struct parley_client"));
    assert_non_null(strstr(header, "__delete_send_call(struct parley_client"));
    assert_non_null(strstr(header, "__delete_send_send(struct parley_client"));
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

static const char *parameter; /* for with_parameter() */

static void with_parameter(Files *files, Request *request)
{
    (void)files;
    request->parameter = (char *)parameter;
}

static void expect_parameter_error(const char *path, const char *value, const char *sentence)
{
    parameter = value;
    expect_error(path, with_parameter, sentence);
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
    expect_error(GREET_SET, not_in_request, "elsewhere.proto is to be generated, but not in");
    expect_error(GREET_SET, method_interface, "its method greet__v1__greeter__interface() and");
    expect_error(STREAMS_SET, NULL, "streams.proto: service streams.v1.Streams: method Up streams");
    expect_error(STREAMS_SET, no_stream_up, "service streams.v1.Streams: method Down streams");
    expect_error(STREAMS_SET, no_streams,
                 "the stub of method Get would be streams__v1__streams__get_call(), which is");
}

/* ---- Alias headers ---- */

/* Both versions of the shop, the files that were given to protoc. */
static void both_versions(Files *files, Request *request)
{
    static char *wanted[2];
    size_t n = 0;
    for (size_t i = 0; i < files->n_file; i++) {
        if (files->file[i]->n_service > 0)
            wanted[n++] = files->file[i]->name;
    }
    assert_int_equal(n, 2);
    request->file_to_generate = wanted;
    request->n_file_to_generate = 2;
    request->parameter = (char *)parameter;
}

static Google__Protobuf__FileDescriptorProto *shop_file(Files *files, const char *name)
{
    for (size_t i = 0; i < files->n_file; i++) {
        if (strcmp(files->file[i]->name, name) == 0)
            return files->file[i];
    }
    fail_msg("no %s", name);
    return NULL;
}

static void test_alias_header_is_that_of_the_golden_folder(void **state)
{
    (void)state;
    parameter = "aliases=only";
    Response *response = run(SHOP_SET, both_versions);
    assert_int_equal(response->n_file, 1);
    assert_string_equal(response->file[0]->name, "shop.parley.h");
    expect_golden("shop.parley.h", response->file[0]->content);
    wire_free(response);
}

static void test_alias_header_comes_beside_the_others(void **state)
{
    (void)state;
    parameter = "aliases";
    Response *response = run(SHOP_SET, both_versions);
    assert_int_equal(response->n_file, 5);
    assert_string_equal(response->file[0]->name, "shop_v1.parley.h");
    assert_string_equal(response->file[4]->name, "shop.parley.h");
    wire_free(response);
    parameter = "";
    response = run(SHOP_SET, both_versions);
    assert_int_equal(response->n_file, 4);
    wire_free(response);
}

static void other_order(Files *files, Request *request)
{
    both_versions(files, request);
    char *first = request->file_to_generate[0];
    request->file_to_generate[0] = request->file_to_generate[1];
    request->file_to_generate[1] = first;
}

static void test_order_of_the_files_does_not_matter(void **state)
{
    (void)state;
    parameter = "aliases=only";
    Response *first = run(SHOP_SET, both_versions), *second = run(SHOP_SET, other_order);
    assert_string_equal(first->file[0]->content, second->file[0]->content);
    wire_free(first);
    wire_free(second);
}

static void test_default_is_the_lowest_version_unless_it_is_named(void **state)
{
    (void)state;
    parameter = "aliases=only";
    Response *response = run(SHOP_SET, both_versions);
    assert_non_null(strstr(response->file[0]->content, "#define SHOP_API 1\n"));
    wire_free(response);
    parameter = "aliases=only,default=2";
    response = run(SHOP_SET, both_versions);
    assert_non_null(strstr(response->file[0]->content, "#define SHOP_API 2\n"));
    wire_free(response);
    response = run(SHOP_SET, with_parameter); /* version 2 without 1 */
    assert_non_null(strstr(response->file[0]->content, "#define SHOP_API 2\n"));
    assert_null(strstr(response->file[0]->content, "shop_v1"));
    wire_free(response);
    parameter = "aliases=only,default=3";
    expect_error(SHOP_SET, both_versions, "interface shop has no version 3 to be the default");
}

static void in_folders(Files *files, Request *request)
{
    both_versions(files, request);
    static char first[] = "api/shop/v1/shop.proto", second[] = "api/shop/v2/shop.proto";
    shop_file(files, "shop_v1.proto")->name = first;
    shop_file(files, "shop_v2.proto")->name = second;
    request->file_to_generate[0] = first;
    request->file_to_generate[1] = second;
}

static void test_alias_header_stands_in_the_folder_that_all_versions_are_in(void **state)
{
    (void)state;
    parameter = "aliases=only";
    Response *response = run(SHOP_SET, in_folders);
    assert_int_equal(response->n_file, 1);
    assert_string_equal(response->file[0]->name, "api/shop/shop.parley.h");
    assert_non_null(strstr(response->file[0]->content, "#include \"api/shop/v2/shop.parley.h\""));
    wire_free(response);
}

/* Puts version 2 into another package. */
static void move_package(Files *files, const char *package, const char *item, const char *kind)
{
    Google__Protobuf__FileDescriptorProto *file = shop_file(files, "shop_v2.proto");
    file->package = (char *)package;
    file->message_type[0]->field[1]->type_name = (char *)kind;
    for (size_t i = 0; i < file->service[0]->n_method; i++) {
        file->service[0]->method[i]->input_type = (char *)item;
        file->service[0]->method[i]->output_type = (char *)item;
    }
}

static void same_number(Files *files, Request *request)
{
    both_versions(files, request);
    move_package(files, "shop.v1", ".shop.v1.Item", ".shop.v1.Kind");
}

static void other_root(Files *files, Request *request)
{
    both_versions(files, request);
    move_package(files, "store.v2", ".store.v2.Item", ".store.v2.Kind");
}

/* A file that version 2 imports has already what would be an alias. */
static void hidden_name(Files *files, Request *request)
{
    static Google__Protobuf__DescriptorProto item = GOOGLE__PROTOBUF__DESCRIPTOR_PROTO__INIT;
    static Google__Protobuf__DescriptorProto *items[] = {&item};
    static Google__Protobuf__FileDescriptorProto file =
        GOOGLE__PROTOBUF__FILE_DESCRIPTOR_PROTO__INIT;
    static Google__Protobuf__FileDescriptorProto *list[16];
    static char *dependencies[2];
    Google__Protobuf__FileDescriptorProto *last = shop_file(files, "shop_v2.proto");
    with_parameter(files, request);
    item.name = (char *)"Item";
    file.name = (char *)"common.proto";
    file.package = (char *)"shop";
    file.message_type = items;
    file.n_message_type = 1;
    list[0] = &file;
    assert_true(files->n_file < 16);
    memcpy(list + 1, files->file, files->n_file * sizeof(*list));
    files->file = list;
    files->n_file++;
    dependencies[0] = last->dependency[0];
    dependencies[1] = file.name;
    last->dependency = dependencies;
    last->n_dependency = 2;
}

/* shop.v1.V2.Item, whose alias would be what shop.v2.Item is called. */
static void message_v2(Files *files, Request *request)
{
    both_versions(files, request);
    Google__Protobuf__FileDescriptorProto *file = shop_file(files, "shop_v1.proto");
    static Google__Protobuf__DescriptorProto item = GOOGLE__PROTOBUF__DESCRIPTOR_PROTO__INIT;
    static Google__Protobuf__DescriptorProto *nested[] = {&item};
    static Google__Protobuf__DescriptorProto v2 = GOOGLE__PROTOBUF__DESCRIPTOR_PROTO__INIT;
    static Google__Protobuf__DescriptorProto *messages[16];
    item.name = (char *)"Item";
    v2.name = (char *)"V2";
    v2.nested_type = nested;
    v2.n_nested_type = 1;
    assert_true(file->n_message_type < 16);
    memcpy(messages, file->message_type, file->n_message_type * sizeof(*messages));
    messages[file->n_message_type++] = &v2;
    file->message_type = messages;
}

static void test_what_cannot_be_aliased_is_said_to_protoc(void **state)
{
    (void)state;
    expect_parameter_error(GREET_SET, "colour=red", "the parameter \"colour=red\" is not known");
    expect_parameter_error(GREET_SET, "aliases=only,x", "the parameter \"x\" is not known");
    expect_parameter_error(GREET_SET, "aliases,default=", "\"default=\" is not known");
    expect_parameter_error(GREET_SET, "aliases,default=02", "\"default=02\" is not known");
    expect_parameter_error(GREET_SET, "aliases,default=1000000", "is not known");
    expect_parameter_error(GREET_SET, "default=2", "give `aliases` as well");
    expect_parameter_error(GREET_SET, "aliases",
                           "greet.proto: its header and the one that aliases all versions of "
                           "interface greet would both be greet.parley.h: rename the file");
    expect_parameter_error(ODD_SET, "aliases",
                           "odd.proto: package \"my_pkg.HTTPApi.v1beta2\" does not end in a "
                           "version like \".v1\"");
    expect_parameter_error(SHOP_SET, "aliases",
                           "interface shop: shop.v2 comes after shop.v1, which is not among the "
                           "files: give protoc all versions in one run");
    parameter = "aliases";
    expect_error(SHOP_SET, other_root,
                 "interface shop: packages shop.v1 and store.v2 have no name in common");
    parameter = "aliases,default=2";
    expect_error(
        SHOP_SET, hidden_name,
        "package shop.v2: without its version, Shop__V2__Item would be called "
        "Shop__Item, as something of another package is that shop_v2.proto has or imports");
    parameter = "aliases";
    expect_error(SHOP_SET, message_v2,
                 "package shop.v1: without its version, Shop__V1__V2__Item would be called "
                 "Shop__V2__Item, as something of another package is that shop_v2.proto has");
}

static void test_two_files_of_one_version_cannot_share_an_alias_header(void **state)
{
    (void)state;
    parameter = "aliases";
    expect_error(SHOP_SET, same_number, "shop_v1.proto and shop_v2.proto are both version 1");
}

static void aliases_without_service(Files *files, Request *request)
{
    without_service(files, request);
    request->parameter = (char *)"aliases=only";
}

static void test_aliases_of_nothing_are_an_error(void **state)
{
    (void)state;
    expect_error(GREET_SET, aliases_without_service, "no file of this run has a service");
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
        cmocka_unit_test(test_positions_of_what_a_diff_can_point_to_are_kept),
        cmocka_unit_test(test_without_positions_none_are_embedded),
        cmocka_unit_test(test_files_stand_in_the_folder_of_their_proto),
        cmocka_unit_test(test_header_is_usable_from_cplusplus),
        cmocka_unit_test(test_comment_of_a_method_cannot_end_the_comment_around_it),
        cmocka_unit_test(test_conveniences_whose_names_are_taken_are_left_out),
        cmocka_unit_test(test_file_without_a_service_gives_nothing),
        cmocka_unit_test(test_what_cannot_be_generated_is_said_to_protoc),
        cmocka_unit_test(test_alias_header_is_that_of_the_golden_folder),
        cmocka_unit_test(test_alias_header_comes_beside_the_others),
        cmocka_unit_test(test_order_of_the_files_does_not_matter),
        cmocka_unit_test(test_default_is_the_lowest_version_unless_it_is_named),
        cmocka_unit_test(test_alias_header_stands_in_the_folder_that_all_versions_are_in),
        cmocka_unit_test(test_what_cannot_be_aliased_is_said_to_protoc),
        cmocka_unit_test(test_two_files_of_one_version_cannot_share_an_alias_header),
        cmocka_unit_test(test_aliases_of_nothing_are_an_error),
        cmocka_unit_test(test_what_is_no_request_is_an_error),
        cmocka_unit_test(test_request_cut_at_any_byte_is_an_error_or_an_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
