/*
 * libyaml's events, made into a tree by one recursive descent. Its depth and its nodes are bounded
 * here, because libyaml bounds neither; an alias is refused before anything could be made of it, so
 * a document is never more than it looks.
 */
#include "rollout/tree.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/cleanup.h"
#include "rollout/rollout.h"

DEFINE_CLEANUP(struct node *, node_free);

struct reader {
    yaml_parser_t yaml;
    const char *file;
    uint32_t nodes, depth;
    struct error_text *error;
};

struct node *node_free(struct node *node)
{
    if (!node)
        return NULL;
    for (struct node *child = node->first, *next; child; child = next) {
        next = child->next;
        (void)node_free(child);
    }
    free(node->text);
    free(node->key);
    free(node);
    return NULL;
}

bool node_is_null(const struct node *node)
{
    if (node->kind != NODE_SCALAR || !node->plain)
        return false;
    return !*node->text || strcmp(node->text, "~") == 0 || strcmp(node->text, "null") == 0;
}

const char *node_kind_name(const struct node *node)
{
    static const char *const names[] = {"a scalar", "a mapping", "a list"};
    return node_is_null(node) ? "nothing" : names[node->kind];
}

static int fail_at(const struct reader *reader, yaml_mark_t mark, int code, const char *what)
{
    return error_set(reader->error, code, "%s:%zu:%zu: %s", reader->file, mark.line + 1,
                     mark.column + 1, what);
}

/* What libyaml did not like; for bytes that are no UTF-8 it knows an offset, not a line. */
static int fail_syntax(struct reader *reader)
{
    const yaml_parser_t *yaml = &reader->yaml;
    if (yaml->error == YAML_MEMORY_ERROR)
        return error_set(reader->error, -ENOMEM, "%s: no memory", reader->file);
    if (yaml->error == YAML_READER_ERROR)
        return error_set(reader->error, -EINVAL,
                         "%s:%zu:%zu: %s, near byte %zu: UTF-8 text was expected", reader->file,
                         yaml->mark.line + 1, yaml->mark.column + 1, yaml->problem,
                         yaml->problem_offset + 1);
    return error_set(reader->error, -EINVAL, "%s:%zu:%zu: this is no YAML: %s%s%s", reader->file,
                     yaml->problem_mark.line + 1, yaml->problem_mark.column + 1,
                     yaml->problem ? yaml->problem : "it cannot be read", yaml->context ? ", " : "",
                     yaml->context ? yaml->context : "");
}

static int next_event(struct reader *reader, yaml_event_t *ret_event)
{
    return yaml_parser_parse(&reader->yaml, ret_event) ? 0 : fail_syntax(reader);
}

static bool has_anchor_or_tag(const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return event->data.scalar.anchor || event->data.scalar.tag;
    case YAML_SEQUENCE_START_EVENT:
        return event->data.sequence_start.anchor || event->data.sequence_start.tag;
    case YAML_MAPPING_START_EVENT:
        return event->data.mapping_start.anchor || event->data.mapping_start.tag;
    default:
        return false;
    }
}

static int node_new(struct reader *reader, const yaml_event_t *event, struct node **ret_node)
{
    _cleanup_(node_freep) struct node *node = calloc(1, sizeof(*node));
    if (!node)
        return fail_at(reader, event->start_mark, -ENOMEM, "no memory");
    node->line = (uint32_t)event->start_mark.line + 1;
    node->column = (uint32_t)event->start_mark.column + 1;
    node->kind = event->type == YAML_SCALAR_EVENT          ? NODE_SCALAR
                 : event->type == YAML_MAPPING_START_EVENT ? NODE_MAPPING
                                                           : NODE_LIST;
    if (node->kind == NODE_SCALAR) {
        node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
        node->bytes = event->data.scalar.length;
        node->text = malloc(node->bytes + 1);
        if (!node->text)
            return fail_at(reader, event->start_mark, -ENOMEM, "no memory");
        memcpy(node->text, event->data.scalar.value, node->bytes);
        node->text[node->bytes] = '\0';
        if (strlen(node->text) != node->bytes)
            return fail_at(reader, event->start_mark, -EINVAL,
                           "a NUL character in a value: text without one was expected");
    }
    *ret_node = steal_ptr(&node);
    return 0;
}

static void add_child(struct node *parent, struct node *child)
{
    if (parent->last)
        parent->last->next = child;
    else
        parent->first = child;
    parent->last = child;
}

static int read_node(struct reader *reader, const yaml_event_t *event, struct node **ret_node);

static int read_list(struct reader *reader, struct node *list)
{
    for (;;) {
        yaml_event_t event;
        struct node *child = NULL;
        int r = next_event(reader, &event);
        if (r < 0)
            return r;
        bool end = event.type == YAML_SEQUENCE_END_EVENT;
        if (!end)
            r = read_node(reader, &event, &child);
        yaml_event_delete(&event);
        if (r < 0 || end)
            return r;
        add_child(list, child);
    }
}

static int check_key(struct reader *reader, const struct node *mapping, const yaml_event_t *event)
{
    if (event->type != YAML_SCALAR_EVENT)
        return fail_at(reader, event->start_mark, -EINVAL,
                       "this key is a list, a mapping or an alias: a plain key was expected");
    const char *key = (const char *)event->data.scalar.value;
    if (strlen(key) != event->data.scalar.length)
        return fail_at(reader, event->start_mark, -EINVAL, "a NUL character in a key");
    for (const struct node *child = mapping->first; child; child = child->next)
        if (strcmp(child->key, key) == 0)
            return error_set(reader->error, -EINVAL,
                             "%s:%zu:%zu: the key \"%.64s\" is there twice: it is in line %u",
                             reader->file, event->start_mark.line + 1, event->start_mark.column + 1,
                             key, child->key_line);
    return 0;
}

