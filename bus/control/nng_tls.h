/*
 * TLS of libnng, from files. For caller.c and whoever else opens a socket of libnng's.
 */
#ifndef PARLEY_CONTROL_NNG_TLS_H
#define PARLEY_CONTROL_NNG_TLS_H

#include <stdbool.h>

#include <nng/nng.h>
#include <nng/supplemental/tls/tls.h>

#include "base/error.h"
#include "control/tls.h"

/* Whether the URL's scheme has TLS in it: "tls+tcp://", "wss://". */
bool nng_tls_url(const char *url);

/* @settings NULL: the defaults. @server: a listener's, which asks for certificates as @settings
 * say; else a dialer's, which believes only a server whose certificate has the name that it asks
 * for, settings->server_name or else the URL's host. Return: 0, and @ret_config is the caller's,
 * nng_tls_config_free(); -ENOENT, -EINVAL, ... with a sentence that names the file. */
int nng_tls_new(const struct tls_settings *settings, const char *url, bool server,
                nng_tls_config **ret_config, struct error_text *error);

#endif
