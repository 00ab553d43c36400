/*
 * A version between two: rules on a field's value together with rules on its structure.
 *
 * "The text is a number now, and it has moved" is two changes. Either alone is a rule with an exact
 * meaning (converts.c; shapes.c, moves.c, regroup.c, rules.c), and a path over two steps does what
 * its steps do, one after another. So where a field has both, the compiler makes the version that
 * would have stood between the two had they been made one at a time, and compiles the path over it:
 * all that holds for paths holds for these, and nothing here knows what any rule does to a message.
 *
 * That version is the older one in a package of its own, with changes to the fields in question.
 * The value is converted where it is bare, or one of the fewest, so that no type that other fields
 * use as well has to be in two forms, and nothing is converted that is only carried:
 *
 * - convert, then restructure: wrap, split, pick from a singular value, entries of a map, oneofs,
 *   move;
 * - restructure, then convert: unwrap, merge, pick from a list, entries to a map.
 *
 * What is divided so is taken out of the newer version's rules, and stands in the one between.
 * Names of packages are part of what carriers say, so the one between is named after the newer one.
 *
 * Here is which fields are divided, and how their rules; between_files.c writes it into the files.
 */
#include "translate/between_inner.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "translate/compile.h"

#define FIELD_MAX 256 /* that are divided */

/* ---- What a field's rules change ---- */

static const struct schema_field *source_of(const struct schema_message *older,
                                            const struct schema_field *newer)
{
    const char *from = newer->rule ? newer->rule->from : NULL;
    return schema_field_find(older, from ? from : newer->name);
}

static size_t member_count(const struct schema_message *message, const struct schema_field *field)
{
    size_t count = 0;
    for (size_t i = 0; i < message->field_count && field->oneof >= 0; i++)
        count += message->fields[i].oneof == field->oneof;
    return count;
}

/* Whether the field is in a oneof that does not have the same members in both versions. */
static bool is_regrouped(const struct pair *pair)
{
    const struct schema_message *older = pair->older_message, *newer = pair->newer_message;
    size_t before = member_count(older, pair->older), now = member_count(newer, pair->newer);
    if (before <= 1 && now <= 1)
        return false;
    size_t pairs = 0;
    for (size_t i = 0; i < newer->field_count && pair->newer->oneof >= 0; i++) {
        const struct schema_field *field = &newer->fields[i];
        const struct schema_field *source =
            field->oneof == pair->newer->oneof ? source_of(older, field) : NULL;
        pairs += source && pair->older->oneof >= 0 && source->oneof == pair->older->oneof;
    }
    return pairs != before || pairs != now;
}

static const struct schema_field *inside(const struct schema_field *field, const char *name)
{
    return field->message && name ? schema_field_find(field->message, name) : NULL;
}

/* What the one rule on structure that the pair has takes apart; pair->from NULL: it has none, or
 * what it names is not there, which the compiler says. */
static void classify(struct pair *pair)
{
    static const Parley__FieldRule none = PARLEY__FIELD_RULE__INIT;
    const Parley__FieldRule *rule = pair->newer->rule ? pair->newer->rule : &none;
    const struct schema_field *older = pair->older, *newer = pair->newer;
    pair->from = older;
    pair->to = newer;
    pair->first = true;
    if (rule->wrap) {
        pair->to = inside(newer, rule->wrap);
    } else if (rule->unwrap) {
        pair->from = inside(older, rule->unwrap);
        pair->first = false;
    } else if (rule->split || rule->merge) {
        pair->first = rule->split != NULL;
    } else if (rule->has_pick && rule->pick != PARLEY__PICK__PICK_NONE) {
        pair->first = !older->repeated;
    } else if (rule->entries) {
        pair->first = between_is_map(older);
        pair->from = between_is_map(older) ? &older->message->fields[1]
                                           : inside(older, rule->entries->value);
        pair->to = between_is_map(newer) ? &newer->message->fields[1]
                                         : inside(newer, rule->entries->value);
    } else if (!is_regrouped(pair)) {
        pair->from = NULL;
    }
    if (!pair->to)
        pair->from = NULL;
}

/* ---- Who else reads a field ---- */

/* The field at the end of a path, and the message that it is in; NULL: none, which the compiler
 * says. */
static const struct schema_field *follow(const struct schema_message *message, const char *path,
                                         const struct schema_message **ret_message)
{
    for (;;) {
        char name[SCHEMA_NAME_BYTES_MAX + 1];
        size_t bytes = path ? strcspn(path, ".") : sizeof(name);
        if (bytes >= sizeof(name))
            return NULL;
        memcpy(name, path, bytes);
        name[bytes] = '\0';
        const struct schema_field *field = schema_field_find(message, name);
        *ret_message = message;
        if (!field || path[bytes] == '\0')
            return field;
        if (!field->message)
            return NULL;
        message = field->message;
        path += bytes + 1;
    }
}

