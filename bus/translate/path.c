/*
 * From versions to plans: what the rest of the bus calls the compiler by.
 *
 * Most pairs of versions are one step. A pair in which a field has rules of both kinds, on its
 * value and on its structure, is two, over a version in between (between.c). Whether it is follows
 * from the two schemas alone, whatever messages a plan is for: what one plan carries another brings
 * back, and carriers are named after the versions on the way. A path is the steps between its
 * neighbours, each of them one or two; versions in between do not count towards PLAN_PATH_MAX.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "translate/between.h"
#include "translate/compile.h"

/* A path with the versions that stand in between. */
struct path {
    const struct schema *versions[PLAN_VERSION_MAX];
    size_t count;
    struct between betweens[PLAN_PATH_MAX];
    size_t between_count;
};

static void path_deinit(struct path *path)
{
    for (size_t i = 0; i < path->between_count; i++)
        between_deinit(&path->betweens[i]);
}

static const char *package_of(const struct schema *schema)
{
    return schema_service(schema)->package;
}

static bool names_as_previous(const struct schema *newer, const struct schema *older)
{
    const char *previous = schema_service(newer)->interface->previous;
    return previous && strcmp(previous, package_of(older)) == 0;
}

/* between_make() of two neighbours, of which either may be the newer one. */
static int make_between(const struct schema *a, const struct schema *b, bool *ret_b_is_newer,
                        struct between *ret_between, struct error_text *error)
{
    *ret_b_is_newer = names_as_previous(b, a);
    *ret_between = (struct between){0};
    if (strcmp(package_of(a), package_of(b)) == 0 || *ret_b_is_newer == names_as_previous(a, b))
        return 0; /* one package; or no relation, which the compiler says */
    return *ret_b_is_newer ? between_make(a, b, ret_between, error)
                           : between_make(b, a, ret_between, error);
}

/* Puts in what stands between neighbours. What cannot be divided, which @error then says, may be of
 * no message that the plan is for. Return: 0, however many; -E2BIG, -ENOMEM. */
static int path_divide(struct path *path, const struct schema *const *versions, size_t count,
                       struct error_text *error)
{
    path->versions[path->count++] = versions[0];
    for (size_t i = 1; i < count; i++) {
        struct between *between = &path->betweens[path->between_count];
        const struct schema **from = &path->versions[path->count - 1], *to = versions[i];
        bool to_is_newer;
        int r = make_between(*from, to, &to_is_newer, between, error);
        if (r < 0 && r != -EINVAL)
            return r;
        if (r > 0) {
            path->between_count++;
            *(to_is_newer ? &to : from) = between->newer;
            path->versions[path->count++] = between->before;
        }
        path->versions[path->count++] = to;
    }
    return 0;
}

static int compile(const struct schema *const *versions, size_t count, enum plan_payload payload,
                   struct plan **ret_plan, struct error_text *error)
{
    if (count <= 2)
        return compile_pair(versions[0], versions[count - 1], payload, ret_plan, error);
    int r = chain_compile(versions, count, payload, false, ret_plan, error);
    /* Rules that cannot be fused, which only the verifier has seen: step by step, then. */
    return r == -EBADMSG ? chain_compile(versions, count, payload, true, ret_plan, error) : r;
}

/* Nobody has written the version in between: what is said of it is said of the older or newer one.
 */
static void name_ends(struct error_text *error, const char *older, const char *newer)
{
    char before[SCHEMA_NAME_BYTES_MAX + 2], text[sizeof(error->text)] = "";
    size_t used = 0, bytes = strlen(newer) + sizeof(BETWEEN_SUFFIX) - 1;
    (void)snprintf(before, sizeof(before), "%s" BETWEEN_SUFFIX, newer);
    /* The step to the newer one speaks of that as well. */
    bool is_second = false;
    for (const char *at = error->text; (at = strstr(at, newer)); at++)
        is_second |= at[strlen(newer)] == '.';
    for (const char *at = error->text; *at && used + 1 < sizeof(text);) {
        const char *name = is_second ? older : newer;
        if (strncmp(at, before, bytes) != 0) {
            text[used++] = *at++;
            continue;
        }
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s", name);
        used = used < sizeof(text) ? used : sizeof(text) - 1;
        at += bytes;
    }
    text[used] = '\0';
    memcpy(error->text, text, sizeof(text));
}

static void name_versions(struct error_text *error, const struct schema *const *versions,
                          size_t count)
{
    for (size_t i = 1; i < count && error; i++) {
        const struct schema *a = versions[i - 1], *b = versions[i];
        if (names_as_previous(b, a))
            name_ends(error, package_of(a), package_of(b));
        else if (names_as_previous(a, b))
            name_ends(error, package_of(b), package_of(a));
    }
}

