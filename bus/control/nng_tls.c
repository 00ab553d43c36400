/*
 * Certificates for libnng's TLS, which is Mbed TLS's.
 *
 * libnng reads certificate and key from one file, and tells no more of a bad one than that it is
 * bad; so the files are read here, within bounds, and what is wrong is said with the file's name.
 * A configuration of one's own makes libnng forget to ask for the URL's host in the certificate: it
 * is set in any case, else any certificate of the same authority would do.
 */
#include "control/nng_tls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "control/nng.h"

#define PEM_BYTES_MAX (1 << 20)
/* Where Debian and its kin, and Red Hat and its kin, keep whom the system believes. */
static const char *const system_ca[] = {"/etc/ssl/certs/ca-certificates.crt",
                                        "/etc/pki/tls/certs/ca-bundle.crt"};

static int code(int nng_code)
{
    return nng_code == 0 ? 0 : nng_errno(nng_code);
}

bool nng_tls_url(const char *url)
{
    static const char *const schemes[] = {"tls+tcp", "wss:", "tls+ws"};
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++)
        if (strncmp(url, schemes[i], strlen(schemes[i])) == 0)
            return true;
    return false;
}

/* @ret_text: NUL-terminated, the caller's. */
static int pem_read(const char *path, const char *what, char **ret_text, struct error_text *error)
{
    _cleanup_(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) < 0)
        return error_set(error, -EINVAL, "cannot read the %s %s: %s", what, path, strerror(errno));
    if (!S_ISREG(status.st_mode) || status.st_size > PEM_BYTES_MAX)
        return error_set(error, -EINVAL, "the %s %s is no file of PEM text of up to %d bytes", what,
                         path, PEM_BYTES_MAX);
    _cleanup_(freep) char *text = malloc((size_t)status.st_size + 1);
    if (!text)
        return -ENOMEM;
    size_t bytes = 0;
    ssize_t n;
    while (bytes < (size_t)status.st_size &&
           (n = read(fd, text + bytes, (size_t)status.st_size - bytes)) > 0)
        bytes += (size_t)n;
    text[bytes] = '\0';
    if (!strstr(text, "-----BEGIN "))
        return error_set(error, -EINVAL, "the %s %s has no PEM text in it", what, path);
    *ret_text = steal_ptr(&text);
    return 0;
}

static int refused(struct error_text *error, int nng_code, const char *what, const char *path)
{
    return error_set(error, nng_errno(nng_code), "cannot use the %s %s: %s", what, path,
                     nng_strerror(nng_code));
}

static int set_ca(nng_tls_config *config, const char *path, struct error_text *error)
{
    _cleanup_(freep) char *text = NULL;
    int r = pem_read(path, "certificates of authorities in", &text, error);
    if (r < 0)
        return r;
    int n = nng_tls_config_ca_chain(config, text, NULL);
    return n == 0 ? 0 : refused(error, n, "certificates of authorities in", path);
}

/* The system's; without any, nobody is believed. */
static int set_system_ca(nng_tls_config *config, struct error_text *error)
{
    for (size_t i = 0; i < sizeof(system_ca) / sizeof(system_ca[0]); i++)
        if (access(system_ca[i], R_OK) == 0)
            return set_ca(config, system_ca[i], error);
    return error_set(error, -ENOENT,
                     "this system has no list of certificate authorities: name a file of those "
                     "that are to be believed");
}

static int set_own(nng_tls_config *config, const struct tls_settings *settings,
                   struct error_text *error)
{
    _cleanup_(freep) char *certificate = NULL;
    _cleanup_(freep) char *key = NULL;
    const char *key_path = settings->key ? settings->key : settings->certificate;
    int r = pem_read(settings->certificate, "certificate", &certificate, error);
    if (r == 0)
        r = pem_read(key_path, "key", &key, error);
    if (r < 0)
        return r;
    int n = nng_tls_config_own_cert(config, certificate, key, NULL);
    explicit_bzero(key, strlen(key));
    return n == 0 ? 0 : refused(error, n, "certificate and key of", settings->certificate);
}

static int set_name(nng_tls_config *config, const struct tls_settings *settings, const char *url,
                    struct error_text *error)
{
    if (settings->server_name)
        return code(nng_tls_config_server_name(config, settings->server_name));
    nng_url *parsed;
    int n = nng_url_parse(&parsed, url);
    if (n != 0)
        return error_set(error, nng_errno(n), "%s is no URL", url);
    n = nng_tls_config_server_name(config, parsed->u_hostname ? parsed->u_hostname : "");
    nng_url_free(parsed);
    return code(n);
}

int nng_tls_new(const struct tls_settings *settings, const char *url, bool server,
                nng_tls_config **ret_config, struct error_text *error)
{
    static const struct tls_settings defaults;
    settings = settings ? settings : &defaults;
    if (server && !settings->certificate)
        return error_set(error, -EINVAL, "%s needs a certificate and its key", url);
    nng_tls_config *config;
    int n = nng_tls_config_alloc(&config, server ? NNG_TLS_MODE_SERVER : NNG_TLS_MODE_CLIENT);
    if (n != 0)
        return error_set(error, nng_errno(n), "no TLS for %s: %s", url, nng_strerror(n));
    int r = code(nng_tls_config_auth_mode(config, server && settings->optional
                                                      ? NNG_TLS_AUTH_MODE_OPTIONAL
                                                      : NNG_TLS_AUTH_MODE_REQUIRED));
    if (r == 0)
        r = settings->ca ? set_ca(config, settings->ca, error) : set_system_ca(config, error);
    if (r == 0 && settings->certificate)
        r = set_own(config, settings, error);
    if (r == 0 && !server)
        r = set_name(config, settings, url, error);
    if (r < 0) {
        nng_tls_config_free(config);
        return r;
    }
    *ret_config = config;
    return 0;
}
