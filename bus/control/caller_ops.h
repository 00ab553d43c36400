/*
 * Inside the control room: what caller.c and a backend have in common. A backend's own struct
 * begins with a struct caller, which caller.c fills in.
 */
#ifndef PARLEY_CONTROL_CALLER_OPS_H
#define PARLEY_CONTROL_CALLER_OPS_H

#include "control/caller.h"

/* As caller.h has them. */
struct caller_ops {
    const char *name;
    int (*new)(const struct caller_options *options, struct caller **ret_caller,
               struct error_text *error);
    void (*free)(struct caller *caller);
    int (*fd)(const struct caller *caller);
    uint64_t (*next_deadline_ns)(const struct caller *caller);
    bool (*connected)(const struct caller *caller);
    const char *(*problem)(const struct caller *caller);
    void (*hang_up)(struct caller *caller);
    void (*turn)(struct caller *caller);
    int (*send_begin)(struct caller *caller, size_t bytes, uint8_t **ret_data);
    int (*send_end)(struct caller *caller, size_t bytes, uint32_t request);
    void (*flush)(struct caller *caller); /* NULL: it never gathers */
    int (*receive)(struct caller *caller, uint32_t *ret_request, const uint8_t **ret_data,
                   size_t *ret_bytes);
};

struct caller {
    const struct caller_ops *ops;
};

extern const struct caller_ops caller_nng_ops, caller_stream_ops;

#endif
