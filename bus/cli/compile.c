/*
 * A descriptor set from what a person names: a folder of .proto files, one of them, or a set.
 *
 * Sources are compiled by protoc, started in the folder itself, so that the names in the set are
 * relative to it whatever its own name is. What protoc writes and what it says goes into two
 * anonymous files (memfd) that it opens through /proc/self/fd, and parley/options.proto, which is
 * part of this program, is a third: nothing is ever on a disk, and however this ends, nothing is
 * left behind. The folder's own parley/options.proto, if it has one, comes first.
 *
 * protoc runs in our process group: Ctrl-C ends both.
 */
#include "cli/compile.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"

#define FOLDER_DEPTH_MAX 16
#define FOLDER_ENTRY_MAX 16384 /* of all kinds, so that a wrong path ends soon */
#define SAID_BYTES_MAX 1500
/* What protoc calls a file in its folder: a name that begins with a dash would be an option of its
 * (as one that names a plugin, which it runs), one with an @ a file of arguments. */
#define PROTOC_NAME "./%s"

/* The descriptors that protoc finds them at; ours are above, so that none is overwritten. */
#define FD_THE_SET 10
#define FD_THE_OPTIONS 11
#define FD_OURS_MIN 16

extern char **environ;

static const unsigned char options_proto[] = {
#include "options_proto.inc"
};

static int unreadable(struct cli *cli, const char *path, const char *what)
{
    return cli_complain(cli, CLI_EXIT_USAGE, "%s: %s", path, what);
}

/* ---- The files of a folder ---- */

struct folder {
    struct cli *cli;
    const char *path;             /* as given */
    char *names[SCHEMA_FILE_MAX]; /* relative to it */
    size_t count, entry_count;
};

static void folder_deinit(struct folder *folder)
{
    for (size_t i = 0; i < folder->count; i++)
        free(folder->names[i]);
}

static bool is_proto(const char *name)
{
    size_t length = strlen(name);
    return length > 6 && strcmp(name + length - 6, ".proto") == 0;
}

static int walk(struct folder *folder, const char *inside, unsigned depth);

static int walk_entry(struct folder *folder, const char *name, unsigned depth)
{
    struct stat status;
    char *full = text_format("%s/%s", folder->path, name);
    int r = stat(full, &status);
    free(full);
    if (r < 0)
        return CLI_EXIT_OK; /* a link to nowhere */
    if (S_ISDIR(status.st_mode))
        return walk(folder, name, depth + 1);
    if (!S_ISREG(status.st_mode) || !is_proto(name))
        return CLI_EXIT_OK;
    if (folder->count == SCHEMA_FILE_MAX)
        return cli_complain(folder->cli, CLI_EXIT_USAGE,
                            "%s has more than %d .proto files; give the folder of one interface",
                            folder->path, SCHEMA_FILE_MAX);
    folder->names[folder->count++] = text_format(PROTOC_NAME, name);
    return CLI_EXIT_OK;
}

