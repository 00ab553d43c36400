/*
 * Small files that outlive the broker: --state.
 */
#ifndef PARLEY_BROKER_STATE_H
#define PARLEY_BROKER_STATE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define STATE_NAME_BYTES 128          /* of a file: 127 and a NUL */
#define STATE_BYTES_MAX (1024 * 1024) /* of its contents */

/* Replaces the file as a whole; on disk when it returns. Makes the folder. @name: of our own
 * making. Return: 0; -errno with a sentence: what was there is still there. */
int state_write(const char *dir, const char *name, const void *data, size_t bytes,
                struct error_text *error);
/* A file that is not there is no error. Return: 0; -errno with a sentence. */
int state_remove(const char *dir, const char *name, struct error_text *error);
/* Renames it to NAME.damaged, for a person to look at; nothing reads it again.
 * Return: 0; -errno with a sentence. */
int state_put_aside(const char *dir, const char *name, struct error_text *error);
/* Calls @read for each file whose name begins and ends so, by name. No folder: none.
 * @result: 0; or -errno with a sentence in place of the data, which is NUL-terminated otherwise.
 * Return: 0; -errno with a sentence. */
int state_read_all(const char *dir, const char *prefix, const char *suffix,
                   void (*read)(void *user, const char *name, int result, const char *data,
                                size_t bytes),
                   void *user, struct error_text *error);

#endif
