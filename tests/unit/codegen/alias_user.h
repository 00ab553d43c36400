/* What each of the translation units that know the shop by one version shows of it. */
#ifndef PARLEY_TESTS_ALIAS_USER_H
#define PARLEY_TESTS_ALIAS_USER_H

#include <parley/parley.h>

struct alias_user {
    int api; /* the value of SHOP_API */
    const struct parley_interface *interface;
    const ProtobufCMessageDescriptor *item;
    size_t item_bytes; /* sizeof(Shop__Item) */
    unsigned kind_count;
    enum parley_status (*connect)(struct parley_endpoint *endpoint);
    unsigned (*get)(void);        /* calls Get; how many bytes the request packs to */
    const ProtobufCService *shop; /* an implementation, by the alias of the INIT macro */
};

extern const struct alias_user alias_user_default, alias_user_1, alias_user_2;

#endif
