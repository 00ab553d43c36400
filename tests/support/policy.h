/*
 * A policy file of a test's.
 */
#ifndef PARLEY_TESTS_SUPPORT_POLICY_H
#define PARLEY_TESTS_SUPPORT_POLICY_H

#include "support/test.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define POLICY_HEAD "apiVersion: parley.dev/v1alpha1\nkind: Policy\nrules:\n"

/* A new file, of mode 600. @rules: a line each, "- {who: [anybody], allow: [call]}\n". */
static inline void policy_write(const char *path, const char *rules)
{
    (void)unlink(path);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    (void)fprintf(file, POLICY_HEAD "%s", rules);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, 0600), 0);
}

#endif
