#include "support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/shm.h"

#define PAGE ((size_t)LAYOUT_PAGE_BYTES)
#define ALL_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL)

static int fd_count(void)
{
    int count = 0;
    for (int fd = 0; fd < 1024; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static int make_memfd(size_t bytes, int seals)
{
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_true(fd >= 0);
    assert_int_equal(fallocate(fd, 0, 0, (off_t)bytes), 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

/* Refused with -EPROTO and a sentence that has @words in it; nothing is mapped. */
static void assert_refused(int fd, size_t bytes_min, size_t bytes_max, const char *words)
{
    struct region region = REGION_NONE;
    struct error_text error = {""};
    assert_int_equal(region_map(&region, fd, bytes_min, bytes_max, &error), -EPROTO);
    if (!strstr(error.text, words))
        fail_msg("the sentence \"%s\" lacks \"%s\"", error.text, words);
    assert_null(region.base);
}

static void test_what_is_written_is_read_on_the_other_side(void **state)
{
    (void)state;
    struct region writer = REGION_NONE, reader = REGION_NONE;
    assert_int_equal(region_create(&writer, "test", 3 * PAGE, NULL), 0);
    assert_int_equal(region_map(&reader, writer.fd, 1, 3 * PAGE, NULL), 0);
    assert_int_equal(reader.bytes, 3 * PAGE);
    assert_int_equal(reader.fd, -1);
    const uint8_t zeros[64] = {0};
    assert_memory_equal(reader.base, zeros, sizeof(zeros));
    strcpy((char *)writer.base + 2 * PAGE, "hello");
    assert_string_equal((const char *)reader.base + 2 * PAGE, "hello");
    region_deinit(&reader);
    region_deinit(&writer);
}

static void test_a_new_region_is_sealed_and_wholly_allocated(void **state)
{
    (void)state;
    struct region region = REGION_NONE;
    struct stat status;
    assert_int_equal(region_create(&region, "test", 5 * PAGE, NULL), 0);
    assert_int_equal(fcntl(region.fd, F_GET_SEALS) & ALL_SEALS, ALL_SEALS);
    assert_int_equal(fcntl(region.fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    assert_int_equal(fstat(region.fd, &status), 0);
    assert_true((size_t)status.st_blocks * 512 >= 5 * PAGE);
    region_deinit(&region);
}

static void test_nobody_who_gets_the_descriptor_can_write_cut_or_punch(void **state)
{
    (void)state;
    struct region region = REGION_NONE;
    assert_int_equal(region_create(&region, "test", PAGE, NULL), 0);
    assert_ptr_equal(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, region.fd, 0),
                     MAP_FAILED);
    assert_int_equal(pwrite(region.fd, "x", 1, 0), -1);
    assert_int_equal(ftruncate(region.fd, 0), -1);
    assert_int_equal(ftruncate(region.fd, (off_t)(2 * PAGE)), -1);
    assert_int_equal(
        fallocate(region.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)PAGE), -1);
    assert_int_equal(madvise(region.base, PAGE, MADV_REMOVE), -1);
    region_deinit(&region);
}

static void test_sizes_round_up_to_pages(void **state)
{
    (void)state;
    struct region region = REGION_NONE;
    assert_int_equal(region_create(&region, "test", 1, NULL), 0);
    assert_int_equal(region.bytes, PAGE);
    region_deinit(&region);
    assert_int_equal(region_create(&region, "test", PAGE + 1, NULL), 0);
    assert_int_equal(region.bytes, 2 * PAGE);
    region_deinit(&region);
}

static void test_nothing_and_one_past_the_largest_are_refused(void **state)
{
    (void)state;
    struct region region = REGION_NONE;
    struct error_text error = {""};
    assert_int_equal(region_create(&region, "test", 0, &error), -EINVAL);
    assert_int_equal(region_create(&region, "test", REGION_BYTES_MAX + 1, &error), -EINVAL);
    assert_non_null(strstr(error.text, "536870912"));
    assert_null(region.base);
}

static void test_no_memory_fails_at_creation_and_leaks_nothing(void **state)
{
    (void)state;
    struct region region = REGION_NONE;
    struct error_text error = {""};
    struct rlimit before;
    int fds = fd_count();
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    /* A memfd is a file to RLIMIT_FSIZE: the one way to make fallocate() fail without filling the
     * machine's memory. */
    assert_ptr_not_equal(signal(SIGXFSZ, SIG_IGN), SIG_ERR);
    struct rlimit small = {.rlim_cur = PAGE, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int r = region_create(&region, "test", 2 * PAGE, &error);
    int fits = region_create(&region, "test", PAGE, NULL);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(r, -EFBIG);
    assert_non_null(strstr(error.text, "cannot allocate 8192 bytes"));
    assert_int_equal(fits, 0);
    region_deinit(&region);
    assert_int_equal(fd_count(), fds);
}

static void test_no_descriptor_left_is_an_error(void **state)
{
    (void)state;
    struct region region = REGION_NONE;
    struct error_text error = {""};
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit none = {.rlim_cur = 0, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    int r = region_create(&region, "test", PAGE, &error);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(r, -EMFILE);
    assert_non_null(strstr(error.text, "memfd_create"));
}

static void test_every_missing_seal_is_refused(void **state)
{
    (void)state;
    const int seals[] = {F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_FUTURE_WRITE, F_SEAL_SEAL};
    for (size_t i = 0; i < sizeof(seals) / sizeof(seals[0]); i++) {
        int fd = make_memfd(PAGE, ALL_SEALS & ~seals[i]);
        assert_refused(fd, PAGE, PAGE, "lacks seals");
        close(fd);
    }
    int fd = make_memfd(PAGE, ALL_SEALS);
    struct region region = REGION_NONE;
    assert_int_equal(region_map(&region, fd, PAGE, PAGE, NULL), 0);
    region_deinit(&region);
    close(fd);
}

static void test_sizes_at_the_limits_pass_and_one_past_is_refused(void **state)
{
    (void)state;
    struct region region = REGION_NONE;
    int fd = make_memfd(2 * PAGE, ALL_SEALS);
    assert_int_equal(region_map(&region, fd, 2 * PAGE, 2 * PAGE, NULL), 0);
    region_deinit(&region);
    assert_refused(fd, 2 * PAGE + 1, 4 * PAGE, "truncated");
    assert_refused(fd, 1, 2 * PAGE - 1, "too large");
    close(fd);
    fd = memfd_create("empty", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, ALL_SEALS), 0);
    assert_refused(fd, 1, PAGE, "truncated");
    close(fd);
}

static void test_a_region_with_a_hole_is_refused(void **state)
{
    (void)state;
    int fd = memfd_create("sparse", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(ftruncate(fd, (off_t)(4 * PAGE)), 0);
    assert_int_equal(fallocate(fd, 0, 0, (off_t)(3 * PAGE)), 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, ALL_SEALS), 0);
    assert_refused(fd, PAGE, 4 * PAGE, "holes");
    close(fd);
}

static void test_descriptors_of_other_kinds_are_refused(void **state)
{
    (void)state;
    int pipes[2], sockets[2];
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sockets), 0);
    int zero = open("/dev/zero", O_RDWR | O_CLOEXEC);
    int folder = open("/", O_RDONLY | O_CLOEXEC);
    FILE *file = tmpfile();
    assert_non_null(file);
    assert_int_equal(ftruncate(fileno(file), (off_t)PAGE), 0);
    const int fds[] = {pipes[0], pipes[1], sockets[0], zero, folder};
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
        assert_refused(fds[i], 1, PAGE, "not a memfd");
    /* A file: has no seals, or (on tmpfs) only the seal that forbids seals. */
    struct error_text error = {""};
    struct region region = REGION_NONE;
    assert_int_equal(region_map(&region, fileno(file), 1, PAGE, &error), -EPROTO);
    assert_true(error.text[0] != '\0');
    (void)fclose(file);
    close(folder);
    close(zero);
    close(sockets[0]);
    close(sockets[1]);
    close(pipes[0]);
    close(pipes[1]);
}

static void test_a_closed_descriptor_is_refused(void **state)
{
    (void)state;
    struct region region = REGION_NONE;
    struct error_text error = {""};
    assert_int_equal(region_map(&region, -1, 1, PAGE, &error), -EBADF);
    assert_string_equal(error.text, "descriptor -1 is not open");
}

static void test_deinit_is_safe_on_a_zeroed_region_and_twice(void **state)
{
    (void)state;
    struct region region = {0};
    int fds = fd_count();
    region_deinit(&region); /* descriptor 0 is not its own */
    assert_int_equal(fd_count(), fds);
    assert_int_equal(region_create(&region, "test", PAGE, NULL), 0);
    assert_int_equal(fd_count(), fds + 1);
    region_deinit(&region);
    region_deinit(&region);
    assert_int_equal(fd_count(), fds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_written_is_read_on_the_other_side),
        cmocka_unit_test(test_a_new_region_is_sealed_and_wholly_allocated),
        cmocka_unit_test(test_nobody_who_gets_the_descriptor_can_write_cut_or_punch),
        cmocka_unit_test(test_sizes_round_up_to_pages),
        cmocka_unit_test(test_nothing_and_one_past_the_largest_are_refused),
        cmocka_unit_test(test_no_memory_fails_at_creation_and_leaks_nothing),
        cmocka_unit_test(test_no_descriptor_left_is_an_error),
        cmocka_unit_test(test_every_missing_seal_is_refused),
        cmocka_unit_test(test_sizes_at_the_limits_pass_and_one_past_is_refused),
        cmocka_unit_test(test_a_region_with_a_hole_is_refused),
        cmocka_unit_test(test_descriptors_of_other_kinds_are_refused),
        cmocka_unit_test(test_a_closed_descriptor_is_refused),
        cmocka_unit_test(test_deinit_is_safe_on_a_zeroed_region_and_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
