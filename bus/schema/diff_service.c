/*
 * Two services of one name: methods meet by name.
 *
 * What a method takes and returns is compared by the full names of the messages; what is in these
 * is compared where they meet. An interface's name is compared as well, for it is what clients ask
 * the broker for: under another one they find nobody.
 */
#include "schema/diff_internal.h"

#include <string.h>

/* Numbers of MethodDescriptorProto's fields. */
#define PART_INPUT 2
#define PART_OUTPUT 3
#define FILE_OPTIONS 8

struct pair {
    struct diff *diff;
    const struct schema_service *service; /* the new one */
    const struct schema_method *old, *new;
};

#define PLACE(pair, which)                                                                         \
    DIFF_PLACE(.service = (pair)->service, .method = (pair)->new, .part = (which))

static const struct schema_method *find_method(const struct schema_service *service,
                                               const char *name)
{
    for (size_t i = 0; i < service->method_count; i++)
        if (strcmp(service->methods[i].name, name) == 0)
            return &service->methods[i];
    return NULL;
}

static void check_type(const struct pair *pair, enum diff_rule rule, int32_t part, const char *what,
                       const struct schema_message *old, const struct schema_message *new)
{
    if (strcmp(old->name, new->name) != 0)
        diff_report(pair->diff, rule, PLACE(pair, part), pair->service->name, pair->new->name,
                    "method \"%s\" changed its %s type from %s to %s, which the other version does "
                    "not send; keep the type and add fields to it, or give the new form a method "
                    "of its own",
                    pair->new->name, what, old->name, new->name);
}

static void check_streaming(const struct pair *pair, enum diff_rule rule, const char *what,
                            bool old, bool new)
{
    if (old != new)
        diff_report(pair->diff, rule, PLACE(pair, 0), pair->service->name, pair->new->name,
                    "method \"%s\" had %s %s and has %s now; keep it, and give the new form a "
                    "method of its own",
                    pair->new->name, old ? "a stream of" : "one", what, new ? "a stream" : "one");
}

static void check_idempotency(const struct pair *pair)
{
    static const char *const levels[] = {"IDEMPOTENCY_UNKNOWN", "NO_SIDE_EFFECTS", "IDEMPOTENT"};
    if (pair->old->idempotency == pair->new->idempotency)
        return;
    diff_report(pair->diff, DIFF_RPC_SAME_IDEMPOTENCY_LEVEL, PLACE(pair, 0), pair->service->name,
                pair->new->name,
                "method \"%s\" changed its idempotency_level from %s to %s, by which callers "
                "decide whether they may call again; keep it",
                pair->new->name, levels[pair->old->idempotency], levels[pair->new->idempotency]);
}

static void check_method(const struct pair *pair)
{
    const struct schema_method *old = pair->old, *new = pair->new;
    check_type(pair, DIFF_RPC_SAME_REQUEST_TYPE, PART_INPUT, "request", old->input, new->input);
    check_type(pair, DIFF_RPC_SAME_RESPONSE_TYPE, PART_OUTPUT, "response", old->output,
               new->output);
    check_streaming(pair, DIFF_RPC_SAME_CLIENT_STREAMING, "request", old->client_streaming,
                    new->client_streaming);
    check_streaming(pair, DIFF_RPC_SAME_SERVER_STREAMING, "response", old->server_streaming,
                    new->server_streaming);
    check_idempotency(pair);
}

static void check_interface(struct diff *diff, const struct schema_service *old,
                            const struct schema_service *new)
{
    if (!old->interface ||
        (new->interface &&strcmp(old->interface->name, new->interface->name) == 0))
        return;
    diff_report(diff, DIFF_PARLEY_INTERFACE_SAME_NAME,
                DIFF_PLACE(.file = new->file, .part = FILE_OPTIONS), new->name, NULL,
                "the interface was named \"%s\" and %s%s%s, where clients do not look for it; keep "
                "(parley.interface).name, or publish under both names",
                old->interface->name, new->interface ? "is \"" : "has no name now",
                new->interface ? new->interface->name : "", new->interface ? "\" now" : "");
}

void diff_service_pair(struct diff *diff, const struct schema_service *old,
                       const struct schema_service *new)
{
    check_interface(diff, old, new);
    for (size_t i = 0; i < old->method_count; i++) {
        struct pair pair = {diff, new, &old->methods[i], find_method(new, old->methods[i].name)};
        if (pair.new)
            check_method(&pair);
        else
            diff_report(diff, DIFF_RPC_NO_DELETE, DIFF_PLACE(.service = new), new->name,
                        pair.old->name,
                        "method \"%s\" was deleted, and calls of it end as UNIMPLEMENTED; keep it "
                        "until a new major version",
                        pair.old->name);
    }
}
