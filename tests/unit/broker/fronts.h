/*
 * The bus URL: the broker in a thread, services in others, and askers that speak SP by themselves,
 * so that they can do what no NNG library does.
 */
#ifndef PARLEY_TESTS_UNIT_BROKER_FRONTS_H
#define PARLEY_TESTS_UNIT_BROKER_FRONTS_H

#include "support/test.h"

#include <stdatomic.h>

#include "broker/front.h"
#include "support/frames.h"
#include "support/served.h"
#include "support/sp.h"

#define TEXT(literal) ((struct bus_text){literal, sizeof(literal) - 1})

/* An answer; its memory is until the next one. */
struct asker_answer {
    uint8_t *data;
    uint32_t request;
    struct bus_frame frame;
    char text[1024]; /* of one that is no success */
};

struct asker {
    struct sp *sp;
    struct asker_answer answer; /* the last */
};

/* Calls of Never that run, and of those whom nobody waits for any more. */
extern _Atomic unsigned never_count, cancelled_count;
extern struct asker asker; /* connected while a test runs */
/* echo 1.0.0, without Later, Die and DieOnce. */
extern const struct served_service echo_service;

/* Without a service; @options: NULL, or what is to be set beside the URL. */
int fronts_begin(const struct broker_options *options);
/* cmocka's; echo_service is served as the first. */
int fronts_begin_echo(void **state);
int fronts_end(void **state);
struct front_counts fronts_counts(void);
/* Waits until it is @want. */
void fronts_wait(const _Atomic unsigned *count, unsigned want);

struct asker asker_new(void);
void asker_hang_up(struct asker *who); /* safe twice */
void asker_say(struct asker *who, uint32_t id, const struct bus_frame *frame, const void *payload);
void asker_hear(struct asker *who);
/* @words: that the answer says, or NULL. */
void asker_expect(struct asker *who, uint64_t call_id, enum parley_status status,
                  const char *words);
/* One more call is answered: nothing that came before has hurt. */
void asker_is_served(struct asker *who);

struct bus_frame frame_of(const char *interface, const char *method, uint64_t call_id);
size_t echo_pack(uint32_t number, const char *text, uint8_t *out);

#endif