static bool mentions(const char *pattern, const char *name)
{
    size_t bytes = strlen(name);
    for (const char *at = pattern ? strchr(pattern, '{') : NULL; at; at = strchr(at + 1, '{'))
        if (strncmp(at + 1, name, bytes) == 0 && at[1 + bytes] == '}')
            return true;
    return false;
}

/* Whether a rule on a field that comes from such a message takes the older field out of it. */
static bool takes_out(const Parley__FieldRule *rule, const char *name)
{
    const char *names[] = {rule->unwrap, rule->entries ? rule->entries->key : NULL,
                           rule->entries ? rule->entries->value : NULL};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (names[i] && strcmp(names[i], name) == 0)
            return true;
    return rule->merge && mentions(rule->merge->pattern, name);
}

/* How many rules, and pairs of fields, read the older field. One that is in another form in the
 * version between must be read by none but the one that is divided. */
static size_t reader_count(const struct maker *maker, const struct pair *pair)
{
    size_t count, readers = 0;
    const struct schema_message *const *messages = schema_messages(maker->newer, &count);
    for (size_t i = 0; i < count; i++) {
        const struct schema_message *newer = messages[i], *older;
        if (strcmp(newer->package, schema_service(maker->newer)->package) != 0 || newer->map_entry)
            continue;
        older = between_find_older(maker, newer);
        for (size_t k = 0; older && k < newer->field_count; k++) {
            const struct schema_field *source = source_of(older, &newer->fields[k]);
            const Parley__FieldRule *rule = newer->fields[k].rule;
            readers += source == pair->older;
            readers += source && rule && source->message == pair->older_message &&
                       takes_out(rule, pair->older->name);
        }
        for (size_t k = 0; older && newer->rule && k < newer->rule->n_move; k++) {
            const struct schema_message *at;
            readers += follow(older, newer->rule->move[k]->from, &at) == pair->older;
        }
    }
    return readers;
}

/* ---- Dividing a field's rules ---- */

/* The rules on the value go into @ret_value, those on the structure into @ret_shape. */
static void divide_rules(const Parley__FieldRule *rule, Parley__FieldRule *ret_value,
                         Parley__FieldRule *ret_shape)
{
    parley__field_rule__init(ret_value);
    *ret_shape = *rule;
    ret_value->has_multiply = rule->has_multiply;
    ret_value->multiply = rule->multiply;
    ret_value->convert = rule->convert;
    ret_value->lossy = rule->lossy;
    ret_shape->has_multiply = false;
    ret_shape->convert = NULL;
    ret_shape->lossy = NULL;
    ret_shape->from = NULL;
}

static int divide(struct maker *maker, const struct pair *pair)
{
    if (maker->divided == FIELD_MAX)
        return between_error(maker, pair,
                             "more than 256 fields change both value and structure; change them in "
                             "two versions");
    if (reader_count(maker, pair) > 1)
        return between_error(
            maker, pair,
            "the field changes both its value and its structure, and another rule "
            "takes it as it was; change the value in one version and the structure "
            "in the next");
    maker->divided++;
    if (!maker->before) /* only to know whether there is anything to divide */
        return 0;
    Field *before = between_find_field(maker->before, pair->older_message, pair->older);
    Field *after = between_find_field(maker->after, pair->newer_message, pair->newer);
    Parley__FieldRule value, shape;
    int r = 0;
    if (!before || !after)
        return 0;
    divide_rules(pair->newer->rule ? pair->newer->rule
                                   : &(Parley__FieldRule)PARLEY__FIELD_RULE__INIT,
                 &value, &shape);
    if (pair->first) {
        Field *of = between_is_map(pair->older)
                        ? between_find_field(maker->before, pair->older->message, pair->from)
                        : before;
        r = of ? between_set_newer_type(maker, pair, of) : 0;
        between_set_rule(maker, before, &value);
        shape.from = (char *)(uintptr_t)pair->older->name;
        if (pair->newer->rule && !maker->failed)
            between_set_rule(maker, after, &shape);
    } else {
        between_set_older_value(maker, pair, before);
        between_set_rule(maker, before, &shape);
        value.from = (char *)(uintptr_t)pair->older->name;
        between_set_rule(maker, after, &value);
    }
    return r;
}

