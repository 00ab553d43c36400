/*
 * RouDi, owned.
 *
 * It makes two files of shared memory with fixed names and removes them when it is ended, but not
 * when it is killed, nor when it aborts, as it does if it is ended while it takes a client for
 * alive that was killed. So once it is ready the files that it has open there are noted, by path
 * and inode, in memory and in a note in @tmp. Whoever outlives it removes them: roudi_stop(), or,
 * if the benchmark was killed and RouDi with it (PR_SET_PDEATHSIG), the next roudi_start(). What
 * has another inode is another's, and stays.
 *
 * Whether a RouDi lives is told by its lock (flock() on a file that it never removes). Its words go
 * to a file, not to a pipe, which might run full.
 */
#include "roudi.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#define LOCK_NAME "iox-unique-roudi.lock"
#define END_MS 5000
#define LOOK_NS (5 * NS_PER_MS)
#define WORDS_BYTES 8192
#define PATH_BYTES 512
#define NOT_INSTALLED 127

static const char config[] = "[general]\n"
                             "version = 1\n"
                             "[[segment]]\n"
                             "[[segment.mempool]]\n"
                             "size = 512\n"
                             "count = 1000\n";

static pid_t roudi;
static const struct roudi_places *where;

pid_t roudi_pid(void)
{
    return roudi;
}

static void rest(uint64_t ns)
{
    const struct timespec time = {.tv_sec = (time_t)(ns / NS_PER_S),
                                  .tv_nsec = (long)(ns % NS_PER_S)};
    (void)nanosleep(&time, NULL);
}

static void path_in(char path[PATH_BYTES], const char *folder, const char *name)
{
    (void)snprintf(path, PATH_BYTES, "%s/%s", folder, name);
}

/* ---- What it leaves behind ---- */

static void note_path(char path[PATH_BYTES])
{
    (void)snprintf(path, PATH_BYTES, "%s/parley-bench-roudi-%u", where->tmp, (unsigned)geteuid());
}

/* A file in the folder for shared memory, not further down. */
static bool is_in_shm(const char *path)
{
    size_t bytes = strlen(where->shm);
    return strncmp(path, where->shm, bytes) == 0 && path[bytes] == '/' &&
           !strchr(path + bytes + 1, '/');
}

/* Our own note, and nobody's link. */
static FILE *open_note(void)
{
    char path[PATH_BYTES];
    struct stat status;
    note_path(path);
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    FILE *file =
        fd >= 0 && fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_uid == geteuid()
            ? fdopen(fd, "r")
            : NULL;
    if (!file && fd >= 0)
        close(fd);
    return file;
}

/* No RouDi may live. */
static void remove_left(void)
{
    char line[PATH_BYTES + 32], path[PATH_BYTES];
    struct stat status;
    FILE *file = open_note();
    while (file && fgets(line, sizeof(line), file)) {
        char *name = NULL;
        uint64_t inode = strtoull(line, &name, 10);
        line[strcspn(line, "\n")] = '\0';
        if (*name == ' ' && is_in_shm(name + 1) && lstat(name + 1, &status) == 0 &&
            status.st_ino == inode)
            (void)unlink(name + 1);
    }
    if (!file)
        return;
    (void)fclose(file);
    note_path(path);
    (void)unlink(path);
}

static void note_file(FILE *note, const char *link)
{
    char path[PATH_BYTES];
    struct stat status;
    ssize_t bytes = readlink(link, path, sizeof(path) - 1);
    if (bytes < 0)
        return;
    path[bytes] = '\0';
    if (is_in_shm(path) && stat(path, &status) == 0)
        fprintf(note, "%" PRIu64 " %s\n", (uint64_t)status.st_ino, path);
}

/* Of RouDi, which is ready. Without a note a killed one's memory stays until RouDi starts again. */
static void write_note(void)
{
    char path[PATH_BYTES], link[PATH_BYTES];
    const struct dirent *entry;
    note_path(path);
    (void)unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    FILE *note = fd >= 0 ? fdopen(fd, "w") : NULL;
    (void)snprintf(link, sizeof(link), "/proc/%d/fd", (int)roudi);
    DIR *dir = note ? opendir(link) : NULL;
    while (dir && (entry = readdir(dir))) {
        (void)snprintf(link, sizeof(link), "/proc/%d/fd/%.32s", (int)roudi, entry->d_name);
        note_file(note, link);
    }
    if (dir)
        (void)closedir(dir);
    if (note)
        (void)fclose(note);
}

/* ---- Another one ---- */

/* Whose lock of that inode is in proc_locks(5); 0: nobody's. */
static int lock_owner(uint64_t inode)
{
    char line[256];
    int owner = 0;
    FILE *file = fopen("/proc/locks", "re");
    while (file && owner == 0 && fgets(line, sizeof(line), file)) {
        int pid;
        uint64_t locked;
        if (sscanf(line, "%*d: %*s %*s %*s %d %*x:%*x:%" SCNu64, &pid, &locked) == 2 &&
            locked == inode)
            owner = pid;
    }
    if (file)
        (void)fclose(file);
    return owner;
}

/* One that was killed a moment ago still has its lock: it takes a while to go. */
static bool is_locked(int fd)
{
    const uint64_t until = clock_now_ns() + where->notice_ms * NS_PER_MS;
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK)
            return false;
        if (clock_now_ns() >= until)
            return true;
        rest(LOOK_NS);
    }
    return false;
}

