/*
 * URLs of the stream backend: what libnng understands by them, so that a URL means the same by
 * either backend.
 *
 * To read one takes no time: an address is known then, and a name is only kept. Who dials has it
 * looked up meanwhile (stream_lookup.c). Who listens waits for that, the first time: a broker has a
 * socket for each program that serves from elsewhere, under the name of its bus URL, and must not
 * stand still for each. The address of a name on which this process has listened stays what it was;
 * if it is another by now, the first socket hears nobody either.
 */
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/stream.h"

struct scheme {
    const char *prefix;
    int family;
    bool ipc, tls;
};

static const struct scheme schemes[] = {
    {"ipc://", AF_UNIX, true, false},       {"tcp://", AF_UNSPEC, false, false},
    {"tcp4://", AF_INET, false, false},     {"tcp6://", AF_INET6, false, false},
    {"tls+tcp://", AF_UNSPEC, false, true}, {"tls+tcp4://", AF_INET, false, true},
    {"tls+tcp6://", AF_INET6, false, true},
};

static const struct scheme *scheme_of(const char *url)
{
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++)
        if (strncmp(url, schemes[i].prefix, strlen(schemes[i].prefix)) == 0)
            return &schemes[i];
    return NULL;
}

bool stream_url_is(const char *url)
{
    return scheme_of(url) != NULL;
}

static int parse_path(const char *url, const char *path, struct stream_url *ret,
                      struct error_text *error)
{
    struct sockaddr_un *address = &ret->address.path;
    size_t bytes = strlen(path);
    if (bytes == 0 || bytes >= sizeof(address->sun_path))
        return error_set(error, -EINVAL, "%s: a path has 1 to %zu bytes", url,
                         sizeof(address->sun_path) - 1);
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, path, bytes + 1);
    ret->address_bytes = sizeof(*address);
    return 0;
}

/* "HOST:PORT", "[ADDRESS]:PORT"; perhaps "/" behind it. */
static int split(const char *url, const char *rest, struct stream_url *ret,
                 struct error_text *error)
{
    size_t bytes = strcspn(rest, "/");
    const char *colon = memrchr(rest, ':', bytes);
    size_t host = colon ? (size_t)(colon - rest) : bytes;
    const char *from = rest;
    if (host >= 2 && rest[0] == '[' && rest[host - 1] == ']') {
        from++;
        host -= 2;
    } else if (colon && memchr(rest, ':', host)) {
        host = sizeof(ret->host); /* an address of IPv6 without brackets */
    }
    size_t digits = colon ? bytes - (size_t)(colon + 1 - rest) : 0;
    if (!colon || host >= sizeof(ret->host) || digits == 0 || digits > 5 ||
        strspn(colon + 1, "0123456789") < digits || strtoul(colon + 1, NULL, 10) > 65535)
        return error_set(error, -EINVAL,
                         "%s is no URL: use one such as tcp://127.0.0.1:7433 or tcp://[::1]:7433",
                         url);
    memcpy(ret->host, from, host);
    ret->host[host] = '\0';
    (void)snprintf(ret->port, sizeof(ret->port), "%.*s", (int)digits, colon + 1);
    return 0;
}

int stream_url_find(struct stream_url *url, int flags)
{
    bool any = url->host[0] == '\0';
    struct addrinfo hints = {.ai_family = any && url->family == AF_UNSPEC ? AF_INET : url->family,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICSERV | flags | (any ? AI_PASSIVE : 0)};
    struct addrinfo *found;
    int r = getaddrinfo(any ? NULL : url->host, url->port, &hints, &found);
    if (r != 0)
        return r;
    memcpy(&url->address.storage, found->ai_addr, found->ai_addrlen);
    url->address_bytes = found->ai_addrlen;
    freeaddrinfo(found);
    return 0;
}