int plan_compile_path(const struct schema *const *versions, size_t count, enum plan_payload payload,
                      struct plan **ret_plan, struct error_text *error)
{
    if (count < 1 || count > PLAN_PATH_MAX)
        return error_set(error, -EINVAL,
                         "a path of %zu versions; it may have 1 to %d: declare a newer version's "
                         "relation to one that is nearer",
                         count, PLAN_PATH_MAX);
    _cleanup_(path_deinit) struct path path = {.count = 0};
    struct error_text text = {""};
    int divided = path_divide(&path, versions, count, &text);
    if (divided < 0)
        return error_set(error, divided, "%s", text.text);
    int r = compile(path.versions, path.count, payload, ret_plan, error);
    if (r < 0 && path.between_count > 0)
        name_versions(error, versions, count);
    if (r == -EINVAL && text.text[0] && error) {
        struct error_text said = *error;
        size_t element = strcspn(text.text, ":") + 1;
        /* Of one field, that it cannot be divided is what matters. */
        if (strncmp(said.text, text.text, element) == 0)
            *error = text;
        else
            (void)error_set(error, r, "%s; %s", said.text, text.text);
    }
    return r;
}

int plan_compile(const struct schema *client, const struct schema *service,
                 enum plan_payload payload, struct plan **ret_plan, struct error_text *error)
{
    const struct schema *versions[] = {client, service};
    return plan_compile_path(versions, 2, payload, ret_plan, error);
}

/* ---- Checking ---- */

/* What a step over the version in between is complained of, as if it were of the two themselves. */
struct listener {
    plan_complain *complain;
    void *context;
    const struct schema *older, *newer;
    const struct between *between;
};

static const struct schema_message *same_message(const struct schema *schema,
                                                 const struct schema_message *message, bool newer)
{
    size_t count;
    const struct schema_message *const *list = schema_messages(schema, &count);
    for (size_t i = 0; message && i < count; i++) {
        const char *name =
            newer && list[i]->rule && list[i]->rule->from ? list[i]->rule->from : list[i]->local;
        if (strcmp(name, message->local) == 0 && strcmp(list[i]->package, package_of(schema)) == 0)
            return list[i];
    }
    return NULL;
}

static const struct schema_field *same_field(const struct schema_message *message,
                                             const struct schema_field *field, bool newer)
{
    for (size_t i = 0; message && field && i < message->field_count; i++) {
        const struct schema_field *one = &message->fields[i];
        const char *name = newer && one->rule && one->rule->from ? one->rule->from : one->name;
        if (strcmp(name, field->name) == 0)
            return one;
    }
    return NULL;
}

/* Names are those of the older version, up to the one between. */
static void hear(void *context, const struct plan_complaint *complaint)
{
    const struct listener *listener = context;
    struct error_text text;
    (void)error_set(&text, 0, "%s", complaint->sentence);
    name_ends(&text, package_of(listener->older), package_of(listener->newer));
    struct plan_complaint told = {.method = complaint->method, .sentence = text.text};
    const struct schema_message *newer = complaint->newer;
    bool before = newer && strcmp(newer->package, package_of(listener->between->before)) == 0;
    told.newer = same_message(listener->newer, newer, before);
    told.older = same_message(listener->older, complaint->older, false);
    told.newer_field = same_field(told.newer, complaint->newer_field, before);
    told.older_field = same_field(told.older, complaint->older_field, false);
    if (!told.newer_field || !told.older_field)
        told.newer_field = told.older_field = NULL;
    listener->complain(listener->context, &told);
}

/* Both steps. */
static int check_steps(struct listener *listener, bool service_is_newer, enum plan_payload payload,
                       struct error_text *error)
{
    const struct schema *steps[] = {listener->older, listener->between->before,
                                    listener->between->newer};
    int result = 0;
    for (int i = 0; i < 2; i++) {
        const struct schema *client = steps[service_is_newer ? i : i + 1];
        const struct schema *service = steps[service_is_newer ? i + 1 : i];
        int r = compile_check(client, service, payload, hear, listener, error);
        if (r < 0 && result != -ENOMEM)
            result = r;
    }
    return result;
}

int plan_check(const struct schema *client, const struct schema *service, enum plan_payload payload,
               plan_complain *complain, void *context, struct error_text *error)
{
    struct between between;
    struct error_text text = {""};
    bool service_is_newer;
    int made = make_between(client, service, &service_is_newer, &between, &text);
    if (made == -ENOMEM)
        return error_set(error, made, "%s", text.text);
    if (made <= 0) {
        int r = compile_check(client, service, payload, complain, context, error);
        if (r == -EINVAL && made < 0)
            complain(context, &(struct plan_complaint){.sentence = text.text});
        return r;
    }
    struct listener listener = {
        .complain = complain,
        .context = context,
        .older = service_is_newer ? client : service,
        .newer = service_is_newer ? service : client,
        .between = &between,
    };
    int r = check_steps(&listener, service_is_newer, payload, error);
    between_deinit(&between);
    return r;
}
