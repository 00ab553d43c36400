/*
 * A broker in the test's own process, and endpoints that are nothing but a link: the test says what
 * they say, and sees what they hear.
 */
#ifndef PARLEY_TESTS_UNIT_BROKER_PEERS_H
#define PARLEY_TESTS_UNIT_BROKER_PEERS_H

#include "support/test.h"

#include "broker/broker.h"
#include "support/fds.h"
#include "wire/wire.h"

struct peer {
    struct broker *broker;
    struct link *link;
    struct region stats, route;
    uint64_t id;
    Parley__LinkMessage *heard; /* the last one; freed with the next */
    int fds[LINK_FD_MAX];
    size_t fd_count;
};

struct set {
    uint8_t *data;
    size_t bytes;
    char interface[64], version[32], service[80];
};

struct broker *broker_start(const struct admit_limits *limits); /* NULL: the defaults */
/* Everything that is due has happened. */
void broker_settle(struct broker *broker);

/* A link to the broker; nothing said yet. */
void peer_connect(struct peer *peer, struct broker *broker);
/* Connected and welcomed. */
void peer_join(struct peer *peer, struct broker *broker, const char *name);
void peer_make_stats(struct peer *peer);
void peer_leave(struct peer *peer); /* hangs up; safe twice */

void peer_say(struct peer *peer, int body_case, void *body, const int *fds, size_t fd_count);
void peer_say_hello(struct peer *peer, uint32_t protocol, const char *name, const int *fds,
                    size_t fd_count);
/* The next message must be of that kind; its body is valid until the next call. */
void *peer_hear(struct peer *peer, int body_case);
/* Nothing has been said to it. Ends with a question and its answer. */
void peer_hears_nothing(struct peer *peer);
/* Farewell with that status and words, then the end. */
void peer_is_refused(struct peer *peer, enum parley_status status, const char *words);
/* The link ends; whatever was said before. */
void peer_hangs_up(struct peer *peer);

void assert_words(const char *text, const char *words);

/* A set with one service of one method, Get(Thing) -> Thing; the thing has @fields strings.
 * @package: its last part is the version's; @previous: of the version before, or NULL. */
void set_make(struct set *set, const char *interface, const char *version, const char *package,
              const char *previous, unsigned fields);
/* The same, and (parley.interface).accept names these rules for every element. @other_rule: NULL:
 * one. */
void set_make_accepting(struct set *set, const char *interface, const char *version,
                        const char *package, const char *previous, unsigned fields,
                        const char *rule, const char *other_rule);
/* The same with something that cannot be bridged: its method streams, or its last field is required
 * (and all of it proto2). */
enum set_oddity { SET_STREAMS = 1, SET_REQUIRES = 2 };
void set_make_odd(struct set *set, const char *interface, const char *version, const char *package,
                  const char *previous, unsigned fields, enum set_oddity oddity);
/* Its fields get other names: neither it nor what it was may follow the other. */
void set_rename(struct set *set);
void set_free(struct set *set);

void say_publish(struct peer *peer, uint64_t instance_id, const struct set *set);
/* Published, and OK. */
void publish(struct peer *peer, uint64_t instance_id, const struct set *set);
void publish_refused(struct peer *peer, uint64_t instance_id, const struct set *set,
                     enum parley_status status, const char *words);
void say_withdraw(struct peer *peer, uint64_t instance_id, bool gone);
void say_open(struct peer *peer, uint64_t contract_id, const struct set *set, const char *accept);
const Parley__Opened *hear_opened(struct peer *peer, uint64_t contract_id,
                                  enum parley_status status);
const Parley__Instances *hear_instances(struct peer *peer, size_t up, size_t gone, size_t offers);

/* The peer's own slot, as a reader sees it. */
const struct route_slot *route_slot(const struct peer *peer, uint32_t slot);

#endif
