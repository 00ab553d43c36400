/*
 * Ctrl-C.
 *
 * `parley events` and `parley stats --watch` go on until they are asked to stop; then they finish
 * the line that they are at and exit with 0. The handler writes to an eventfd and nothing else:
 * libnng has threads, any of which the kernel may pick to run the handler, so that a sleep in the
 * main thread would not be interrupted by the signal itself. Signals are the process's, hence the
 * one global of this program.
 */
#include "cli/cli.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>

#include "base/cleanup.h"
#include "base/clock.h"

static struct {
    volatile sig_atomic_t requested;
    int fd;
    struct sigaction interrupt, terminate;
} stop = {.fd = -1};

void stop_request(void)
{
    int saved_errno = errno;
    uint64_t one = 1;
    stop.requested = 1;
    ssize_t ignored = write(stop.fd, &one, sizeof(one));
    (void)ignored;
    errno = saved_errno;
}

static void on_signal(int number)
{
    (void)number;
    stop_request();
}

int stop_begin(void)
{
    stop.requested = 0;
    stop.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (stop.fd < 0)
        return -errno;
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, &stop.interrupt);
    sigaction(SIGTERM, &action, &stop.terminate);
    return 0;
}

void stop_end(void)
{
    if (stop.fd < 0)
        return;
    sigaction(SIGINT, &stop.interrupt, NULL);
    sigaction(SIGTERM, &stop.terminate, NULL);
    stop.fd = fd_close(stop.fd);
}

bool stop_requested(void)
{
    return stop.requested != 0;
}

int stop_fd(void)
{
    return stop.fd;
}

void stop_wait(uint64_t ns)
{
    uint64_t deadline = clock_add(clock_now_ns(), ns);
    while (!stop_requested()) {
        uint64_t left = clock_left(deadline, clock_now_ns());
        if (left == 0)
            return;
        struct timespec time = {(time_t)(left / NS_PER_S), (long)(left % NS_PER_S)};
        struct pollfd fd = {.fd = stop.fd, .events = POLLIN};
        (void)ppoll(&fd, 1, &time, NULL);
    }
}
