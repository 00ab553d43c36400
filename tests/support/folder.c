/*
 * The guard holds a descriptor of the test's process and nothing else, not even its output: who
 * waits for the end of that must not wait for us. SIGKILL to the test's process group, which is how
 * meson ends what takes too long, does not reach it.
 */
#include "support/folder.h"

#include <errno.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
    (void)status;
    (void)type;
    (void)ftw;
    (void)remove(path);
    return 0;
}

static void remove_folder(const char *path)
{
    (void)nftw(path, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static void guard(pid_t parent, const char *path)
{
    (void)setsid();
    int fd = pidfd_open(parent, 0); /* -1: it is gone already */
    if (fd >= 0)
        (void)dup2(fd, 0);
    (void)close_range(1, ~0U, 0);
    struct pollfd waited = {.fd = 0, .events = POLLIN};
    if (fd >= 0 && getppid() == parent) {
        while (poll(&waited, 1, -1) < 0 && errno == EINTR)
            continue;
    }
    remove_folder(path);
    _exit(0);
}

pid_t folder_guard(char *path)
{
    pid_t parent = getpid();
    if (!mkdtemp(path))
        return -1;
    pid_t pid = fork();
    if (pid == 0)
        guard(parent, path);
    if (pid < 0)
        (void)rmdir(path);
    return pid;
}

void folder_unguard(pid_t pid)
{
    if (pid <= 0)
        return;
    (void)kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
}

int folder_run(char *path, int (*run)(void))
{
    pid_t pid = folder_guard(path);
    if (pid < 0) {
        perror(path);
        return 1;
    }
    int result = run();
    remove_folder(path);
    folder_unguard(pid);
    return result;
}

const char *folder_path(const char *folder, const char *name)
{
    static char paths[16][512];
    static unsigned turn;
    char *path = paths[turn++ % 16];
    (void)snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
    return path;
}
