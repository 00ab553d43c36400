/*
 * libnng has a dozen threads, which allocate little, and glibc would give each of them a heap of
 * its own. And to start takes much code that is never run again: relocations, options, the set-up
 * of libraries. Its pages stay mapped, and count as this process's own where no other runs the same
 * file; so they are unmapped once, and those that are needed come back from the page cache, each at
 * the price of a minor fault. docs/PERFORMANCE.md has what that brings (./run bench footprint).
 */
#include "broker/trim.h"

#include <link.h>
#include <malloc.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

void trim_begin(void)
{
#ifdef __GLIBC__
    (void)mallopt(M_ARENA_MAX, 1);
#endif
}

/* Code and constants: only what is mapped without the right to write is the file's, as it was. */
static int drop_constant(struct dl_phdr_info *info, size_t bytes, void *unused)
{
    (void)bytes, (void)unused;
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        if (header->p_type != PT_LOAD || (header->p_flags & PF_W))
            continue;
        uintptr_t from = (info->dlpi_addr + header->p_vaddr) & ~(page - 1);
        uintptr_t to =
            (info->dlpi_addr + header->p_vaddr + header->p_memsz + page - 1) & ~(page - 1);
        (void)madvise((void *)from, to - from, MADV_DONTNEED);
    }
    return 0;
}

void trim_end(void)
{
#ifdef __GLIBC__
    (void)malloc_trim(0);
#endif
    (void)dl_iterate_phdr(drop_constant, NULL);
}
