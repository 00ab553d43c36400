/* Inside evolve.c and what adds edits to it. */
#ifndef PARLEY_TESTS_LAWS_EVOLVE_H
#define PARLEY_TESTS_LAWS_EVOLVE_H

#include "laws.h"

struct picks {
    const struct version *older;
    struct version *newer;
    uint64_t *random;
    struct message *message;           /* of what was picked */
    const struct message *old_message; /* the one that it was */
};

/* One of the fields that @fits takes, from messages that both versions have; NULL: none. */
struct field *pick_field(struct picks *picks, bool (*fits)(const struct field *));
bool pick_any(const struct field *field);
bool pick_singular(const struct field *field);
const struct field *origin_of(const struct picks *picks, const struct field *field);
void add_from(const struct picks *picks, struct field *field);
void remove_field(struct message *message, struct field *field);
bool is_plain_string(const struct picks *picks, const struct field *field);
struct message *new_message(struct picks *picks); /* NULL: there are too many */
struct field *new_field(struct picks *picks, struct message *message, int type);
char *text_of(const char *text); /* as protobuf-c's structs want it */

/* ---- evolve_shapes.c ---- */

bool edit_wrap(struct picks *picks);
bool edit_unwrap(struct picks *picks);
bool edit_pick(struct picks *picks);
bool edit_merge(struct picks *picks);

bool edit_group(struct picks *picks);
bool edit_ungroup(struct picks *picks);
bool edit_entries(struct picks *picks);

/* ---- evolve_values.c ---- */

bool edit_convert(struct picks *picks);
/* Beside a rule on structure: sometimes the value becomes of another type as well. @before: what it
 * was; @field: where it is now; @holder: whose rules say so. */
void convert_too(struct picks *picks, const struct field *before, struct field *field,
                 struct field *holder);
bool edit_default(struct picks *picks);
bool edit_computed(struct picks *picks);
bool edit_enum_rule(struct picks *picks);
bool edit_lossy(struct picks *picks);

#endif
