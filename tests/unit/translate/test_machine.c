/*
 * Machine code for plans: when it is made, when it is not, and that nobody can tell by the bytes.
 *
 * tests/laws says the same of generated versions and messages; here it is every truncation and
 * every changed byte of one message, the limits, and what surrounds the code: a system that refuses
 * it, its switch, its size, threads, fork().
 */
#include "plans.h"

#include <pthread.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "laws/ways.h"
#include "translate/code.h"

enum { GET, LIST };

#define RUNS (2 * MACHINE_RUNS)

static struct versions catalog;

static int setup(void **state)
{
    (void)state;
    code_set_switch(CODE_AS_SET);
    machine_set_runs(0);
    versions_init(&catalog, CATALOG_V1_SET, CATALOG_V2_SET);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    versions_deinit(&catalog);
    code_set_switch(CODE_AS_SET);
    machine_set_runs(0);
    return 0;
}

static struct bytes some_package(void)
{
    static char *depends[] = {(char *)"libgcc-s1", (char *)"libcrypt1",
                              (char *)"a-library-with-a-name-that-is-longer-than-32-bytes"};
    Catalog__V1__Package package = CATALOG__V1__PACKAGE__INIT;
    package.id = (char *)"libc6:amd64";
    package.name = (char *)"libc6";
    package.architecture = (char *)"amd64";
    package.version = (char *)"2.36-9";
    package.section = (char *)"libs";
    package.priority = CATALOG__V1__PRIORITY__PRIORITY_OPTIONAL;
    package.installed_kib = 12988;
    package.maintainer = (char *)"GNU Libc Maintainers <debian-glibc@lists.debian.org>";
    package.homepage = (char *)"https://www.gnu.org/software/libc/libc.html";
    package.summary = (char *)"GNU C Library: Bibliothèques partagées";
    package.n_depends = 3;
    package.depends = depends;
    package.essential = 1;
    return pack(&package);
}

/* As often as it is said; every result is the same. */
static void run_often(const struct plan *plan, uint32_t entry, struct bytes in, uint32_t times)
{
    struct bytes first = must_run(plan, entry, in);
    for (uint32_t i = 1; i < times; i++) {
        struct bytes again = must_run(plan, entry, in);
        assert_int_equal(again.bytes, first.bytes);
        assert_memory_equal(again.data, first.data, first.bytes);
        free(again.data);
    }
    free(first.data);
}

/* ---- When ---- */

static void test_code_is_made_after_some_runs_and_no_byte_changes(void **state)
{
    (void)state;
    if (!machine_possible())
        skip();
    struct bytes in = some_package();
    run_often(catalog.up_replies, GET, in, MACHINE_RUNS - 1);
    assert_int_equal(machine_bytes(catalog.up_replies), 0);
    run_often(catalog.up_replies, GET, in, RUNS);
    assert_in_range(machine_bytes(catalog.up_replies), 1, MACHINE_BYTES_MAX);
    assert_int_equal(machine_bytes(catalog.down_replies), 0); /* has not run */
    free(in.data);
}

static void no_code(void)
{
    struct bytes in = some_package();
    run_often(catalog.up_replies, GET, in, RUNS);
    assert_int_equal(machine_bytes(catalog.up_replies), 0);
    free(in.data);
}

static void test_without_machine_code_everything_runs(void **state)
{
    (void)state;
    code_set_switch(CODE_OFF);
    no_code();
}

static void test_where_the_system_has_refused_everything_runs(void **state)
{
    (void)state;
    code_set_switch(CODE_REFUSED);
    no_code();
}

static int in_child(void (*body)(void))
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        body();
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void under_a_system_that_refuses(void)
{
#if defined(PR_SET_MDWE)
    const int mdwe = PR_SET_MDWE;
#else
    const int mdwe = 65;
#endif
    struct bytes in = some_package();
    if (prctl(mdwe, 1, 0, 0, 0) < 0)
        _exit(77);
    for (uint32_t i = 0; i < RUNS; i++)
        free(must_run(catalog.up_replies, GET, in).data);
    _exit(machine_bytes(catalog.up_replies) == 0 && !code_allowed() ? 0 : 1);
}

static void test_a_system_that_refuses_is_met_at_run_time(void **state)
{
    (void)state;
    if (!machine_possible())
        skip();
    int status = in_child(under_a_system_that_refuses);
    if (status == 77) {
        print_message("this kernel has no PR_SET_MDWE: skipped\n");
        skip();
    }
    assert_int_equal(status, 0);
}

