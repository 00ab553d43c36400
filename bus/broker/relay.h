/*
 * Calls for those who are not native endpoints: from NNG frames, JSON, HTTP and the control API.
 * The broker is a client of its own bus for them (relay.c).
 */
#ifndef PARLEY_BROKER_RELAY_H
#define PARLEY_BROKER_RELAY_H

#include <parley/client.h>

#include "base/error.h"
#include "broker/broker.h"
#include "control/replier.h"

#define RELAY_CALL_MAX 16384 /* under way, of all askers; further ones are RESOURCE_EXHAUSTED */

/* How it ended. All borrowed; runs once, never inside of its own relay_start(). */
struct relay_end {
    enum parley_status status;
    enum parley_executed executed;
    enum parley_translation translation;
    const char *version; /* that served it; "": none */
    const char *text;    /* a sentence if status is not OK */
    const uint8_t
        *payload; /* in the asker's version; in `room` if that gave any; NULL: not OK, or one-way */
    size_t payload_bytes;
};

struct relay_ask {
    /* What the payload is in: one of the registry's. relay_find(). */
    struct schema_entry *schema;
    size_t method;           /* index in its service */
    const char *accept;      /* NULL: any */
    uint64_t timeout_ns;     /* 0: 10 s; cut at an hour */
    const uint8_t *metadata; /* an encoded block without "parley." keys (rpc.h's metadata_encode(),
                              * bus_frame_metadata()); copied */
    size_t metadata_bytes;
    const uint8_t *payload;
    size_t payload_bytes;
    /* The payload is there until `ended` has run, and so is not copied; else it is borrowed until
     * relay_start() returns. */
    bool payload_stays;
    bool one_way;
    const struct replier_peer *peer; /* borrowed until relay_start() returns; NULL: nobody known */

    /* Optional: memory for a reply of up to @bytes, so that the crossing writes right there. What
     * it returns NULL for goes to the relay's own. @so_far: version and translation of the reply.
     * It runs before `ended`, which has the length then, and the status: a reply may turn out to be
     * wrong. Must not call the relay. */
    uint8_t *(*room)(const struct relay_end *so_far, size_t bytes, void *userdata);
    void (*ended)(const struct relay_end *end, void *userdata); /* may call the relay */
    void *userdata;
};

/* The schema that a caller means. @version "" or NULL: the one with most calls. Return: PARLEY_OK;
 * NOT_FOUND with what there is. */
enum parley_status relay_find(struct broker *broker, const char *interface, const char *version,
                              struct schema_entry **ret_schema, struct error_text *error);
/* Of a name: "Get". UNIMPLEMENTED if it streams. */
enum parley_status relay_method(const struct schema_entry *schema, const char *name,
                                size_t *ret_method, struct error_text *error);
/* Return: a number for relay_cancel(), never 0; 0: it was refused and not executed, @ret_status and
 * @error say why, and `ended` does not run. The `ended` of other calls may. */
uint64_t relay_start(struct broker *broker, const struct relay_ask *ask,
                     enum parley_status *ret_status, struct error_text *error);
/* It ends as CANCELLED; `ended` runs inside. NOT_FOUND: it has ended. */
enum parley_status relay_cancel(struct broker *broker, uint64_t call);

/* Runs `ended` of those that ended while they were being started, now rather than in the next
 * turn. */
void relay_tell(struct broker *broker);

/* The broker's own, in broker.c. */
struct relay;
struct relay *relay_free(struct relay *relay);        /* its calls end as CANCELLED; returns NULL */
uint32_t relay_call_count(const struct relay *relay); /* under way */
uint64_t relay_next_deadline_ns(const struct relay *relay);
void relay_turn(struct broker *broker); /* after each turn: replies, timeouts, idle contracts */
/* Before each turn waits: lets those who work on calls have our CPU, instead of sleeping. */
void relay_yield(struct broker *broker);

#endif
