/*
 * Asking a question, in the version that CATALOG_API says: what of it is the same in all of them.
 */
#ifndef CATALOG_ASK_H
#define CATALOG_ASK_H

#include "catalog.parley.h"
#include "query.h"

#define ASK_TEXT_BYTES 256

/* Each version's own: the requests. @text: ASK_TEXT_BYTES, for strings that have to be made. */
Catalog__GetRequest ask_get(const struct query *query);
Catalog__ListRequest ask_list(const struct query *query, char *text);
Catalog__SearchRequest ask_search(const struct query *query);

/* Calls with the generated stub of the method, and waits. */
enum parley_status ask_call(struct parley_client *client, const struct query *query,
                            ProtobufCMessage **ret_reply, struct parley_call *call);
/* Starts it with protobuf-c's client function. */
void ask_start(ProtobufCService *service, const struct query *query, ProtobufCClosure closure,
               void *closure_data);

#endif
