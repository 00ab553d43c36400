/*
 * Calls whose messages are JSON: for HTTP, and for people and scripts on the bus URL.
 *
 * There is nobody's generated code here, so the version that the messages are in is chosen, too:
 * the best that fits `version`. Which version serves the call the route decides, as ever, and
 * Parley translates; `accept` restricts that.
 */
#ifndef PARLEY_BROKER_CALL_JSON_H
#define PARLEY_BROKER_CALL_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include <parley/client.h>

#include "base/error.h"
#include "broker/relay.h"

#define CALL_JSON_TIMEOUT_NS_MAX (UINT64_C(3600) * 1000000000)
/* What JSON of a request, and of a reply, may take: it is larger than the message, and the broker
 * reads and writes it in its loop. */
#define CALL_JSON_BYTES_MAX ((size_t)4 << 20)

struct call_json_end {
    enum parley_status status;
    enum parley_executed executed;
    enum parley_translation translation; /* if somebody served it */
    const char *served_by;               /* version; "": nobody */
    const char *version;                 /* that the reply is in; "": it did not come so far */
    const char *text;                    /* a sentence if status is not OK */
    char *reply; /* JSON on one line; NULL if not OK or one-way. free(); NULL it to keep it */
};

/* All borrowed until call_json_start() returns, but for userdata. */
struct call_json_ask {
    const char *interface, *method;
    const char *version; /* ranges, in order of preference; NULL: the version with most calls */
    const char *accept;  /* ranges; NULL: any may serve it */
    uint64_t timeout_ns; /* 0: 10 s */
    const struct parley_metadata *metadata;
    size_t metadata_count;
    const json_t *body; /* NULL: {} */
    bool one_way;
    const struct replier_peer *peer;
    /* Runs exactly once, also inside of call_json_start(). */
    void (*ended)(struct call_json_end *end, void *userdata);
    void *userdata;
};

/* Return: a number for relay_cancel(); 0: `ended` has run. */
uint64_t call_json_start(struct broker *broker, const struct call_json_ask *ask);

/* ---- One text asks for everything: {"interface": ..., "method": ..., "body": ...} ---- */

/* The answer, one line of JSON: free(); NULL: no memory. */
typedef void call_json_answered(char *text, size_t bytes, void *userdata);

/**
 * call_json_text() - a call by one JSON object, answered by another
 * @text: from a peer; need not be UTF-8, JSON, or end in a NUL
 * @answered: runs exactly once, also inside
 * Return: a number for relay_cancel(); 0: it has been answered.
 */
uint64_t call_json_text(struct broker *broker, const uint8_t *text, size_t bytes,
                        const struct replier_peer *peer, call_json_answered *answered,
                        void *userdata);

#endif
