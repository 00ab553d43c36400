/*
 * From protoc's request to its response.
 *
 * For each file to generate that has a service: pack its descriptor set, read that set back as the
 * broker will (schema_new), and only then write the two files. A .proto that the broker would
 * refuse is so refused when it is compiled, by the same code and in the same words. What C and
 * protoc-gen-c add to that is checked here: one service a file, no streams yet, no generated name
 * twice.
 *
 * An error is not an exit status: protoc wants it in the response, and prints it with the name of
 * the plugin.
 */
#include "codegen/codegen.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "wire/wire.h"

typedef Google__Protobuf__Compiler__CodeGeneratorRequest Request;
typedef Google__Protobuf__Compiler__CodeGeneratorResponse Response;
typedef Google__Protobuf__Compiler__CodeGeneratorResponse__File Output;
typedef Google__Protobuf__FileDescriptorProto File;

#define FEATURE_PROTO3_OPTIONAL 1
/* protoc is no stranger, and a large request has a million numbers in its source positions alone.
 */
#define REQUEST_ELEMENT_MAX (UINT32_C(1) << 24)

DEFINE_CLEANUP(struct schema *, schema_unref);

/* ---- What is said of a file ---- */

static void emit_deinit(struct emit *emit)
{
    for (size_t i = 0; emit->methods && i < emit->service->method_count; i++) {
        free(emit->methods[i].function);
        free(emit->methods[i].input_type);
        free(emit->methods[i].output_type);
    }
    free(emit->methods);
    free(emit->base);
    free(emit->prefix);
    free(emit->service_type);
}

/* The C type of a message; its file may have a package of its own in C. */
static char *type_of(const Request *request, const struct schema_message *message)
{
    char buffer[SCHEMA_NAME_BYTES_MAX + 1];
    struct text text = {0};
    const File *file = embed_find_message(request, message->name);
    names_full_type(&text, file ? names_c_package(file, buffer, sizeof(buffer)) : message->package,
                    message->local);
    return text_take(&text);
}

/* The comment before method @index of the file's service @service. */
static const char *comment_of(const File *file, int32_t service, int32_t index)
{
    const Google__Protobuf__SourceCodeInfo *info = file->source_code_info;
    const int32_t path[] = {6, service, 2, index}; /* numbers of `service` and `method` */
    for (size_t i = 0; info && i < info->n_location; i++) {
        const Google__Protobuf__SourceCodeInfo__Location *location = info->location[i];
        if (location->n_path == 4 && memcmp(location->path, path, sizeof(path)) == 0 &&
            location->leading_comments)
            return location->leading_comments;
    }
    return "";
}

static int emit_init(struct emit *emit, const Request *request, const File *file)
{
    char buffer[SCHEMA_NAME_BYTES_MAX + 1];
    const char *package = names_c_package(file, buffer, sizeof(buffer));
    const struct schema_service *service = emit->service;
    const char *local = service->name + (service->package[0] ? strlen(service->package) + 1 : 0);
    struct text base = {0}, prefix = {0}, type = {0};
    size_t n = strlen(file->name);
    text_add_bytes(&base, file->name,
                   n >= 6 && strcmp(file->name + n - 6, ".proto") == 0 ? n - 6 : n);
    names_full_lower(&prefix, package, local);
    names_full_type(&type, package, local);
    text_add(&type, "_Service");
    emit->base = text_take(&base);
    emit->prefix = text_take(&prefix);
    emit->service_type = text_take(&type);
    emit->methods = calloc(service->method_count + 1, sizeof(*emit->methods));
    if (!emit->base || !emit->prefix || !emit->service_type || !emit->methods)
        return -ENOMEM;
    for (size_t i = 0; i < service->method_count; i++) {
        struct emit_method *method = &emit->methods[i];
        struct text function = {0};
        text_add(&function, "%s__", emit->prefix);
        names_lower(&function, service->methods[i].name);
        method->function = text_take(&function);
        method->input_type = type_of(request, service->methods[i].input);
        method->output_type = type_of(request, service->methods[i].output);
        method->comment = comment_of(file, 0, (int32_t)i);
        if (!method->function || !method->input_type || !method->output_type)
            return -ENOMEM;
    }
    return 0;
}

/* ---- What cannot be generated ---- */

