/* For http.c: where it listens, and what is asked for. */
#ifndef PARLEY_CONTROL_HTTP_ADDRESS_H
#define PARLEY_CONTROL_HTTP_ADDRESS_H

#include <stdbool.h>

#include "base/error.h"
#include "control/http.h"

#define HTTP_HOST_BYTES 64

struct http_address {
    char host[HTTP_HOST_BYTES]; /* without brackets */
    unsigned port;
    bool v6, loopback;
};

/* http://ADDRESS:PORT. Return: 0; -EINVAL, with a sentence. */
int http_address_parse(const char *url, struct http_address *ret, struct error_text *error);
void http_address_url(const struct http_address *address, char url[HTTP_URL_BYTES]);

/* What a request has as Host, without its port. False: too long. */
bool http_host_name(const char *host, char name[HTTP_HOST_BYTES]);
bool http_host_is_loopback(const char *name);

#endif
