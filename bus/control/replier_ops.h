/*
 * Inside the control room: what replier.c and a backend have in common.
 *
 * A backend's own structs begin with the two below: its part of a replier, which serves some of the
 * URLs, and a request.
 */
#ifndef PARLEY_CONTROL_REPLIER_OPS_H
#define PARLEY_CONTROL_REPLIER_OPS_H

#include "control/replier.h"

struct replier_ops {
    const char *name;
    /* @options: `urls` are only this part's; 1 or more. Everything in it is borrowed for the call.
     * The struct begins with a struct replier_part, which replier.c fills in. */
    int (*new)(const struct replier_options *options, struct replier_part **ret_part,
               struct error_text *error);
    void (*free)(struct replier_part *part);
    int (*fd)(const struct replier_part *part);
    uint64_t (*next_deadline_ns)(const struct replier_part *part);
    const char *(*url)(const struct replier_part *part, size_t index);
    int (*receive)(struct replier_part *part, struct replier_request **ret_request,
                   const uint8_t **ret_data, size_t *ret_bytes);
    int (*answer_begin)(struct replier_request *request, size_t bytes, uint8_t **ret_data);
    int (*answer_end)(struct replier_request *request, size_t bytes);
    void (*drop)(struct replier_request *request);
    bool (*has_room)(const struct replier_request *request, size_t bytes);
    void (*flush)(struct replier_part *part); /* NULL: it never gathers */
    /* Sends what answer_begin() gave, and keeps the request; or NULL. */
    int (*answer_also)(struct replier_request *request, size_t bytes);
    /* Of a connection of another part: nothing. */
    void (*hang_up)(struct replier_part *part, uint64_t connection);
    void (*hold)(struct replier_part *part, uint64_t connection, uint64_t until_ns); /* or NULL */
    /* Adds to what is there. */
    void (*counts)(const struct replier_part *part, struct replier_counts *counts);
};

struct replier_part {
    const struct replier_ops *ops;
};

struct replier_request {
    const struct replier_ops *ops;
    const struct replier_peer *peer; /* never NULL */
};

extern const struct replier_ops replier_nng_ops;
extern const struct replier_ops replier_stream_ops;

/* The next number of a connection in this process; never 0. Any thread. */
uint64_t replier_connection_number(void);
/* Fills in off_host and text of a connection over TCP from its address. */
struct sockaddr;
void replier_peer_address(struct replier_peer *peer, const struct sockaddr *address);
/* Fills in local and text from uid and pid. */
void replier_peer_local(struct replier_peer *peer);

#endif