static int check_streams(const File *file, const struct schema_service *service,
                         struct error_text *error)
{
    for (size_t i = 0; i < service->method_count; i++) {
        if (service->methods[i].client_streaming || service->methods[i].server_streaming)
            return error_set(
                error, -EINVAL,
                "%s: service %s: method %s streams, which Parley does not support yet: "
                "leave out `stream`, or move the method to a service of its own",
                file->name, service->name, service->methods[i].name);
    }
    return 0;
}

/* Whether protoc-gen-c declares @prefix + @suffix for a method. */
static bool is_taken(const struct emit *emit, const char *prefix, const char *suffix)
{
    size_t n = strlen(prefix);
    for (size_t i = 0; i < emit->service->method_count; i++) {
        const char *function = emit->methods[i].function;
        if (strncmp(function, prefix, n) == 0 && strcmp(function + n, suffix) == 0)
            return true;
    }
    return false;
}

static int check_names(struct emit *emit, const File *file, struct error_text *error)
{
    const struct schema_service *service = emit->service;
    emit->has_connect = !is_taken(emit, emit->prefix, "__connect");
    emit->has_serve = !is_taken(emit, emit->prefix, "__serve");
    if (is_taken(emit, emit->prefix, "__interface"))
        return error_set(error, -EINVAL,
                         "%s: service %s: its method %s__interface() and the interface's table "
                         "would have the same name in C: rename the method",
                         file->name, service->name, emit->prefix);
    for (size_t i = 0; i < service->method_count; i++) {
        if (is_taken(emit, emit->methods[i].function, "_call"))
            return error_set(error, -EINVAL,
                             "%s: service %s: the stub of method %s would be %s_call(), which is "
                             "the name of another method in C: rename one of them",
                             file->name, service->name, service->methods[i].name,
                             emit->methods[i].function);
        emit->methods[i].has_send = !is_taken(emit, emit->methods[i].function, "_send");
    }
    return 0;
}

/* ---- Output ---- */

/* BASE.parley.EXTENSION; a chooser_output. */
static int add_output(void *data, const char *base, const char *extension, struct text *content)
{
    Response *response = data;
    struct text name = {0};
    text_add(&name, "%s.parley.%s", base, extension);
    Output *output = malloc(sizeof(*output));
    char *name_data = text_take(&name), *content_data = text_take(content);
    if (!output || !name_data || !content_data) {
        free(output);
        free(name_data);
        free(content_data);
        return -ENOMEM;
    }
    *output = (Output)GOOGLE__PROTOBUF__COMPILER__CODE_GENERATOR_RESPONSE__FILE__INIT;
    output->name = name_data;
    output->content = content_data;
    response->file[response->n_file++] = output; /* generate_all() made room for three a file */
    return 0;
}

static int add_file(Response *response, const struct emit *emit, const char *extension,
                    void (*write)(const struct emit *emit, struct text *text))
{
    struct text content = {0};
    write(emit, &content);
    return add_output(response, emit->base, extension, &content);
}

/* What all files of a run share. */
struct run {
    const Request *request;
    struct parameter parameter;
    struct chooser chooser;
    Response *response;
};

/* Everything is known and checked: what of it is written. */
static int write_file(struct run *run, const File *file, const struct emit *emit,
                      struct error_text *error)
{
    int r = 0;
    if (!run->parameter.aliases_only)
        r = add_file(run->response, emit, "h", emit_header);
    if (r == 0 && !run->parameter.aliases_only)
        r = add_file(run->response, emit, "c", emit_source);
    if (r == 0 && run->parameter.aliases)
        r = chooser_add(&run->chooser, run->request, file, emit, error);
    return r;
}

static int generate_file(struct run *run, const File *file, struct error_text *error)
{
    if (file->n_service == 0)
        return 0;
    if (file->n_service > 1)
        return error_set(
            error, -EINVAL,
            "%s has %zu services; an interface is one service: give each a file of its "
            "own",
            file->name, file->n_service);
    _cleanup_(freep) uint8_t *set = NULL, *positions = NULL;
    struct text service = {0};
    struct emit emit = {.proto = file->name};
    int r = embed_pack(run->request, file, &set, &emit.set_bytes);
    if (r == 0)
        r = embed_positions(run->request, file, &positions, &emit.positions_bytes);
    if (r < 0)
        return r;
    emit.set = set;
    emit.positions = positions;
    text_add(&service, "%s%s%s", file->package ? file->package : "",
             file->package && file->package[0] ? "." : "",
             file->service[0]->name ? file->service[0]->name : "");
    _cleanup_(freep) char *service_name = text_take(&service);
    if (!service_name)
        return -ENOMEM;
    _cleanup_(schema_unrefp) struct schema *schema = NULL;
    r = schema_new(set, emit.set_bytes, service_name, &schema, error);
    if (r < 0)
        return r;
    emit.service = schema_service(schema);
    r = check_streams(file, emit.service, error);
    if (r == 0)
        r = emit_init(&emit, run->request, file);
    if (r == 0)
        r = check_names(&emit, file, error);
    if (r == 0)
        r = write_file(run, file, &emit, error);
    emit_deinit(&emit);
    return r;
}