static void test_a_plan_with_as_much_code_as_it_may_have_runs_without_more(void **state)
{
    (void)state;
    if (!machine_possible())
        skip();
    struct plan *plan = catalog.up_replies;
    struct bytes in = some_package();
    atomic_store(&plan->piece_bytes, MACHINE_BYTES_MAX - 64);
    run_often(plan, GET, in, RUNS);
    assert_int_equal(machine_bytes(plan), MACHINE_BYTES_MAX - 64);
    assert_null(atomic_load(&plan->pieces));
    free(in.data);
}

/* ---- The same bytes, the same errors ---- */

static void assert_ways_agree(const struct plan *plan, uint32_t entry, const uint8_t *data,
                              size_t bytes)
{
    struct plan_failure failure, other;
    const uint8_t *out;
    size_t out_bytes, other_bytes = 0, max = plan_output_bytes_max(plan, bytes);
    int r = way_run_guarded(plan, entry, data, bytes, &out, &out_bytes, &failure);
    uint8_t *other_out = malloc(max + 1);
    assert_non_null(other_out);
    for (int way = 0; way < WAY_COUNT; way++) {
        int q =
            way_run((enum way)way, plan, entry, data, bytes, other_out, max, &other_bytes, &other);
        assert_int_equal(q, r);
        if (r < 0) {
            assert_int_equal(other.offset, failure.offset);
            assert_int_equal(other.number, failure.number);
            assert_string_equal(other.what, failure.what);
        } else {
            assert_int_equal(other_bytes, out_bytes);
            assert_memory_equal(other_out, out, out_bytes);
        }
    }
    free(other_out);
}

/* @change: every byte, too. */
static void try_all(const struct plan *plan, uint32_t entry, struct bytes in, bool change)
{
    static const uint8_t values[] = {0, 1, 0x0a, 0x12, 0x20, 0x7f, 0x80, 0xc3, 0xff};
    for (size_t bytes = 0; bytes <= in.bytes; bytes++)
        assert_ways_agree(plan, entry, in.data, bytes);
    for (size_t at = 0; at < in.bytes && change; at++) {
        uint8_t was = in.data[at];
        for (size_t i = 0; i < sizeof(values); i++) {
            in.data[at] = values[i];
            assert_ways_agree(plan, entry, in.data, in.bytes);
        }
        in.data[at] = was;
    }
}

static void test_every_truncation_and_every_changed_byte_end_the_same(void **state)
{
    (void)state;
    machine_set_runs(1);
    struct bytes in = some_package(), there = must_run(catalog.up_replies, GET, in);
    try_all(catalog.up_replies, GET, in, true);
    try_all(catalog.down_replies, GET, there, true);
    free(in.data);
    free(there.data);
}

static void test_messages_within_messages_end_the_same_when_cut(void **state)
{
    (void)state;
    machine_set_runs(1);
    struct bytes one = some_package();
    size_t most = 6 * (one.bytes + 4);
    struct bytes in = {malloc(most), 0};
    assert_non_null(in.data);
    for (int i = 0; i < 6; i++) { /* the first with a length of one byte */
        size_t bytes = i == 0 ? 13 : one.bytes;
        in.data[in.bytes++] = 0x0a;
        in.bytes = (size_t)(wire_write_varint(in.data + in.bytes, (uint32_t)bytes) - in.data);
        memcpy(in.data + in.bytes, one.data, bytes);
        in.bytes += bytes;
    }
    try_all(catalog.up_replies, LIST, in, false);
    free(one.data);
    free(in.data);
}

static void test_as_many_fields_as_there_may_be_and_one_more(void **state)
{
    (void)state;
    machine_set_runs(1);
    static uint8_t message[2 * (WIRE_FIELDS_MAX + 2)];
    for (size_t i = 0; i < sizeof(message); i += 2) {
        message[i] = 0x20; /* limit, a varint */
        message[i + 1] = (uint8_t)(i / 2 % 100);
    }
    for (size_t fields = WIRE_FIELDS_MAX - 2; fields <= WIRE_FIELDS_MAX + 2; fields++) {
        struct bytes out = {NULL, 0};
        struct plan_failure failure;
        int r = run(catalog.up_requests, LIST, (struct bytes){message, 2 * fields}, &out, &failure);
        assert_int_equal(r, fields <= WIRE_FIELDS_MAX ? 0 : -E2BIG);
        free(out.data);
        assert_ways_agree(catalog.up_requests, LIST, message, 2 * fields);
    }
}

