/*
 * The shelf: a folder of descriptor sets (--schemas DIR) that the operator keeps, watched.
 *
 * A file is what `protoc --include_imports --descriptor_set_out=FILE` writes; each service in a
 * file with (parley.interface) is a version of an interface. What lies here is known to the
 * registry as if an instance had published it, and its rules prevail: so that versions in between
 * can be known though nobody serves them any more, and rules be mended while everything runs.
 *
 * folder.c watches and reads. A file that has become unreadable or nonsense is reported, and what it
 * held before stays in force.
 */
#include "broker/broker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/folder.h"
#include "wire/wire.h"

#define INTERFACE_OPTION 51030 /* schemas/parley/options.proto */

struct shelf_file {
    struct folder_file file; /* first: folder.c allocates it */
    struct schema_entry *schemas[SHELF_SERVICE_MAX];
    size_t schema_count;
};

struct shelf {
    struct broker *broker;
    struct folder *folder;
    uint64_t generation; /* of the negotiator, that contracts know */
    char path[PATHS_BYTES_MAX];
};

static void report(struct shelf *shelf, const char *topic, const struct schema_entry *entry,
                   const char *name, const char *what)
{
    const Parley__Interface *interface =
        entry ? schema_service(entry->schema)->interface : &(Parley__Interface) {
        0
    };
    const struct event event = {
        .topic = topic, .interface = interface->name, .version = interface->version};
    if (entry)
        event_publish(shelf->broker, &event, "%s/%s: %s %s %s", shelf->path, name, interface->name,
                      interface->version, what);
    else
        event_publish(shelf->broker, &event, "%s/%s: %s", shelf->path, name, what);
}

/* ---- Reading a file ---- */

static bool declares_interface(const Google__Protobuf__FileDescriptorProto *file)
{
    for (size_t i = 0; file->options && i < file->options->base.n_unknown_fields; i++)
        if (file->options->base.unknown_fields[i].tag == INTERFACE_OPTION)
            return true;
    return false;
}

static int take_schema(struct negotiator *negotiator, char *service, const uint8_t *set,
                       size_t bytes, struct schema_entry **ret_schema, struct error_text *error)
{
    Parley__Publish publish = PARLEY__PUBLISH__INIT; /* as if an instance had */
    publish.service = service;
    publish.descriptor_set = (ProtobufCBinaryData){.len = bytes, .data = (uint8_t *)(uintptr_t)set};
    return schema_entry_take_located(negotiator, &publish, ret_schema, error);
}

/* The schemas of all services of files that declare an interface. Each has one more user. */
static int read_schemas(struct negotiator *negotiator, const uint8_t *set, size_t bytes,
                        struct schema_entry **schemas, size_t *ret_count, struct error_text *error)
{
    ProtobufCMessage *message;
    int r = wire_unpack(&google__protobuf__file_descriptor_set__descriptor, set, bytes, NULL,
                        &message, error);
    if (r < 0)
        return error_prefix(error, r, "no descriptor set");
    const Google__Protobuf__FileDescriptorSet *files = (void *)message;
    size_t count = 0;
    for (size_t f = 0; f < files->n_file && r == 0; f++) {
        const Google__Protobuf__FileDescriptorProto *file = files->file[f];
        for (size_t s = 0; s < file->n_service && r == 0 && declares_interface(file); s++) {
            char name[SCHEMA_NAME_BYTES_MAX + 1];
            (void)snprintf(name, sizeof(name), "%s%s%s", file->package ? file->package : "",
                           file->package && *file->package ? "." : "",
                           file->service[s]->name ? file->service[s]->name : "");
            if (count == SHELF_SERVICE_MAX)
                r = error_set(error, -E2BIG, "more than %d services in one file",
                              SHELF_SERVICE_MAX);
            else
                r = take_schema(negotiator, name, set, bytes, &schemas[count], error);
            count += r == 0;
        }
    }
    if (r == 0 && count == 0)
        r = error_set(error, -EINVAL,
                      "no service in a file with option (parley.interface): was it made with "
                      "protoc --include_imports --descriptor_set_out?");
    for (; r < 0 && count > 0; count--)
        schema_entry_drop(negotiator, schemas[count - 1]);
    *ret_count = count;
    wire_free(message);
    return r;
}

