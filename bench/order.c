/*
 * The order, and its conversion by hand: what a program has to do that is built for both versions,
 * with all that protobuf-c makes easy, and no more care for speed than a careful programmer takes.
 * Sub-messages are on the stack, lines in one array, strings stay where they were unpacked.
 */
#include "messages.h"

#include "order_v1.pb-c.h"
#include "order_v2.pb-c.h"

void order_v1(struct packed *ret_packed)
{
    Order__V1__Address billing = ORDER__V1__ADDRESS__INIT;
    billing.street = (char *)"Lindenallee 12";
    billing.zip = (char *)"10115";
    billing.city = (char *)"Berlin";
    billing.country = (char *)"DE";
    Order__V1__Address ship_to = ORDER__V1__ADDRESS__INIT;
    ship_to.street = (char *)"Rue de la R\303\251publique 4";
    ship_to.zip = (char *)"69001";
    ship_to.city = (char *)"Lyon";
    ship_to.country = (char *)"FR";
    Order__V1__Customer customer = ORDER__V1__CUSTOMER__INIT;
    customer.id = 184467;
    customer.contact = (char *)"Wilhelmine Ahrens <w.ahrens@example.org>";
    customer.phone = (char *)"+49 30 901820";
    customer.billing = &billing;
    Order__V1__Item items[3] = {ORDER__V1__ITEM__INIT, ORDER__V1__ITEM__INIT,
                                ORDER__V1__ITEM__INIT};
    items[0].sku = (char *)"KK-1204";
    items[0].title = (char *)"Kaffeekanne, 1,2 l";
    items[0].quantity = 1;
    items[0].price_cents = 3495;
    items[1].sku = (char *)"TS-0033";
    items[1].title = (char *)"M\303\274slischale";
    items[1].quantity = 6;
    items[1].price_cents = 890;
    items[2].sku = (char *)"TL-0931";
    items[2].title = (char *)"Teel\303\266ffel";
    items[2].quantity = 12;
    items[2].price_cents = 245;
    Order__V1__Item *item[3] = {&items[0], &items[1], &items[2]};
    Order__V1__Order order = ORDER__V1__ORDER__INIT;
    order.number = (char *)"R-2026-004711";
    order.label = (char *)"R-2026-004711/EUR";
    order.customer = &customer;
    order.ship_to = &ship_to;
    order.n_item = 3;
    order.item = item;
    order.status = ORDER__V1__STATUS__STATUS_SHIPPED;
    order.total_cents = 11775;
    order.currency = (char *)"EUR";
    order.tracking = (char *)"JJD000390007811742";
    order.created_s = 1795378800;
    order.gift = 1;
    messages_pack(&order.base, ret_packed);
}

void order_v2(struct packed *ret_packed)
{
    struct packed first;
    order_v1(&first);
    ret_packed->bytes = order_up(&messages_malloc, first.data, first.bytes, ret_packed->data);
}

/* ---- Up ---- */

static Order__V2__Status status_up(Order__V1__Status status)
{
    switch (status) {
    case ORDER__V1__STATUS__STATUS_NEW:
        return ORDER__V2__STATUS__STATUS_NEW;
    case ORDER__V1__STATUS__STATUS_PAID:
        return ORDER__V2__STATUS__STATUS_PAID;
    case ORDER__V1__STATUS__STATUS_SHIPPED:
        return ORDER__V2__STATUS__STATUS_SHIPPED;
    case ORDER__V1__STATUS__STATUS_DONE:
        return ORDER__V2__STATUS__STATUS_DONE;
    default:
        return ORDER__V2__STATUS__STATUS_UNKNOWN;
    }
}

static void address_up(const Order__V1__Address *from, Order__V2__Address *to)
{
    to->street = from->street;
    to->city = from->city;
    to->postcode = from->zip;
    to->country = from->country;
}

static size_t pack_up(ProtobufCAllocator *allocator, const Order__V1__Order *from, uint8_t *out)
{
    Order__V2__Order to = ORDER__V2__ORDER__INIT;
    Order__V2__Customer buyer = ORDER__V2__CUSTOMER__INIT;
    Order__V2__Contact contact = ORDER__V2__CONTACT__INIT;
    Order__V2__Address billing = ORDER__V2__ADDRESS__INIT, ship_to = ORDER__V2__ADDRESS__INIT;
    Order__V2__Delivery delivery = ORDER__V2__DELIVERY__INIT;
    if (from->customer) {
        buyer.id = from->customer->id;
        buyer.phone = from->customer->phone;
        if (from->customer->contact[0]) {
            messages_split(from->customer->contact, &contact.name, &contact.email);
            buyer.contact = &contact;
        }
        if (from->customer->billing) {
            address_up(from->customer->billing, &billing);
            buyer.billing = &billing;
        }
        to.buyer = &buyer;
    }
    if (from->ship_to) {
        address_up(from->ship_to, &ship_to);
        to.ship_to = &ship_to;
    }
    if (from->tracking[0]) {
        delivery.tracking = from->tracking;
        to.delivery = &delivery;
    }
    Order__V2__Line *lines =
        allocator->alloc(allocator->allocator_data, from->n_item * sizeof(*lines) + 1);
    to.line = allocator->alloc(allocator->allocator_data, from->n_item * sizeof(*to.line) + 1);
    to.n_line = from->n_item;
    for (size_t i = 0; i < from->n_item; i++) {
        order__v2__line__init(&lines[i]);
        lines[i].sku = from->item[i]->sku;
        lines[i].title = from->item[i]->title;
        lines[i].quantity = from->item[i]->quantity;
        lines[i].price_mills = (uint64_t)from->item[i]->price_cents * 10;
        to.line[i] = &lines[i];
    }
    to.number = from->number;
    to.status = status_up(from->status);
    to.total_mills = (uint64_t)from->total_cents * 10;
    to.currency = from->currency;
    to.created_ms = from->created_s * 1000;
    to.gift = from->gift;
    size_t bytes = order__v2__order__pack(&to, out);
    allocator->free(allocator->allocator_data, to.line);
    allocator->free(allocator->allocator_data, lines);
    return bytes;
}

