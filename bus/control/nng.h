/*
 * NNG, wrapped: nothing outside of this room includes its headers, and no type of NNG's shows here.
 * Sockets are non-blocking and have a descriptor for an event loop.
 */
#ifndef PARLEY_CONTROL_NNG_H
#define PARLEY_CONTROL_NNG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define NNG_REQUEST_BYTES_MAX (UINT32_C(64) << 20)

/* NNG's number of an error as -errno; -EIO if it has no better name. */
int nng_errno(int nng_code);
/* Closes a socket of NNG's, by its number, waiting no longer than a second. Return: whether it is
 * closed; if not, NNG's threads may still call back. */
bool nng_close_socket(uint32_t id);

/* ---- An asker and a subscriber, for the command line: these block ---- */

struct nng_asker;
struct tls_settings;
int nng_asker_new(const char *url, uint64_t timeout_ns, struct nng_asker **ret,
                  struct error_text *error);
/* @tls: for URLs with TLS in them, read now; NULL: the defaults, as nng_asker_new(). */
int nng_asker_new_tls(const char *url, const struct tls_settings *tls, uint64_t timeout_ns,
                      struct nng_asker **ret, struct error_text *error);
struct nng_asker *nng_asker_free(struct nng_asker *asker);
/* @ret_data: the caller's; free(). -ETIMEDOUT, ... with a sentence that names the URL. */
int nng_asker_ask(struct nng_asker *asker, const uint8_t *data, size_t bytes, uint8_t **ret_data,
                  size_t *ret_bytes, struct error_text *error);

struct nng_subscriber;
/* @topics: prefixes; none: all. */
int nng_subscriber_new(const char *url, const char *const *topics, size_t topic_count,
                       struct nng_subscriber **ret, struct error_text *error);
/* @tls: as nng_asker_new_tls() */
int nng_subscriber_new_tls(const char *url, const struct tls_settings *tls,
                           const char *const *topics, size_t topic_count,
                           struct nng_subscriber **ret, struct error_text *error);
struct nng_subscriber *nng_subscriber_free(struct nng_subscriber *subscriber);
/* 0; -ETIMEDOUT; -errno. @ret_data: the caller's; free(). */
int nng_subscriber_receive(struct nng_subscriber *subscriber, uint64_t timeout_ns,
                           uint8_t **ret_data, size_t *ret_bytes);

#endif
