/*
 * The URLs of the replier on libnng: each is a listener or a dialer of its socket, with TLS where
 * the URL says so.
 *
 * libnng 1.5.2 waits a random time before it connects again, one in 200 of them for ever: its
 * random number is signed, and -1 means without end. So who has no connection for a while is
 * dialled anew. Listeners are libnng's from the start on; of them only the URL is kept, with the
 * port that was chosen. And what both users of libnng, here and in caller_nng.c, tell of a peer.
 */
#include "control/replier_urls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <netinet/in.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "control/nng.h"
#include "control/nng_tls.h"
#include "control/replier_ops.h"

#define REDIAL_NS (500 * NS_PER_MS)
#define RECONNECT_MS_MIN 50
#define RECONNECT_MS_MAX 400

struct nng_end {
    char *url;
    nng_tls_config *config; /* of a dialer; NULL: no TLS */
    nng_dialer dialer;
    uint64_t since_ns; /* when there was a connection, or when it was dialled, last */
};

struct nng_urls {
    nng_socket socket;
    bool dials;
    size_t count;
    struct nng_end ends[];
};

int nng_urls_fail(struct error_text *error, int nng_code, const char *what, const char *url)
{
    const char *advice = "";
    if (nng_code == NNG_EADDRINUSE)
        advice = ": stop the program that listens there, or choose another URL";
    else if (nng_code == NNG_EADDRINVAL || nng_code == NNG_EINVAL)
        advice = ": use a URL such as ipc:///run/parley/bus.ipc or tcp://127.0.0.1:7433";
    else if (nng_code == NNG_ENOTSUP)
        advice = ": this libnng has no such transport: use ipc://, tcp:// or ws://";
    else if (nng_code == NNG_ENOENT)
        advice = ": make the folder first";
    return error_set(error, nng_errno(nng_code), "cannot %s %s: %s%s", what, url,
                     nng_strerror(nng_code), advice);
}

/* @ret_config: NULL if the URL needs none. */
static int set_up_tls(const struct replier_options *options, const char *url,
                      nng_tls_config **ret_config, struct error_text *error)
{
    *ret_config = NULL;
    if (!nng_tls_url(url))
        return 0;
    if (!options->tls)
        return error_set(error, -EINVAL, "%s needs certificates: say where they are", url);
    return nng_tls_new(options->tls, url, !options->dial, ret_config, error);
}

/* ---- Dialling ---- */

static int dial(nng_socket socket, struct nng_end *end, struct error_text *error)
{
    int n = nng_dialer_create(&end->dialer, socket, end->url);
    if (n == 0 && end->config)
        n = nng_dialer_set_ptr(end->dialer, NNG_OPT_TLS_CONFIG, end->config);
    if (n == 0)
        n = nng_dialer_set_ms(end->dialer, NNG_OPT_RECONNMINT, RECONNECT_MS_MIN);
    if (n == 0)
        n = nng_dialer_set_ms(end->dialer, NNG_OPT_RECONNMAXT, RECONNECT_MS_MAX);
    if (n == 0)
        n = nng_dialer_start(end->dialer, NNG_FLAG_NONBLOCK);
    end->since_ns = clock_now_ns();
    return n == 0 ? 0 : nng_urls_fail(error, n, "dial", end->url);
}

void nng_urls_redial(struct nng_urls *urls, bool (*is_up)(uint32_t dialer, void *data), void *data)
{
    if (!urls->dials)
        return;
    uint64_t now = clock_now_ns();
    for (size_t i = 0; i < urls->count; i++) {
        struct nng_end *end = &urls->ends[i];
        if (now - end->since_ns < REDIAL_NS)
            continue;
        if (!is_up((uint32_t)nng_dialer_id(end->dialer), data)) {
            (void)nng_dialer_close(end->dialer);
            (void)dial(urls->socket, end, NULL); /* or the next time */
        }
        end->since_ns = now;
    }
}

uint64_t nng_urls_deadline_ns(const struct nng_urls *urls)
{
    uint64_t deadline = CLOCK_NEVER;
    for (size_t i = 0; urls->dials && i < urls->count; i++)
        if (urls->ends[i].since_ns + REDIAL_NS < deadline)
            deadline = urls->ends[i].since_ns + REDIAL_NS;
    return deadline;
}

static int dial_one(struct nng_urls *urls, const struct replier_options *options, const char *url,
                    struct error_text *error)
{
    struct nng_end *end = &urls->ends[urls->count];
    end->url = strdup(url);
    if (!end->url)
        return error_set(error, -ENOMEM, "out of memory");
    urls->count++;
    int r = set_up_tls(options, url, &end->config, error);
    return r < 0 ? r : dial(urls->socket, end, error);
}