/* Behind it there is another one with a long text: room is asked for by what the message has, and
 * the code would not get to it otherwise. */
static void test_as_many_fields_as_there_may_be_in_a_nested_message(void **state)
{
    (void)state;
    enum { TEXT_BYTES = 7000 };
    machine_set_runs(1);
    static uint8_t message[2 * (WIRE_FIELDS_MAX + 2) + TEXT_BYTES + 16];
    for (size_t fields = WIRE_FIELDS_MAX - 2; fields <= WIRE_FIELDS_MAX + 2; fields++) {
        message[0] = 0x0a; /* package */
        uint8_t *out = wire_write_varint(message + 1, (uint32_t)(2 * fields));
        for (size_t i = 0; i < fields; i++) {
            *out++ = 0x38; /* installed_kib */
            *out++ = (uint8_t)(i % 100);
        }
        *out++ = 0x0a;
        out = wire_write_varint(out, TEXT_BYTES + 3);
        *out++ = 0x52; /* summary */
        out = wire_write_varint(out, TEXT_BYTES);
        memset(out, 'a', TEXT_BYTES);
        struct bytes in = {message, (size_t)(out - message) + TEXT_BYTES}, translated = {NULL, 0};
        struct plan_failure failure;
        int r = run(catalog.up_replies, LIST, in, &translated, &failure);
        assert_int_equal(r, fields <= WIRE_FIELDS_MAX ? 0 : -E2BIG);
        free(translated.data);
        assert_ways_agree(catalog.up_replies, LIST, in.data, in.bytes);
    }
}

static void test_messages_as_deep_as_they_may_be_and_one_more(void **state)
{
    (void)state;
    machine_set_runs(1);
    struct versions shapes;
    versions_init(&shapes, SHAPES_V1_SET, SHAPES_V2_SET);
    uint8_t message[4 * WIRE_DEPTH_MAX];
    for (size_t depth = WIRE_DEPTH_MAX - 2; depth <= WIRE_DEPTH_MAX + 2; depth++) {
        const size_t bytes = 2 * (depth - 1);
        for (size_t i = 0; i < bytes; i += 2) {
            message[i] = 0x22; /* tree, in v1 */
            message[i + 1] = (uint8_t)(bytes - i - 2);
        }
        for (uint32_t entry = 0; entry < plan_entry_count(shapes.up_requests); entry++)
            assert_ways_agree(shapes.up_requests, entry, message, bytes);
        for (size_t i = 0; i < bytes; i += 2)
            message[i] = 0x12; /* in v2 */
        for (uint32_t entry = 0; entry < plan_entry_count(shapes.down_requests); entry++)
            assert_ways_agree(shapes.down_requests, entry, message, bytes);
    }
    versions_deinit(&shapes);
}

/* Nothing may be read behind it: not what follows a nested message's last text, either. */
static void test_a_message_that_fills_its_buffer_is_checked_without_a_byte_behind(void **state)
{
    (void)state;
    enum { FIELDS = 40, BYTES = 2 + 3 * FIELDS };
    machine_set_runs(1);
    struct plan *plan = NULL;
    struct error_text error;
    assert_int_equal(plan_identity(&catalog__v1__catalog__descriptor, PLAN_REPLIES, &plan, &error),
                     0);
    uint8_t message[BYTES] = {0x0a, BYTES - 2}; /* package */
    for (size_t i = 2; i < BYTES; i += 3)
        memcpy(message + i,
               "\x12\x01"
               "a",
               3); /* name */
    struct guarded guarded = guarded_new(BYTES);
    uint8_t *out = guarded_at_end(&guarded, BYTES);
    struct plan_failure failure;
    size_t bytes = 0;
    for (int i = 0; i < 2; i++)
        assert_int_equal(plan_run(plan, LIST, message, BYTES, out, BYTES, &bytes, &failure), 0);
    for (int way = 0; way < WAY_COUNT; way++) {
        assert_int_equal(
            way_run((enum way)way, plan, LIST, message, BYTES, out, BYTES, &bytes, &failure), 0);
        assert_int_equal(bytes, BYTES);
        assert_memory_equal(out, message, BYTES);
    }
    guarded_free(&guarded);
    plan_unref(plan);
}

