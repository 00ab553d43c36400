/*
 * A failure made small: the message first (fields left out, texts emptied, numbers made smaller,
 * inside nested messages too), then the rules, then the fields of the first version, and round
 * again until nothing more can go. What is left still breaks the same law.
 */
#include "laws.h"

#include <stdlib.h>
#include <string.h>

struct shrink {
    struct law_case *c;
    struct buffer message;
    struct law_failure *failure;
    unsigned tries;
};

#define TRIES_MAX 20000

/* Whether it still breaks the law, with any of the next few variants of edits and damage. */
static bool still_fails(struct shrink *shrink, const struct buffer *message)
{
    struct law_counts counts = {0};
    struct law_failure failure = {0};
    if (shrink->tries++ > TRIES_MAX)
        return false;
    int r = case_check(shrink->c, shrink->failure->from, shrink->failure->to, message,
                       shrink->failure->variant, &counts, &failure);
    if (r == 0 || failure.law != shrink->failure->law)
        return false;
    shrink->failure->why = failure.why;
    return true;
}

/* ---- The message ---- */

/* A reading position in bytes that may be a message. */
struct record {
    size_t at, value, end;
    enum wire_type type;
    uint32_t number;
};

static bool next_record(const uint8_t *data, size_t bytes, size_t at, struct record *ret_record)
{
    struct wire_reader reader = {data + at, data + bytes};
    *ret_record = (struct record){.at = at};
    if (at >= bytes || wire_read_tag(&reader, &ret_record->number, &ret_record->type) < 0)
        return false;
    ret_record->value = (size_t)(reader.pos - data);
    if (wire_skip(&reader, ret_record->number, ret_record->type) < 0)
        return false;
    ret_record->end = (size_t)(reader.pos - data);
    return true;
}

struct level {
    const struct level *outer;
    const uint8_t *before, *after; /* what surrounds the content, in the outer content */
    size_t before_bytes, after_bytes;
    uint32_t number;
};

/* Puts @content back into all that is around it. */
static void wrap(const struct level *level, struct buffer *content)
{
    for (; level; level = level->outer) {
        struct buffer outer = {0};
        buffer_add(&outer, level->before, level->before_bytes);
        buffer_field_message(&outer, level->number, content);
        buffer_add(&outer, level->after, level->after_bytes);
        *content = outer;
    }
}

static bool accept(struct shrink *shrink, const struct level *level, struct buffer *content)
{
    wrap(level, content);
    if (content->bytes < shrink->message.bytes && still_fails(shrink, content)) {
        buffer_free(&shrink->message);
        shrink->message = *content;
        return true;
    }
    buffer_free(content);
    return false;
}

static bool try_replace(struct shrink *shrink, const struct level *level, const uint8_t *data,
                        size_t bytes, const struct record *record, const void *replacement,
                        size_t replacement_bytes)
{
    struct buffer content = {0};
    buffer_add(&content, data, record->at);
    buffer_add(&content, replacement, replacement_bytes);
    buffer_add(&content, data + record->end, bytes - record->end);
    return accept(shrink, level, &content);
}

static bool smaller_inside(struct shrink *shrink, const struct level *level, const uint8_t *data,
                           size_t bytes, int depth);

static bool smaller_value(struct shrink *shrink, const struct level *level, const uint8_t *data,
                          size_t bytes, const struct record *record, int depth)
{
    struct buffer small = {0};
    buffer_tag(&small, record->number, record->type);
    bool shrunk = false;
    if (record->type == WIRE_VARINT || record->type == WIRE_BYTES) {
        for (uint64_t value = 0; value < 2 && !shrunk && record->end - record->value > 1; value++) {
            size_t before = small.bytes;
            buffer_varint(&small, record->type == WIRE_BYTES ? 0 : value);
            shrunk = try_replace(shrink, level, data, bytes, record, small.data, small.bytes);
            small.bytes = before;
        }
    }
    buffer_free(&small);
    if (shrunk || record->type != WIRE_BYTES || depth == 8)
        return shrunk;
    struct wire_reader reader = {data + record->value, data + record->end};
    const uint8_t *nested;
    size_t nested_bytes;
    if (wire_read_bytes(&reader, &nested, &nested_bytes) < 0)
        return false;
    struct level inner = {level,         data, data + record->end, record->at, bytes - record->end,
                          record->number};
    return smaller_inside(shrink, &inner, nested, nested_bytes, depth + 1);
}

/* Tries one thing after the other. True: something went, and all positions are void. */
static bool smaller_inside(struct shrink *shrink, const struct level *level, const uint8_t *data,
                           size_t bytes, int depth)
{
    struct record record;
    for (size_t at = 0; next_record(data, bytes, at, &record); at = record.end)
        if (try_replace(shrink, level, data, bytes, &record, NULL, 0))
            return true;
    for (size_t at = 0; next_record(data, bytes, at, &record); at = record.end)
        if (smaller_value(shrink, level, data, bytes, &record, depth))
            return true;
    return false;
}

static bool shrink_message(struct shrink *shrink)
{
    bool any = false;
    while (smaller_inside(shrink, NULL, shrink->message.data, shrink->message.bytes, 0))
        any = true;
    return any;
}

/* ---- The versions ---- */

