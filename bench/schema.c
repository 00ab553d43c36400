/*
 * How long does it take until a changed schema is in force?
 *
 * For an interface of 200 messages: reading the descriptor set, the diff with the version before,
 * whether two major versions can be bridged, and the plans that are made of them, which a reader
 * verifies. All of that is the broker's work; calls go on meanwhile.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "compare.h"
#include "schema/diff.h"
#include "translate/bridge.h"
#include "translate/plan.h"

#define DIFF_GOAL_NS (120.0 * NS_PER_MS)
#define COMPILE_GOAL_NS (80.0 * NS_PER_MS)

#define SET_BYTES_MAX (1 << 20)

enum { LARGE_1_0_0, LARGE_1_1_0, LARGE_2_0_0, LARGE_COUNT };

struct set {
    uint8_t *data;
    size_t bytes;
    struct schema *schema;
};

static struct set sets[LARGE_COUNT]; /* made by large.py */

static void die(const char *what, const struct error_text *error)
{
    fprintf(stderr, "%s: %s\n", what, error->text);
    exit(1);
}

static void read_set(const char *name, struct set *set)
{
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/%s.set", LARGE_DIR, name);
    FILE *file = fopen(path, "re");
    set->data = malloc(SET_BYTES_MAX);
    if (!file || !set->data) {
        fprintf(stderr, "cannot read %s, which the build makes\n", path);
        exit(1);
    }
    set->bytes = fread(set->data, 1, SET_BYTES_MAX, file);
    (void)fclose(file);
}

static struct schema *load(const struct set *set)
{
    struct schema *schema = NULL;
    struct error_text error = {""};
    if (schema_new(set->data, set->bytes, NULL, &schema, &error) < 0)
        die("schema_new", &error);
    return schema;
}

static void run_load(void *data, uint32_t count)
{
    (void)data;
    for (uint32_t i = 0; i < count; i++)
        (void)schema_unref(load(&sets[LARGE_2_0_0]));
}

/* Return: how much it breaks. */
static size_t diff_minor(void)
{
    struct diff *diff = NULL;
    struct error_text error = {""};
    if (diff_compare(sets[LARGE_1_0_0].schema, sets[LARGE_1_1_0].schema, NULL, &diff, &error) < 0)
        die("diff_compare", &error);
    size_t breaks = diff_break_count(diff);
    (void)diff_free(diff);
    return breaks;
}

static size_t diff_major(void)
{
    const struct diff_options options = {.bridges = true};
    const struct schema *older = sets[LARGE_1_0_0].schema, *newer = sets[LARGE_2_0_0].schema;
    struct diff *diff = NULL;
    struct error_text error = {""};
    if (diff_new(older, newer, &options, &diff) < 0 ||
        diff_bridge(diff, older, newer, &error) < 0 || diff_finish(diff, &error) < 0)
        die("diff_bridge", &error);
    size_t breaks = diff_break_count(diff);
    (void)diff_free(diff);
    return breaks;
}

static void run_diff_minor(void *data, uint32_t count)
{
    (void)data;
    for (uint32_t i = 0; i < count; i++)
        (void)diff_minor();
}

static void run_diff_major(void *data, uint32_t count)
{
    (void)data;
    for (uint32_t i = 0; i < count; i++)
        (void)diff_major();
}

static const char *check_diff_minor(void *data)
{
    (void)data;
    return diff_minor() == 0 ? NULL : "it breaks something";
}

static const char *check_diff_major(void *data)
{
    (void)data;
    return diff_major() == 0 ? NULL : "it cannot be bridged";
}

/* What a client of version 1 and a service of version 2 need: a plan each. */
static void compile(struct plan **ret_requests, struct plan **ret_replies)
{
    const struct schema *client = sets[LARGE_1_0_0].schema, *service = sets[LARGE_2_0_0].schema;
    struct error_text error = {""};
    if (plan_compile(client, service, PLAN_REQUESTS, ret_requests, &error) < 0 ||
        plan_compile(client, service, PLAN_REPLIES, ret_replies, &error) < 0)
        die("plan_compile", &error);
}

static void run_compile(void *data, uint32_t count)
{
    (void)data;
    for (uint32_t i = 0; i < count; i++) {
        struct plan *requests = NULL, *replies = NULL;
        compile(&requests, &replies);
        (void)plan_unref(requests);
        (void)plan_unref(replies);
    }
}

static void run_verify(void *data, uint32_t count)
{
    const struct plan *plan = data;
    struct error_text error = {""};
    size_t bytes;
    const uint8_t *program = plan_program(plan, &bytes);
    for (uint32_t i = 0; i < count; i++) {
        struct plan *loaded = NULL;
        if (plan_load(program, bytes, &loaded, &error) < 0)
            die("plan_load", &error);
        (void)plan_unref(loaded);
    }
}

int main(int argc, char **argv)
{
    struct plan *requests = NULL, *replies = NULL;
    size_t program_bytes;
    static const char *const names[LARGE_COUNT] = {"large_v1", "large_v1_1", "large_v2"};
    for (int i = 0; i < LARGE_COUNT; i++) {
        read_set(names[i], &sets[i]);
        sets[i].schema = load(&sets[i]);
    }
    compile(&requests, &replies);
    (void)plan_program(requests, &program_bytes);
    const struct compare_case cases[] = {
        {.name = "load",
         .about = "a descriptor set of 200 messages: read and checked",
         .bytes = sets[LARGE_2_0_0].bytes,
         .run = run_load},
        {.name = "diff-minor",
         .about = "diff of two minor versions",
         .bytes = sets[LARGE_1_1_0].bytes,
         .check = check_diff_minor,
         .run = run_diff_minor,
         .goal_ns = DIFF_GOAL_NS},
        {.name = "diff-major",
         .about = "diff of two major versions, with all that bridges them",
         .bytes = sets[LARGE_2_0_0].bytes,
         .check = check_diff_major,
         .run = run_diff_major,
         .goal_ns = DIFF_GOAL_NS},
        {.name = "compile",
         .about = "the plans for requests and for replies",
         .bytes = sets[LARGE_2_0_0].bytes,
         .run = run_compile,
         .goal_ns = COMPILE_GOAL_NS},
        {.name = "verify",
         .about = "one of them, as its reader verifies it",
         .bytes = program_bytes,
         .run = run_verify,
         .data = requests},
    };
    const struct compare compare = {
        .name = "schema",
        .question = "How long does it take until a changed schema is in force?",
        .cases = cases,
        .case_count = sizeof(cases) / sizeof(cases[0]),
    };
    int r = compare_main(argc, argv, &compare);
    (void)plan_unref(requests);
    (void)plan_unref(replies);
    for (int i = 0; i < LARGE_COUNT; i++) {
        (void)schema_unref(sets[i].schema);
        free(sets[i].data);
    }
    return r;
}
