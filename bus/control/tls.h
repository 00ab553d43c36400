/*
 * TLS: where certificates are, and sessions over connected sockets that do not block, by OpenSSL.
 *
 * Both sides are verified: a client believes a server only with a certificate for the name that it
 * dialled; a server believes clients' certificates, whose common name is who they are.
 */
#ifndef PARLEY_CONTROL_TLS_H
#define PARLEY_CONTROL_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"

/* All paths are of PEM files, borrowed. */
struct tls_settings {
    const char *ca;          /* whose certificates are believed; NULL: the system's */
    const char *certificate; /* our own, with its chain; NULL: none (a client without one) */
    const char *key;         /* of it; NULL: in the same file */
    const char
        *server_name; /* a client: what the server's certificate must say; NULL: the URL's host */
    bool optional;    /* a server: clients may come without a certificate */
};

struct tls_context;
struct tls_session;

#define TLS_IDENTITY_BYTES_MAX 127
#define TLS_E_AGAIN 1 /* wait for what tls_session_wants_write() says, and call again */
#define TLS_E_END 2   /* the other side has said that it is done */

/* @server_name: of a client; what the certificate must say, a name or an address. NULL: a server.
 * Return: 0; -EINVAL, -ENOENT, ... with a sentence that names the file. */
int tls_context_new(const struct tls_settings *settings, const char *server_name,
                    struct tls_context **ret_context, struct error_text *error);
struct tls_context *tls_context_free(struct tls_context *context);

/* @fd: borrowed. */
int tls_session_new(struct tls_context *context, int fd, struct tls_session **ret_session);
struct tls_session *tls_session_free(struct tls_session *session); /* says goodbye if it can */
bool tls_session_wants_write(const struct tls_session *session);
/* 0: done; TLS_E_AGAIN; -EACCES, -EPROTO, ... with a sentence. */
int tls_session_handshake(struct tls_session *session, struct error_text *error);
/* The verified certificate's common name; "": there is no certificate. Return: 0; -EACCES: there is
 * one, but its name is none, several, too long, or not plain text. */
int tls_session_identity(const struct tls_session *session,
                         char ret_identity[TLS_IDENTITY_BYTES_MAX + 1]);
/* Return: bytes, 1 or more, in @ret_bytes and 0; TLS_E_AGAIN; TLS_E_END; -EPROTO, -errno. */
int tls_session_read(struct tls_session *session, void *data, size_t bytes, size_t *ret_bytes);
int tls_session_write(struct tls_session *session, const void *data, size_t bytes,
                      size_t *ret_bytes);
bool tls_session_pending(const struct tls_session *session); /* read, and not taken yet */

#endif