static void file_forget_schemas(struct shelf *shelf, struct shelf_file *file, bool tell)
{
    for (size_t i = 0; i < file->schema_count; i++) {
        struct schema_entry *entry = file->schemas[i];
        schema_entry_keep(&shelf->broker->negotiator, entry); /* for the report */
        registry_unfile(&shelf->broker->negotiator, entry);
        if (tell)
            report(shelf, "schema", entry, file->file.name, "is not in the folder any more");
        schema_entry_drop(&shelf->broker->negotiator, entry);
    }
    file->schema_count = 0;
}

/* New contents replace old ones together, or not at all. */
static void file_adopt(struct shelf *shelf, struct shelf_file *file, struct schema_entry **schemas,
                       size_t count)
{
    struct negotiator *negotiator = &shelf->broker->negotiator;
    file_forget_schemas(shelf, file, false);
    for (size_t i = 0; i < count; i++) {
        struct error_text error = {""};
        if (registry_file(negotiator, schemas[i], file->file.name, &error) == 0) {
            file->schemas[file->schema_count++] = schemas[i];
            report(shelf, "schema", schemas[i], file->file.name, "is known from the folder");
        } else {
            report(shelf, "refused", schemas[i], file->file.name, error.text);
        }
        schema_entry_drop(negotiator, schemas[i]);
    }
}

static void on_trouble(void *user, const struct folder_file *folder_file, const char *name,
                       const char *what)
{
    const struct shelf_file *file = (const struct shelf_file *)folder_file;
    char text[ERROR_TEXT_BYTES_MAX + 80];
    (void)snprintf(text, sizeof(text), "%s%s", what,
                   file && file->schema_count ? "; what it held before stays in force" : "");
    report(user, "refused", NULL, name, text);
}

/* A file may no more break a minor version than an instance may. */
static int check_schemas(struct shelf *shelf, struct schema_entry **schemas, size_t count,
                         struct error_text *error)
{
    for (size_t i = 0; i < count; i++) {
        int r = compat_neighbours(&shelf->broker->negotiator, schemas[i], error);
        if (r < 0)
            return r;
    }
    return 0;
}

static void on_file(void *user, struct folder_file *folder_file, const uint8_t *data, size_t bytes)
{
    struct shelf *shelf = user;
    struct shelf_file *file = (struct shelf_file *)folder_file;
    struct schema_entry *schemas[SHELF_SERVICE_MAX];
    size_t count = 0;
    struct error_text error = {""};
    int r = read_schemas(&shelf->broker->negotiator, data, bytes, schemas, &count, &error);
    if (r == 0) {
        r = check_schemas(shelf, schemas, count, &error);
        for (size_t i = 0; r < 0 && i < count; i++)
            schema_entry_drop(&shelf->broker->negotiator, schemas[i]);
    }
    if (r < 0)
        on_trouble(shelf, folder_file, folder_file->name,
                   error.text[0] ? error.text : strerror(-r));
    else
        file_adopt(shelf, file, schemas, count);
}

static void on_gone(void *user, struct folder_file *file, bool stopping)
{
    file_forget_schemas(user, (struct shelf_file *)file, !stopping);
}

static void on_scanned(void *user)
{
    struct shelf *shelf = user;
    if (shelf->broker->negotiator.generation != shelf->generation)
        contracts_refresh(shelf->broker);
    shelf->generation = shelf->broker->negotiator.generation;
}

int shelf_new(struct broker *broker, const char *path, struct shelf **ret_shelf,
              struct error_text *error)
{
    static const char *const suffixes[] = {".binpb", ".pb", ".set", NULL};
    static const struct folder_ops ops = {
        .option = "--schemas",
        .suffixes = suffixes,
        .file_max = SHELF_FILE_MAX,
        .file_bytes_max = SCHEMA_SET_BYTES_MAX,
        .struct_bytes = sizeof(struct shelf_file),
        .read = on_file,
        .trouble = on_trouble,
        .gone = on_gone,
        .scanned = on_scanned,
    };
    struct shelf *shelf = calloc(1, sizeof(*shelf));
    if (!shelf)
        return error_set(error, -ENOMEM, "out of memory");
    shelf->broker = broker;
    (void)snprintf(shelf->path, sizeof(shelf->path), "%s", path);
    int r = folder_new(broker, path, &ops, shelf, &shelf->folder, error);
    if (r < 0) {
        free(shelf);
        return r;
    }
    *ret_shelf = shelf;
    return 0;
}

struct shelf *shelf_free(struct shelf *shelf)
{
    if (!shelf)
        return NULL;
    folder_free(shelf->folder);
    free(shelf);
    return NULL;
}
