/*
 * C++ protobuf: parse into an arena, convert field by field, serialize. The arena has a block of
 * its own from the start and is reset after each message, so that nothing is allocated in the
 * steady state but strings that do not fit into std::string itself. Strings are moved, not copied,
 * where the field's type allows it; from one message of an arena to another of the same arena that
 * is a swap.
 */
#include "translate_cpp.h"

#include <cstring>
#include <string>
#include <utility>

#include <google/protobuf/arena.h>

#include "catalog_v1.pb.h"
#include "catalog_v2.pb.h"
#include "order_v1.pb.h"
#include "order_v2.pb.h"

namespace
{

alignas(64) char block[64 << 10];

google::protobuf::Arena &arena()
{
    static google::protobuf::Arena *made = [] {
        google::protobuf::ArenaOptions options;
        options.initial_block = block;
        options.initial_block_size = sizeof(block);
        return new google::protobuf::Arena(options);
    }();
    return *made;
}

template <typename From, typename To>
size_t convert(const uint8_t *in, size_t bytes, uint8_t *out, void (*fields)(From &, To &))
{
    size_t written = 0;
    auto *from = google::protobuf::Arena::CreateMessage<From>(&arena());
    auto *to = google::protobuf::Arena::CreateMessage<To>(&arena());
    if (from->ParseFromArray(in, static_cast<int>(bytes))) {
        fields(*from, *to);
        written = to->ByteSizeLong();
        to->SerializeWithCachedSizesToArray(out);
    }
    arena().Reset();
    return written;
}

/* "Name <mail>" into a message with both. */
template <typename Contact> void split(std::string &&text, Contact &contact)
{
    size_t at = text.rfind(" <");
    if (at == std::string::npos || at == 0 || text.back() != '>' || at + 3 >= text.size()) {
        contact.set_name(std::move(text));
        return;
    }
    contact.set_name(text.data(), at);
    contact.set_email(text.data() + at + 2, text.size() - at - 3);
}

template <typename Contact> std::string join(const Contact &contact)
{
    if (contact.email().empty())
        return contact.name();
    std::string text;
    text.reserve(contact.name().size() + contact.email().size() + 3);
    text.append(contact.name()).append(" <").append(contact.email()).push_back('>');
    return text;
}

/* ---- The order ---- */

order::v2::Status status_up(order::v1::Status status)
{
    switch (status) {
    case order::v1::STATUS_NEW:
        return order::v2::STATUS_NEW;
    case order::v1::STATUS_PAID:
        return order::v2::STATUS_PAID;
    case order::v1::STATUS_SHIPPED:
        return order::v2::STATUS_SHIPPED;
    case order::v1::STATUS_DONE:
        return order::v2::STATUS_DONE;
    default:
        return order::v2::STATUS_UNKNOWN;
    }
}

order::v1::Status status_down(order::v2::Status status)
{
    switch (status) {
    case order::v2::STATUS_NEW:
    case order::v2::STATUS_RESERVED:
        return order::v1::STATUS_NEW;
    case order::v2::STATUS_PAID:
        return order::v1::STATUS_PAID;
    case order::v2::STATUS_SHIPPED:
        return order::v1::STATUS_SHIPPED;
    case order::v2::STATUS_DONE:
        return order::v1::STATUS_DONE;
    default:
        return order::v1::STATUS_UNKNOWN;
    }
}

void address_up(order::v1::Address &from, order::v2::Address &to)
{
    to.set_street(std::move(*from.mutable_street()));
    to.set_city(std::move(*from.mutable_city()));
    to.set_postcode(std::move(*from.mutable_zip()));
    to.set_country(std::move(*from.mutable_country()));
}

void address_down(order::v2::Address &from, order::v1::Address &to)
{
    to.set_street(std::move(*from.mutable_street()));
    to.set_zip(std::move(*from.mutable_postcode()));
    to.set_city(std::move(*from.mutable_city()));
    to.set_country(std::move(*from.mutable_country()));
}

void order_up(order::v1::Order &from, order::v2::Order &to)
{
    if (from.has_customer()) {
        auto &customer = *from.mutable_customer();
        auto &buyer = *to.mutable_buyer();
        buyer.set_id(customer.id());
        buyer.set_phone(std::move(*customer.mutable_phone()));
        if (!customer.contact().empty())
            split(std::move(*customer.mutable_contact()), *buyer.mutable_contact());
        if (customer.has_billing())
            address_up(*customer.mutable_billing(), *buyer.mutable_billing());
    }
    if (from.has_ship_to())
        address_up(*from.mutable_ship_to(), *to.mutable_ship_to());
    if (!from.tracking().empty())
        to.mutable_delivery()->set_tracking(std::move(*from.mutable_tracking()));
    to.mutable_line()->Reserve(from.item_size());
    for (auto &item : *from.mutable_item()) {
        auto &line = *to.add_line();
        line.set_sku(std::move(*item.mutable_sku()));
        line.set_title(std::move(*item.mutable_title()));
        line.set_quantity(item.quantity());
        line.set_price_mills(uint64_t{item.price_cents()} * 10);
    }
    to.set_number(std::move(*from.mutable_number()));
    to.set_status(status_up(from.status()));
    to.set_total_mills(uint64_t{from.total_cents()} * 10);
    to.set_currency(std::move(*from.mutable_currency()));
    to.set_created_ms(from.created_s() * 1000);
    to.set_gift(from.gift());
}

void order_down(order::v2::Order &from, order::v1::Order &to)
{
    if (from.has_buyer()) {
        auto &buyer = *from.mutable_buyer();
        auto &customer = *to.mutable_customer();
        customer.set_id(buyer.id());
        customer.set_phone(std::move(*buyer.mutable_phone()));
        if (buyer.has_contact())
            customer.set_contact(join(buyer.contact()));
        if (buyer.has_billing())
            address_down(*buyer.mutable_billing(), *customer.mutable_billing());
    }
    if (from.has_ship_to())
        address_down(*from.mutable_ship_to(), *to.mutable_ship_to());
    if (from.has_delivery())
        to.set_tracking(std::move(*from.mutable_delivery()->mutable_tracking()));
    to.mutable_item()->Reserve(from.line_size());
    for (auto &line : *from.mutable_line()) {
        auto &item = *to.add_item();
        item.set_sku(std::move(*line.mutable_sku()));
        item.set_title(std::move(*line.mutable_title()));
        item.set_quantity(line.quantity());
        item.set_price_cents(static_cast<uint32_t>(line.price_mills() / 10));
    }
    to.set_label(from.number() + "/" + from.currency());
    to.set_number(std::move(*from.mutable_number()));
    to.set_status(status_down(from.status()));
    to.set_total_cents(static_cast<uint32_t>(from.total_mills() / 10));
    to.set_currency(std::move(*from.mutable_currency()));
    to.set_created_s(from.created_ms() / 1000);
    to.set_gift(from.gift());
}

/* ---- The record ---- */

catalog::v2::Priority priority_up(catalog::v1::Priority priority)
{
    switch (priority) {
    case catalog::v1::PRIORITY_REQUIRED:
        return catalog::v2::PRIORITY_REQUIRED;
    case catalog::v1::PRIORITY_IMPORTANT:
        return catalog::v2::PRIORITY_IMPORTANT;
    case catalog::v1::PRIORITY_STANDARD:
        return catalog::v2::PRIORITY_STANDARD;
    case catalog::v1::PRIORITY_OPTIONAL:
        return catalog::v2::PRIORITY_OPTIONAL;
    default:
        return catalog::v2::PRIORITY_UNSPECIFIED;
    }
}

catalog::v1::Priority priority_down(catalog::v2::Priority priority)
{
    switch (priority) {
    case catalog::v2::PRIORITY_REQUIRED:
        return catalog::v1::PRIORITY_REQUIRED;
    case catalog::v2::PRIORITY_IMPORTANT:
        return catalog::v1::PRIORITY_IMPORTANT;
    case catalog::v2::PRIORITY_STANDARD:
        return catalog::v1::PRIORITY_STANDARD;
    case catalog::v2::PRIORITY_OPTIONAL:
    case catalog::v2::PRIORITY_EXTRA:
        return catalog::v1::PRIORITY_OPTIONAL;
    default:
        return catalog::v1::PRIORITY_UNSPECIFIED;
    }
}

void record_up(catalog::v1::Package &from, catalog::v2::Package &to)
{
    to.set_name(std::move(*from.mutable_name()));
    to.set_version(std::move(*from.mutable_version()));
    to.set_architecture(std::move(*from.mutable_architecture()));
    to.set_section(std::move(*from.mutable_section()));
    to.set_priority(priority_up(from.priority()));
    to.set_installed_bytes(uint64_t{from.installed_kib()} * 1024);
    if (!from.maintainer().empty())
        split(std::move(*from.mutable_maintainer()), *to.mutable_maintainer());
    if (!from.homepage().empty())
        to.mutable_links()->set_homepage(std::move(*from.mutable_homepage()));
    to.set_synopsis(std::move(*from.mutable_summary()));
    to.mutable_depends()->Swap(from.mutable_depends());
    to.set_essential(from.essential());
}

void record_down(catalog::v2::Package &from, catalog::v1::Package &to)
{
    to.set_id(from.name() + ":" + from.architecture());
    to.set_name(std::move(*from.mutable_name()));
    to.set_version(std::move(*from.mutable_version()));
    to.set_architecture(std::move(*from.mutable_architecture()));
    to.set_section(std::move(*from.mutable_section()));
    to.set_priority(priority_down(from.priority()));
    to.set_installed_kib(static_cast<uint32_t>(from.installed_bytes() / 1024));
    if (from.has_maintainer())
        to.set_maintainer(join(from.maintainer()));
    if (from.has_links())
        to.set_homepage(std::move(*from.mutable_links()->mutable_homepage()));
    to.set_summary(std::move(*from.mutable_synopsis()));
    to.mutable_depends()->Swap(from.mutable_depends());
    to.set_essential(from.essential());
}

} // namespace

size_t cpp_order_up(const uint8_t *in, size_t bytes, uint8_t *out)
{
    return convert<order::v1::Order, order::v2::Order>(in, bytes, out, order_up);
}

size_t cpp_order_down(const uint8_t *in, size_t bytes, uint8_t *out)
{
    return convert<order::v2::Order, order::v1::Order>(in, bytes, out, order_down);
}

size_t cpp_record_up(const uint8_t *in, size_t bytes, uint8_t *out)
{
    return convert<catalog::v1::Package, catalog::v2::Package>(in, bytes, out, record_up);
}

size_t cpp_record_down(const uint8_t *in, size_t bytes, uint8_t *out)
{
    return convert<catalog::v2::Package, catalog::v1::Package>(in, bytes, out, record_down);
}