/* ---- Listening ---- */

/* With the port that it has. */
static int url_of(nng_listener listener, const char *asked, char **ret_url)
{
    char *told;
    if (nng_listener_get_string(listener, NNG_OPT_URL, &told) != 0) {
        *ret_url = strdup(asked);
    } else {
        *ret_url = strdup(told);
        nng_strfree(told);
    }
    return *ret_url ? 0 : -ENOMEM;
}

static int listen_one(struct nng_urls *urls, const struct replier_options *options, const char *url,
                      struct error_text *error)
{
    nng_listener listener;
    int n = nng_listener_create(&listener, urls->socket, url);
    if (n != 0)
        return nng_urls_fail(error, n, "listen on", url);
    if (options->mode && strncmp(url, "ipc://", strlen("ipc://")) == 0)
        n = nng_listener_set_int(listener, NNG_OPT_IPC_PERMISSIONS, (int)options->mode);
    nng_tls_config *config;
    int r = set_up_tls(options, url, &config, error);
    if (r < 0)
        return r;
    if (config && n == 0)
        n = nng_listener_set_ptr(listener, NNG_OPT_TLS_CONFIG, config);
    if (config)
        nng_tls_config_free(config);
    if (n == 0)
        n = nng_listener_start(listener, 0);
    if (n != 0)
        return nng_urls_fail(error, n, "listen on", url);
    r = url_of(listener, url, &urls->ends[urls->count].url);
    if (r < 0)
        return error_set(error, r, "out of memory");
    urls->count++;
    return 0;
}

/* ---- All ---- */

int nng_urls_new(nng_socket socket, const struct replier_options *options,
                 struct nng_urls **ret_urls, struct error_text *error)
{
    struct nng_urls *urls = calloc(1, sizeof(*urls) + options->url_count * sizeof(urls->ends[0]));
    if (!urls)
        return error_set(error, -ENOMEM, "out of memory");
    urls->socket = socket;
    urls->dials = options->dial;
    for (size_t i = 0; i < options->url_count; i++) {
        int r = (options->dial ? dial_one : listen_one)(urls, options, options->urls[i], error);
        if (r < 0) {
            nng_urls_free(urls);
            return r;
        }
    }
    *ret_urls = urls;
    return 0;
}

struct nng_urls *nng_urls_free(struct nng_urls *urls)
{
    if (!urls)
        return NULL;
    for (size_t i = 0; i < urls->count; i++) {
        if (urls->ends[i].config)
            nng_tls_config_free(urls->ends[i].config);
        free(urls->ends[i].url);
    }
    free(urls);
    return NULL;
}

const char *nng_urls_get(const struct nng_urls *urls, size_t index)
{
    return urls->ends[index].url;
}

/* ---- Who is there ---- */

void nng_pipe_peer(nng_pipe pipe, struct replier_peer *peer)
{
    uint64_t uid, gid, pid;
    nng_sockaddr address;
    *peer = (struct replier_peer){.off_host = true, .text = "an unknown peer"};
    if (nng_pipe_get_uint64(pipe, NNG_OPT_IPC_PEER_UID, &uid) == 0 &&
        nng_pipe_get_uint64(pipe, NNG_OPT_IPC_PEER_GID, &gid) == 0 &&
        nng_pipe_get_uint64(pipe, NNG_OPT_IPC_PEER_PID, &pid) == 0) {
        peer->uid = (uid_t)uid;
        peer->gid = (gid_t)gid;
        peer->pid = (pid_t)pid;
        replier_peer_local(peer);
    } else if (nng_pipe_get_addr(pipe, NNG_OPT_REMADDR, &address) == 0) {
        struct sockaddr_in v4 = {.sin_family = AF_INET};
        struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
        if (address.s_family == NNG_AF_INET) {
            v4.sin_addr.s_addr = address.s_in.sa_addr;
            v4.sin_port = address.s_in.sa_port;
            replier_peer_address(peer, (const struct sockaddr *)&v4);
        } else if (address.s_family == NNG_AF_INET6) {
            memcpy(&v6.sin6_addr, address.s_in6.sa_addr, sizeof(v6.sin6_addr));
            v6.sin6_port = address.s_in6.sa_port;
            replier_peer_address(peer, (const struct sockaddr *)&v6);
        }
    }
    bool verified;
    peer->encrypted = nng_pipe_get_bool(pipe, NNG_OPT_TLS_VERIFIED, &verified) == 0;
}
