/*
 * What a change of schema breaks: two descriptor sets compared.
 *
 * Packages that both sets have are compared by the rules of buf's WIRE and WIRE_JSON categories,
 * under buf's names, and by the deletion of packages, services, methods and messages. A package of
 * the old set that a file of the new one names as its `previous` is not compared here: what the
 * translator bridges between the two is for translate/bridge.h to say, which is a layer above and
 * adds its findings to the same diff. docs/DIFF.md says what every rule means.
 *
 * The order is diff_new(), then diff_bridge() where translation matters, then diff_finish().
 */
#ifndef PARLEY_SCHEMA_DIFF_H
#define PARLEY_SCHEMA_DIFF_H

#include "schema/schema.h"

#define DIFF_FINDING_MAX 1000 /* kept; those past it are counted */
#define DIFF_ACCEPT_MAX 256   /* of one set; those past it accept nothing, and are reported */
#define DIFF_SENTENCE_BYTES_MAX 767
#define DIFF_POSITIONS_BYTES_MAX (UINT32_C(32) << 20) /* of a set with source_code_info */

enum diff_category {
    DIFF_WIRE_JSON = 0, /* the default: the encoding and its JSON form */
    DIFF_WIRE,          /* the encoding alone */
};

enum diff_rule {
    DIFF_ENUM_SAME_JSON_FORMAT,
    DIFF_ENUM_VALUE_NO_DELETE_UNLESS_NAME_RESERVED,
    DIFF_ENUM_VALUE_NO_DELETE_UNLESS_NUMBER_RESERVED,
    DIFF_ENUM_VALUE_SAME_NAME,
    DIFF_FIELD_NO_DELETE_UNLESS_NAME_RESERVED,
    DIFF_FIELD_NO_DELETE_UNLESS_NUMBER_RESERVED,
    DIFF_FIELD_SAME_DEFAULT,
    DIFF_FIELD_SAME_JSON_NAME,
    DIFF_FIELD_SAME_NAME,
    DIFF_FIELD_SAME_ONEOF,
    DIFF_FIELD_WIRE_COMPATIBLE_CARDINALITY,
    DIFF_FIELD_WIRE_COMPATIBLE_TYPE,
    DIFF_FIELD_WIRE_JSON_COMPATIBLE_CARDINALITY,
    DIFF_FIELD_WIRE_JSON_COMPATIBLE_TYPE,
    DIFF_FILE_SAME_PACKAGE,
    DIFF_MESSAGE_SAME_JSON_FORMAT,
    DIFF_MESSAGE_SAME_MESSAGE_SET_WIRE_FORMAT,
    DIFF_MESSAGE_SAME_REQUIRED_FIELDS,
    DIFF_RESERVED_ENUM_NO_DELETE,
    DIFF_RESERVED_MESSAGE_NO_DELETE,
    DIFF_RPC_SAME_CLIENT_STREAMING,
    DIFF_RPC_SAME_IDEMPOTENCY_LEVEL,
    DIFF_RPC_SAME_REQUEST_TYPE,
    DIFF_RPC_SAME_RESPONSE_TYPE,
    DIFF_RPC_SAME_SERVER_STREAMING,
    /* Of buf's as well, but not of its WIRE categories. */
    DIFF_PACKAGE_NO_DELETE,
    DIFF_PACKAGE_MESSAGE_NO_DELETE,
    DIFF_PACKAGE_SERVICE_NO_DELETE,
    DIFF_RPC_NO_DELETE,
    /* Parley's own. */
    DIFF_PARLEY_INTERFACE_SAME_NAME,
    DIFF_PARLEY_FIELD_NEEDS_RULE,
    DIFF_PARLEY_VALUE_NEEDS_RULE,
    DIFF_PARLEY_MESSAGE_NEEDS_RULE,
    DIFF_PARLEY_METHOD_NEEDS_RULE,
    DIFF_PARLEY_VERSION_NEEDS_RULE,
    DIFF_PARLEY_ACCEPT_INVALID,
    DIFF_PARLEY_ACCEPT_UNUSED,
    DIFF_RULE_COUNT,
};

