/*
 * Files that must be whole, whenever power or process goes: written beside, brought to disk,
 * renamed over the old one, and the folder brought to disk, for the new name is in it.
 *
 * A file that is being written begins with a dot and belongs to nobody; one that was left by a
 * broker that died in the middle is overwritten by the next that writes this name.
 */
#include "broker/state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/paths.h"

static int open_folder(const char *dir, bool make, int *ret_fd)
{
    if (make && mkdir(dir, 0700) < 0 && errno != EEXIST)
        return -errno;
    *ret_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return *ret_fd < 0 ? -errno : 0;
}

static int write_all(int fd, const char *data, size_t bytes)
{
    while (bytes > 0) {
        ssize_t n = write(fd, data, bytes);
        if (n < 0 && errno != EINTR)
            return -errno;
        data += n > 0 ? n : 0;
        bytes -= n > 0 ? (size_t)n : 0;
    }
    return fsync(fd) < 0 ? -errno : 0;
}

static int replace(int folder, const char *name, const void *data, size_t bytes)
{
    char beside[STATE_NAME_BYTES + 8];
    (void)snprintf(beside, sizeof(beside), ".%s.new", name);
    _cleanup_(fd_closep) int fd =
        openat(folder, beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    int r = write_all(fd, data, bytes);
    if (r == 0 && renameat(folder, beside, folder, name) < 0)
        r = -errno;
    if (r < 0) {
        (void)unlinkat(folder, beside, 0);
        return r;
    }
    return fsync(folder) < 0 ? -errno : 0;
}

int state_write(const char *dir, const char *name, const void *data, size_t bytes,
                struct error_text *error)
{
    _cleanup_(fd_closep) int folder = -1;
    int r = open_folder(dir, true, &folder);
    if (r == 0)
        r = replace(folder, name, data, bytes);
    return r < 0 ? error_set(error, r, "%s/%s cannot be written: %s", dir, name, strerror(-r)) : 0;
}

int state_remove(const char *dir, const char *name, struct error_text *error)
{
    _cleanup_(fd_closep) int folder = -1;
    int r = open_folder(dir, false, &folder);
    if (r == 0 && unlinkat(folder, name, 0) < 0)
        r = -errno;
    if (r == 0 && fsync(folder) < 0)
        r = -errno;
    if (r == 0 || r == -ENOENT)
        return 0;
    return error_set(error, r, "%s/%s cannot be removed: %s", dir, name, strerror(-r));
}

int state_put_aside(const char *dir, const char *name, struct error_text *error)
{
    char aside[STATE_NAME_BYTES + 16];
    (void)snprintf(aside, sizeof(aside), "%s.damaged", name);
    _cleanup_(fd_closep) int folder = -1;
    int r = open_folder(dir, false, &folder);
    if (r == 0 && renameat(folder, name, folder, aside) < 0)
        r = -errno;
    return r < 0 ? error_set(error, r, "%s/%s cannot be renamed: %s", dir, name, strerror(-r)) : 0;
}

/* ---- Reading ---- */

static int read_file(int folder, const char *name, char **ret_data, size_t *ret_bytes,
                     struct error_text *error)
{
    _cleanup_(fd_closep) int fd =
        openat(folder, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) < 0)
        return error_set(error, -errno, "%s", strerror(errno));
    if (!S_ISREG(status.st_mode))
        return error_set(error, -EINVAL, "it is no file");
    if (status.st_size > STATE_BYTES_MAX)
        return error_set(error, -EFBIG, "it has %lld bytes, at most %d are read",
                         (long long)status.st_size, STATE_BYTES_MAX);
    _cleanup_(freep) char *data = malloc((size_t)status.st_size + 1);
    if (!data)
        return error_set(error, -ENOMEM, "out of memory");
    size_t used = 0;
    while (used < (size_t)status.st_size) {
        ssize_t n = read(fd, data + used, (size_t)status.st_size - used);
        if (n < 0 && errno != EINTR)
            return error_set(error, -errno, "%s", strerror(errno));
        if (n == 0)
            break;
        used += n > 0 ? (size_t)n : 0;
    }
    data[used] = '\0';
    *ret_bytes = used;
    *ret_data = steal_ptr(&data);
    return 0;
}

static bool name_fits(const char *name, const char *prefix, const char *suffix)
{
    size_t bytes = strlen(name), head = strlen(prefix), tail = strlen(suffix);
    return bytes > head + tail && bytes < STATE_NAME_BYTES && strncmp(name, prefix, head) == 0 &&
           strcmp(name + bytes - tail, suffix) == 0;
}

int state_read_all(const char *dir, const char *prefix, const char *suffix,
                   void (*read)(void *user, const char *name, int result, const char *data,
                                size_t bytes),
                   void *user, struct error_text *error)
{
    struct dirent **entries;
    int count = scandir(dir, &entries, NULL, alphasort);
    if (count < 0)
        return errno == ENOENT
                   ? 0
                   : error_set(error, -errno, "%s cannot be read: %s", dir, strerror(errno));
    _cleanup_(fd_closep) int folder = -1;
    int r = open_folder(dir, false, &folder);
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        if (r == 0 && name_fits(name, prefix, suffix)) {
            struct error_text trouble = {""};
            _cleanup_(freep) char *data = NULL;
            size_t bytes = 0;
            int result = read_file(folder, name, &data, &bytes, &trouble);
            if (result < 0)
                read(user, name, result, trouble.text, strlen(trouble.text));
            else
                read(user, name, 0, data, bytes);
        }
        free(entries[i]);
    }
    free(entries);
    return r < 0 ? error_set(error, r, "%s cannot be read: %s", dir, strerror(-r)) : 0;
}