size_t order_up(ProtobufCAllocator *allocator, const uint8_t *in, size_t bytes, uint8_t *out)
{
    Order__V1__Order *from = order__v1__order__unpack(allocator, bytes, in);
    if (!from)
        return 0;
    bytes = pack_up(allocator, from, out);
    order__v1__order__free_unpacked(from, allocator);
    return bytes;
}

/* ---- Down ---- */

static Order__V1__Status status_down(Order__V2__Status status)
{
    switch (status) {
    case ORDER__V2__STATUS__STATUS_NEW:
    case ORDER__V2__STATUS__STATUS_RESERVED:
        return ORDER__V1__STATUS__STATUS_NEW;
    case ORDER__V2__STATUS__STATUS_PAID:
        return ORDER__V1__STATUS__STATUS_PAID;
    case ORDER__V2__STATUS__STATUS_SHIPPED:
        return ORDER__V1__STATUS__STATUS_SHIPPED;
    case ORDER__V2__STATUS__STATUS_DONE:
        return ORDER__V1__STATUS__STATUS_DONE;
    default:
        return ORDER__V1__STATUS__STATUS_UNKNOWN;
    }
}

static void address_down(const Order__V2__Address *from, Order__V1__Address *to)
{
    to->street = from->street;
    to->zip = from->postcode;
    to->city = from->city;
    to->country = from->country;
}

static size_t pack_down(ProtobufCAllocator *allocator, const Order__V2__Order *from, uint8_t *out)
{
    Order__V1__Order to = ORDER__V1__ORDER__INIT;
    Order__V1__Customer customer = ORDER__V1__CUSTOMER__INIT;
    Order__V1__Address billing = ORDER__V1__ADDRESS__INIT, ship_to = ORDER__V1__ADDRESS__INIT;
    char *contact = NULL;
    if (from->buyer) {
        const Order__V2__Contact *split = from->buyer->contact;
        customer.id = from->buyer->id;
        customer.phone = from->buyer->phone;
        if (split && split->email[0])
            customer.contact = contact =
                messages_join(allocator, split->name, " <", split->email, ">");
        else if (split)
            customer.contact = split->name;
        if (from->buyer->billing) {
            address_down(from->buyer->billing, &billing);
            customer.billing = &billing;
        }
        to.customer = &customer;
    }
    if (from->ship_to) {
        address_down(from->ship_to, &ship_to);
        to.ship_to = &ship_to;
    }
    if (from->delivery)
        to.tracking = from->delivery->tracking;
    Order__V1__Item *items =
        allocator->alloc(allocator->allocator_data, from->n_line * sizeof(*items) + 1);
    to.item = allocator->alloc(allocator->allocator_data, from->n_line * sizeof(*to.item) + 1);
    to.n_item = from->n_line;
    for (size_t i = 0; i < from->n_line; i++) {
        order__v1__item__init(&items[i]);
        items[i].sku = from->line[i]->sku;
        items[i].title = from->line[i]->title;
        items[i].quantity = from->line[i]->quantity;
        items[i].price_cents = (uint32_t)(from->line[i]->price_mills / 10);
        to.item[i] = &items[i];
    }
    char *label = messages_join(allocator, from->number, "/", from->currency, "");
    to.label = label;
    to.number = from->number;
    to.status = status_down(from->status);
    to.total_cents = (uint32_t)(from->total_mills / 10);
    to.currency = from->currency;
    to.created_s = from->created_ms / 1000;
    to.gift = from->gift;
    size_t bytes = order__v1__order__pack(&to, out);
    allocator->free(allocator->allocator_data, label);
    allocator->free(allocator->allocator_data, to.item);
    allocator->free(allocator->allocator_data, items);
    if (contact)
        allocator->free(allocator->allocator_data, contact);
    return bytes;
}

size_t order_down(ProtobufCAllocator *allocator, const uint8_t *in, size_t bytes, uint8_t *out)
{
    Order__V2__Order *from = order__v2__order__unpack(allocator, bytes, in);
    if (!from)
        return 0;
    bytes = pack_down(allocator, from, out);
    order__v2__order__free_unpacked(from, allocator);
    return bytes;
}
