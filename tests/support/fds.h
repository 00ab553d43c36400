/* How many descriptors this process has open: before and after a test, the same. */
#ifndef PARLEY_TESTS_SUPPORT_FDS_H
#define PARLEY_TESTS_SUPPORT_FDS_H

#include "support/test.h"

#include <dirent.h>

static inline unsigned open_fd_count(void)
{
    DIR *folder = opendir("/proc/self/fd");
    assert_non_null(folder);
    unsigned count = 0;
    while (readdir(folder))
        count++;
    closedir(folder);
    return count - 3; /* "." and "..", and the folder itself */
}

#endif