const char *diff_rule_name(enum diff_rule rule);    /* "FIELD_SAME_NAME" */
const char *diff_rule_meaning(enum diff_rule rule); /* one line */
bool diff_rule_applies(enum diff_rule rule, enum diff_category category);
/* The rule of that name, DIFF_RULE_COUNT: there is none. */
enum diff_rule diff_rule_find(const char *name);

enum diff_severity {
    DIFF_BREAK,
    DIFF_ACCEPTED, /* would be one, but (parley.interface).accept says why it is all right */
    DIFF_NOTE,     /* worth a look; breaks nothing */
};

struct diff_finding {
    enum diff_rule rule;
    enum diff_severity severity;
    const char *element;   /* full name, "catalog.v1.Package.id"; an enum's value is "Enum.VALUE" */
    const char *file;      /* of the new set, as its descriptor names it */
    uint32_t line, column; /* from 1; 0: the set has no positions */
    const char *sentence;  /* what happened, to what, and what to do; ASCII */
    const char *reason;    /* of DIFF_ACCEPTED, else NULL */
};

struct diff_options {
    enum diff_category category;
    bool bridges; /* diff_bridge() is going to add to it */
    /* A set with the source_code_info of the new set's files; NULL: the new set itself. Borrowed
     * until diff_finish(). */
    const uint8_t *positions;
    size_t positions_bytes;
};

struct diff;

/**
 * diff_new() - compare two sets
 * @old, @new: borrowed until diff_finish(). If both are interfaces (schema_service()), a package
 *             that the old one alone has counts only if it is the interface's own.
 * @options:   NULL: the defaults
 * Return: 0, however many findings; -ENOMEM.
 */
int diff_new(const struct schema *old, const struct schema *new, const struct diff_options *options,
             struct diff **ret_diff);

/* Looks up the positions, reports exceptions that excepted nothing, sorts. Once, at the end.
 * Return: 0; -ENOMEM; -EBADMSG if the set of positions cannot be read. */
int diff_finish(struct diff *diff, struct error_text *error);

/* diff_new() and diff_finish(): all that there is to say of two minor versions. */
int diff_compare(const struct schema *old, const struct schema *new,
                 const struct diff_options *options, struct diff **ret_diff,
                 struct error_text *error);

struct diff *diff_free(struct diff *diff); /* NULL is fine; returns NULL */

/* By file, line and column; borrowed from the diff. */
const struct diff_finding *diff_findings(const struct diff *diff, size_t *ret_count);
size_t diff_break_count(const struct diff *diff);   /* of all, kept or not */
size_t diff_omitted_count(const struct diff *diff); /* "and N more" */

/* One line without its end, "catalog.proto:12:3: RULE: element: sentence", as snprintf() would. */
int diff_describe(const struct diff_finding *finding, char *text, size_t bytes);
/* The breaks, as many as fit, in one sentence for a refusal; "" if there are none. */
void diff_summarize(const struct diff *diff, struct error_text *error);

/* ---- For those who add findings (translate/bridge.c) ---- */

/* Where a finding is: @message and @field of the new set; NULL: the file, by its name. */
struct diff_place {
    const Google__Protobuf__FileDescriptorProto *file;
    const struct schema_message *message;
    const struct schema_field *field;
    const struct schema_enum *enumeration;
    const struct schema_enum_value *value;
    const struct schema_service *service;
    const struct schema_method *method;
    int32_t part; /* number of a field of the element's descriptor, 0: all of it */
};

/* @leaf: NULL: the element is @scope itself. Return: 0, or -ENOMEM, which diff_finish() repeats. */
int diff_report(struct diff *diff, enum diff_rule rule, const struct diff_place *place,
                const char *scope, const char *leaf, const char *format, ...)
    __attribute__((format(printf, 6, 7)));

/* Whether a finding can be at this path (of protobuf's SourceCodeInfo): what else has a position
 * need not be kept for a diff. */
bool diff_points_to(const int32_t *path, size_t length);

/**
 * diff_strip_positions() - a set without its source_code_info, which may be larger than all the
 * rest
 * @ret_set: free()
 * Return: 0, -EBADMSG, -E2BIG past DIFF_POSITIONS_BYTES_MAX, -ENOMEM.
 */
int diff_strip_positions(const uint8_t *set, size_t bytes, uint8_t **ret_set, size_t *ret_bytes);

#endif