/* Whether values of the two enums have to be carried along, which rules on structure cannot. */
static bool is_mapped(const struct maker *maker, const struct pair *pair)
{
    struct error_text text;
    bool mapped = false;
    for (int up = 0; up < 2 && !mapped; up++) {
        struct compiler compiler = {.error = &text,
                                    .newer_is_target = up,
                                    .newer_package = schema_service(maker->newer)->package,
                                    .older_package = schema_service(maker->older)->package};
        struct pairing pairing = {.compiler = &compiler,
                                  .source = up ? pair->older_message : pair->newer_message,
                                  .target = up ? pair->newer_message : pair->older_message,
                                  .newer = pair->newer_message,
                                  .older = pair->older_message};
        struct enum_map map;
        mapped = rules_enum(&pairing, up ? pair->from : pair->to, up ? pair->to : pair->from, true,
                            &map) == -EINVAL;
        builder_deinit(&compiler.builder);
    }
    return mapped;
}

/* Whether the field has rules of both kinds. */
static bool has_both(const struct maker *maker, const struct pair *pair)
{
    const Parley__FieldRule *rule = pair->newer->rule;
    bool told = rule && (rule->convert || rule->has_multiply);
    if (!pair->from ||
        (!told && !(pair->from->enumeration && pair->to->enumeration && is_mapped(maker, pair))))
        return false;
    return true;
}

static int divide_fields(struct maker *maker, const struct schema_message *newer,
                         const struct schema_message *older)
{
    int r = 0;
    for (size_t i = 0; i < newer->field_count && r == 0; i++) {
        struct pair pair = {.older_message = older,
                            .newer_message = newer,
                            .older = source_of(older, &newer->fields[i]),
                            .newer = &newer->fields[i]};
        if (!pair.older)
            continue;
        classify(&pair);
        if (has_both(maker, &pair))
            r = divide(maker, &pair);
    }
    return r;
}

static int divide_moves(struct maker *maker, const struct schema_message *newer,
                        const struct schema_message *older)
{
    int r = 0;
    for (size_t i = 0; newer->rule && i < newer->rule->n_move && r == 0; i++) {
        const Parley__Move *move = newer->rule->move[i];
        struct pair pair = {.first = true};
        pair.older = follow(older, move->from, &pair.older_message);
        pair.newer = follow(newer, move->to, &pair.newer_message);
        pair.from = pair.older;
        pair.to = pair.newer;
        if (!pair.older || !pair.newer || pair.newer->message || between_is_map(pair.older) ||
            !has_both(maker, &pair))
            continue;
        r = divide(maker, &pair);
        Field *after =
            maker->after ? between_find_field(maker->after, pair.newer_message, pair.newer) : NULL;
        if (after && after->options) /* the move says where it comes from */
            between_set_option(maker, &after->options->base, NULL);
    }
    return r;
}

/* ---- The two schemas ---- */

static int divide_all(struct maker *maker)
{
    size_t count;
    const struct schema_message *const *messages = schema_messages(maker->newer, &count);
    int r = 0;
    for (size_t i = 0; i < count && r == 0; i++) {
        const struct schema_message *newer = messages[i], *older;
        if (strcmp(newer->package, schema_service(maker->newer)->package) != 0 || newer->map_entry)
            continue;
        older = between_find_older(maker, newer);
        if (older)
            r = divide_fields(maker, newer, older);
        if (older && r == 0)
            r = divide_moves(maker, newer, older);
    }
    return r;
}

static int make(struct maker *maker, struct between *ret_between)
{
    int r = divide_all(maker);
    if (r < 0 || maker->divided == 0)
        return r;
    r = between_unpack(maker->older, &maker->before, maker->error);
    if (r == 0)
        r = between_unpack(maker->newer, &maker->after, maker->error);
    if (r < 0)
        return r;
    between_begin(maker);
    maker->divided = 0;
    r = divide_all(maker);
    if (maker->failed)
        return error_set(maker->error, -ENOMEM, "out of memory while compiling a plan");
    if (r < 0)
        return r;
    r = between_read(maker->before, maker->package, maker->older, &ret_between->before,
                     maker->error);
    if (r == 0)
        r = between_read(maker->after, schema_service(maker->newer)->package, maker->newer,
                         &ret_between->newer, maker->error);
    return r < 0 ? r : 1;
}

int between_make(const struct schema *older, const struct schema *newer,
                 struct between *ret_between, struct error_text *error)
{
    struct maker maker = {.older = older, .newer = newer, .error = error};
    *ret_between = (struct between){0};
    int n = snprintf(maker.package, sizeof(maker.package), "%s" BETWEEN_SUFFIX,
                     schema_service(newer)->package);
    int r = n < (int)sizeof(maker.package) ? make(&maker, ret_between) : 0;
    if (r <= 0)
        between_deinit(ret_between);
    wire_free(maker.before);
    wire_free(maker.after);
    between_free_pieces(&maker);
    return r;
}

void between_deinit(struct between *between)
{
    schema_unref(between->before);
    schema_unref(between->newer);
    *between = (struct between){0};
}
