/*
 * A client that calls without pause and compares every reply with what dpkg says: all of it but
 * the messages, which each version's own program knows (client_v1.c, client_v2.c).
 */
#ifndef CATALOG_LOAD_H
#define CATALOG_LOAD_H

#include <parley/parley.h>

#include "query.h"

/* What a version's program adds. */
struct load_version {
    const char *program;
    const struct parley_interface *interface;
    /* Calls with the generated stub of the method, and waits. */
    enum parley_status (*call)(struct parley_client *client, const struct query *query,
                               ProtobufCMessage **ret_reply, struct parley_call *call);
    /* Starts it with protobuf-c's client function. */
    void (*start)(ProtobufCService *service, const struct query *query, ProtobufCClosure closure,
                  void *closure_data);
    /* Compares every field. */
    void (*check)(const struct query *query, const ProtobufCMessage *reply,
                  const struct parley_call *call, struct difference *difference);
};

/* The program. Return: its exit status. */
int load_main(int argc, char **argv, const struct load_version *version);

#endif
