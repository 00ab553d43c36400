/*
 * The translate room: plans, and the one function by which a message enters a process.
 *
 * A plan is an immutable, position-independent program from the wire bytes of one version of an
 * interface to those of another, in one direction. The broker compiles it from two schemas and
 * sends it to the reader, which verifies it before it runs it. With equal versions the plan is the
 * identity, made by the reader itself from its own generated descriptors, and running it is a
 * checked copy.
 *
 * plan_run() reads each source byte once, into private memory, before it looks at any; so the
 * source may be memory that a hostile peer goes on changing. What it writes is private,
 * well-formed, in the reader's version, and within the limits. plan_unpack() is the same, ending in
 * protobuf-c's structs instead of bytes. What the rules mean: docs/TRANSLATION.md.
 */
#ifndef PARLEY_TRANSLATE_PLAN_H
#define PARLEY_TRANSLATE_PLAN_H

#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "base/error.h"
#include "schema/schema.h"
#include "wire/wire.h"

#define PLAN_BYTES_MAX (UINT32_C(1) << 20)
#define PLAN_ENTRY_MAX SCHEMA_METHOD_MAX

/* The numbers of parley.TranslationClass. */
enum plan_class {
    PLAN_IDENTITY = 0,
    PLAN_ISO = 1,
    PLAN_CARRIED = 2,
    PLAN_LOSSY = 3,
};

enum plan_payload {
    PLAN_REQUESTS, /* from the client's version to the service's: run by the service */
    PLAN_REPLIES,  /* from the service's version to the client's: run by the client */
};

struct plan;

/**
 * plan_compile() - a plan for all methods of an interface
 * @client, @service: two versions of an interface; either may be the newer one, and has the rules
 *
 * Entry i is method i of the CLIENT's service, for requests and for replies.
 * Return: 0; -EINVAL with file, element, rule and the way out if the two cannot be bridged (no
 * relation declared, unary against streaming, a rule that names nothing, types no rule converts,
 * ...); -E2BIG, -ENOMEM.
 */
int plan_compile(const struct schema *client, const struct schema *service,
                 enum plan_payload payload, struct plan **ret_plan, struct error_text *error);

#define PLAN_PATH_MAX 8
/* Those counted that the compiler puts between two (between.h). */
#define PLAN_VERSION_MAX (2 * PLAN_PATH_MAX - 1)

/**
 * plan_compile_path() - the same over versions in between, as one program
 * @versions: 1..PLAN_PATH_MAX of them: the client's first, the service's last, each related to its
 *            neighbours (one is the `previous` of the other, or they are of one package); borrowed
 *
 * What it does to a message is what the plans of the single steps do one after another. A method is
 * followed all the way; if a version on it has none, there is none.
 * Return: as plan_compile(), of the first step that cannot be bridged.
 */
int plan_compile_path(const struct schema *const *versions, size_t count, enum plan_payload payload,
                      struct plan **ret_plan, struct error_text *error);

/* One thing that keeps two versions from being bridged. */
struct plan_complaint {
    const struct schema_method *method; /* the client's; NULL: it is not about a method as such */
    const struct schema_message *newer, *older;           /* NULL: not about messages */
    const struct schema_field *newer_field, *older_field; /* NULL: not about a pair of fields */
    const char *sentence;                                 /* as plan_compile() would say it */
};
typedef void plan_complain(void *context, const struct plan_complaint *complaint);

/**
 * plan_check() - all that keeps plan_compile() from a plan, where that stops at the first
 * @complain: called for each; what was found in one field or message may hide more in it
 * Return: 0: it would compile; -EINVAL after at least one call; -E2BIG, -ENOMEM.
 */
int plan_check(const struct schema *client, const struct schema *service, enum plan_payload payload,
               plan_complain *complain, void *context, struct error_text *error);

/* Identity for the requests (replies) of a service's methods, from generated descriptors. */
int plan_identity(const ProtobufCServiceDescriptor *service, enum plan_payload payload,
                  struct plan **ret_plan, struct error_text *error);

/**
 * plan_load() - verify a program that came from outside
 * @program: private memory; copied
 * Whatever the bytes are: after a return of 0, plan_run() stays within its buffers.
 * Return: 0; -EBADMSG with the offset and what is wrong; -ENOMEM.
 */
int plan_load(const uint8_t *program, size_t bytes, struct plan **ret_plan,
              struct error_text *error);

struct plan *plan_ref(struct plan *plan);
struct plan *plan_unref(struct plan *plan); /* NULL is fine; returns NULL */

/* The program, to be sent. Borrowed. */
const uint8_t *plan_program(const struct plan *plan, size_t *ret_bytes);
enum plan_class plan_class(const struct plan *plan);
uint32_t plan_entry_count(const struct plan *plan);