static int check_alone(struct error_text *error)
{
    char path[PATH_BYTES];
    struct stat status;
    int owner = 0;
    path_in(path, where->tmp, LOCK_NAME);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0; /* there never was one; or it is another user's, and it will say so itself */
    bool alive = is_locked(fd);
    if (alive && fstat(fd, &status) == 0)
        owner = lock_owner(status.st_ino);
    close(fd); /* which unlocks it */
    return alive ? error_set(error, -1,
                             "a RouDi runs already (process %d), and a machine has one: end it, and"
                             " try again",
                             owner)
                 : 0;
}

/* ---- Its words ---- */

/* Without what colours them. */
static void read_words(char words[WORDS_BYTES])
{
    char path[PATH_BYTES];
    size_t bytes = 0;
    bool escape = false;
    int c;
    path_in(path, where->folder, "roudi.log");
    FILE *file = fopen(path, "re");
    while (file && bytes < WORDS_BYTES - 1 && (c = fgetc(file)) != EOF) {
        if (c == '\033')
            escape = true;
        else if (!escape)
            words[bytes++] = (char)c;
        else if (c == 'm')
            escape = false;
    }
    words[bytes] = '\0';
    if (file)
        (void)fclose(file);
}

/* The line that says what is wrong, else the last. */
static const char *telling_line(char words[WORDS_BYTES])
{
    const char *found = "nothing";
    for (char *line = strtok(words, "\n"); line; line = strtok(NULL, "\n")) {
        found = line;
        if (strstr(line, "Fatal") || strstr(line, "Error"))
            break;
    }
    return found;
}

/* ---- Starting ---- */

static int write_config(char path[PATH_BYTES], struct error_text *error)
{
    path_in(path, where->folder, "roudi.toml");
    FILE *file = fopen(path, "we");
    bool written = file && fputs(config, file) >= 0;
    if (file)
        written = fclose(file) == 0 && written;
    return written ? 0 : error_set(error, -1, "cannot write %s: %s", path, strerror(errno));
}

static void run_roudi(const char *config_path, pid_t parent)
{
    char path[PATH_BYTES];
    path_in(path, where->folder, "roudi.log");
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)setpgid(0, 0); /* Ctrl-C is for us; we end it */
    int words = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (getppid() != parent || words < 0 || dup2(words, STDOUT_FILENO) < 0 ||
        dup2(words, STDERR_FILENO) < 0)
        _exit(126);
    (void)execlp("iox-roudi", "iox-roudi", "-c", config_path, (char *)NULL);
    _exit(NOT_INSTALLED);
}

/* Reaps it. */
static int say_ended(int status, struct error_text *error)
{
    char words[WORDS_BYTES];
    roudi = 0;
    read_words(words);
    if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_INSTALLED)
        return error_set(error, -1, "iox-roudi is not installed");
    if (WIFSIGNALED(status))
        return error_set(error, -1, "iox-roudi was ended by signal %d; it said: %s",
                         WTERMSIG(status), telling_line(words));
    return error_set(error, -1, "iox-roudi ended with status %d; it said: %s", WEXITSTATUS(status),
                     telling_line(words));
}

static int await_ready(struct error_text *error)
{
    char words[WORDS_BYTES];
    const uint64_t until = clock_now_ns() + where->ready_ms * NS_PER_MS;
    for (;;) {
        int status;
        if (waitpid(roudi, &status, WNOHANG) == roudi)
            return say_ended(status, error);
        read_words(words);
        if (strstr(words, "is ready"))
            return 0;
        if (clock_now_ns() > until)
            return error_set(error, -1, "iox-roudi was not ready within %u ms; it said: %s",
                             where->ready_ms, telling_line(words));
        rest(LOOK_NS);
    }
}

int roudi_start(const struct roudi_places *places, struct error_text *error)
{
    char path[PATH_BYTES];
    pid_t parent = getpid();
    where = places;
    if (check_alone(error) < 0)
        return -1;
    remove_left();
    if (write_config(path, error) < 0)
        return -1;
    (void)fflush(NULL);
    roudi = fork();
    if (roudi < 0) {
        roudi = 0;
        return error_set(error, -1, "cannot start iox-roudi: %s", strerror(errno));
    }
    if (roudi == 0)
        run_roudi(path, parent);
    int r = await_ready(error);
    if (roudi > 0)
        write_note();
    if (r != 0)
        roudi_stop();
    return r;
}

/* ---- Ending ---- */

static void end(void)
{
    const uint64_t until = clock_now_ns() + END_MS * NS_PER_MS;
    pid_t reaped;
    (void)kill(roudi, SIGTERM);
    while ((reaped = waitpid(roudi, NULL, WNOHANG)) == 0 && clock_now_ns() < until)
        rest(LOOK_NS);
    if (reaped == 0) {
        (void)kill(roudi, SIGKILL);
        while (waitpid(roudi, NULL, 0) < 0 && errno == EINTR)
            continue;
    }
    roudi = 0;
}

void roudi_stop(void)
{
    if (roudi <= 0)
        return;
    const uint64_t until = clock_now_ns() + where->notice_ms * NS_PER_MS;
    while (clock_now_ns() < until) /* a signal may cut a rest short */
        rest(LOOK_NS);
    end();
    remove_left();
}
