/*
 * Whether two descriptor sets are the same interface, as far as calls can tell: the same methods in
 * the same order over messages with the same fields. What may differ is what does not travel:
 * options (and with them the rules of translation), comments, the order of files, messages that no
 * method uses. Between two such sets nothing has to be translated, and each may stand for the other
 * when plans are compiled.
 */
#include "broker/broker.h"

#include <stdlib.h>
#include <string.h>

/* Messages may refer to themselves: a pair that is being compared, or was, counts as the same. */
struct comparison {
    const struct schema_message *(*pairs)[2];
    size_t count, max;
    struct error_text *error;
};

static bool differ(struct comparison *comparison, const char *where, const char *what)
{
    error_set(comparison->error, 0, "%s: %s", where, what);
    return false;
}

static bool note_pair(struct comparison *comparison, const struct schema_message *a,
                      const struct schema_message *b, bool *ret_known)
{
    for (size_t i = 0; i < comparison->count; i++)
        if (comparison->pairs[i][0] == a && comparison->pairs[i][1] == b) {
            *ret_known = true;
            return true;
        }
    *ret_known = false;
    if (comparison->count == comparison->max) {
        size_t max = comparison->max ? 2 * comparison->max : 32;
        void *grown = realloc(comparison->pairs, max * sizeof(*comparison->pairs));
        if (!grown || max > 2 * SCHEMA_MESSAGE_MAX) {
            if (grown)
                comparison->pairs = grown;
            return false;
        }
        comparison->pairs = grown;
        comparison->max = max;
    }
    comparison->pairs[comparison->count][0] = a;
    comparison->pairs[comparison->count][1] = b;
    comparison->count++;
    return true;
}

static bool same_enum(struct comparison *comparison, const struct schema_enum *a,
                      const struct schema_enum *b)
{
    if (strcmp(a->name, b->name) != 0 || a->closed != b->closed || a->value_count != b->value_count)
        return differ(comparison, a->name, "another enum");
    for (size_t i = 0; i < a->value_count; i++)
        if (a->values[i].number != b->values[i].number ||
            strcmp(a->values[i].name, b->values[i].name) != 0)
            return differ(comparison, a->name, "other values");
    return true;
}

static bool same_field(struct comparison *comparison, const struct schema_message *message,
                       const struct schema_field *a, const struct schema_field *b)
{
    const char *a_default = a->default_value ? a->default_value : "";
    const char *b_default = b->default_value ? b->default_value : "";
    if (a->number != b->number || a->type != b->type || a->repeated != b->repeated ||
        a->required != b->required || a->presence != b->presence || strcmp(a->name, b->name) != 0 ||
        strcmp(a_default, b_default) != 0)
        return differ(comparison, message->name, "other fields");
    if (a->enumeration && !same_enum(comparison, a->enumeration, b->enumeration))
        return false;
    return true;
}

/* One message's own fields; those that they refer to are put on the list, so that depth is no
 * matter of the stack. */
static bool same_message(struct comparison *comparison, const struct schema_message *a,
                         const struct schema_message *b)
{
    if (strcmp(a->name, b->name) != 0 || a->field_count != b->field_count)
        return differ(comparison, a->name, "another message");
    for (size_t i = 0; i < a->field_count; i++) {
        bool known;
        if (!same_field(comparison, a, &a->fields[i], &b->fields[i]))
            return false;
        if (a->fields[i].message &&
            !note_pair(comparison, a->fields[i].message, b->fields[i].message, &known))
            return differ(comparison, a->name, "too large to compare");
    }
    return true;
}

static bool same_methods(struct comparison *comparison, const struct schema_service *a,
                         const struct schema_service *b)
{
    if (strcmp(a->name, b->name) != 0 || a->method_count != b->method_count)
        return differ(comparison, a->name, "another service");
    for (size_t i = 0; i < a->method_count; i++) {
        const struct schema_method *x = &a->methods[i];
        const struct schema_method *y = &b->methods[i];
        bool known;
        if (strcmp(x->name, y->name) != 0 || x->client_streaming != y->client_streaming ||
            x->server_streaming != y->server_streaming || x->idempotency != y->idempotency)
            return differ(comparison, x->name, "another method");
        if (!note_pair(comparison, x->input, y->input, &known) ||
            !note_pair(comparison, x->output, y->output, &known))
            return differ(comparison, x->name, "too large to compare");
    }
    return true;
}

bool schema_same(const struct schema *a, const struct schema *b, struct error_text *error)
{
    size_t a_bytes;
    size_t b_bytes;
    const uint8_t *a_set = schema_set(a, &a_bytes);
    const uint8_t *b_set = schema_set(b, &b_bytes);
    if (a_bytes == b_bytes && memcmp(a_set, b_set, a_bytes) == 0)
        return true;
    struct comparison comparison = {.error = error};
    bool same = same_methods(&comparison, schema_service(a), schema_service(b));
    for (size_t i = 0; same && i < comparison.count; i++) /* the list grows as we go */
        same = same_message(&comparison, comparison.pairs[i][0], comparison.pairs[i][1]);
    free(comparison.pairs);
    return same;
}
