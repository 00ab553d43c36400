/*
 * Which method a question calls. The versions differ in the fields of their requests, not in their
 * methods, so this is written once, against names without a version (catalog.parley.h), and
 * compiled for each: with -DCATALOG_API=1 into catalog-client, with -DCATALOG_API=2 into
 * catalog-client-v2.
 */
#include "ask.h"

enum parley_status ask_call(struct parley_client *client, const struct query *query,
                            ProtobufCMessage **ret_reply, struct parley_call *call)
{
    switch (query->kind) {
    case QUERY_LIST: {
        char text[ASK_TEXT_BYTES];
        Catalog__ListRequest request = ask_list(query, text);
        return catalog__catalog__list_call(client, &request, (Catalog__ListReply **)ret_reply,
                                           call);
    }
    case QUERY_SEARCH: {
        Catalog__SearchRequest request = ask_search(query);
        return catalog__catalog__search_call(client, &request, (Catalog__SearchReply **)ret_reply,
                                             call);
    }
    case QUERY_VISIT: {
        Catalog__GetRequest request = ask_get(query);
        return catalog__catalog__visit_call(client, &request, (Catalog__VisitReply **)ret_reply,
                                            call);
    }
    default: {
        Catalog__GetRequest request = ask_get(query);
        return catalog__catalog__get_call(client, &request, (Catalog__Package **)ret_reply, call);
    }
    }
}

void ask_start(ProtobufCService *service, const struct query *query, ProtobufCClosure closure,
               void *data)
{
    switch (query->kind) {
    case QUERY_LIST: {
        char text[ASK_TEXT_BYTES];
        Catalog__ListRequest request = ask_list(query, text);
        catalog__catalog__list(service, &request, (Catalog__ListReply_Closure)closure, data);
        break;
    }
    case QUERY_SEARCH: {
        Catalog__SearchRequest request = ask_search(query);
        catalog__catalog__search(service, &request, (Catalog__SearchReply_Closure)closure, data);
        break;
    }
    case QUERY_VISIT: {
        Catalog__GetRequest request = ask_get(query);
        catalog__catalog__visit(service, &request, (Catalog__VisitReply_Closure)closure, data);
        break;
    }
    default: {
        Catalog__GetRequest request = ask_get(query);
        catalog__catalog__get(service, &request, (Catalog__Package_Closure)closure, data);
        break;
    }
    }
}
