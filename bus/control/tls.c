/*
 * Sessions read and write their socket themselves; who owns it waits for what they want. TLS 1.2 is
 * the oldest spoken. There is no renegotiation and no resumption: a session is verified anew each
 * time, so that who a peer is never comes from a ticket. What a stranger may send before it is
 * verified is bounded by OpenSSL for each message of the handshake, and by its owner in time.
 *
 * A common name is an identity only if there is just one, and it is plain printable text: a name
 * with a zero byte in it, say, would be somebody else's to who prints it.
 */
#include "control/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/cleanup.h"

#define CHAIN_BYTES_MAX 32768 /* of certificates that a peer sends */

struct tls_context {
    SSL_CTX *ssl;
    char *server_name; /* NULL: a server */
};

struct tls_session {
    SSL *ssl;
    int fd;
    bool wants_write;
    bool broken; /* there is nobody to say goodbye to */
};

/* ---- The socket ---- */

/* OpenSSL's own way to write to a socket may end in SIGPIPE, which is the program's and not ours.
 */
static int socket_write(BIO *bio, const char *data, int bytes)
{
    const struct tls_session *session = BIO_get_data(bio);
    ssize_t n = send(session->fd, data, (size_t)bytes, MSG_NOSIGNAL);
    BIO_clear_retry_flags(bio);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        BIO_set_retry_write(bio);
    return (int)n;
}

static int socket_read(BIO *bio, char *data, int bytes)
{
    const struct tls_session *session = BIO_get_data(bio);
    ssize_t n = recv(session->fd, data, (size_t)bytes, 0);
    BIO_clear_retry_flags(bio);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        BIO_set_retry_read(bio);
    if (n == 0)
        BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
    return (int)n;
}

static long socket_ctrl(BIO *bio, int command, long number, void *pointer)
{
    (void)number, (void)pointer;
    if (command == BIO_CTRL_FLUSH)
        return 1;
    if (command == BIO_CTRL_EOF)
        return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0;
    return 0;
}

static BIO_METHOD *socket_method; /* one for the process: their numbers are few */

static void make_socket_method(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket");
    if (!method || BIO_meth_set_write(method, socket_write) != 1 ||
        BIO_meth_set_read(method, socket_read) != 1 ||
        BIO_meth_set_ctrl(method, socket_ctrl) != 1) {
        BIO_meth_free(method);
        return;
    }
    socket_method = method;
}

static bool join_socket(struct tls_session *session, int fd)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, make_socket_method);
    BIO *bio = socket_method ? BIO_new(socket_method) : NULL;
    if (!bio)
        return false;
    session->fd = fd;
    BIO_set_data(bio, session);
    BIO_set_init(bio, 1);
    SSL_set_bio(session->ssl, bio, bio); /* takes it */
    return true;
}

/* ---- Contexts ---- */

/* What OpenSSL says last; it may say several things. */
static const char *reason(void)
{
    unsigned long code = ERR_peek_last_error();
    const char *text = code ? ERR_reason_error_string(code) : NULL;
    if (code && !text && ERR_SYSTEM_ERROR(code))
        text = strerror(ERR_GET_REASON(code));
    return text ? text : "no reason given";
}

static int fail(struct error_text *error, const char *what, const char *path)
{
    int r = error_set(error, -EINVAL, "cannot use %s %s: %s", what, path, reason());
    ERR_clear_error();
    return r;
}

static int readable(const char *what, const char *path, struct error_text *error)
{
    if (access(path, R_OK) == 0)
        return 0;
    return error_set(error, -errno, "cannot read %s %s: %s", what, path, strerror(errno));
}

static int use_certificate(SSL_CTX *ssl, const struct tls_settings *settings,
                           struct error_text *error)
{
    const char *key = settings->key ? settings->key : settings->certificate;
    int r = readable("the certificate", settings->certificate, error);
    if (r == 0)
        r = readable("the key", key, error);
    if (r < 0)
        return r;
    if (SSL_CTX_use_certificate_chain_file(ssl, settings->certificate) != 1)
        return fail(error, "the certificate", settings->certificate);
    if (SSL_CTX_use_PrivateKey_file(ssl, key, SSL_FILETYPE_PEM) != 1)
        return fail(error, "the key", key);
    if (SSL_CTX_check_private_key(ssl) != 1)
        return fail(error, "the key", key);
    return 0;
}

static int use_authorities(SSL_CTX *ssl, const struct tls_settings *settings, bool server,
                           struct error_text *error)
{
    if (!settings->ca) {
        if (SSL_CTX_set_default_verify_paths(ssl) != 1)
            return fail(error, "the certificates of", "the system");
        return 0;
    }
    int r = readable("the certificates", settings->ca, error);
    if (r < 0)
        return r;
    if (SSL_CTX_load_verify_file(ssl, settings->ca) != 1)
        return fail(error, "the certificates", settings->ca);
    if (server)
        SSL_CTX_set_client_CA_list(ssl, SSL_load_client_CA_file(settings->ca));
    return 0;
}

static void set_up(SSL_CTX *ssl, bool server, bool optional)
{
    (void)SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION);
    SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_IGNORE_UNEXPECTED_EOF);
    (void)SSL_CTX_set_num_tickets(ssl, 0);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_max_cert_list(ssl, CHAIN_BYTES_MAX);
    int verify = SSL_VERIFY_PEER;
    if (server && !optional)
        verify |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_CTX_set_verify(ssl, verify, NULL);
}

