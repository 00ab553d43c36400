/*
 * Folders of tests, removed whatever becomes of the test: also if it is killed, as meson does when
 * it takes too long.
 */
#ifndef PARLEY_TESTS_SUPPORT_FOLDER_H
#define PARLEY_TESTS_SUPPORT_FOLDER_H

#include <sys/types.h>

/* Makes a folder: @path ends in XXXXXX, as for mkdtemp(). A process of its own, in a session of its
 * own, removes it with all that is in it if this process ends. Return: its pid, or -1 and errno. */
pid_t folder_guard(char *path);
/* The folder is gone or nobody's concern any more: ends and reaps the process. */
void folder_unguard(pid_t guard);
/* Makes a guarded folder of @path, as above, has @run run the tests, and removes it with all that
 * is in it. Return: what @run returned, or 1. */
int folder_run(char *path, int (*run)(void));

/* "FOLDER/NAME": there until the sixteenth call from now. */
const char *folder_path(const char *folder, const char *name);

#endif
