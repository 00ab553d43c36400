/*
 * What protoc-gen-parley writes for one interface, and the library reads. Programs pass a pointer
 * to it to parley_client_new() and parley_service_new(); they need not look inside.
 */
#ifndef PARLEY_INTERFACE_H
#define PARLEY_INTERFACE_H

#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PARLEY_INTERFACE_ABI 2

/* protobuf's MethodOptions.idempotency_level, same numbers. */
enum parley_idempotency {
    PARLEY_IDEMPOTENCY_UNKNOWN = 0,
    PARLEY_NO_SIDE_EFFECTS = 1, /* may be retried on another instance */
    PARLEY_IDEMPOTENT = 2,      /* may be retried on another instance */
};

struct parley_method {
    const char *name; /* as in the .proto, "GetPackage" */
    enum parley_idempotency idempotency;
};

struct parley_interface {
    uint32_t abi;        /* PARLEY_INTERFACE_ABI of the generator */
    const char *name;    /* (parley.interface).name, "catalog" */
    const char *version; /* (parley.interface).version, a semantic version, "1.0.0" */
    const ProtobufCServiceDescriptor *service;
    const struct parley_method *methods; /* service->n_methods of them, in the same order */
    const uint8_t *descriptor_set; /* serialized google.protobuf.FileDescriptorSet with imports */
    size_t descriptor_set_bytes;
    const uint8_t *positions; /* a FileDescriptorSet of names and source_code_info: where in the
                               * .proto things are, for a broker that refuses them; NULL: unknown */
    size_t positions_bytes;
};

#ifdef __cplusplus
}
#endif
#endif
