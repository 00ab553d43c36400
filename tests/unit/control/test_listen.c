/* Links by a path: a listener in a folder of the test's own, and who connects to it. */
#include "support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "control/link.h"
#include "support/fds.h"

static struct {
    char path[64];
    char socket[96];
    unsigned fds_before;
} folder;

static int set_up(void **state)
{
    (void)state;
    folder.fds_before = open_fd_count();
    strcpy(folder.path, "/tmp/parley-test-XXXXXX");
    if (!mkdtemp(folder.path))
        return -1;
    snprintf(folder.socket, sizeof(folder.socket), "%s/parleyd.sock", folder.path);
    return 0;
}

/* Nothing may be left in it, nor open. */
static int tear_down(void **state)
{
    (void)state;
    assert_int_equal(rmdir(folder.path), 0);
    assert_int_equal(open_fd_count(), folder.fds_before);
    return 0;
}

static void test_accepted_link_knows_its_peer(void **state)
{
    (void)state;
    struct link_listener *listener;
    struct error_text error = {""};
    assert_int_equal(link_listen(folder.socket, 0600, &listener, &error), 0);
    struct stat status;
    assert_int_equal(stat(folder.socket, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);

    struct link *there;
    assert_int_equal(link_accept(listener, &there), LINK_E_AGAIN);
    struct link *here;
    assert_int_equal(link_connect(folder.socket, &here, &error), 0);
    struct pollfd ready = {.fd = link_listener_fd(listener), .events = POLLIN};
    assert_int_equal(poll(&ready, 1, 10000), 1);
    assert_int_equal(link_accept(listener, &there), 0);
    struct ucred peer;
    link_peer(there, &peer);
    assert_int_equal(peer.pid, getpid());
    assert_int_equal(peer.uid, getuid());
    link_peer(here, &peer);
    assert_int_equal(peer.pid, getpid());
    link_free(here);
    link_free(there);
    link_listener_free(listener);
}

static void test_mode_is_what_was_asked_for_whatever_the_umask(void **state)
{
    (void)state;
    mode_t old = umask(077);
    struct link_listener *listener;
    struct error_text error;
    assert_int_equal(link_listen(folder.socket, 0666, &listener, &error), 0);
    umask(old);
    struct stat status;
    assert_int_equal(stat(folder.socket, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0666);
    link_listener_free(listener);
}

static void expect_connect(const char *path, int code, const char *part)
{
    struct link *link = NULL;
    struct error_text error = {""};
    assert_int_equal(link_connect(path, &link, &error), code);
    assert_null(link);
    if (!strstr(error.text, part))
        fail_msg("\"%s\" does not say \"%s\"", error.text, part);
}

static void test_no_broker_is_said_with_the_path(void **state)
{
    (void)state;
    expect_connect(folder.socket, -ENOENT, folder.socket);
    expect_connect(folder.socket, -ENOENT, "start parleyd");
    expect_connect("", -EINVAL, "empty");
    char path[120];
    memset(path, 'a', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    expect_connect(path, -ENAMETOOLONG, "too long");
    path[sizeof(((struct sockaddr_un *)0)->sun_path) - 1] = '\0'; /* just fits */
    expect_connect(path, -ENOENT, "no broker");
}

/* As a broker leaves it that was killed: the file without a listener. */
static int bind_raw(const char *path, int type, bool listening)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    if (listening)
        assert_int_equal(listen(fd, 1), 0);
    return fd;
}

static void test_stale_socket_is_told_and_replaced(void **state)
{
    (void)state;
    close(bind_raw(folder.socket, SOCK_SEQPACKET, true));
    expect_connect(folder.socket, -ECONNREFUSED, "start parleyd again");
    struct link_listener *listener;
    struct error_text error = {""};
    assert_int_equal(link_listen(folder.socket, 0600, &listener, &error), 0);
    struct link *link;
    assert_int_equal(link_connect(folder.socket, &link, &error), 0);
    link_free(link);
    link_listener_free(listener);
}

static void expect_listen(const char *path, int code, const char *part)
{
    struct link_listener *listener = NULL;
    struct error_text error = {""};
    assert_int_equal(link_listen(path, 0600, &listener, &error), code);
    assert_null(listener);
    if (!strstr(error.text, part))
        fail_msg("\"%s\" does not say \"%s\"", error.text, part);
}

static void test_path_in_use_is_refused_and_left_alone(void **state)
{
    (void)state;
    struct link_listener *listener;
    struct error_text error;
    assert_int_equal(link_listen(folder.socket, 0600, &listener, &error), 0);
    expect_listen(folder.socket, -EADDRINUSE, "another parleyd");
    struct link *link;
    assert_int_equal(link_connect(folder.socket, &link, &error), 0); /* the first still serves */
    link_free(link);
    link_listener_free(listener);

    const int types[] = {SOCK_SEQPACKET, SOCK_STREAM, SOCK_DGRAM};
    for (size_t i = 0; i < 3; i++) {
        int foreign = bind_raw(folder.socket, types[i], types[i] != SOCK_DGRAM);
        expect_listen(folder.socket, -EADDRINUSE, "another program");
        assert_int_equal(access(folder.socket, F_OK), 0);
        close(foreign);
        unlink(folder.socket);
    }
    int file = open(folder.socket, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    close(file);
    expect_listen(folder.socket, -EEXIST, "no socket");
    assert_int_equal(unlink(folder.socket), 0);
}

static void test_path_of_a_killed_process_is_free_again(void **state)
{
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct link_listener *listener;
        struct error_text error;
        _exit(link_listen(folder.socket, 0600, &listener, &error) == 0 ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(access(folder.socket, F_OK), 0); /* left behind, with its lock file */

    struct link_listener *listener;
    struct error_text error;
    assert_int_equal(link_listen(folder.socket, 0600, &listener, &error), 0);
    link_listener_free(listener);
}

/* As the kernel, with the io_uring of a killed broker, on a busy machine: the socket of a process
 * that is gone goes on accepting. It counts what it accepts rather than the time. */
static pid_t accept_for_one_that_is_gone(unsigned count)
{
    int fd = bind_raw(folder.socket, SOCK_SEQPACKET, false);
    int status;
    pid_t maker = fork();
    if (maker == 0)
        _exit(listen(fd, 16) == 0 ? 0 : 1);
    assert_int_equal(waitpid(maker, &status, 0), maker);
    assert_int_equal(status, 0);
    pid_t holder = fork();
    if (holder == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        while (count-- > 0)
            close(accept(fd, NULL, NULL));
        _exit(0);
    }
    close(fd);
    return holder;
}

static void test_socket_of_a_process_that_is_gone_is_waited_for(void **state)
{
    (void)state;
    pid_t holder = accept_for_one_that_is_gone(320); /* that of a living one: 300 */
    assert_true(holder > 0);
    struct link_listener *listener = NULL;
    struct error_text error = {""};
    int r = link_listen(folder.socket, 0600, &listener, &error);
    kill(holder, SIGKILL);
    assert_int_equal(waitpid(holder, NULL, 0), holder);
    link_listener_free(listener);
    (void)unlink(folder.socket);
    if (r != 0)
        fail_msg("%s", error.text);
}

static void test_socket_file_of_another_is_not_removed(void **state)
{
    (void)state;
    struct link_listener *listener;
    struct error_text error;
    assert_int_equal(link_listen(folder.socket, 0600, &listener, &error), 0);
    assert_int_equal(unlink(folder.socket), 0);
    int foreign = bind_raw(folder.socket, SOCK_STREAM, true);
    link_listener_free(listener);
    assert_int_equal(unlink(folder.socket), 0); /* it was still there */
    close(foreign);
}

static void test_folder_that_is_missing_is_named(void **state)
{
    (void)state;
    expect_listen("/nonexistent-parley/parleyd.sock", -ENOENT, "/nonexistent-parley/parleyd.sock");
    char path[120];
    memset(path, 'a', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    expect_listen(path, -ENAMETOOLONG, "shorter folder");
    expect_listen("", -ENAMETOOLONG, "socket's path");
}

static void test_accept_without_descriptors_hangs_up_and_goes_on(void **state)
{
    (void)state;
    struct link_listener *listener;
    struct error_text error = {""};
    assert_int_equal(link_listen(folder.socket, 0600, &listener, &error), 0);
    struct link *first;
    struct link *second;
    assert_int_equal(link_connect(folder.socket, &first, &error), 0);
    assert_int_equal(link_connect(folder.socket, &second, &error), 0);

    struct rlimit old;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    int lowest = fcntl(0, F_DUPFD_CLOEXEC, 0);
    close(lowest);
    struct rlimit tight = {.rlim_cur = (rlim_t)lowest, .rlim_max = old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    struct link *there = NULL;
    int r = link_accept(listener, &there);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_int_equal(r, -EMFILE);

    Parley__LinkMessage *message;
    int fds[LINK_FD_MAX];
    size_t fd_count;
    assert_int_equal(link_receive(first, &message, fds, &fd_count, &error), -EPIPE);
    assert_int_equal(link_accept(listener, &there), 0); /* the second */
    link_free(there);
    link_free(first);
    link_free(second);
    link_listener_free(listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_accepted_link_knows_its_peer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_mode_is_what_was_asked_for_whatever_the_umask, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_no_broker_is_said_with_the_path, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stale_socket_is_told_and_replaced, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_path_in_use_is_refused_and_left_alone, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_path_of_a_killed_process_is_free_again, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_socket_of_a_process_that_is_gone_is_waited_for, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_socket_file_of_another_is_not_removed, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_folder_that_is_missing_is_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_accept_without_descriptors_hangs_up_and_goes_on,
                                        set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
