/*
 * The shelf: a folder of descriptor sets (--schemas DIR) that the operator keeps, watched.
 *
 * A file is what `protoc --include_imports --descriptor_set_out=FILE` writes; each service in a
 * file with (parley.interface) is a version of an interface. What lies here is known to the
 * registry as if an instance had published it, and its rules prevail: so that versions in between
 * can be known though nobody serves them any more, and rules be mended while everything runs.
 *
 * Whatever inotify says, the folder is read again as a whole, and files whose size, time and number
 * are as they were are passed over: no event can be missed in a way that lasts, and folders whose
 * files are links that are switched behind our back (Kubernetes' volumes) work. What leaves is
 * forgotten first, then what is new is read: a file may be renamed. A file that has become
 * unreadable or nonsense is reported, and what it held before stays in force.
 */
#include "broker/broker.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "wire/wire.h"

#define INTERFACE_OPTION 51030 /* schemas/parley/options.proto */

struct shelf_file {
    TAILQ_ENTRY(shelf_file) entry;
    char name[BROKER_FILE_BYTES];
    dev_t device;
    ino_t inode;
    off_t bytes;
    struct timespec modified;
    bool seen; /* in this pass */
    struct schema_entry *schemas[SHELF_SERVICE_MAX];
    size_t schema_count;
};

struct shelf {
    struct source source;
    struct broker *broker;
    int folder, watch;
    char path[PATHS_BYTES_MAX];
    TAILQ_HEAD(, shelf_file) files;
    size_t file_count;
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

/* Return: 0 and what the caller frees; -EFBIG, -errno. */
static int read_file(int fd, size_t bytes, uint8_t **ret_data)
{
    _cleanup_(freep) uint8_t *data = malloc(bytes + 1);
    if (!data)
        return -ENOMEM;
    size_t used = 0;
    while (used <= bytes) {
        ssize_t n = read(fd, data + used, bytes + 1 - used);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n == 0)
            break;
        used += n > 0 ? (size_t)n : 0;
    }
    if (used != bytes)
        return -EAGAIN; /* it is being written: there will be another event */
    *ret_data = steal_ptr(&data);
    return 0;
}

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
            report(shelf, "schema", entry, file->name, "is not in the folder any more");
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
        if (registry_file(negotiator, schemas[i], file->name, &error) == 0) {
            file->schemas[file->schema_count++] = schemas[i];
            report(shelf, "schema", schemas[i], file->name, "is known from the folder");
        } else {
            report(shelf, "refused", schemas[i], file->name, error.text);
        }
        schema_entry_drop(negotiator, schemas[i]);
    }
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

static void file_read(struct shelf *shelf, struct shelf_file *file, int fd)
{
    struct schema_entry *schemas[SHELF_SERVICE_MAX];
    size_t count = 0;
    struct error_text error = {""};
    _cleanup_(freep) uint8_t *data = NULL;
    int r = file->bytes > (off_t)SCHEMA_SET_BYTES_MAX ? -EFBIG : 0;
    if (r == 0)
        r = read_file(fd, (size_t)file->bytes, &data);
    if (r == -EAGAIN)
        return;
    if (r == 0)
        r = read_schemas(&shelf->broker->negotiator, data, (size_t)file->bytes, schemas, &count,
                         &error);
    if (r == 0) {
        r = check_schemas(shelf, schemas, count, &error);
        for (size_t i = 0; r < 0 && i < count; i++)
            schema_entry_drop(&shelf->broker->negotiator, schemas[i]);
    }
    if (r < 0) {
        char text[ERROR_TEXT_BYTES_MAX + 80];
        (void)snprintf(text, sizeof(text), "%s%s", error.text[0] ? error.text : strerror(-r),
                       file->schema_count ? "; what it held before stays in force" : "");
        report(shelf, "refused", NULL, file->name, text);
        return;
    }
    file_adopt(shelf, file, schemas, count);
}

/* ---- The folder ---- */

static bool name_counts(const char *name)
{
    static const char *const suffixes[] = {".binpb", ".pb", ".set"};
    size_t bytes = strlen(name);
    if (name[0] == '.' || bytes >= BROKER_FILE_BYTES)
        return false;
    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        size_t suffix = strlen(suffixes[i]);
        if (bytes > suffix && strcmp(name + bytes - suffix, suffixes[i]) == 0)
            return true;
    }
    return false;
}

static struct shelf_file *file_find(struct shelf *shelf, const char *name)
{
    struct shelf_file *file;
    TAILQ_FOREACH(file, &shelf->files, entry)
        if (strcmp(file->name, name) == 0)
            return file;
    return NULL;
}

static void file_free(struct shelf *shelf, struct shelf_file *file, bool tell)
{
    file_forget_schemas(shelf, file, tell);
    TAILQ_REMOVE(&shelf->files, file, entry);
    shelf->file_count--;
    free(file);
}

