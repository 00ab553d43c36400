/*
 * What dpkg itself says of the installed packages, asked of the program dpkg-query: what the
 * clients compare every reply with. It shares no code with dpkg.c, which the services read the
 * same database with.
 */
#ifndef CATALOG_TRUTH_H
#define CATALOG_TRUTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* No string is NULL; what dpkg does not know is "". Bytes that are not UTF-8 are '?'. */
struct truth_package {
    const char *id; /* name ':' architecture */
    const char *name, *architecture, *version, *section, *priority, *maintainer, *homepage, *bugs;
    const char *origin, *source, *summary, *description;
    char **depends;
    size_t depends_count;
    uint32_t installed_kib;
    bool essential;
    bool twin; /* another architecture of this name is installed too */
};

struct truth {
    struct truth_package *packages; /* in order of id */
    size_t count;
    char *text; /* what the strings point into */
};

/**
 * truth_ask() - run dpkg-query and read what it says
 * @admindir: of the database; NULL: dpkg's own
 *
 * Return: 0; -errno, with a sentence in @error (256 bytes).
 */
int truth_ask(const char *admindir, struct truth *ret_truth, char *error);

void truth_deinit(struct truth *truth);

#endif
