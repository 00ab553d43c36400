#include "support/test.h"

#include "support/program.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PROGRAM_WATCHDOG_S 10

static time_t seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

int program_run(const char *const *argv, char *output, size_t bytes)
{
    int pipes[2], status;
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(pipes[1], STDOUT_FILENO);
        dup2(pipes[1], STDERR_FILENO);
        execv(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    close(pipes[1]);
    time_t end = seconds() + PROGRAM_WATCHDOG_S;
    size_t length = 0;
    for (;;) {
        struct pollfd fd = {.fd = pipes[0], .events = POLLIN};
        char rest[512];
        if (seconds() >= end || poll(&fd, 1, PROGRAM_WATCHDOG_S * 1000) != 1) {
            kill(pid, SIGKILL);
            waitpid(pid, NULL, 0);
            fail_msg("%s goes on and on", argv[0]);
        }
        size_t room = bytes - 1 - length;
        ssize_t n = read(pipes[0], room ? output + length : rest, room ? room : sizeof(rest));
        if (n <= 0)
            break;
        if (room)
            length += (size_t)n;
    }
    output[length] = '\0';
    close(pipes[0]);
    /* It has closed its outputs: it is ending. */
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}