static const File *find_file(const Request *request, const char *name)
{
    for (size_t i = 0; i < request->n_proto_file; i++) {
        if (request->proto_file[i]->name && strcmp(request->proto_file[i]->name, name) == 0)
            return request->proto_file[i];
    }
    return NULL;
}

static int check_request(const Request *request, struct error_text *error)
{
    for (size_t i = 0; i < request->n_proto_file; i++) {
        if (!request->proto_file[i]->name)
            return error_set(error, -EINVAL, "file %zu of the request has no name", i + 1);
    }
    return 0;
}

static int generate_files(struct run *run, struct error_text *error)
{
    const Request *request = run->request;
    for (size_t i = 0; i < request->n_file_to_generate; i++) {
        const File *file = find_file(request, request->file_to_generate[i]);
        if (!file)
            return error_set(error, -EINVAL, "%.200s is to be generated, but not in the request",
                             request->file_to_generate[i]);
        int r = generate_file(run, file, error);
        if (r < 0)
            return r;
    }
    if (!run->parameter.aliases)
        return 0;
    return chooser_write(&run->chooser, request, run->parameter.choice, add_output, run->response,
                         error);
}

static int generate_all(const Request *request, Response *response, struct error_text *error)
{
    struct run run = {.request = request, .response = response};
    int r = parameter_read(request->parameter ? request->parameter : "", &run.parameter, error);
    if (r == 0)
        r = check_request(request, error);
    if (r < 0)
        return r;
    /* Two for each, and not more alias headers than files. */
    response->file = calloc(3 * request->n_file_to_generate + 1, sizeof(Output *));
    if (!response->file)
        return -ENOMEM;
    r = generate_files(&run, error);
    chooser_deinit(&run.chooser);
    return r;
}

static void response_deinit(Response *response)
{
    for (size_t i = 0; i < response->n_file; i++) {
        free(response->file[i]->name);
        free(response->file[i]->content);
        free(response->file[i]);
    }
    free(response->file);
}

static int pack_response(const Response *response, uint8_t **ret_response, size_t *ret_bytes)
{
    size_t bytes = protobuf_c_message_get_packed_size(&response->base);
    uint8_t *data = malloc(bytes + 1);
    if (!data)
        return -ENOMEM;
    *ret_bytes = protobuf_c_message_pack(&response->base, data);
    *ret_response = data;
    return 0;
}

int codegen_run(const uint8_t *data, size_t bytes, uint8_t **ret_response, size_t *ret_bytes,
                struct error_text *error)
{
    static const struct wire_limits limits = {
        .bytes_max = WIRE_MESSAGE_BYTES_MAX,
        .depth_max = WIRE_DEPTH_MAX,
        .fields_max = WIRE_FIELDS_MAX,
        .elements_max = REQUEST_ELEMENT_MAX,
    };
    struct error_text local;
    if (!error)
        error = &local;
    error->text[0] = '\0';
    ProtobufCMessage *message;
    int r = wire_unpack(&google__protobuf__compiler__code_generator_request__descriptor, data,
                        bytes, &limits, &message, error);
    if (r < 0)
        return error_prefix(error, r, "what came from protoc is no CodeGeneratorRequest");
    Response response = GOOGLE__PROTOBUF__COMPILER__CODE_GENERATOR_RESPONSE__INIT;
    response.has_supported_features = 1;
    response.supported_features = FEATURE_PROTO3_OPTIONAL;
    r = generate_all((const Request *)message, &response, error);
    if (r == 0) {
        r = pack_response(&response, ret_response, ret_bytes);
    } else if (r != -ENOMEM) {
        Response refusal = GOOGLE__PROTOBUF__COMPILER__CODE_GENERATOR_RESPONSE__INIT;
        refusal.error = error->text;
        r = pack_response(&refusal, ret_response, ret_bytes);
    }
    response_deinit(&response);
    wire_free(message);
    return r == -ENOMEM ? error_set(error, r, "no memory for the generated code") : r;
}
