/*
 * What the two services have in common as programs: options, signals, an endpoint that serves
 * until it is told to stop. Nothing of an interface is in here.
 */
#ifndef CATALOG_SERVE_H
#define CATALOG_SERVE_H

#include <stdbool.h>
#include <stdint.h>

#include <parley/parley.h>

#include "dpkg.h"

struct serve_options {
    const char *status_file;
    const char *name; /* of the endpoint */
    uint64_t hold_ns; /* how long Visits are kept before they are answered; 0: not at all */
    unsigned ill_per_cent; /* of calls, once SIGUSR1 has come; 0: that ends the program as ever */
};

/**
 * serve_later() - answer a call after options.hold_ns
 * @answer: runs once, outside of the handler, also when the service ends before it is due
 *
 * Return: false if there is no reason to wait, or no memory: answer now.
 */
bool serve_later(void (*answer)(void *data), void *data);

/**
 * serve_begin() - read the options and the packages
 * @program: its name, which is also the endpoint's unless --name says otherwise
 * @version: what it serves, for --help
 *
 * Exits: 0 after --help and --version, 2 for a wrong option, 1 if the packages cannot be read.
 */
struct dpkg_db *serve_begin(int argc, char **argv, const char *program, const char *version,
                            struct serve_options *ret_options);

/**
 * serve_run() - publish and serve until SIGTERM or SIGINT, then drain
 *
 * Prints {"ready":true,...} on stdout once it is published, and {"ready":false,...} once it has
 * drained; what goes wrong on stderr.
 *
 * Return: the program's exit status.
 */
int serve_run(const struct serve_options *options, const struct parley_interface *interface,
              ProtobufCService *implementation);

/* Inside a handler: whether this call is one that an ill service fails. Then it has been. */
bool serve_ill(void);

/* Inside a handler: how its call ends when its closure gets NULL. */
void serve_fail(enum parley_status status, const char *text);

/* Inside a handler: finds the package of that name or id, or fails the call with a sentence.
 * Return: whether it found it. */
bool serve_find(const struct dpkg_db *db, const char *name, size_t *ret_index);

#endif
