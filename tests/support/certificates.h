/*
 * Certificates for tests, made on the spot: authorities and what they vouch for.
 */
#ifndef PARLEY_TESTS_SUPPORT_CERTIFICATES_H
#define PARLEY_TESTS_SUPPORT_CERTIFICATES_H

#include <stddef.h>

struct certificate_wish {
    const char *name;       /* the common name; NULL: none */
    size_t name_bytes;      /* 0: up to its end; else there may be zeros in it */
    const char *other_name; /* a second common name; NULL: none */
    const char *address;    /* of a server: "127.0.0.1"; NULL: none */
    const char *authority;  /* the folder's file of who signs, without .pem; NULL: itself */
    long seconds;           /* how long it is valid from now; negative: it has ended */
};

/* Writes FOLDER/FILE.pem: certificate and key. Fails the test if it cannot. */
void certificate_make(const char *folder, const char *file, const struct certificate_wish *wish);

/* Where that file is: there until the sixteenth call from now. */
const char *certificate_path(const char *folder, const char *file);

#endif
