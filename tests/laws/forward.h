/* Inside the reference model: forward.c and what adds rules to it. */
#ifndef PARLEY_TESTS_LAWS_FORWARD_H
#define PARLEY_TESTS_LAWS_FORWARD_H

#include "laws.h"

struct model {
    struct arena *arena;
    bool up; /* older to newer */
};

/* Two fields that are one in two versions. */
struct field_pair {
    const struct schema_field *from, *to;
    const Parley__FieldRule *rule; /* the newer one's, NULL: none */
    bool strict;                   /* nothing can be carried along for it */
};

struct values *values_of(const struct tree *tree, const struct schema_field *field);
int forward_tree(const struct model *model, struct tree *source,
                 const struct schema_message *target_type, struct tree **ret_target);

#endif
