/*
 * A watched folder of small files, for whoever wants to know what is in them.
 *
 * Whatever inotify says, the folder is read again as a whole, and files whose size, time and number
 * are as they were are passed over: no event can be missed in a way that lasts, and folders whose
 * files are links that are switched behind our back (Kubernetes' volumes) work. What leaves is
 * forgotten first, then what is new is read: a file may be renamed. A file that is being written
 * has not the size that it had when it was opened: it is left for the event that comes when it is
 * closed.
 *
 * The folder itself may be renamed or removed, or one that it lies in: these are watched for just
 * that. Then what was read stays in force, and each second we look whether the path leads to a
 * folder again. It is open only while it is read: nobody is told that a folder was removed as long
 * as somebody has it open.
 */
#include "broker/folder.h"

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
#include "base/clock.h"
#include "base/log.h"
#include "wire/wire.h"

struct folder {
    struct source source;    /* first */
    LIST_ENTRY(folder) lost; /* of broker->lost_folders, if watch is -1 */
    struct broker *broker;
    const struct folder_ops *ops;
    void *user;
    int fd;              /* while it is read */
    int watch;           /* an inotify: of the folder, and of those that it lies in; -1: lost */
    struct stat watched; /* what is */
    uint64_t look_ns;    /* if it is lost: when to look for it */
    char path[PATHS_BYTES_MAX];
    TAILQ_HEAD(, folder_file) files;
    size_t file_count;
};

/* ---- Files ---- */

/* Return: 0 and what the caller frees, NUL-terminated; -EAGAIN: it has another size; -errno. */
static int read_all(int fd, size_t bytes, uint8_t **ret_data)
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
    data[bytes] = '\0';
    *ret_data = steal_ptr(&data);
    return 0;
}

static void file_read(struct folder *folder, struct folder_file *file, int fd)
{
    _cleanup_(freep) uint8_t *data = NULL;
    int r = file->bytes > (off_t)folder->ops->file_bytes_max ? -EFBIG : 0;
    if (r == 0)
        r = read_all(fd, (size_t)file->bytes, &data);
    if (r == 0)
        folder->ops->read(folder->user, file, data, (size_t)file->bytes);
    else if (r != -EAGAIN)
        folder->ops->trouble(folder->user, file, file->name, strerror(-r));
}

static bool name_counts(const struct folder *folder, const char *name)
{
    size_t bytes = strlen(name);
    if (name[0] == '.' || bytes >= BROKER_FILE_BYTES)
        return false;
    for (const char *const *suffix = folder->ops->suffixes; *suffix; suffix++) {
        size_t suffix_bytes = strlen(*suffix);
        if (bytes > suffix_bytes && strcmp(name + bytes - suffix_bytes, *suffix) == 0)
            return true;
    }
    return false;
}

static struct folder_file *file_find(struct folder *folder, const char *name)
{
    struct folder_file *file;
    TAILQ_FOREACH (file, &folder->files, entry)
        if (strcmp(file->name, name) == 0)
            return file;
    return NULL;
}

static void file_free(struct folder *folder, struct folder_file *file, bool stopping)
{
    folder->ops->gone(folder->user, file, stopping);
    TAILQ_REMOVE(&folder->files, file, entry);
    folder->file_count--;
    free(file);
}

static struct folder_file *file_new(struct folder *folder, const char *name)
{
    if (folder->file_count == folder->ops->file_max) {
        char text[64];
        (void)snprintf(text, sizeof(text), "more than %zu files: not read", folder->ops->file_max);
        folder->ops->trouble(folder->user, NULL, name, text);
        return NULL;
    }
    struct folder_file *file = calloc(1, folder->ops->struct_bytes);
    if (!file)
        return NULL;
    (void)snprintf(file->name, sizeof(file->name), "%s", name);
    file->bytes = -1;
    TAILQ_INSERT_TAIL(&folder->files, file, entry);
    folder->file_count++;
    return file;
}