#define PLAN_METHOD_NONE UINT32_MAX
/* The service's index of the client's method, PLAN_METHOD_NONE if it has none or @entry is past
 * the last. */
uint32_t plan_method(const struct plan *plan, uint32_t entry);

/* The room that plan_run() wants for a source of that length: as much, and 64 bytes, so that reading
 * may go past its end. Unless the plan is the identity also the most that it writes, 4 x + 4,096 (at
 * most WIRE_MESSAGE_BYTES_MAX), for the copy of the source lies behind that; twice for a plan over a
 * path that could not be fused all through. With less it is slower, or may not do at all. */
size_t plan_output_bytes_max(const struct plan *plan, size_t source_bytes);

struct plan_failure {
    size_t offset;    /* in the source */
    uint32_t number;  /* of the field, 0: none */
    const char *what; /* static: "truncated varint", ... */
};

/**
 * plan_run() - copy = check = translate
 * @entry:  0..plan_entry_count() - 1
 * @source: may be live shared memory
 * @out:    private; does not overlap. The message is at its front; what lies behind it is changed
 * too
 * @ret_failure: NULL: not wanted
 *
 * No allocation, no system call; stack use is bounded by WIRE_DEPTH_MAX.
 * Return: 0 and the length; -EBADMSG: not a message of this type; -E2BIG: past a limit;
 * -ENOBUFS: @out_bytes is too small (never, with plan_output_bytes_max() of them);
 * -ERANGE: a value has no place in the reader's version;
 * -EINVAL: no such entry.
 */
int plan_run(const struct plan *plan, uint32_t entry, const uint8_t *source, size_t source_bytes,
             uint8_t *out, size_t out_bytes, size_t *ret_bytes, struct plan_failure *ret_failure);

/* ---- Straight into the struct ---- */

/* A plan, and the structs of the reader that it ends in. Immutable; threads may share it. */
struct plan_binding;

/**
 * plan_bind() - bind a plan to the reader's generated structs
 * @plan:    a reference is taken
 * @service: the reader's own. For PLAN_REQUESTS that is the service, whose inputs they become, for
 *           PLAN_REPLIES the client, whose outputs; kept
 *
 * Once for each plan, not for each call.
 * Return: 0; -EBADMSG with the field if the plan writes what is something else in @service; -E2BIG;
 * -ENOMEM.
 */
int plan_bind(struct plan *plan, const ProtobufCServiceDescriptor *service,
              enum plan_payload payload, struct plan_binding **ret_binding,
              struct error_text *error);
struct plan_binding *plan_binding_ref(struct plan_binding *binding);
struct plan_binding *plan_binding_unref(struct plan_binding *binding); /* NULL is fine; NULL */
/* Borrowed. */
const struct plan *plan_binding_plan(const struct plan_binding *binding);

/**
 * plan_unpack() - copy = check = translate = unpack
 * @entry:       0..plan_entry_count() - 1
 * @source:      may be live shared memory
 * @ret_message: the caller's; wire_free(). What protobuf_c_message_unpack() would make of what
 *               plan_run() writes, in one block mostly
 * @ret_failure: NULL: not wanted
 *
 * A sub-message that comes in pieces is merged as protobuf says; protobuf-c loses scalars and
 * unknown fields of all pieces but the last. Where its pieces have to be one before they are
 * translated, or where anything is wrong, the source is copied once more and all begins again, so
 * that nothing comes of bytes other than those that were checked. The limit on a translation's
 * length (-E2BIG) is that of each part that rules make, not of the whole. Return: 0; -EBADMSG,
 * -E2BIG, -ERANGE, -EINVAL as plan_run(); -ENOMEM; -E2BIG if it would take more than
 * wire_unpacked_bytes_max().
 */
int plan_unpack(const struct plan_binding *binding, uint32_t entry, const uint8_t *source,
                size_t source_bytes, ProtobufCMessage **ret_message,
                struct plan_failure *ret_failure);

/* The same. @ret_copy: the private copy of the source, in the message's block. Bytes that went over
 * as they are point into it: to where they were in the source, unless pieces were joined. */
int plan_unpack_copy(const struct plan_binding *binding, uint32_t entry, const uint8_t *source,
                     size_t source_bytes, ProtobufCMessage **ret_message, const uint8_t **ret_copy,
                     struct plan_failure *ret_failure);

/**
 * plan_passes() - whether a field's bytes are only passed on
 * @source: private
 * @place, @bytes: the content of a field of type bytes, at any depth
 *
 * Return: true if they go to one field of type bytes as they are, and nothing else depends on what
 * they are; false if not, if that is not known, or if this is no such field's content.
 */
bool plan_passes(const struct plan *plan, uint32_t entry, const uint8_t *source,
                 size_t source_bytes, size_t place, size_t bytes);

#endif
