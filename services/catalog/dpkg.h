/*
 * The package database of a Debian machine, as data: what /var/lib/dpkg/status says of the
 * packages that are installed, in order of id.
 */
#ifndef CATALOG_DPKG_H
#define CATALOG_DPKG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DPKG_STATUS_FILE "/var/lib/dpkg/status"

struct dpkg_limits {
    size_t file_bytes;
    size_t packages;
    size_t name_bytes;  /* of a name, an architecture */
    size_t value_bytes; /* of one field */
    size_t depends;     /* entries of one Depends */
};
#define DPKG_LIMITS_DEFAULT                                                                        \
    (struct dpkg_limits)                                                                           \
    {                                                                                              \
        .file_bytes = (size_t)256 << 20, .packages = 200000, .name_bytes = 255,                    \
        .value_bytes = (size_t)1 << 20, .depends = 4096,                                           \
    }

/* One installed package. No string is NULL; what the file lacks is "". All are valid UTF-8: bytes
 * that are not have become '?'. */
struct dpkg_package {
    const char *id; /* "libc6:amd64", "adduser:all": always name ':' architecture */
    const char *name;
    const char *architecture;
    const char *version;
    const char *section;
    const char *priority; /* "required", ...; as in the file */
    const char *maintainer;
    const char *homepage;
    const char *bugs;
    const char *origin;
    const char *source;      /* the name of its source package, without a version */
    const char *summary;     /* first line of Description */
    const char *description; /* the other lines, without their indent; " ." is an empty line */
    const char **depends;    /* the parts of Depends between commas, trimmed */
    size_t depends_count;
    uint32_t installed_kib;
    bool essential;
};

struct dpkg_db;

struct dpkg_error {
    char text[256]; /* a sentence */
};

/**
 * dpkg_load() - read a status file
 * @limits: NULL for the defaults
 * @ret_db: the caller's; dpkg_free()
 *
 * A stanza that is broken (no architecture, a field twice, past a limit, ...) is left out and
 * counted; it does not take the others with it.
 *
 * Return: 0; -errno of the file; -EFBIG if the file or the number of packages is past the limits;
 * -ENOMEM.
 */
int dpkg_load(const char *path, const struct dpkg_limits *limits, struct dpkg_db **ret_db,
              struct dpkg_error *error);

/* dpkg_load() of @bytes in memory; copied. */
int dpkg_parse(const char *data, size_t bytes, const struct dpkg_limits *limits,
               struct dpkg_db **ret_db, struct dpkg_error *error);

/* NULL is fine. Returns NULL. */
struct dpkg_db *dpkg_free(struct dpkg_db *db);

size_t dpkg_count(const struct dpkg_db *db);
/* In order of id, bytewise. */
const struct dpkg_package *dpkg_at(const struct dpkg_db *db, size_t index);

/* How many stanzas were left out, and why the first one was ("" if none was). */
size_t dpkg_skipped(const struct dpkg_db *db);
const char *dpkg_skipped_text(const struct dpkg_db *db);

#define DPKG_E_NONE 1      /* no such package is installed */
#define DPKG_E_AMBIGUOUS 2 /* the name is installed for several architectures: give the id */

/* By name or by id. Return: 0, DPKG_E_NONE, DPKG_E_AMBIGUOUS. */
int dpkg_find(const struct dpkg_db *db, const char *name_or_id, size_t *ret_index);

/* Whether @text is in @haystack, an ASCII letter matching either case. "" is in everything. */
bool dpkg_contains(const char *haystack, const char *text);

#endif
