/*
 * How instances are: each endpoint that has some is asked over its link, and answers when it turns
 * its loop. For parley.bus/Health, and for NNG SURVEYOR sockets.
 */
#ifndef PARLEY_BROKER_HEALTH_H
#define PARLEY_BROKER_HEALTH_H

#include "base/error.h"
#include "broker/broker.h"
#include "parley/bus.pb-c.h"

#define HEALTH_TIMEOUT_NS (UINT64_C(500) * 1000000) /* for who does not say */
#define HEALTH_TIMEOUT_NS_MAX (UINT64_C(60) * 1000000000)
#define HEALTH_SURVEY_BYTES_MAX 4096 /* of a survey; a peer that sends more is hung up on */
#define HEALTH_ROUND_MAX 256 /* under way at once; further ones are refused */

struct health;       /* of the broker; NULL until somebody asks */
struct health_round; /* one who asks */

/* @reply: borrowed. Runs once, in health_turn(). */
typedef void health_done(const Parley__Bus__V1__HealthReply *reply, void *data);

/**
 * health_ask() - ask all instances
 * @interface: NULL or "": of all
 * @timeout_ns: who has not answered then is told as NO_ANSWER; 0: HEALTH_TIMEOUT_NS
 * Return: ours until @done, or health_drop(); NULL: too many ask, or no memory, with a sentence.
 */
struct health_round *health_ask(struct broker *broker, const char *interface, uint64_t timeout_ns,
                                health_done *done, void *data, struct error_text *error);
void health_drop(struct health_round *round); /* `done` will not run */

/* session.c's */
void health_on_pong(struct endpoint *endpoint, const Parley__Pong *message);
/* An instance has left: nobody waits for it. */
void health_on_gone(struct broker *broker);

/* Surveys on these URLs. Return: 0; -errno with a sentence. */
int health_open(struct broker *broker, const struct broker_options *options,
                struct error_text *error);
uint64_t health_next_ns(const struct broker *broker);
void health_turn(struct broker *broker, uint64_t now_ns);
void health_free(struct broker *broker);

#endif
