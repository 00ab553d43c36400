/*
 * What a client was offered, and how it comes to its channels: the versions on offer, attaching to
 * listed instances, the ranges that calls name, and hanging up where the policy has become another.
 */
#ifndef PARLEY_RPC_OFFERS_H
#define PARLEY_RPC_OFFERS_H

#include "rpc/internal.h"

/* ---- review.c: the policy is another one ---- */

/* A Review has come. */
void endpoint_review(struct parley_endpoint *endpoint);
/* Tells the broker who has channels, if anybody has. */
void service_tell_callers(struct parley_service *service);
void service_cut(struct parley_service *service, const Parley__Cut *message);
/* The broker has said PERMISSION_DENIED: hangs up on everybody. */
void service_denied(struct parley_service *service);
void client_denied(struct parley_client *client);
/* The instance may not serve any more: hangs up on it. */
void client_cut(struct parley_client *client, uint64_t instance_id);

/* ---- offers.c ---- */

void client_offers_add(struct parley_client *client, Parley__Offer *const *offers, size_t count);
/* "2.0.0, 1.0.0"; "nothing". */
void client_offers_describe(const struct parley_client *client, char *text, size_t bytes);
/* Whether any offer has the call's method and is in its range. */
bool client_offers_suit(const struct parley_client *client, const struct call *call);
/* The live channels whose versions have the method, and are accepted by the best alternative of the
 * range that has any. @ret_channels: room for ROUTE_INSTANCE_MAX. */
uint32_t client_live_suit(struct parley_client *client, const struct call *call,
                          struct channel **ret_channels);

/* ---- attach.c ---- */

/* Each: NULL if there is none. */
struct offer *client_offer(struct parley_client *client, const char *version);
struct channel *client_channel(struct parley_client *client, uint64_t instance_id);
struct listed *client_listed(struct parley_client *client, uint64_t instance_id);
/* Makes a channel to a listed instance, or sets the time of the next try. */
void client_attach(struct parley_client *client, struct listed *listed);
/* A channel is being made, or will be tried again soon. */
bool client_attaching(const struct parley_client *client);
/* Attaches again to listed instances whose time has come. Returns when to look again. */
uint64_t client_attach_due(struct parley_client *client, uint64_t now);
extern const struct channel_ops client_channel_ops;

/* ---- ranges.c ---- */

#define RPC_RANGES_KEPT 8 /* texts of an endpoint's calls */

struct ranges_kept;
/* Of a text, parsed or kept. @kept: made when it is needed. The caller's: semver_ranges_free().
 * Return: 0; -EINVAL with a sentence; -ENOMEM. */
int ranges_get(struct ranges_kept **kept, const char *text, struct semver_ranges **ret_ranges,
               struct error_text *error);
struct ranges_kept *ranges_free(struct ranges_kept *kept); /* NULL is fine; returns NULL */

#endif
