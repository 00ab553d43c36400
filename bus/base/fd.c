#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>

int fd_close(int fd)
{
    if (fd >= 0) {
        int saved_errno = errno;
        close(fd);
        errno = saved_errno;
    }
    return -1;
}

void fd_hold_standard(void)
{
    int fd;
    do
        fd =
            open("/dev/null", O_RDONLY); /* the lowest that is free; not O_CLOEXEC: children, too */
    while (fd >= 0 && fd <= STDERR_FILENO);
    fd_close(fd);
}
