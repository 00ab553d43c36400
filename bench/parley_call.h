/* Calls through Parley: a broker in the benchmark's folder, a service and a client in processes of
 * their own, written as any user of libparley would. */
#ifndef PARLEY_BENCH_PARLEY_CALL_H
#define PARLEY_BENCH_PARLEY_CALL_H

#include <parley/parley.h>

#include "bench.h"

/* For struct bench: start and end parleyd. $PARLEYD names another one than was built. It knows the
 * descriptor sets in PARLEY_CALL_SCHEMAS, a folder in @folder that is empty first. */
#define PARLEY_CALL_SCHEMAS "schemas"
int parley_call_begin(const char *folder, struct error_text *error);
void parley_call_end(void);

/* An endpoint on that broker's bus. @spin_ns_max: as in its options. */
enum parley_status parley_call_join(const char *folder, const char *name, uint64_t spin_ns_max,
                                    struct parley_endpoint **ret_endpoint);

/* What is called. */
struct parley_call_kind {
    const struct parley_interface *interface; /* the client's */
    enum parley_status (*serve)(struct parley_endpoint *endpoint,
                                struct parley_service **ret_service);
    /* One call; @i makes it differ from the one before. Return: 0, -1 if it failed, 1 if the reply
     * is not what it should be. */
    int (*call)(struct parley_client *client, uint32_t i);
    /* Instead of `call`, where a sample is something else than a call: fills all of them. */
    int (*drive)(struct bench_run *run, struct parley_endpoint *endpoint,
                 struct parley_client *client);
    bool client_never_sleeps; /* whatever the service does */
};

/* Client and service, each in a process of its own. @spin_ns_max: as in the endpoint's options. */
int parley_call_run(struct bench_run *run, const struct parley_call_kind *kind,
                    uint64_t spin_ns_max);

/* The echo of 64 bytes. */
extern const struct parley_call_kind parley_call_echo;
/* It: both sides never sleep. */
int parley_call_spinning(struct bench_run *run);
/* The same with the default options: they sleep when there is nothing to do for long. */
int parley_call_default(struct bench_run *run);

#endif