/* What is added at its end counts beside what was read: here a contact, and links with a homepage.
 */
static void test_a_nested_message_has_as_many_fields_as_there_may_be_with_those_added(void **state)
{
    (void)state;
    enum { ADDED = 3, TEXT_BYTES = 7000 };
    machine_set_runs(1);
    static uint8_t message[2 * (WIRE_FIELDS_MAX + 2) + TEXT_BYTES + 16];
    for (size_t fields = WIRE_FIELDS_MAX - 8; fields <= WIRE_FIELDS_MAX - 2; fields++) {
        const uint8_t texts[] = {0x42, 1, 'a', 0x4a, 1, 'b'}; /* maintainer, homepage */
        message[0] = 0x0a;                                    /* package */
        uint8_t *out = wire_write_varint(message + 1, (uint32_t)(2 * fields + 2));
        for (size_t i = 0; i < fields - 2; i++) {
            *out++ = 0x38; /* installed_kib */
            *out++ = (uint8_t)(i % 100);
        }
        memcpy(out, texts, sizeof(texts));
        out += sizeof(texts);
        *out++ = 0x0a;
        out = wire_write_varint(out, TEXT_BYTES + 3);
        *out++ = 0x52; /* summary */
        out = wire_write_varint(out, TEXT_BYTES);
        memset(out, 'a', TEXT_BYTES);
        struct bytes in = {message, (size_t)(out - message) + TEXT_BYTES}, translated = {NULL, 0};
        struct plan_failure failure;
        int r = run(catalog.up_replies, LIST, in, &translated, &failure);
        assert_int_equal(r, fields + ADDED <= WIRE_FIELDS_MAX ? 0 : -E2BIG);
        free(translated.data);
        assert_ways_agree(catalog.up_replies, LIST, in.data, in.bytes);
    }
}

/* Each field that is carried opens a carrier of its own, where others are written in between. */
static void test_carriers_count_as_fields(void **state)
{
    (void)state;
    machine_set_runs(1);
    static uint8_t message[2 * WIRE_FIELDS_MAX];
    for (size_t i = 0; i < sizeof(message); i += 4)
        memcpy(message + i, "\x52\x00\x28\x01", 4); /* description, priority */
    for (size_t fields = 2 * WIRE_FIELDS_MAX / 3 - 4; fields < 2 * WIRE_FIELDS_MAX / 3 + 4;
         fields++) {
        struct bytes out = {NULL, 0};
        struct plan_failure failure;
        int r = run(catalog.down_replies, GET, (struct bytes){message, 2 * fields}, &out, &failure);
        assert_int_equal(r, fields + (fields + 1) / 2 <= WIRE_FIELDS_MAX ? 0 : -E2BIG);
        free(out.data);
        assert_ways_agree(catalog.down_replies, GET, message, 2 * fields);
    }
}

/* Texts that are carried, and those only checked, of every length with a header of its own size,
 * and with a byte that is wrong, or right beside others, anywhere in them. */
static void test_texts_of_any_length_end_the_same_when_carried_or_checked(void **state)
{
    (void)state;
    machine_set_runs(1);
    struct plan *same = NULL;
    struct error_text error;
    assert_int_equal(plan_identity(&catalog__v2__catalog__descriptor, PLAN_REPLIES, &same, &error),
                     0);
    static uint8_t message[17000];
    static const size_t lengths[] = {
        0,   1,   31,  32,  33,  63,  64,  65,  95,  96,   97,   113,   114,   115,   116,   119,
        120, 121, 122, 126, 127, 128, 129, 130, 646, 4000, 8000, 16374, 16375, 16376, 16383, 16384};
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        const size_t bytes = lengths[i];
        message[0] = 0x52; /* description */
        uint8_t *text = wire_write_varint(message + 1, (uint32_t)bytes), *out = text + bytes;
        memset(text, 'd', bytes);
        memcpy(out,
               "\x62\x03"
               "src"
               "\x5a\x01"
               "b"
               "\x62\x01"
               "t",
               11); /* source, depends */
        const size_t all = (size_t)(out + 11 - message);
        assert_ways_agree(catalog.down_replies, GET, message, all);
        assert_ways_agree(same, GET, message, all);
        assert_ways_agree(same, GET, message, (size_t)(out - message) - 1);
        assert_ways_agree(catalog.down_replies, GET, message, (size_t)(out - message));
        assert_ways_agree(catalog.down_replies, GET, message, (size_t)(out - message) - 1);
        for (size_t at = 0; at < bytes && bytes < 1000; at++) {
            text[at] = at % 3 == 0 ? 0 : 0xff;
            assert_ways_agree(catalog.down_replies, GET, message, all);
            assert_ways_agree(same, GET, message, all);
            text[at] = 'd';
            if (at + 1 < bytes) {
                memcpy(text + at, "\xc3\xa9", 2);
                assert_ways_agree(catalog.down_replies, GET, message, all);
                memcpy(text + at, "dd", 2);
            }
        }
    }
    /* A length with more bytes than it needs. */
    assert_ways_agree(catalog.down_replies, GET,
                      (const uint8_t *)"\x52\x81\x00"
                                       "abcdefgh",
                      4);
    plan_unref(same);
}

