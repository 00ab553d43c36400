/*
 * Where HTTP is answered: addresses and ports, and no names but localhost, for who is looked up may
 * be anywhere.
 */
#include "control/http_address.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

bool http_host_name(const char *host, char name[HTTP_HOST_BYTES])
{
    const char *bracket = host[0] == '[' ? strchr(host, ']') : NULL;
    size_t bytes = bracket ? (size_t)(bracket - host) + 1 : strcspn(host, ":");
    if (bytes >= HTTP_HOST_BYTES)
        return false;
    memcpy(name, host, bytes);
    name[bytes] = '\0';
    return true;
}

bool http_host_is_loopback(const char *name)
{
    struct in_addr v4;
    if (strcasecmp(name, "localhost") == 0 || strcmp(name, "[::1]") == 0)
        return true;
    return inet_pton(AF_INET, name, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127;
}

static int complain(struct error_text *error, const char *url)
{
    return error_set(error, -EINVAL,
                     "%.100s is no URL for HTTP: give an address and a port, as "
                     "http://127.0.0.1:7480 or http://[::1]:7480",
                     url);
}

static bool is_loopback(struct http_address *address)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, address->host, &v4) == 1)
        return address->loopback = ntohl(v4.s_addr) >> 24 == 127, true;
    address->v6 = inet_pton(AF_INET6, address->host, &v6) == 1;
    address->loopback = address->v6 && IN6_IS_ADDR_LOOPBACK(&v6);
    return address->v6;
}

int http_address_parse(const char *url, struct http_address *ret, struct error_text *error)
{
    if (strncmp(url, "https://", 8) == 0)
        return error_set(error, -EINVAL, "there is no TLS here: use http:// and a proxy in front");
    char host[HTTP_HOST_BYTES];
    if (strncmp(url, "http://", 7) != 0 || !http_host_name(url + 7, host))
        return complain(error, url);
    const char *port = url + 7 + strlen(host);
    char *end;
    unsigned long number = *port == ':' && isdigit((unsigned char)port[1])
                               ? strtoul(port + 1, &end, 10)
                               : UINT16_MAX + 1UL;
    if (number > UINT16_MAX || (*end != '\0' && strcmp(end, "/") != 0))
        return complain(error, url);
    size_t bytes = strlen(host);
    struct http_address address = {.port = (unsigned)number};
    if (host[0] == '[' && bytes > 2)
        memcpy(address.host, host + 1, bytes - 2);
    else
        memcpy(address.host, strcasecmp(host, "localhost") == 0 ? "127.0.0.1" : host, bytes);
    if (!is_loopback(&address) || (address.v6 != (host[0] == '[')))
        return complain(error, url);
    *ret = address;
    return 0;
}

void http_address_url(const struct http_address *address, char url[HTTP_URL_BYTES])
{
    (void)snprintf(url, HTTP_URL_BYTES, address->v6 ? "http://[%s]:%u" : "http://%s:%u",
                   address->host, address->port);
}
