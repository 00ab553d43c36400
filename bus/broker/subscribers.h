/*
 * SUB sockets that hear events (subscribers.c).
 */
#ifndef PARLEY_BROKER_SUBSCRIBERS_H
#define PARLEY_BROKER_SUBSCRIBERS_H

#include "broker/broker.h"
#include "control/publisher.h"

/* Of options->event_urls. Return: 0; -errno with a sentence. */
int subscribers_open(struct broker *broker, const struct broker_options *options,
                     struct error_text *error);
void subscribers_close(struct broker *broker);
/* To all of them; there are URLs. */
void subscribers_send(struct broker *broker, const void *data, size_t bytes);
/* The policy is another one. */
void subscribers_review(struct broker *broker);
uint64_t subscribers_next_ns(const struct broker *broker);
void subscribers_turn(struct broker *broker, uint64_t now_ns);
const char *subscribers_url(const struct broker *broker, size_t index); /* ports filled in */
void subscribers_counts(const struct broker *broker, struct publisher_counts *ret);

#endif
