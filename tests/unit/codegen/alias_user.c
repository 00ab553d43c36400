/* One source, compiled without SHOP_API, with -DSHOP_API=1 and with -DSHOP_API=2; USER is what its
 * symbol is called. What the versions do not have in common is chosen by SHOP_API. */
#include "alias_user.h"

#include "shop.parley.h"

#if SHOP_API == 1
#define GREETING greeting
typedef Shop__ItemKind reply_type;
typedef Shop__ItemKind_Closure reply_closure;

/* Only in version 1: a nested message, a oneof's case, an enum's value, a message by an import. */
static void on_get_httppage__x(Shop__Shop_Service *self, const Shop__Item *item,
                               Shop__ItemPrice_Closure closure, void *data)
{
    Shop__ItemPrice__Cents cents = SHOP__ITEM_PRICE__CENTS__INIT;
    Shop__ItemPrice price = SHOP__ITEM_PRICE__INIT;
    (void)self;
    cents.has_cents = item->my_choice_case == SHOP__ITEM__MY_CHOICE_NES_TED &&
                      item->kind == SHOP__KIND__kindFood &&
                      item->inner == SHOP__ITEM__INNER_KIND__IK_A;
    price.price = &cents;
    closure(&price, data);
}
#else
#define GREETING title
typedef Shop__Item reply_type;
typedef Shop__Item_Closure reply_closure;

static void on_connect(Shop__Shop_Service *self, const Shop__Item *item, reply_closure closure,
                       void *data)
{
    (void)self;
    closure(item->kind == SHOP__KIND__KIND_TOOL ? item : NULL, data);
}
#endif

static void on_get(Shop__Shop_Service *self, const Shop__Item *item, reply_closure closure,
                   void *data)
{
    (void)self, (void)item;
    closure(NULL, data);
}

static Shop__Shop_Service shop = SHOP__SHOP__INIT(on_);

static enum parley_status connect_shop(struct parley_endpoint *endpoint)
{
    struct parley_client *client;
#if SHOP_API == 1 /* version 2 has a method of that name */
    return shop__shop__connect(endpoint, NULL, &client);
#else
    return parley_client_new(endpoint, &shop__shop__interface, NULL, &client);
#endif
}

static unsigned get(void)
{
    char text[] = "good day";
    Shop__Item request;
    shop__item__init(&request);
    request.GREETING = text;
    reply_type *reply;
    (void)shop__shop__get_call(NULL, &request, &reply, NULL);
    (void)shop__shop__get_send(NULL, &request, NULL);
    return (unsigned)shop__item__get_packed_size(&request);
}

const struct alias_user USER = {
    .api = SHOP_API,
    .interface = &shop__shop__interface,
    .item = &shop__item__descriptor,
    .item_bytes = sizeof(Shop__Item),
    .kind_count = SHOP__KIND__KIND_NONE + 1,
    .connect = connect_shop,
    .get = get,
    .shop = &shop.base,
};
