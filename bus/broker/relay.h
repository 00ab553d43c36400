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

/* How it ended. All borrowed; runs once, never inside of relay_start(). */
struct relay_end {
    enum parley_status status;
    enum parley_executed executed;
    enum parley_translation translation;
    const char *version; /* that served it; "": none */
    const char *text;    /* a sentence if status is not OK */
    const uint8_t
        *payload; /* in the asker's version; NULL if it went to `room`, or not OK, or one-way */
    size_t payload_bytes;
};

struct relay_ask {
    /* What the payload is in: one of the registry's. relay_find(). */
    struct schema_entry *schema;
    size_t method;           /* index in its service */
    const char *accept;      /* NULL: any */
    uint64_t timeout_ns;     /* 0: 10 s; cut at an hour */
    const uint8_t *metadata; /* an encoded block without "parley." keys */
    size_t metadata_bytes;
    const uint8_t *payload; /* borrowed until relay_start() returns */
    size_t payload_bytes;
    bool one_way;
    const struct replier_peer *peer; /* borrowed until relay_start() returns */

    /* Optional: memory for a reply of up to @bytes, so that the crossing writes right there. NULL:
     * use the relay's own. Called once, before `ended`, which has the length then. */
    uint8_t *(*room)(size_t bytes, void *userdata);
    void (*ended)(const struct relay_end *end, void *userdata);
    void *userdata;
};

/* The schema that a caller means. @version "" or NULL: the one with most calls. Return: PARLEY_OK;
 * NOT_FOUND with what there is. */
enum parley_status relay_find(struct broker *broker, const char *interface, const char *version,
                              struct schema_entry **ret_schema, struct error_text *error);
/* Of a name: "Get". UNIMPLEMENTED if it streams. */
enum parley_status relay_method(const struct schema_entry *schema, const char *name,
                                size_t *ret_method, struct error_text *error);
/* Return: a number for relay_cancel(); 0: it was refused, @ret_status and @error say why, and
 * `ended` does not run. */
uint64_t relay_start(struct broker *broker, const struct relay_ask *ask,
                     enum parley_status *ret_status, struct error_text *error);
/* It ends as CANCELLED; `ended` runs inside. NOT_FOUND: it has ended. */
enum parley_status relay_cancel(struct broker *broker, uint64_t call);

#endif
