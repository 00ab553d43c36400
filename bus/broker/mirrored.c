/*
 * What clients tell of mirrored calls whose reply differs: an example for the operator, as an
 * event. The numbers are in the statistics. Clients tell once a second at most; who does not keep
 * to that, and many who do, are heard ten times a second together.
 */
#include "broker/broker.h"

#include <string.h>

#include "base/clock.h"

#define MIRRORED_EVENT_NS (100 * NS_PER_MS) /* between two events */

static const char *or_nothing(const char *text)
{
    return text ? text : "";
}

void session_on_mirror_differs(struct endpoint *endpoint, const Parley__MirrorDiffers *message)
{
    struct broker *broker = endpoint->broker;
    uint64_t now_ns = clock_now_ns();
    uint64_t id = message->contract_id;
    const struct contract *contract;
    HASH_FIND(hh, endpoint->contracts, &id, sizeof(id), contract);
    if (!contract || now_ns - broker->mirrored_ns < MIRRORED_EVENT_NS)
        return;
    broker->mirrored_ns = now_ns;
    const char *path = or_nothing(message->path);
    const struct event event = {
        .topic = "mirror.differs",
        .interface = contract->interface->name,
        .version = message->mirrored && strlen(message->mirrored) < BROKER_VERSION_BYTES
                       ? message->mirrored
                       : NULL,
        .pid = endpoint->peer.pid,
    };
    event_publish(
        broker, &event,
        "%s/%.64s: the reply of %.31s differs from that of %.31s, for a client of %s (pid "
        "%d): %.160s%s%.200s",
        contract->interface->name, or_nothing(message->method), or_nothing(message->mirrored),
        or_nothing(message->served), endpoint->name, (int)endpoint->peer.pid, path,
        *path ? ": " : "", or_nothing(message->text));
}
