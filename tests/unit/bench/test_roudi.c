/* RouDi's part is played by shell scripts: what it says and leaves behind is known of the real one,
 * and the machine may have none. */
#include "support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/roudi.h"

#define PATH_BYTES 512
#define SAYS_READY "echo 'RouDi is ready for clients'; exec sleep 1000 >/dev/null 2>&1\n"

static char top[PATH_BYTES / 4]; /* holds all of the folders */
static char shm[PATH_BYTES / 2], folder[PATH_BYTES / 2], tmp[PATH_BYTES / 2];
static struct roudi_places places = {.shm = shm, .tmp = tmp, .folder = folder, .ready_ms = 30000};
static struct error_text error;

static void make(char path[PATH_BYTES / 2], const char *name)
{
    (void)snprintf(path, PATH_BYTES / 2, "%s/%s", top, name);
    assert_int_equal(mkdir(path, 0700), 0);
}

static int begin(void **state)
{
    static char path[PATH_BYTES];
    (void)state;
    (void)snprintf(top, sizeof(top), "/tmp/parley-test-roudi-XXXXXX");
    assert_non_null(mkdtemp(top));
    make(shm, "shm");
    make(tmp, "tmp");
    make(folder, "folder");
    (void)snprintf(path, sizeof(path), "%s:/usr/bin:/bin", top);
    assert_int_equal(setenv("PATH", path, 1), 0);
    assert_int_equal(setenv("SHM", shm, 1), 0);
    places.ready_ms = 30000;
    error.text[0] = '\0';
    return 0;
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
    (void)status;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int end(void **state)
{
    (void)state;
    roudi_stop();
    return nftw(top, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static void write_file(const char *where, const char *name, const char *text, mode_t mode)
{
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof(path), "%s/%s", where, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void play_roudi(const char *script)
{
    char text[1024];
    (void)snprintf(text, sizeof(text), "#!/bin/sh\n%s", script);
    write_file(top, "iox-roudi", text, 0700);
}

static bool exists(const char *where, const char *name)
{
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof(path), "%s/%s", where, name);
    return access(path, F_OK) == 0;
}

static void test_ready_one_is_there_until_it_is_stopped(void **state)
{
    (void)state;
    play_roudi(SAYS_READY);
    assert_int_equal(roudi_start(&places, &error), 0);
    pid_t pid = roudi_pid();
    assert_int_equal(kill(pid, 0), 0);
    roudi_stop();
    assert_int_equal(roudi_pid(), 0);
    assert_int_equal(kill(pid, 0), -1);
    roudi_stop();
}

static void test_missing_one_is_said(void **state)
{
    (void)state;
    assert_int_equal(setenv("PATH", top, 1), 0);
    assert_int_equal(roudi_start(&places, &error), -1);
    assert_string_equal(error.text, "iox-roudi is not installed");
    assert_int_equal(roudi_pid(), 0);
}

static void test_what_it_died_of_is_said_without_its_colours(void **state)
{
    (void)state;
    play_roudi("echo 'Log level set to: warning'\n"
               "printf '\\033[0;90m[ Fatal ]\\033[m: Could not acquire lock\\n'\n"
               "echo 'and more'; exit 3\n");
    assert_int_equal(roudi_start(&places, &error), -1);
    assert_string_equal(
        error.text, "iox-roudi ended with status 3; it said: [ Fatal ]: Could not acquire lock");
}

static void test_killed_one_is_said(void **state)
{
    (void)state;
    play_roudi("kill -9 $$\n");
    assert_int_equal(roudi_start(&places, &error), -1);
    assert_string_equal(error.text, "iox-roudi was ended by signal 9; it said: nothing");
}

static void test_one_that_is_never_ready_is_ended(void **state)
{
    (void)state;
    play_roudi("echo waiting; exec sleep 1000 >/dev/null 2>&1\n");
    places.ready_ms = 300;
    assert_int_equal(roudi_start(&places, &error), -1);
    assert_non_null(strstr(error.text, "iox-roudi was not ready within 300 ms; it said: "));
    assert_int_equal(roudi_pid(), 0);
}

static void test_another_one_that_lives_is_named(void **state)
{
    (void)state;
    char path[PATH_BYTES], wanted[128];
    play_roudi(SAYS_READY);
    (void)snprintf(path, sizeof(path), "%s/iox-unique-roudi.lock", tmp);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    (void)snprintf(wanted, sizeof(wanted), "a RouDi runs already (process %d)", (int)getpid());
    assert_int_equal(roudi_start(&places, &error), -1);
    assert_non_null(strstr(error.text, wanted));
    close(fd); /* which unlocks it */
    assert_int_equal(roudi_start(&places, &error), 0);
}

static void test_shared_memory_of_a_killed_one_is_removed_and_no_other(void **state)
{
    (void)state;
    play_roudi("exec 8>$SHM/iceoryx_mgmt 9>$SHM/users\n" SAYS_READY);
    write_file(shm, "another", "", 0600);
    assert_int_equal(roudi_start(&places, &error), 0);
    assert_true(exists(shm, "iceoryx_mgmt") && exists(shm, "users"));
    assert_int_equal(kill(roudi_pid(), SIGKILL), 0);
    roudi_stop();
    assert_false(exists(shm, "iceoryx_mgmt") || exists(shm, "users"));
    assert_true(exists(shm, "another"));
}

/* A benchmark that is killed: RouDi is, too, and the next one tidies up. */
static pid_t start_and_die(void)
{
    int ends[2];
    pid_t found = 0;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (roudi_start(&places, &error) != 0)
            _exit(1);
        found = roudi_pid();
        (void)!write(ends[1], &found, sizeof(found));
        (void)raise(SIGKILL);
    }
    close(ends[1]);
    assert_int_equal(read(ends[0], &found, sizeof(found)), sizeof(found));
    close(ends[0]);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    return found;
}

static void test_it_dies_with_the_benchmark_and_the_next_one_tidies_up(void **state)
{
    (void)state;
    int status;
    play_roudi("exec 9>$SHM/iceoryx_mgmt\n" SAYS_READY);
    pid_t orphan = start_and_die();
    assert_int_equal(waitpid(orphan, &status, 0), orphan);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_true(exists(shm, "iceoryx_mgmt"));
    play_roudi("[ -e $SHM/iceoryx_mgmt ] && exit 4\n" SAYS_READY);
    assert_int_equal(roudi_start(&places, &error), 0);
}

static void test_another_file_of_the_same_name_stays(void **state)
{
    (void)state;
    char path[PATH_BYTES];
    int status;
    play_roudi("exec 9>$SHM/iceoryx_mgmt\n" SAYS_READY);
    pid_t orphan = start_and_die();
    assert_int_equal(waitpid(orphan, &status, 0), orphan);
    /* While the old one is there, so that the new one is another inode. */
    write_file(shm, "new", "", 0600);
    (void)snprintf(path, sizeof(path), "%s/new", shm);
    char old[PATH_BYTES];
    (void)snprintf(old, sizeof(old), "%s/iceoryx_mgmt", shm);
    assert_int_equal(rename(path, old), 0);
    play_roudi(SAYS_READY);
    assert_int_equal(roudi_start(&places, &error), 0);
    assert_true(exists(shm, "iceoryx_mgmt"));
}

/* Whatever a note says, only what is in the folder for shared memory is removed. */
static void test_note_cannot_point_elsewhere(void **state)
{
    (void)state;
    char path[PATH_BYTES], name[64], text[PATH_BYTES * 3];
    struct stat status;
    write_file(top, "precious", "", 0600);
    (void)snprintf(path, sizeof(path), "%s/precious", top);
    assert_int_equal(stat(path, &status), 0);
    (void)snprintf(name, sizeof(name), "parley-bench-roudi-%u", (unsigned)geteuid());
    (void)snprintf(text, sizeof(text), "%llu %s\n%llu %s/../precious\nnonsense\n\n",
                   (unsigned long long)status.st_ino, path, (unsigned long long)status.st_ino, shm);
    write_file(tmp, name, text, 0600);
    play_roudi(SAYS_READY);
    assert_int_equal(roudi_start(&places, &error), 0);
    assert_true(exists(top, "precious"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(test_ready_one_is_there_until_it_is_stopped),
        TEST(test_missing_one_is_said),
        TEST(test_what_it_died_of_is_said_without_its_colours),
        TEST(test_killed_one_is_said),
        TEST(test_one_that_is_never_ready_is_ended),
        TEST(test_another_one_that_lives_is_named),
        TEST(test_shared_memory_of_a_killed_one_is_removed_and_no_other),
        TEST(test_it_dies_with_the_benchmark_and_the_next_one_tidies_up),
        TEST(test_another_file_of_the_same_name_stays),
        TEST(test_note_cannot_point_elsewhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
