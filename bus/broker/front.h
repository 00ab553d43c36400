/*
 * The bus for programs without a Parley library: frames and JSON on the bus URLs (front.c), and
 * what the broker itself serves there, interface "parley.bus" (front_self.c). docs/PROTOCOL.md has
 * both from outside.
 */
#ifndef PARLEY_BROKER_FRONT_H
#define PARLEY_BROKER_FRONT_H

#include "base/error.h"
#include "broker/broker.h"
#include "broker/relay.h"

/* ---- front.c ---- */

/* Listens on options->bus_urls, and answers from the loop. Return: 0; -errno with a sentence. */
int front_open(struct broker *broker, const struct broker_options *options,
               struct error_text *error);
/* Its calls end, and nobody is answered any more. Before the relay is freed. */
void front_close(struct broker *broker);
uint64_t front_next_deadline_ns(const struct broker *broker);
void front_turn(struct broker *broker);  /* each turn, before the relay's: connections, time-outs */
void front_flush(struct broker *broker); /* ... and behind it: answers are sent, many at once */
/* Another number with every change that may make a name mean something else, or a call go to
 * another version. */
uint64_t front_changes(const struct broker *broker);
/* Where it listens, with ports filled in: of the index-th URL. */
const char *front_url(const struct broker *broker, size_t index);

/* From the beginning, but for what is `_now`. */
struct front_counts {
    struct replier_counts replier;
    uint64_t frames, json; /* messages that were one */
    uint64_t malformed;    /* that were none, or a frame that is wrong */
    uint64_t limited;   /* that a limit of quota.h refused, or for whose answer there was no room */
    uint64_t cancelled; /* calls, by a CANCEL */
    uint64_t abandoned; /* calls whose asker hung up */
    uint64_t bytes_in, bytes_out;
    uint32_t calls_now, calls_most; /* under way; the most that there ever were */
};
void front_counts(const struct broker *broker, struct front_counts *ret_counts);
/* The same for who asks. False: there is no bus URL. */
bool front_stats(const struct broker *broker, Parley__FrontStats *ret);

/* ---- front_self.c ---- */

#define FRONT_SELF_INTERFACE "parley.bus"
#define FRONT_SELF_CALL_MAX 1024 /* that wait for their answer; further ones are refused */
#define FRONT_CONTRACT_MAX 4096  /* that Open made; the one unused for longest goes */
#define FRONT_CONTRACT_USER_MAX 512 /* of one user, whose own goes */
#define FRONT_CONTRACT_IDLE_NS (UINT64_C(300) * 1000000000)

/* A call of one of the broker's own methods. */
struct front_self_call;

/* The schema of what the broker serves; one of the registry's. NULL: @error says why. */
struct schema_entry *front_self_schema(struct broker *broker, struct error_text *error);
const struct schema_entry *front_self_served(const struct front_self *self); /* NULL: not yet */
/* relay.c's, for asks with that schema: as relay_start() and relay_cancel(). */
uint64_t front_self_start(struct broker *broker, const struct relay_ask *ask,
                          enum parley_status *ret_status, struct error_text *error);
enum parley_status front_self_cancel(struct broker *broker, uint64_t call);
bool front_self_has(uint64_t call); /* whether a number is one of these */

/* The contract that Open made for that peer: what it calls with. Return: PARLEY_OK;
 * FAILED_PRECONDITION with a sentence. @ret_accept: "": any; borrowed until the next turn. */
enum parley_status front_contract_find(struct broker *broker, uint64_t id,
                                       const struct replier_peer *peer,
                                       struct schema_entry **ret_schema, const char **ret_accept,
                                       struct error_text *error);

uint64_t front_self_next_deadline_ns(const struct broker *broker);
void front_self_turn(struct broker *broker);
void front_self_tell(struct broker *broker); /* relay_tell() */
void front_self_free(struct broker *broker); /* calls end as CANCELLED */

#endif