/* One key and what belongs to it. @ret_end: there was none, but the mapping's end. */
static int read_pair(struct reader *reader, struct node *mapping, bool *ret_end)
{
    yaml_event_t event;
    _cleanup_(node_freep) struct node *key = NULL;
    struct node *child = NULL;
    int r = next_event(reader, &event);
    if (r < 0)
        return r;
    *ret_end = event.type == YAML_MAPPING_END_EVENT;
    if (!*ret_end)
        r = check_key(reader, mapping, &event);
    if (r == 0 && !*ret_end)
        r = read_node(reader, &event, &key);
    yaml_event_delete(&event);
    if (r < 0 || *ret_end)
        return r;
    r = next_event(reader, &event);
    if (r < 0)
        return r;
    r = read_node(reader, &event, &child);
    yaml_event_delete(&event);
    if (r < 0)
        return r;
    child->key = steal_ptr(&key->text);
    child->key_line = key->line;
    child->key_column = key->column;
    add_child(mapping, child);
    return 0;
}

static int read_mapping(struct reader *reader, struct node *mapping)
{
    bool end = false;
    int r = 0;
    while (r == 0 && !end)
        r = read_pair(reader, mapping, &end);
    return r;
}

static int check_event(struct reader *reader, const yaml_event_t *event)
{
    if (event->type == YAML_ALIAS_EVENT)
        return fail_at(reader, event->start_mark, -EINVAL,
                       "an alias (*name): write the value out, documents here have no aliases");
    if (has_anchor_or_tag(event))
        return fail_at(reader, event->start_mark, -EINVAL,
                       "an anchor (&name) or a tag (!name): documents here have neither");
    if (++reader->nodes > ROLLOUT_NODE_MAX)
        return error_set(reader->error, -E2BIG,
                         "%s:%zu:%zu: more than %d keys, values and lists: a smaller document was "
                         "expected",
                         reader->file, event->start_mark.line + 1, event->start_mark.column + 1,
                         ROLLOUT_NODE_MAX);
    if (event->type != YAML_SCALAR_EVENT && reader->depth == ROLLOUT_DEPTH_MAX)
        return error_set(reader->error, -E2BIG,
                         "%s:%zu:%zu: more than %d lists and mappings in each other", reader->file,
                         event->start_mark.line + 1, event->start_mark.column + 1,
                         ROLLOUT_DEPTH_MAX);
    return 0;
}

static int read_node(struct reader *reader, const yaml_event_t *event, struct node **ret_node)
{
    _cleanup_(node_freep) struct node *node = NULL;
    int r = check_event(reader, event);
    if (r == 0)
        r = node_new(reader, event, &node);
    if (r < 0)
        return r;
    reader->depth += node->kind != NODE_SCALAR;
    if (node->kind == NODE_MAPPING)
        r = read_mapping(reader, node);
    else if (node->kind == NODE_LIST)
        r = read_list(reader, node);
    if (r < 0)
        return r;
    reader->depth -= node->kind != NODE_SCALAR;
    *ret_node = steal_ptr(&node);
    return 0;
}

/* Reads events up to the first one of another type than those; @event is the caller's to delete. */
static int skip_to(struct reader *reader, yaml_event_t *event, yaml_event_type_t a,
                   yaml_event_type_t b)
{
    for (;;) {
        int r = next_event(reader, event);
        if (r < 0 || (event->type != a && event->type != b))
            return r;
        yaml_event_delete(event);
    }
}

static int read_document(struct reader *reader, struct node **ret_root)
{
    _cleanup_(node_freep) struct node *root = NULL;
    yaml_event_t event;
    int r = skip_to(reader, &event, YAML_STREAM_START_EVENT, YAML_DOCUMENT_START_EVENT);
    if (r < 0)
        return r;
    if (event.type == YAML_STREAM_END_EVENT)
        r = fail_at(reader, event.start_mark, -EINVAL, "the document is empty");
    else
        r = read_node(reader, &event, &root);
    yaml_event_delete(&event);
    if (r < 0)
        return r;
    r = skip_to(reader, &event, YAML_DOCUMENT_END_EVENT, YAML_DOCUMENT_END_EVENT);
    if (r < 0)
        return r;
    if (event.type != YAML_STREAM_END_EVENT)
        r = fail_at(reader, event.start_mark, -EINVAL,
                    "a second document: one document in a file was expected");
    yaml_event_delete(&event);
    if (r == 0)
        *ret_root = steal_ptr(&root);
    return r;
}

int tree_read(const char *text, size_t bytes, const char *file, struct node **ret_root,
              struct error_text *error)
{
    struct reader reader = {.file = file, .error = error};
    if (!yaml_parser_initialize(&reader.yaml))
        return error_set(error, -ENOMEM, "%s: no memory", file);
    yaml_parser_set_encoding(&reader.yaml, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&reader.yaml, (const unsigned char *)text, bytes);
    int r = read_document(&reader, ret_root);
    yaml_parser_delete(&reader.yaml);
    return r;
}
