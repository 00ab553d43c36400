/*
 * The codegen room: protoc-gen-parley. One door, codegen_run(); the rest is what its files share.
 */
#ifndef PARLEY_CODEGEN_CODEGEN_H
#define PARLEY_CODEGEN_CODEGEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "google/protobuf/compiler/plugin.pb-c.h"
#include "schema/schema.h"

/**
 * codegen_run() - answer a protoc request
 * @request: a packed google.protobuf.compiler.CodeGeneratorRequest
 * @ret_response: a packed CodeGeneratorResponse, with the files or with the error that protoc is
 *                to print; the caller's, free()
 *
 * Return: 0, also if the .proto is at fault: that is in the response; -EBADMSG or -E2BIG if
 * @request is no request; -ENOMEM.
 */
int codegen_run(const uint8_t *request, size_t bytes, uint8_t **ret_response, size_t *ret_bytes,
                struct error_text *error);

/* ---- text.c: text that grows ---- */

struct text {
    char *data; /* NUL-terminated; NULL while empty; free() */
    size_t bytes, room;
    bool failed; /* no memory once: what came after is not there */
};

void text_add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_add_bytes(struct text *text, const char *data, size_t bytes);
/* The text's memory, free(); NULL if it is not whole, and then nothing is left of it. */
char *text_take(struct text *text);

/* ---- parameter.c: what --parley_opt says ---- */

struct parameter {
    bool aliases;      /* write alias headers */
    bool aliases_only; /* and nothing else */
    unsigned choice;   /* the version that they mean by default; 0: the lowest */
};

/* @text: what protoc hands over, "aliases=only,default=2". Return: 0 or -EINVAL. */
int parameter_read(const char *text, struct parameter *ret_parameter, struct error_text *error);

/* ---- names.c: the names that protoc-gen-c gives ---- */

/* The option (pb_c_file).c_package of a file, into @buffer; else its package. */
const char *names_c_package(const Google__Protobuf__FileDescriptorProto *file, char *buffer,
                            size_t room);
/* "getX_Y" -> "get_x__y", as in function names. Each: appended to @text. */
void names_lower(struct text *text, const char *name);
void names_upper(struct text *text, const char *name); /* the same in capitals: "GET_X__Y" */
/* @package and @local, each segment by names_lower() or names_upper(), joined by "__". */
void names_full_lower(struct text *text, const char *package, const char *local);
void names_full_upper(struct text *text, const char *package, const char *local);
/* The same as a type: "catalog.v1", "Package" -> "Catalog__V1__Package". */
void names_full_type(struct text *text, const char *package, const char *local);

/* ---- pb_c_options.c: protobuf-c's options ---- */

/* Option @number of (pb_c_file), (pb_c_msg) or (pb_c_field) in @options: 0, 1, or -1 if it is not
 * there. @options NULL: none are. */
int pb_c_flag(const ProtobufCMessage *options, uint32_t number);

/* ---- embed.c: the descriptor set that is embedded ---- */

/* @file and the files that it imports, imports first, without comments; *ret_data: free(). */
int embed_pack(const Google__Protobuf__Compiler__CodeGeneratorRequest *request,
               const Google__Protobuf__FileDescriptorProto *file, uint8_t **ret_data,
               size_t *ret_bytes);
/* Where what the file's package declares is written, as a set of files of which only the name and
 * the positions are left (docs/DIFF.md, "Positions"); *ret_data: free(), NULL: protoc told none. */
int embed_positions(const Google__Protobuf__Compiler__CodeGeneratorRequest *request,
                    const Google__Protobuf__FileDescriptorProto *file, uint8_t **ret_data,
                    size_t *ret_bytes);
/* Sets @needed, one for each file of the request, for @file and all that it imports. */
void embed_mark(const Google__Protobuf__Compiler__CodeGeneratorRequest *request,
                const Google__Protobuf__FileDescriptorProto *file, bool *needed);
/* The file of the request that declares a message, by full name; NULL: none. */
const Google__Protobuf__FileDescriptorProto *
embed_find_message(const Google__Protobuf__Compiler__CodeGeneratorRequest *request,
                   const char *name);

/* ---- emit.c: the two files of an interface ---- */

struct emit_method {
    char *function;   /* "catalog__v1__catalog__get", as protoc-gen-c has it; free() */
    char *input_type; /* "Catalog__V1__GetRequest"; free() */
    char *output_type;
    const char *comment; /* before the method in the .proto; "": none */
    bool has_send;       /* no method of the service has that stub's name */
};

struct emit {
    const char *proto;           /* "catalog_v1.proto" */
    char *base;                  /* the same without ".proto"; free() */
    char *prefix;                /* "catalog__v1__catalog"; free() */
    char *service_type;          /* "Catalog__V1__Catalog_Service"; free() */
    bool has_connect, has_serve; /* no method of the service has that name */
    const struct schema_service *service;
    struct emit_method *methods; /* of the service; free() */
    const uint8_t *set, *positions;
    size_t set_bytes, positions_bytes;
};

void emit_header(const struct emit *emit, struct text *text);
void emit_source(const struct emit *emit, struct text *text);
/* An include guard: @base, every other byte than a letter or digit as hex. */
void emit_guard(const char *base, struct text *text);

/* ---- aliases.c: names with and without their version ---- */

struct alias {
    char *name;    /* "Catalog__Package"; free() */
    char *target;  /* "Catalog__V2__Package"; free() */
    char *element; /* what it is a name of, without the package: "Package"; free() */
};

struct aliases {
    struct alias *list; /* free() */
    size_t count, room;
    bool failed; /* no memory once */
};

/* Adds everything that protoc-gen-c declares for @file, which schema_new() has passed; @to: package
 * of the aliases, "catalog"; NULL: each name is its own alias. Both: 0 or -ENOMEM. */
int aliases_of_file(struct aliases *aliases, const Google__Protobuf__FileDescriptorProto *file,
                    const char *to);
/* Adds what emit_header() declares. */
int aliases_of_stubs(struct aliases *aliases, const struct emit *emit,
                     const Google__Protobuf__FileDescriptorProto *file, const char *to);
void aliases_deinit(struct aliases *aliases);

/* ---- chooser.c: the alias header of an interface ---- */

struct chooser {
    struct chooser_version *versions; /* in any order and of any interfaces, until it is written */
    size_t count;
};

/* Takes @content. Return: 0 or -ENOMEM. */
typedef int chooser_output(void *data, const char *base, const char *extension,
                           struct text *content);

/* Notes one version: @file, which has passed all checks. Return: 0, -EINVAL, -ENOMEM. */
int chooser_add(struct chooser *chooser,
                const Google__Protobuf__Compiler__CodeGeneratorRequest *request,
                const Google__Protobuf__FileDescriptorProto *file, const struct emit *emit,
                struct error_text *error);
/* One header for each interface; @choice: the default version, 0 for the lowest. Return: as above,
 * or what @output returns. */
int chooser_write(struct chooser *chooser,
                  const Google__Protobuf__Compiler__CodeGeneratorRequest *request, unsigned choice,
                  chooser_output *output, void *data, struct error_text *error);
void chooser_deinit(struct chooser *chooser);

#endif
