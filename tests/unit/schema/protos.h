/* Descriptor sets made from text, by protoc, while the test runs: a case and its schema on one
 * page. */
#ifndef PARLEY_TESTS_SCHEMA_PROTOS_H
#define PARLEY_TESTS_SCHEMA_PROTOS_H

#include "unit/schema/sets.h"

struct proto_file {
    const char *name; /* "x.proto" */
    const char *text;
};

/* With imports and positions. Fails the test with what protoc said. */
struct set protos_compile(const struct proto_file *files, size_t count);
/* The same of one file, "x.proto". */
struct set proto_compile(const char *text);
/* A schema of a set, which it frees; schema_unref(). Positions stay in it. */
struct schema *schema_of(struct set set);

/* Writes @text as @folder/@name. */
void file_write(const char *folder, const char *name, const char *text);
/* A new empty folder under the temporary one; free() after folder_remove(). */
char *folder_make(void);
/* With the files that are in it. */
void folder_remove(char *folder);

#endif