static struct shelf_file *file_new(struct shelf *shelf, const char *name)
{
    if (shelf->file_count == SHELF_FILE_MAX) {
        report(shelf, "refused", NULL, name, "more than " SHELF_FILE_MAX_TEXT " files: not read");
        return NULL;
    }
    struct shelf_file *file = calloc(1, sizeof(*file));
    if (!file)
        return NULL;
    (void)snprintf(file->name, sizeof(file->name), "%s", name);
    file->bytes = -1;
    TAILQ_INSERT_TAIL(&shelf->files, file, entry);
    shelf->file_count++;
    return file;
}

static void look_at(struct shelf *shelf, const char *name)
{
    _cleanup_(fd_closep) int fd =
        openat(shelf->folder, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) < 0) {
        if (fd >= 0 || errno != ENOENT)
            report(shelf, "refused", NULL, name, strerror(errno));
        return;
    }
    struct shelf_file *file = file_find(shelf, name);
    if (!S_ISREG(status.st_mode) || (!file && !(file = file_new(shelf, name))))
        return;
    file->seen = true;
    if (file->bytes == status.st_size && file->inode == status.st_ino &&
        file->device == status.st_dev && file->modified.tv_sec == status.st_mtim.tv_sec &&
        file->modified.tv_nsec == status.st_mtim.tv_nsec)
        return;
    file->bytes = status.st_size;
    file->inode = status.st_ino;
    file->device = status.st_dev;
    file->modified = status.st_mtim;
    file_read(shelf, file, fd);
}

/* @look false: only notes which files are there, to forget those that are not. */
static int walk(struct shelf *shelf, bool look)
{
    int fd = openat(shelf->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir) {
        int r = -errno;
        fd_close(fd);
        return r;
    }
    const struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        if (!name_counts(entry->d_name))
            continue;
        struct shelf_file *file = file_find(shelf, entry->d_name);
        if (look)
            look_at(shelf, entry->d_name);
        else if (file)
            file->seen = true;
    }
    (void)closedir(dir);
    return 0;
}

static int scan(struct shelf *shelf)
{
    struct shelf_file *file;
    TAILQ_FOREACH(file, &shelf->files, entry)
        file->seen = false;
    int r = walk(shelf, false);
    if (r < 0)
        return r;
    file = TAILQ_FIRST(&shelf->files);
    while (file) {
        struct shelf_file *next = TAILQ_NEXT(file, entry);
        if (!file->seen)
            file_free(shelf, file, true);
        file = next;
    }
    return walk(shelf, true);
}

static void on_change(struct source *source, uint32_t events)
{
    (void)events;
    struct shelf *shelf = (struct shelf *)source; /* its first member */
    alignas(struct inotify_event) char buffer[4096];
    ssize_t n;
    bool any = false;
    while ((n = read(shelf->watch, buffer, sizeof(buffer))) > 0)
        any = true;
    if (!any)
        return;
    uint64_t before = shelf->broker->negotiator.generation;
    int r = scan(shelf);
    if (r < 0)
        log_error("%s cannot be read: %s; what was read before stays in force", shelf->path,
                  strerror(-r));
    if (shelf->broker->negotiator.generation != before)
        contracts_refresh(shelf->broker);
}

int shelf_new(struct broker *broker, const char *path, struct shelf **ret_shelf,
              struct error_text *error)
{
    struct shelf *shelf = calloc(1, sizeof(*shelf));
    if (!shelf)
        return error_set(error, -ENOMEM, "out of memory");
    shelf->broker = broker;
    shelf->source.ready = on_change;
    TAILQ_INIT(&shelf->files);
    (void)snprintf(shelf->path, sizeof(shelf->path), "%s", path);
    shelf->watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    shelf->folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r = shelf->watch < 0 || shelf->folder < 0 ? -errno : 0;
    if (r == 0 && inotify_add_watch(shelf->watch, path,
                                    IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE |
                                        IN_ATTRIB | IN_ONLYDIR) < 0)
        r = -errno;
    if (r == 0)
        r = broker_watch(broker, shelf->watch, WAIT_IN, &shelf->source);
    if (r == 0)
        r = scan(shelf);
    if (r < 0) {
        (void)error_set(error, r, "--schemas %s: %s", path, strerror(-r));
        shelf_free(shelf);
        return r;
    }
    *ret_shelf = shelf;
    return 0;
}

struct shelf *shelf_free(struct shelf *shelf)
{
    if (!shelf)
        return NULL;
    while (!TAILQ_EMPTY(&shelf->files))
        file_free(shelf, TAILQ_FIRST(&shelf->files), false);
    if (shelf->watch >= 0)
        broker_unwatch(shelf->broker, shelf->watch, &shelf->source);
    fd_close(shelf->watch);
    fd_close(shelf->folder);
    free(shelf);
    return NULL;
}
