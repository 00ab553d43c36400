/* Who may come in, and how much one user may have (admit.c). */
#ifndef PARLEY_BROKER_ADMIT_H
#define PARLEY_BROKER_ADMIT_H

#include <stdint.h>
#include <sys/types.h>

#include <uthash.h>

#include "base/error.h"

/* Of one uid. Defaults: ADMIT_*. */
struct admit_limits {
    uint32_t endpoints_max;
    uint32_t instances_max;
    uint32_t contracts_max;
    uint32_t registrations_per_s; /* hellos, publications, contracts and connections */
    uint32_t registrations_burst;
};
#define ADMIT_ENDPOINTS_MAX 4096
#define ADMIT_INSTANCES_MAX 4096
#define ADMIT_CONTRACTS_MAX 16384
#define ADMIT_REGISTRATIONS_PER_S 8192
#define ADMIT_REGISTRATIONS_BURST 65536

struct account {
    UT_hash_handle hh;
    uid_t uid;
    uint32_t endpoints, instances, contracts;
    uint64_t tokens; /* thousandths of a registration */
    uint64_t filled_at_ns;
};

struct admit {
    struct admit_limits limits;
    struct account *accounts; /* hash by uid */
};

/* Limits of 0 mean the defaults. */
void admit_init(struct admit *admit, const struct admit_limits *limits);
void admit_deinit(struct admit *admit);
/* The user's account; makes it. NULL: no memory. It lives while it counts something. */
struct account *admit_account(struct admit *admit, uid_t uid, uint64_t now_ns);
/* Frees it if nothing is counted any more and its tokens are full. */
void admit_settle(struct admit *admit, struct account *account, uint64_t now_ns);
/* Each counts one more: 0; -EDQUOT with a sentence that names the limit. */
int admit_endpoint(struct admit *admit, struct account *account, struct error_text *error);
int admit_instance(struct admit *admit, struct account *account, struct error_text *error);
int admit_contract(struct admit *admit, struct account *account, struct error_text *error);
int admit_registration(struct admit *admit, struct account *account, uint64_t now_ns,
                       struct error_text *error);

#endif
