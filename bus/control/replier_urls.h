/*
 * Inside the control room: where the replier on libnng listens, or whom it dials; and who is there.
 */
#ifndef PARLEY_CONTROL_REPLIER_URLS_H
#define PARLEY_CONTROL_REPLIER_URLS_H

#include <nng/nng.h>

#include "control/replier.h"

struct nng_urls;

/* Listens on, or dials, all of options->urls; the socket is borrowed. Everything in @options is
 * borrowed for the call. Return: 0; -errno with a sentence that names the URL or the file. */
int nng_urls_new(nng_socket socket, const struct replier_options *options,
                 struct nng_urls **ret_urls, struct error_text *error);
/* Of a socket that is closed. */
struct nng_urls *nng_urls_free(struct nng_urls *urls);

/* With the port that it has; as it was given, if it is dialled. */
const char *nng_urls_get(const struct nng_urls *urls, size_t index);

/* Dials again who has had no connection for a while. @is_up: whether that dialer has one. */
void nng_urls_redial(struct nng_urls *urls, bool (*is_up)(uint32_t dialer, void *data), void *data);
/* When to do so; CLOCK_NEVER: nobody is dialled. */
uint64_t nng_urls_deadline_ns(const struct nng_urls *urls);

/* Who is on the other side of a connection of libnng's, but for its number. Any thread. */
void nng_pipe_peer(nng_pipe pipe, struct replier_peer *peer);

/* A sentence with NNG's words and what to do. Return: NNG's number as -errno. */
int nng_urls_fail(struct error_text *error, int nng_code, const char *what, const char *url);

#endif
