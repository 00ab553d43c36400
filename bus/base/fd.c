#include "base/cleanup.h"

#include <errno.h>

int fd_close(int fd)
{
    if (fd >= 0) {
        int saved_errno = errno;
        close(fd);
        errno = saved_errno;
    }
    return -1;
}
