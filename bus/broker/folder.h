/*
 * A folder of files that an operator keeps, watched: --schemas, --rollouts.
 */
#ifndef PARLEY_BROKER_FOLDER_H
#define PARLEY_BROKER_FOLDER_H

#include "broker/broker.h"

/* What is known of a file. Its user's struct begins with it. */
struct folder_file {
    TAILQ_ENTRY(folder_file) entry;
    char name[BROKER_FILE_BYTES]; /* without the folder */
    dev_t device;
    ino_t inode;
    off_t bytes;
    struct timespec modified;
    bool seen; /* in this pass */
};

/* All in the broker's thread. @user: as given to folder_new(). */
struct folder_ops {
    const char *option;          /* "--schemas", for sentences */
    const char *const *suffixes; /* that count, NULL at the end */
    size_t file_max;
    size_t file_bytes_max;
    size_t struct_bytes; /* of the user's struct for a file, zeroed when made */
    /* It is new or has changed, and was read. @data: borrowed, NUL-terminated. */
    void (*read)(void *user, struct folder_file *file, const uint8_t *data, size_t bytes);
    /* It could not be read. @file: NULL: not known. */
    void (*trouble)(void *user, const struct folder_file *file, const char *name, const char *what);
    /* It is not there any more; its struct is freed next. @stopping: only we end. */
    void (*gone)(void *user, struct folder_file *file, bool stopping);
    void (*scanned)(void *user); /* the folder was read again */
};

#define FOLDER_LOOK_NS (UINT64_C(1) * 1000000000) /* for one that is lost, so often */

struct folder;
/* Reads the folder, and again whenever it changes. @ops: static. Return: 0; -errno with a sentence.
 * read() and trouble() may be called before it returns. */
int folder_new(struct broker *broker, const char *path, const struct folder_ops *ops, void *user,
               struct folder **ret_folder, struct error_text *error);
struct folder *folder_free(struct folder *folder);
/* Reads those files again for which @which says so, though they have not changed. */
void folder_read_again(struct folder *folder, bool (*which)(const struct folder_file *file));

/* Those that are not there any more, to be taken up again. */
uint64_t folders_next_ns(const struct broker *broker);
void folders_turn(struct broker *broker, uint64_t now_ns);
uint32_t folders_lost(const struct broker *broker);

#endif