/* JSON, in which names are kept and told, has no other text. */
static bool name_is_text(struct folder *folder, const char *name)
{
    char shown[BROKER_FILE_BYTES];
    if (wire_check_utf8((const uint8_t *)name, strlen(name)) == 0)
        return true;
    (void)snprintf(shown, sizeof(shown), "%s", name);
    for (char *c = shown; *c; c++)
        *c = (unsigned char)*c < 0x80 ? *c : '?';
    folder->ops->trouble(folder->user, NULL, shown, "its name is no UTF-8: give it another");
    return false;
}

static void look_at(struct folder *folder, const char *name)
{
    if (!name_is_text(folder, name))
        return;
    _cleanup_(fd_closep) int fd =
        openat(folder->fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat status;
    struct folder_file *file = file_find(folder, name);
    if (fd < 0 || fstat(fd, &status) < 0) {
        if (fd >= 0 || errno != ENOENT)
            folder->ops->trouble(folder->user, file, name, strerror(errno));
        return;
    }
    if (!S_ISREG(status.st_mode) || (!file && !(file = file_new(folder, name))))
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
    file_read(folder, file, fd);
}

/* ---- The folder ---- */

/* @look false: only notes which files are there, to forget those that are not. */
static void walk(struct folder *folder, DIR *dir, bool look)
{
    const struct dirent *entry;
    rewinddir(dir);
    while ((entry = readdir(dir)) != NULL) {
        if (!name_counts(folder, entry->d_name))
            continue;
        struct folder_file *file = file_find(folder, entry->d_name);
        if (look)
            look_at(folder, entry->d_name);
        else if (file)
            file->seen = true;
    }
}

static int scan(struct folder *folder)
{
    DIR *dir = opendir(folder->path);
    if (!dir)
        return -errno;
    folder->fd = dirfd(dir);
    struct folder_file *file;
    TAILQ_FOREACH (file, &folder->files, entry)
        file->seen = false;
    walk(folder, dir, false);
    file = TAILQ_FIRST(&folder->files);
    while (file) {
        struct folder_file *next = TAILQ_NEXT(file, entry);
        if (!file->seen)
            file_free(folder, file, false);
        file = next;
    }
    walk(folder, dir, true);
    (void)closedir(dir);
    return 0;
}

static void scan_and_tell(struct folder *folder)
{
    int r = scan(folder);
    if (r < 0)
        log_error("%s cannot be read: %s; what was read before stays in force", folder->path,
                  strerror(-r));
    folder->ops->scanned(folder->user);
}

/* Of a folder that ours lies in only that it is renamed is told: the path is another one's then, or
 * nobody's. @real is cut off at each slash. */
static int watch_above(int watch, char *real)
{
    for (char *slash = strrchr(real, '/'); slash && slash > real; slash = strrchr(real, '/')) {
        *slash = '\0';
        if (inotify_add_watch(watch, real, IN_MOVE_SELF | IN_ONLYDIR) < 0 &&
            errno != EACCES) /* one that we may pass through but not read */
            return -errno;
    }
    return 0;
}

static void unwatch(struct folder *folder)
{
    if (folder->watch >= 0)
        broker_unwatch(folder->broker, folder->watch, &folder->source);
    folder->watch = fd_close(folder->watch);
}

/* What the path leads to now, from then on. */
static int watch(struct folder *folder)
{
    const uint32_t events = IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_ATTRIB |
                            IN_MOVE_SELF | IN_DELETE_SELF | IN_ONLYDIR;
    _cleanup_(freep) char *real = realpath(folder->path, NULL);
    if (!real)
        return -errno;
    _cleanup_(fd_closep) int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (fd < 0 || stat(real, &folder->watched) < 0 || inotify_add_watch(fd, real, events) < 0)
        return -errno;
    int r = watch_above(fd, real);
    if (r == 0)
        r = broker_watch(folder->broker, fd, WAIT_IN, &folder->source);
    if (r == 0)
        folder->watch = steal_fd(&fd);
    return r;
}

/* Whether the path leads to what we watch. */
static bool is_there(const struct folder *folder)
{
    struct stat now;
    return stat(folder->path, &now) == 0 && now.st_dev == folder->watched.st_dev &&
           now.st_ino == folder->watched.st_ino;
}

static void lose(struct folder *folder)
{
    const struct event event = {.topic = "folder"};
    unwatch(folder);
    folder->look_ns = 0; /* another one may be in its place already */
    LIST_INSERT_HEAD(&folder->broker->lost_folders, folder, lost);
    event_publish(folder->broker, &event,
                  "%s %s is not there any more; what was read from it stays in force until it is",
                  folder->ops->option, folder->path);
}

static void look_for(struct folder *folder, uint64_t now_ns)
{
    const struct event event = {.topic = "folder"};
    if (folder->look_ns > now_ns)
        return;
    folder->look_ns = clock_add(now_ns, FOLDER_LOOK_NS);
    if (watch(folder) < 0)
        return;
    LIST_REMOVE(folder, lost);
    event_publish(folder->broker, &event, "%s %s is there again", folder->ops->option,
                  folder->path);
    scan_and_tell(folder);
}

uint64_t folders_next_ns(const struct broker *broker)
{
    uint64_t next_ns = CLOCK_NEVER;
    const struct folder *folder;
    LIST_FOREACH (folder, &broker->lost_folders, lost)
        next_ns = folder->look_ns < next_ns ? folder->look_ns : next_ns;
    return next_ns;
}

void folders_turn(struct broker *broker, uint64_t now_ns)
{
    struct folder *folder = LIST_FIRST(&broker->lost_folders);
    while (folder) {
        struct folder *next = LIST_NEXT(folder, lost);
        look_for(folder, now_ns);
        folder = next;
    }
}

uint32_t folders_lost(const struct broker *broker)
{
    uint32_t count = 0;
    const struct folder *folder;
    LIST_FOREACH (folder, &broker->lost_folders, lost)
        count++;
    return count;
}

static void on_change(struct source *source, uint32_t events)
{
    (void)events;
    struct folder *folder = (struct folder *)source; /* its first member */
    alignas(struct inotify_event) char buffer[4096];
    bool any = false;
    while (folder->watch >= 0 && read(folder->watch, buffer, sizeof(buffer)) > 0)
        any = true;
    if (any && !is_there(folder))
        lose(folder);
    else if (any)
        scan_and_tell(folder);
}

void folder_read_again(struct folder *folder, bool (*which)(const struct folder_file *file))
{
    struct folder_file *file;
    bool any = false;
    TAILQ_FOREACH (file, &folder->files, entry) {
        if (!which(file))
            continue;
        file->bytes = -1; /* no file has so many */
        any = true;
    }
    int r = any && folder->watch >= 0 ? scan(folder) : 0;
    if (r < 0)
        log_error("%s cannot be read: %s", folder->path, strerror(-r));
}

int folder_new(struct broker *broker, const char *path, const struct folder_ops *ops, void *user,
               struct folder **ret_folder, struct error_text *error)
{
    struct folder *folder = calloc(1, sizeof(*folder));
    if (!folder)
        return error_set(error, -ENOMEM, "out of memory");
    folder->broker = broker;
    folder->ops = ops;
    folder->user = user;
    folder->source.ready = on_change;
    TAILQ_INIT(&folder->files);
    (void)snprintf(folder->path, sizeof(folder->path), "%s", path);
    folder->watch = -1;
    int r = watch(folder);
    if (r == 0)
        r = scan(folder);
    if (r < 0) {
        (void)error_set(error, r, "%s %s: %s", ops->option, path, strerror(-r));
        folder_free(folder);
        return r;
    }
    *ret_folder = folder;
    return 0;
}

struct folder *folder_free(struct folder *folder)
{
    if (!folder)
        return NULL;
    while (!TAILQ_EMPTY(&folder->files))
        file_free(folder, TAILQ_FIRST(&folder->files), true);
    unwatch(folder);
    free(folder);
    return NULL;
}