static int fail(const struct stream_url *url, const char *text, int found, struct error_text *error)
{
    return error_set(error, -EHOSTUNREACH, "%s: cannot find %s: %s", text,
                     url->host[0] ? url->host : "an address", gai_strerror(found));
}

int stream_url_parse(const char *url, bool any, struct stream_url *ret_url,
                     struct error_text *error)
{
    const struct scheme *scheme = scheme_of(url);
    if (!scheme)
        return error_set(error, -EINVAL, "%s is no URL of ipc://, tcp:// or tls+tcp://", url);
    *ret_url = (struct stream_url){.ipc = scheme->ipc, .tls = scheme->tls};
    const char *rest = url + strlen(scheme->prefix);
    if (scheme->ipc)
        return parse_path(url, rest, ret_url, error);
    ret_url->family = scheme->family;
    int r = split(url, rest, ret_url, error);
    if (r < 0)
        return r;
    if (strcmp(ret_url->host, "*") == 0)
        ret_url->host[0] = '\0';
    if (ret_url->host[0] == '\0' && !any)
        return error_set(error, -EINVAL, "%s names no host", url);
    r = stream_url_find(ret_url, AI_NUMERICHOST);
    ret_url->named = r == EAI_NONAME;
    return r == 0 || ret_url->named ? 0 : fail(ret_url, url, r, error);
}

/* The host in a URL SCHEME://HOST:PORT, with the brackets of an address of IPv6; NULL: none. */
static const char *host_in(const char *url, size_t *ret_bytes)
{
    const char *host = strstr(url, "://");
    if (!host || strncmp(url, "ipc", 3) == 0)
        return NULL;
    host += 3;
    const char *colon = memrchr(host, ':', strcspn(host, "/"));
    *ret_bytes = colon ? (size_t)(colon - host) : 0;
    return colon ? host : NULL;
}

char *replier_url_by(const char *told, const char *by)
{
    static const char *const all[] = {"", "*", "0.0.0.0", "[::]"};
    size_t bytes, by_bytes;
    const char *host = host_in(told, &bytes), *by_host = host_in(by, &by_bytes);
    char *url;
    for (size_t i = 0; host && by_host && i < sizeof(all) / sizeof(all[0]); i++) {
        if (strlen(all[i]) != bytes || memcmp(host, all[i], bytes) != 0)
            continue;
        int r = asprintf(&url, "%.*s%.*s%s", (int)(host - told), told, (int)by_bytes, by_host,
                         host + bytes);
        return r < 0 ? NULL : url;
    }
    return strdup(told);
}

/* ---- Names on which this process listens ---- */

static pthread_mutex_t own_lock = PTHREAD_MUTEX_INITIALIZER;
static struct stream_url own[STREAM_OWN_NAMES_MAX]; /* the latest, by turns */
static size_t own_count;

static void set_port(union stream_address *address, const char *port)
{
    in_port_t number = htons((uint16_t)strtoul(port, NULL, 10));
    if (address->any.sa_family == AF_INET)
        address->v4.sin_port = number;
    else
        address->v6.sin6_port = number;
}

static bool find_own(struct stream_url *url)
{
    bool found = false;
    pthread_mutex_lock(&own_lock);
    for (size_t i = 0; i < own_count && i < STREAM_OWN_NAMES_MAX && !found; i++) {
        found = own[i].family == url->family && strcmp(own[i].host, url->host) == 0;
        if (found) {
            url->address = own[i].address;
            url->address_bytes = own[i].address_bytes;
            set_port(&url->address, url->port);
        }
    }
    pthread_mutex_unlock(&own_lock);
    return found;
}

int stream_url_find_own(struct stream_url *url, const char *text, struct error_text *error)
{
    if (find_own(url))
        return 0;
    int r = stream_url_find(url, 0);
    if (r != 0)
        return fail(url, text, r, error);
    pthread_mutex_lock(&own_lock);
    own[own_count++ % STREAM_OWN_NAMES_MAX] = *url;
    pthread_mutex_unlock(&own_lock);
    return 0;
}
