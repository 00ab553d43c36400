/*
 * A schema: one version of an interface, as data.
 *
 * schema_new() is the only way in. It copies the descriptor set, unpacks it within limits
 * (wire_unpack), declares what is in it (load.c), resolves what that refers to (resolve.c), reads
 * Parley's options (options.c) and picks the service. From then on nothing changes: a schema is
 * shared by reference, from any thread, and everything that its getters return lives as long as it.
 *
 * All memory of a schema is one pool, the unpacked set that its names point into, and the unpacked
 * rules; schema_unref() needs to know no more than these three, whole or half built.
 */
#include "schema/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "wire/wire.h"

DEFINE_CLEANUP(struct schema *, schema_unref);

static struct schema *schema_free(struct schema *schema)
{
    for (struct unpacked *node = schema->unpacked; node; node = node->next)
        wire_free(node->message);
    pool_deinit(&schema->pool);
    wire_free(schema->files);
    free(schema->set);
    free(schema);
    return NULL;
}

struct schema *schema_ref(struct schema *schema)
{
    /* relaxed: who holds a reference already has what the last one published */
    atomic_fetch_add_explicit(&schema->refs, 1, memory_order_relaxed);
    return schema;
}

struct schema *schema_unref(struct schema *schema)
{
    /* acq_rel: pairs with itself in other threads, so that the last one sees all their reads done
     */
    if (schema && atomic_fetch_sub_explicit(&schema->refs, 1, memory_order_acq_rel) == 1)
        schema_free(schema);
    return NULL;
}

static int choose_named(struct load *load, const char *name)
{
    struct schema *schema = load->schema;
    const struct symbol *symbol = symbol_find(schema, name);
    if (!symbol || symbol->kind != SYMBOL_SERVICE)
        return error_set(load->error, -EINVAL, "the descriptor set has no service %s",
                         PRINTABLE(name));
    const struct schema_service *service = &schema->services[symbol->index];
    if (!service->interface)
        return error_set(load->error, -EINVAL,
                         "%s: service %s: its file has no option (parley.interface), which gives "
                         "its name and version",
                         load->services[symbol->index].file->name, service->name);
    schema->service = service;
    return 0;
}

static int choose_only(struct load *load)
{
    struct schema *schema = load->schema;
    for (size_t i = 0; i < schema->service_count; i++) {
        const struct schema_service *service = &schema->services[i];
        if (!service->interface)
            continue;
        if (schema->service)
            return error_set(load->error, -EINVAL,
                             "the descriptor set has more than one service with option "
                             "(parley.interface), %s and %s: name one",
                             schema->service->name, service->name);
        schema->service = service;
    }
    if (!schema->service)
        return error_set(load->error, -EINVAL,
                         "the descriptor set has no service in a file with option "
                         "(parley.interface), which gives its name and version");
    return 0;
}

static int schema_load(struct schema *schema, bool interface, const char *service,
                       struct error_text *error)
{
    static const struct wire_limits limits = {
        .bytes_max = SCHEMA_SET_BYTES_MAX,
        .depth_max = WIRE_DEPTH_MAX,
        .fields_max = WIRE_FIELDS_MAX,
        .elements_max = SCHEMA_ELEMENT_MAX,
    };
    ProtobufCMessage *files;
    int r = wire_unpack(&google__protobuf__file_descriptor_set__descriptor, schema->set,
                        schema->set_bytes, &limits, &files, error);
    if (r < 0)
        return error_prefix(error, r, "the descriptor set cannot be read");
    schema->files = (Google__Protobuf__FileDescriptorSet *)files;

    struct load load = {.schema = schema, .interface = interface, .error = error};
    r = load_declare(&load);
    if (r == 0)
        r = load_resolve(&load);
    if (r < 0 || !interface)
        return r;
    return service ? choose_named(&load, service) : choose_only(&load);
}

static int make(const uint8_t *set, size_t bytes, bool interface, const char *service,
                struct schema **ret_schema, struct error_text *error)
{
    if (bytes > SCHEMA_SET_BYTES_MAX)
        return error_set(error, -E2BIG, "the descriptor set has %zu bytes; at most %u may be",
                         bytes, (unsigned)SCHEMA_SET_BYTES_MAX);
    _cleanup_(schema_unrefp) struct schema *schema = calloc(1, sizeof(*schema));
    if (!schema)
        return error_set(error, -ENOMEM, "no memory for a schema");
    atomic_init(&schema->refs, 1);
    schema->set = malloc(bytes + 1);
    if (!schema->set)
        return error_set(error, -ENOMEM, "no memory for a schema");
    if (bytes > 0)
        memcpy(schema->set, set, bytes);
    schema->set_bytes = bytes;
    int r = schema_load(schema, interface, service, error);
    if (r == -ENOMEM)
        return error_set(error, r, "no memory for a schema");
    if (r < 0)
        return r;
    *ret_schema = steal_ptr(&schema);
    return 0;
}

int schema_new(const uint8_t *set, size_t bytes, const char *service, struct schema **ret_schema,
               struct error_text *error)
{
    return make(set, bytes, true, service, ret_schema, error);
}

int schema_new_set(const uint8_t *set, size_t bytes, struct schema **ret_schema,
                   struct error_text *error)
{
    return make(set, bytes, false, NULL, ret_schema, error);
}

const struct schema_service *const *schema_services(const struct schema *schema, size_t *ret_count)
{
    *ret_count = schema->service_count;
    return schema->service_list;
}

const struct schema_service *schema_service(const struct schema *schema)
{
    return schema->service;
}

const struct schema_message *const *schema_messages(const struct schema *schema, size_t *ret_count)
{
    *ret_count = schema->message_count;
    return schema->message_list;
}

const struct schema_message *schema_message_find(const struct schema *schema, const char *name)
{
    const struct symbol *symbol = symbol_find(schema, name);
    return symbol && symbol->kind == SYMBOL_MESSAGE ? &schema->messages[symbol->index] : NULL;
}

const struct schema_enum *schema_enum_find(const struct schema *schema, const char *name)
{
    const struct symbol *symbol = symbol_find(schema, name);
    return symbol && symbol->kind == SYMBOL_ENUM ? &schema->enums[symbol->index] : NULL;
}

const struct schema_field *schema_field_find(const struct schema_message *message, const char *name)
{
    for (size_t i = 0; i < message->field_count; i++) {
        if (strcmp(message->fields[i].name, name) == 0)
            return &message->fields[i];
    }
    return NULL;
}

const struct schema_field *schema_field_number(const struct schema_message *message,
                                               uint32_t number)
{
    size_t low = 0, high = message->field_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct schema_field *field = &message->fields[middle];
        if (field->number == number)
            return field;
        if (field->number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

const struct schema_method *schema_method_find(const struct schema *schema, const char *name,
                                               size_t *ret_index)
{
    const struct schema_service *service = schema->service;
    for (size_t i = 0; i < service->method_count; i++) {
        if (strcmp(service->methods[i].name, name) != 0)
            continue;
        if (ret_index)
            *ret_index = i;
        return &service->methods[i];
    }
    return NULL;
}

const uint8_t *schema_set(const struct schema *schema, size_t *ret_bytes)
{
    *ret_bytes = schema->set_bytes;
    return schema->set;
}
