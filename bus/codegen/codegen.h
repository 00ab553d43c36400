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

/* ---- names.c: the names that protoc-gen-c gives ---- */

/* The option (pb_c_file).c_package of a file, into @buffer; else its package. */
const char *names_c_package(const Google__Protobuf__FileDescriptorProto *file, char *buffer,
                            size_t room);
/* "getX_Y" -> "get_x__y", as in function names. Each: appended to @text. */
void names_lower(struct text *text, const char *name);
/* @package and @local, each segment by names_lower(), joined by "__". */
void names_full_lower(struct text *text, const char *package, const char *local);
/* The same as a type: "catalog.v1", "Package" -> "Catalog__V1__Package". */
void names_full_type(struct text *text, const char *package, const char *local);

/* ---- embed.c: the descriptor set that is embedded ---- */

/* @file and the files that it imports, imports first, without comments; *ret_data: free(). */
int embed_pack(const Google__Protobuf__Compiler__CodeGeneratorRequest *request,
               const Google__Protobuf__FileDescriptorProto *file, uint8_t **ret_data,
               size_t *ret_bytes);
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
};

struct emit {
    const char *proto;           /* "catalog_v1.proto" */
    char *base;                  /* the same without ".proto"; free() */
    char *prefix;                /* "catalog__v1__catalog"; free() */
    char *service_type;          /* "Catalog__V1__Catalog_Service"; free() */
    bool has_connect, has_serve; /* no method of the service has that name */
    const struct schema_service *service;
    struct emit_method *methods; /* of the service; free() */
    const uint8_t *set;
    size_t set_bytes;
};

void emit_header(const struct emit *emit, struct text *text);
void emit_source(const struct emit *emit, struct text *text);

#endif
