/*
 * What the files of the diff share.
 */
#ifndef PARLEY_SCHEMA_DIFF_INTERNAL_H
#define PARLEY_SCHEMA_DIFF_INTERNAL_H

#include "schema/diff.h"
#include "schema/internal.h"

/* Where a finding is, in protobuf's own terms: a path of field numbers and indexes. */
struct diff_path {
    uint32_t length;
    const int32_t *at;
};

struct diff_accept {
    const Parley__Accept *option;
    const Google__Protobuf__FileDescriptorProto *file;
    enum diff_rule rule;
    bool valid, used;
};

struct diff_entry {
    struct diff_finding finding;
    struct diff_path path;
    uint32_t found; /* elements of the path that a position was found for; 0: none */
    uint32_t order; /* in which it was reported */
};

struct diff {
    struct pool pool;
    const struct schema *old, *new;
    struct diff_options options;
    struct diff_entry *entries;
    struct diff_finding *findings; /* after diff_finish() */
    size_t count, capacity;
    size_t break_count, omitted_count;
    struct diff_accept *accepts;
    size_t accept_count;
    size_t enum_work; /* values looked at, in diff_message.c */
    int error;        /* -ENOMEM, once */
};

#define DIFF_PLACE(...) (&(struct diff_place){__VA_ARGS__})

/* diff_findings.c: the exceptions of the new set; reports those that make no sense. */
int diff_collect_accepts(struct diff *diff);

/* diff_message.c, diff_enum.c, diff_service.c: two elements of one name. */
void diff_message_pair(struct diff *diff, const struct schema_message *old,
                       const struct schema_message *new);
void diff_enum_pair(struct diff *diff, const struct schema_enum *old,
                    const struct schema_enum *new);
void diff_service_pair(struct diff *diff, const struct schema_service *old,
                       const struct schema_service *new);

bool diff_file_is_proto3(const Google__Protobuf__FileDescriptorProto *file);

/* diff_enum.c: an enum's values by number, then name. */
struct diff_enum_values {
    const struct schema_enum_value **values;
    size_t count;
};
int diff_enum_values_init(struct diff_enum_values *values, const struct schema_enum *enumeration);
void diff_enum_values_deinit(struct diff_enum_values *values);
/* Whether one of the same number and name is there. */
bool diff_enum_values_have(const struct diff_enum_values *values,
                           const struct schema_enum_value *value);

/* diff_reserved.c: numbers and names that an element reserves, in order. */
struct diff_range {
    int64_t first, last;
};
struct diff_reserved {
    struct diff_range *ranges; /* ascending, merged */
    const char **names;        /* ascending */
    size_t range_count, name_count;
};
/* Both end with 0 elements if there is no memory, which diff_finish() then says. */
void diff_reserved_message(struct diff *diff, const Google__Protobuf__DescriptorProto *proto,
                           struct diff_reserved *ret_reserved);
void diff_reserved_enum(struct diff *diff, const Google__Protobuf__EnumDescriptorProto *proto,
                        struct diff_reserved *ret_reserved);
bool diff_reserved_number(const struct diff_reserved *reserved, int64_t number);
bool diff_reserved_name(const struct diff_reserved *reserved, const char *name);
void diff_reserved_deinit(struct diff_reserved *reserved);
/* Reports what @old reserves and @new does not, as findings of @rule. */
void diff_reserved_pair(struct diff *diff, enum diff_rule rule, const struct diff_place *place,
                        const char *element, const struct diff_reserved *old,
                        const struct diff_reserved *new);

/* diff_position.c */
int diff_path_of(struct diff *diff, const struct diff_place *place, struct diff_path *ret_path);
int diff_locate(struct diff *diff, struct error_text *error);

#endif