/* @inside: the folder below the given one, "" itself */
static int walk(struct folder *folder, const char *inside, unsigned depth)
{
    if (depth > FOLDER_DEPTH_MAX)
        return cli_complain(folder->cli, CLI_EXIT_USAGE,
                            "%s/%s is nested deeper than %d folders; does a link lead back?",
                            folder->path, inside, FOLDER_DEPTH_MAX);
    char *path = text_format("%s/%s", folder->path, inside);
    DIR *dir = opendir(path);
    free(path);
    if (!dir)
        return cli_complain(folder->cli, CLI_EXIT_USAGE, "%s/%s: %s", folder->path, inside,
                            strerror(errno));
    int code = CLI_EXIT_OK;
    for (const struct dirent *entry; code == CLI_EXIT_OK && (entry = readdir(dir));) {
        if (entry->d_name[0] == '.')
            continue;
        if (++folder->entry_count > FOLDER_ENTRY_MAX) {
            code = cli_complain(folder->cli, CLI_EXIT_USAGE,
                                "%s has more than %d files; give the folder of the schemas",
                                folder->path, FOLDER_ENTRY_MAX);
            break;
        }
        char *name = text_format("%s%s%s", inside, inside[0] ? "/" : "", entry->d_name);
        code = walk_entry(folder, name, depth);
        free(name);
    }
    closedir(dir);
    return code;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* ---- protoc ---- */

static int memory_file(const char *name, const void *data, size_t bytes)
{
    _cleanup_(fd_closep) int low = memfd_create(name, MFD_CLOEXEC);
    int fd = low < 0 ? -1 : fcntl(low, F_DUPFD_CLOEXEC, FD_OURS_MIN);
    if (fd >= 0 && bytes > 0 && write(fd, data, bytes) != (ssize_t)bytes)
        fd = fd_close(fd);
    return fd;
}

/* Not above @max bytes; NUL-terminated. */
static int read_all(int fd, size_t max, uint8_t **ret_data, size_t *ret_bytes)
{
    struct stat status;
    if (fstat(fd, &status) < 0)
        return -errno;
    if ((uint64_t)status.st_size > max)
        return -E2BIG;
    _cleanup_(freep) uint8_t *data = malloc((size_t)status.st_size + 1);
    if (!data)
        return -ENOMEM;
    size_t bytes = 0;
    for (;;) {
        ssize_t n = pread(fd, data + bytes, (size_t)status.st_size - bytes, (off_t)bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        bytes += (size_t)n;
    }
    data[bytes] = '\0';
    *ret_bytes = bytes;
    *ret_data = steal_ptr(&data);
    return 0;
}

struct protoc {
    struct cli *cli;
    const char *path; /* for complaints: what it was given */
    int set_fd, said_fd, options_fd;
};

/* Absolute if it is a path, for protoc is started in another folder; free(). */
static char *program(void)
{
    const char *name = getenv("PROTOC");
    if (!name || !name[0])
        name = "protoc";
    char *absolute = strchr(name, '/') ? realpath(name, NULL) : NULL;
    return absolute ? absolute : text_format("%s", name);
}

static int spawn(const struct protoc *protoc, const char *folder, char **argv, pid_t *ret_pid)
{
    posix_spawn_file_actions_t actions;
    int r = posix_spawn_file_actions_init(&actions);
    if (r != 0)
        return -r;
    r = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (r == 0)
        r = posix_spawn_file_actions_adddup2(&actions, protoc->said_fd, STDOUT_FILENO);
    if (r == 0)
        r = posix_spawn_file_actions_adddup2(&actions, protoc->said_fd, STDERR_FILENO);
    if (r == 0)
        r = posix_spawn_file_actions_adddup2(&actions, protoc->set_fd, FD_THE_SET);
    if (r == 0)
        r = posix_spawn_file_actions_adddup2(&actions, protoc->options_fd, FD_THE_OPTIONS);
    if (r == 0)
        r = posix_spawn_file_actions_addchdir_np(&actions, folder);
    if (r == 0)
        r = posix_spawnp(ret_pid, argv[0], &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    return -r;
}

/* What protoc said, for the complaint: its lines are "FILE:LINE:COLUMN: ...". */
static int refused(const struct protoc *protoc, int status)
{
    uint8_t *said = NULL;
    size_t bytes = 0;
    if (WIFSIGNALED(status))
        return cli_complain(protoc->cli, CLI_EXIT_USAGE, "%s: protoc was ended by signal %d",
                            protoc->path, WTERMSIG(status));
    if (read_all(protoc->said_fd, 1 << 20, &said, &bytes) < 0)
        bytes = 0;
    if (bytes > SAID_BYTES_MAX)
        said[bytes = SAID_BYTES_MAX] = '\0';
    while (bytes > 0 && said[bytes - 1] == '\n')
        said[--bytes] = '\0';
    int code = cli_complain(protoc->cli, CLI_EXIT_USAGE, "%s: protoc refuses it:\n%s", protoc->path,
                            bytes > 0 ? (const char *)said : "it does not say why");
    free(said);
    return code;
}

static int run_protoc(const struct protoc *protoc, const char *folder, char **argv)
{
    pid_t pid = 0;
    int status = 0, r = spawn(protoc, folder, argv, &pid);
    if (r == -ENOENT && strcmp(argv[0], "protoc") == 0)
        return cli_complain(protoc->cli, CLI_EXIT_USAGE,
                            "%s: protoc, which compiles .proto files, is not installed; apt-get "
                            "install protobuf-compiler libprotobuf-dev, or give a descriptor set",
                            protoc->path);
    if (r < 0)
        return cli_complain(protoc->cli, CLI_EXIT_USAGE, "%s: %s cannot be started: %s",
                            protoc->path, argv[0], strerror(-r));
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return unreadable(protoc->cli, protoc->path, strerror(errno));
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        return cli_complain(protoc->cli, CLI_EXIT_USAGE, "%s: %s cannot be started", protoc->path,
                            argv[0]);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? CLI_EXIT_OK : refused(protoc, status);
}

static int read_set(struct cli *cli, const char *path, int fd, struct compiled *compiled)
{
    int r = read_all(fd, DIFF_POSITIONS_BYTES_MAX, &compiled->set, &compiled->bytes);
    if (r == -E2BIG)
        return cli_complain(cli, CLI_EXIT_USAGE, "%s has more than %u MiB as a descriptor set",
                            path, (unsigned)(DIFF_POSITIONS_BYTES_MAX >> 20));
    return r < 0 ? unreadable(cli, path, strerror(-r)) : CLI_EXIT_OK;
}

/* @folder: where protoc runs; @names: the files, relative to it */
static int compile(struct cli *cli, const char *path, const char *folder, char *const *names,
                   size_t count, struct compiled *compiled)
{
    _cleanup_(freep) char *protoc_path = program();
    char *argv[SCHEMA_FILE_MAX + 8] = {
        protoc_path,
        (char *)"--include_imports",
        (char *)"--include_source_info",
        (char *)"--descriptor_set_out=/proc/self/fd/10",
        (char *)"-I.",
        (char *)"-Iparley/options.proto=/proc/self/fd/11",
        (char *)"-I/usr/include",
    };
    size_t n = access("/usr/include", F_OK) == 0 ? 7 : 6;
    for (size_t i = 0; i < count; i++)
        argv[n++] = names[i];
    argv[n] = NULL;
    _cleanup_(fd_closep) int set_fd = memory_file("parley-set", NULL, 0);
    _cleanup_(fd_closep) int said_fd = memory_file("parley-protoc", NULL, 0);
    _cleanup_(fd_closep) int options_fd =
        memory_file("parley-options", options_proto, sizeof(options_proto));
    if (set_fd < 0 || said_fd < 0 || options_fd < 0)
        return unreadable(cli, path, strerror(errno));
    struct protoc protoc = {cli, path, set_fd, said_fd, options_fd};
    int code = run_protoc(&protoc, folder, argv);
    return code == CLI_EXIT_OK ? read_set(cli, path, set_fd, compiled) : code;
}

/* ---- What was named ---- */

static int compile_folder(struct cli *cli, const char *path, struct compiled *compiled)
{
    struct folder folder = {.cli = cli, .path = path};
    int code = walk(&folder, "", 0);
    if (code == CLI_EXIT_OK && folder.count == 0)
        code = unreadable(cli, path, "no .proto file is in there");
    if (code == CLI_EXIT_OK) {
        qsort(folder.names, folder.count, sizeof(folder.names[0]), compare_names);
        code = compile(cli, path, path, folder.names, folder.count, compiled);
    }
    folder_deinit(&folder);
    return code;
}

static int compile_file(struct cli *cli, const char *path, struct compiled *compiled)
{
    char *for_folder = text_format("%s", path), *for_name = text_format("%s", path);
    char *name = text_format(PROTOC_NAME, basename(for_name));
    int code = compile(cli, path, dirname(for_folder), &name, 1, compiled);
    free(for_folder);
    free(for_name);
    free(name);
    return code;
}

static int make_schema(struct cli *cli, const char *path, struct compiled *compiled)
{
    _cleanup_(freep) uint8_t *bare = NULL;
    size_t bytes;
    struct error_text error = {""};
    int r = diff_strip_positions(compiled->set, compiled->bytes, &bare, &bytes);
    if (r < 0 || compiled->bytes == 0)
        return unreadable(cli, path, "this is no descriptor set, nor does it end in .proto");
    r = schema_new_set(bare, bytes, &compiled->schema, &error);
    return r < 0 ? unreadable(cli, path, error.text) : CLI_EXIT_OK;
}

int compile_any(struct cli *cli, const char *path, struct compiled *ret_compiled)
{
    struct compiled compiled = {0};
    struct stat status;
    int code;
    _cleanup_(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &status) < 0)
        return unreadable(cli, path, strerror(errno));
    if (S_ISDIR(status.st_mode))
        code = compile_folder(cli, path, &compiled);
    else if (!S_ISREG(status.st_mode))
        code = unreadable(cli, path, "this is neither a folder nor a file");
    else if (is_proto(path))
        code = compile_file(cli, path, &compiled);
    else
        code = read_set(cli, path, fd, &compiled);
    if (code == CLI_EXIT_OK)
        code = make_schema(cli, path, &compiled);
    if (code == CLI_EXIT_OK)
        *ret_compiled = compiled;
    else
        compiled_deinit(&compiled);
    return code;
}

void compiled_deinit(struct compiled *compiled)
{
    schema_unref(compiled->schema);
    free(compiled->set);
    *compiled = (struct compiled){0};
}
