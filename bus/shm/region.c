/*
 * Regions: sealed anonymous memory with one writer.
 *
 * The creator allocates every page before anybody sees the region, maps it writable, and only then
 * seals it. Each seal is there for the other side's sake:
 *
 *   SHRINK        a reader never faults on a page that has been cut off;
 *   GROW          the size that was checked stays the size;
 *   FUTURE_WRITE  whoever receives the descriptor can neither map it writable nor write() to it, so
 *                 the creator stays the only writer; and no page can be punched out again (the
 * kernel refuses the hole), so what was allocated stays allocated; SEAL          that is all the
 * seals there will ever be.
 *
 * The reader trusts nothing: seals first (afterwards the size cannot change), then type, size and
 * that no page is a hole. A hole would be allocated by the reader's own first touch, on its
 * account, and as a SIGBUS if there is no memory. Only then does it map, read-only.
 *
 * A child of fork(2) does not inherit the mapping (MADV_DONTFORK): it would be a second writer. By
 * the time it frees what it inherited, something else may be mapped in the place.
 */
#include "shm/shm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/fork.h"

#define REGION_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL)
#define REGION_NAME_BYTES 64
#define STAT_BLOCK_BYTES 512 /* of st_blocks, whatever st_blksize says: stat(3type) */

/* Linux 6.3; older headers and kernels do not know it. */
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

static int create_memfd(const char *name)
{
    char full[REGION_NAME_BYTES];
    (void)snprintf(full, sizeof(full), "parley-%s", name);
    int fd = memfd_create(full, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL)
        fd = memfd_create(full, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd < 0 ? -errno : fd;
}

static int allocate(int fd, size_t bytes)
{
    while (fallocate(fd, 0, 0, (off_t)bytes) < 0) {
        if (errno != EINTR)
            return -errno;
    }
    return 0;
}

/* Return: 0 and the place, or -errno. */
static int map(int fd, size_t bytes, int protection, void **ret_base)
{
    void *base = mmap(NULL, bytes, protection, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (base == MAP_FAILED)
        return -errno;
    if (madvise(base, bytes, MADV_DONTFORK) < 0) {
        int r = -errno;
        (void)munmap(base, bytes);
        return r;
    }
    *ret_base = base;
    return 0;
}

int region_create(struct region *region, const char *name, size_t bytes, struct error_text *error)
{
    if (bytes == 0 || bytes > REGION_BYTES_MAX)
        return error_set(error, -EINVAL, "shared memory of %zu bytes: 1 to %llu are possible",
                         bytes, (unsigned long long)REGION_BYTES_MAX);
    bytes = (bytes + LAYOUT_PAGE_BYTES - 1) / LAYOUT_PAGE_BYTES * LAYOUT_PAGE_BYTES;
    _cleanup_(fd_closep) int fd = create_memfd(name);
    if (fd < 0)
        return error_set(error, fd, "cannot make shared memory (memfd_create): %s", strerror(-fd));
    int r = allocate(fd, bytes);
    if (r < 0)
        return error_set(
            error, r,
            "cannot allocate %zu bytes of shared memory: %s; free some memory, or raise"
            " the memory limit of this process",
            bytes, strerror(-r));
    void *base;
    r = map(fd, bytes, PROT_READ | PROT_WRITE, &base);
    if (r < 0)
        return error_set(error, r, "cannot map %zu bytes of shared memory: %s", bytes,
                         strerror(-r));
    if (fcntl(fd, F_ADD_SEALS, REGION_SEALS) < 0) {
        r = -errno;
        (void)munmap(base, bytes);
        return error_set(error, r,
                         "cannot seal shared memory: %s; F_SEAL_FUTURE_WRITE needs Linux 5.1",
                         strerror(-r));
    }
    *region = (struct region){
        .base = base, .bytes = bytes, .fd = steal_fd(&fd), .generation = fork_generation()};
    return 0;
}

/* The seals of @fd must come first: what they forbid cannot happen after this. */
static int check_seals(int fd, struct error_text *error)
{
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 && errno == EBADF)
        return error_set(error, -EBADF, "descriptor %d is not open", fd);
    if (seals < 0)
        return error_set(
            error, -EPROTO,
            "the peer's descriptor is not a memfd: it must be made with memfd_create()");
    if ((seals & REGION_SEALS) != REGION_SEALS)
        return error_set(error, -EPROTO,
                         "the peer's memfd lacks seals (has %#x, needs %#x): it must be sealed"
                         " SHRINK, GROW, FUTURE_WRITE and SEAL before it is sent",
                         (unsigned)seals, (unsigned)REGION_SEALS);
    return 0;
}

static int check_size(int fd, size_t bytes_min, size_t bytes_max, size_t *ret_bytes,
                      struct error_text *error)
{
    struct stat status;
    if (fstat(fd, &status) < 0)
        return error_set(error, -errno, "cannot examine the peer's memfd: %s", strerror(errno));
    if (!S_ISREG(status.st_mode) || status.st_size < 0)
        return error_set(error, -EPROTO, "the peer's descriptor is not a regular file");
    uint64_t bytes = (uint64_t)status.st_size;
    if (bytes < bytes_min)
        return error_set(error, -EPROTO,
                         "the peer's memfd is truncated: %llu bytes, at least %zu"
                         " are needed",
                         (unsigned long long)bytes, bytes_min);
    if (bytes > bytes_max)
        return error_set(error, -EPROTO,
                         "the peer's memfd is too large: %llu bytes, at most %zu"
                         " are accepted",
                         (unsigned long long)bytes, bytes_max);
    if ((uint64_t)status.st_blocks < (bytes + STAT_BLOCK_BYTES - 1) / STAT_BLOCK_BYTES)
        return error_set(error, -EPROTO,
                         "the peer's memfd has holes: %llu of its %llu bytes are"
                         " allocated; it must be fallocate()d before it is sealed",
                         (unsigned long long)status.st_blocks * STAT_BLOCK_BYTES,
                         (unsigned long long)bytes);
    *ret_bytes = (size_t)bytes;
    return 0;
}

int region_map(struct region *region, int fd, size_t bytes_min, size_t bytes_max,
               struct error_text *error)
{
    size_t bytes = 0;
    int r = check_seals(fd, error);
    if (r < 0)
        return r;
    r = check_size(fd, bytes_min, bytes_max, &bytes, error);
    if (r < 0)
        return r;
    void *base;
    r = map(fd, bytes, PROT_READ, &base);
    if (r < 0)
        return error_set(error, r, "cannot map the peer's %zu bytes of shared memory: %s", bytes,
                         strerror(-r));
    *region =
        (struct region){.base = base, .bytes = bytes, .fd = -1, .generation = fork_generation()};
    return 0;
}

void region_deinit(struct region *region)
{
    /* A zeroed region has descriptor 0, which is not its own: the mapping decides. */
    if (!region->base)
        return;
    if (region->generation == fork_generation())
        (void)munmap(region->base, region->bytes);
    if (region->fd >= 0)
        fd_close(region->fd);
    *region = REGION_NONE;
}