/* Keeps the change if the case still fails with it; else @undo is what it was. */
static bool rebuild(struct shrink *shrink, const struct law_case *undo)
{
    struct law_counts counts = {0};
    struct law_failure failure = {0};
    bool built = case_build(shrink->c, false, &counts, &failure) == 0;
    bool fails = shrink->failure->law == LAW_COMPILE
                     ? !built
                     : built && still_fails(shrink, &shrink->message);
    if (fails)
        return true;
    case_clear(shrink->c);
    *shrink->c = *undo;
    if (case_build(shrink->c, false, &counts, &failure) < 0 && shrink->failure->law != LAW_COMPILE)
        die("seed %llu: cannot be built a second time", (unsigned long long)shrink->c->seed);
    return false;
}

/* What the case is made of, without what was made. */
static struct law_case recipe(const struct law_case *c)
{
    struct law_case copy = *c;
    memset(copy.schemas, 0, sizeof(copy.schemas));
    memset(copy.up, 0, sizeof(copy.up));
    memset(copy.down, 0, sizeof(copy.down));
    memset(copy.paths, 0, sizeof(copy.paths));
    return copy;
}

static bool shrink_versions(struct shrink *shrink)
{
    struct law_case *c = shrink->c;
    bool any = false;
    int last =
        shrink->failure->from > shrink->failure->to ? shrink->failure->from : shrink->failure->to;
    if (last < c->version_count - 1) {
        struct law_case undo = recipe(c);
        case_clear(c);
        c->version_count = last + 1;
        any |= rebuild(shrink, &undo);
    }
    for (int step = 0; step < c->version_count - 1; step++) {
        for (int i = c->edit_counts[step] - 1; i >= 0; i--) {
            if (c->edits[step][i].off)
                continue;
            struct law_case undo = recipe(c);
            case_clear(c);
            c->edits[step][i].off = true;
            any |= rebuild(shrink, &undo);
        }
    }
    struct version *base = must_alloc(sizeof(*base));
    version_random(base, c->seed);
    for (int i = 0; i < base->message_count; i++) {
        for (int j = 0; j < base->messages[i].field_count; j++) {
            if (c->base_gone[i] >> j & 1)
                continue;
            struct law_case undo = recipe(c);
            case_clear(c);
            c->base_gone[i] |= UINT64_C(1) << j;
            any |= rebuild(shrink, &undo);
        }
    }
    free(base);
    return any;
}

/* ---- For people ---- */

static void print_bytes(const char *what, const struct buffer *bytes)
{
    (void)printf("%s (%zu bytes):", what, bytes->bytes);
    for (size_t i = 0; i < bytes->bytes && i < 400; i++)
        (void)printf(" %02x", bytes->data[i]);
    (void)puts("");
}

static void print_tree(const struct schema_message *type, const struct buffer *message)
{
    struct arena arena = {NULL};
    const char *why;
    struct tree *tree = tree_read(&arena, type, message->data, message->bytes, &why);
    if (tree)
        tree_print(tree, 4, stdout);
    else
        (void)printf("    (malformed: %s)\n", why);
    arena_free(&arena);
}

static void print_road(const struct law_case *c, int from, int to, const struct buffer *message)
{
    struct buffer now = {0};
    buffer_add(&now, message->data, message->bytes);
    int way[2 * LAWS_VERSION_MAX], count = 0, step = from < to ? 1 : -1;
    for (int at = from; at != to; at += step)
        way[count++] = at + step;
    for (int at = to; at != from; at -= step)
        way[count++] = at - step;
    for (int i = 0, at = from; i < count; at = way[i++]) {
        const struct plan *plan = at < way[i] ? c->up[at] : c->down[way[i]];
        size_t max = plan_output_bytes_max(plan, now.bytes), bytes = 0;
        struct plan_failure failure = {0, 0, ""};
        uint8_t *out = must_alloc(max);
        int r = plan_run(plan, 0, now.data, now.bytes, out, max, &bytes, &failure);
        if (r < 0) {
            (void)printf("v%d to v%d: refused with %d at byte %zu, field %u: %s\n", at + 1,
                         way[i] + 1, r, failure.offset, failure.number, failure.what);
            free(out);
            break;
        }
        buffer_free(&now);
        buffer_add(&now, out, bytes);
        free(out);
        char what[32];
        (void)snprintf(what, sizeof(what), "as v%d", way[i] + 1);
        print_bytes(what, &now);
        print_tree(schema_service(c->schemas[way[i]])->methods[0].input, &now);
    }
    buffer_free(&now);
}

static void print_case(const struct shrink *shrink)
{
    const struct law_case *c = shrink->c;
    const struct law_failure *failure = shrink->failure;
    for (int i = 0; i < c->version_count; i++) {
        (void)printf("---- v%d.proto\n", i + 1);
        describe_proto(&c->versions[i], stdout);
    }
    (void)printf("---- from v%d to v%d\n", failure->from + 1, failure->to + 1);
    if (failure->law != LAW_COMPILE) {
        print_bytes("message", &shrink->message);
        print_tree(schema_service(c->schemas[failure->from])->methods[0].input, &shrink->message);
        print_road(c, failure->from, failure->to, &shrink->message);
    }
    (void)printf("BROKEN, seed %llu: %s: %s\n", (unsigned long long)c->seed,
                 law_names[failure->law], failure->why.text);
    (void)printf("again: ./run test laws --count 1 --seed %llu\n", (unsigned long long)c->seed);
}

void shrink_and_print(struct law_case *c, struct buffer *message, struct law_failure *failure)
{
    struct shrink shrink = {.c = c, .failure = failure};
    buffer_add(&shrink.message, message->data, message->bytes);
    for (bool smaller = true; smaller;) {
        smaller = failure->law != LAW_COMPILE && shrink_message(&shrink);
        smaller |= shrink_versions(&shrink);
    }
    print_case(&shrink);
    buffer_free(&shrink.message);
}
