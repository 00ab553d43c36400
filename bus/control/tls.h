/*
 * Where certificates are. All paths are of PEM files, borrowed.
 */
#ifndef PARLEY_CONTROL_TLS_H
#define PARLEY_CONTROL_TLS_H

#include <stdbool.h>

struct tls_settings {
    const char *ca;          /* whose certificates are believed; NULL: the system's */
    const char *certificate; /* our own, with its chain; NULL: none (a client without one) */
    const char *key;         /* of it; NULL: in the same file */
    const char
        *server_name; /* a client: what the server's certificate must say; NULL: the URL's host */
    bool optional;    /* a server: clients may come without a certificate */
};

#endif