/* ---- Threads, processes ---- */

struct runner {
    pthread_t thread;
    pthread_barrier_t *barrier;
    struct bytes in, want;
    bool same;
};

static void *run_in_thread(void *data)
{
    struct runner *runner = data;
    size_t max = plan_output_bytes_max(catalog.up_replies, runner->in.bytes), bytes = 0;
    uint8_t *out = malloc(max);
    runner->same = out != NULL;
    (void)pthread_barrier_wait(runner->barrier);
    for (int i = 0; i < 4 * RUNS && runner->same; i++)
        runner->same = plan_run(catalog.up_replies, GET, runner->in.data, runner->in.bytes, out,
                                max, &bytes, NULL) == 0 &&
                       bytes == runner->want.bytes && memcmp(out, runner->want.data, bytes) == 0;
    free(out);
    return NULL;
}

static void test_threads_share_a_plan_while_its_code_is_made(void **state)
{
    (void)state;
    struct runner runners[4];
    pthread_barrier_t barrier;
    struct bytes in = some_package(), want = must_run(catalog.up_replies, GET, in);
    assert_int_equal(pthread_barrier_init(&barrier, NULL, 4), 0);
    for (int i = 0; i < 4; i++) {
        runners[i] = (struct runner){.barrier = &barrier, .in = in, .want = want};
        assert_int_equal(pthread_create(&runners[i].thread, NULL, run_in_thread, &runners[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(runners[i].thread, NULL), 0);
        assert_true(runners[i].same);
    }
    assert_true(!machine_possible() || machine_bytes(catalog.up_replies) > 0);
    (void)pthread_barrier_destroy(&barrier);
    free(in.data);
    free(want.data);
}

static struct bytes inherited_in;

static void run_inherited(void)
{
    for (uint32_t i = 0; i < RUNS; i++)
        free(must_run(catalog.up_replies, GET, inherited_in).data);
    versions_deinit(&catalog);
    _exit(0);
}

static void test_a_child_runs_its_parents_code_and_frees_its_own_view(void **state)
{
    (void)state;
    inherited_in = some_package();
    run_often(catalog.up_replies, GET, inherited_in, RUNS);
    assert_int_equal(in_child(run_inherited), 0);
    run_often(catalog.up_replies, GET, inherited_in, RUNS);
    free(inherited_in.data);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_code_is_made_after_some_runs_and_no_byte_changes),
        TEST(test_without_machine_code_everything_runs),
        TEST(test_where_the_system_has_refused_everything_runs),
        TEST(test_a_system_that_refuses_is_met_at_run_time),
        TEST(test_a_plan_with_as_much_code_as_it_may_have_runs_without_more),
        TEST(test_every_truncation_and_every_changed_byte_end_the_same),
        TEST(test_messages_within_messages_end_the_same_when_cut),
        TEST(test_as_many_fields_as_there_may_be_and_one_more),
        TEST(test_as_many_fields_as_there_may_be_in_a_nested_message),
        TEST(test_a_message_that_fills_its_buffer_is_checked_without_a_byte_behind),
        TEST(test_a_nested_message_has_as_many_fields_as_there_may_be_with_those_added),
        TEST(test_carriers_count_as_fields),
        TEST(test_texts_of_any_length_end_the_same_when_carried_or_checked),
        TEST(test_messages_as_deep_as_they_may_be_and_one_more),
        TEST(test_threads_share_a_plan_while_its_code_is_made),
        TEST(test_a_child_runs_its_parents_code_and_frees_its_own_view),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
