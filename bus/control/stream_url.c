/*
 * URLs of the stream backend: what libnng understands by them, so that a URL means the same by
 * either backend.
 */
#include <errno.h>
#include <netdb.h>
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
static int split(const char *url, const char *rest, struct stream_url *ret, char port[8],
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
    (void)snprintf(port, 8, "%.*s", (int)digits, colon + 1);
    return 0;
}

static int look_up(const char *url, int family, const char *port, struct stream_url *ret,
                   struct error_text *error)
{
    bool any = ret->host[0] == '\0';
    struct addrinfo hints = {.ai_family = any && family == AF_UNSPEC ? AF_INET : family,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICSERV | (any ? AI_PASSIVE : 0)};
    struct addrinfo *found;
    int r = getaddrinfo(any ? NULL : ret->host, port, &hints, &found);
    if (r != 0)
        return error_set(error, -EHOSTUNREACH, "%s: cannot find %s: %s", url,
                         any ? "an address" : ret->host, gai_strerror(r));
    memcpy(&ret->address.storage, found->ai_addr, found->ai_addrlen);
    ret->address_bytes = found->ai_addrlen;
    freeaddrinfo(found);
    return 0;
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
    char port[8];
    int r = split(url, rest, ret_url, port, error);
    if (r < 0)
        return r;
    if (strcmp(ret_url->host, "*") == 0)
        ret_url->host[0] = '\0';
    if (ret_url->host[0] == '\0' && !any)
        return error_set(error, -EINVAL, "%s names no host", url);
    return look_up(url, scheme->family, port, ret_url, error);
}