int tls_context_new(const struct tls_settings *settings, const char *server_name,
                    struct tls_context **ret_context, struct error_text *error)
{
    bool server = server_name == NULL;
    struct tls_context *context = calloc(1, sizeof(*context));
    if (!context)
        return error_set(error, -ENOMEM, "out of memory");
    context->ssl = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
    context->server_name = server ? NULL : strdup(server_name);
    int r = context->ssl && (server || context->server_name)
                ? 0
                : error_set(error, -ENOMEM, "out of memory");
    if (r == 0 && server && !settings->certificate)
        r = error_set(error, -EINVAL, "a server needs a certificate: say where it is");
    if (r == 0) {
        set_up(context->ssl, server, settings->optional);
        r = use_authorities(context->ssl, settings, server, error);
    }
    if (r == 0 && settings->certificate)
        r = use_certificate(context->ssl, settings, error);
    if (r < 0) {
        tls_context_free(context);
        return r;
    }
    *ret_context = context;
    return 0;
}

struct tls_context *tls_context_free(struct tls_context *context)
{
    if (context) {
        SSL_CTX_free(context->ssl);
        free(context->server_name);
        free(context);
    }
    return NULL;
}

/* ---- Sessions ---- */

static bool is_address(const char *name)
{
    unsigned char address[16];
    return inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1;
}

/* What the server's certificate must say. */
static bool expect(SSL *ssl, const char *name)
{
    if (is_address(name))
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, name) == 1 && SSL_set_tlsext_host_name(ssl, name) == 1;
}

int tls_session_new(struct tls_context *context, int fd, struct tls_session **ret_session)
{
    struct tls_session *session = calloc(1, sizeof(*session));
    if (!session)
        return -ENOMEM;
    session->ssl = SSL_new(context->ssl);
    if (!session->ssl || !join_socket(session, fd) ||
        (context->server_name && !expect(session->ssl, context->server_name))) {
        session->broken = true;
        tls_session_free(session);
        ERR_clear_error();
        return -ENOMEM;
    }
    if (context->server_name)
        SSL_set_connect_state(session->ssl);
    else
        SSL_set_accept_state(session->ssl);
    *ret_session = session;
    return 0;
}

struct tls_session *tls_session_free(struct tls_session *session)
{
    if (session) {
        if (!session->broken && SSL_is_init_finished(session->ssl))
            (void)SSL_shutdown(session->ssl);
        ERR_clear_error();
        SSL_free(session->ssl);
        free(session);
    }
    return NULL;
}

bool tls_session_wants_write(const struct tls_session *session)
{
    return session->wants_write;
}

/* After a call of OpenSSL that did not do it. */
static int what_now(struct tls_session *session, int r)
{
    int failed = errno;
    switch (SSL_get_error(session->ssl, r)) {
    case SSL_ERROR_WANT_READ:
        session->wants_write = false;
        return TLS_E_AGAIN;
    case SSL_ERROR_WANT_WRITE:
        session->wants_write = true;
        return TLS_E_AGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return TLS_E_END;
    case SSL_ERROR_SYSCALL:
        session->broken = true;
        return ERR_peek_error() == 0 && failed ? -failed : -EPROTO;
    default:
        session->broken = true;
        return -EPROTO;
    }
}

int tls_session_handshake(struct tls_session *session, struct error_text *error)
{
    ERR_clear_error();
    errno = 0;
    int r = SSL_do_handshake(session->ssl);
    if (r == 1)
        return 0;
    r = what_now(session, r);
    if (r == TLS_E_AGAIN)
        return r;
    long verified = SSL_get_verify_result(session->ssl);
    if (verified != X509_V_OK) /* and OpenSSL only says "certificate verify failed" */
        r = error_set(error, -EACCES, "its certificate is not believed: %s",
                      X509_verify_cert_error_string(verified));
    else if (ERR_peek_error() != 0)
        r = error_set(error, -EPROTO, "%s", reason());
    else
        r = error_set(error, -EPROTO, "it hung up in the middle of the handshake");
    ERR_clear_error();
    return r;
}

static int name_text(X509_NAME *name, char ret_identity[TLS_IDENTITY_BYTES_MAX + 1])
{
    int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
    if (at < 0 || X509_NAME_get_index_by_NID(name, NID_commonName, at) >= 0)
        return -EACCES;
    unsigned char *text;
    int bytes = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
    if (bytes < 0)
        return -EACCES;
    bool good = bytes > 0 && bytes <= TLS_IDENTITY_BYTES_MAX;
    for (int i = 0; good && i < bytes; i++)
        good = text[i] >= 0x20 && text[i] != 0x7f;
    if (good) {
        memcpy(ret_identity, text, (size_t)bytes);
        ret_identity[bytes] = '\0';
    }
    OPENSSL_free(text);
    return good ? 0 : -EACCES;
}

int tls_session_identity(const struct tls_session *session,
                         char ret_identity[TLS_IDENTITY_BYTES_MAX + 1])
{
    X509 *certificate = SSL_get1_peer_certificate(session->ssl);
    if (!certificate) {
        ret_identity[0] = '\0';
        return 0;
    }
    int r = SSL_get_verify_result(session->ssl) == X509_V_OK
                ? name_text(X509_get_subject_name(certificate), ret_identity)
                : -EACCES;
    X509_free(certificate);
    ERR_clear_error();
    return r;
}

int tls_session_read(struct tls_session *session, void *data, size_t bytes, size_t *ret_bytes)
{
    ERR_clear_error();
    errno = 0;
    int r = SSL_read_ex(session->ssl, data, bytes, ret_bytes);
    return r == 1 ? 0 : what_now(session, r);
}

int tls_session_write(struct tls_session *session, const void *data, size_t bytes,
                      size_t *ret_bytes)
{
    ERR_clear_error();
    errno = 0;
    int r = SSL_write_ex(session->ssl, data, bytes, ret_bytes);
    return r == 1 ? 0 : what_now(session, r);
}

bool tls_session_pending(const struct tls_session *session)
{
    return SSL_pending(session->ssl) > 0;
}
