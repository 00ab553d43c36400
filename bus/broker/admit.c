/*
 * Who may come in, and how much one user may have.
 *
 * The one identity that counts is what the kernel said of the peer when it connected. Everything
 * that an endpoint can make the broker remember is counted against that uid: endpoints, instances,
 * contracts. And because making and unmaking costs work (a schema is parsed, plans are compiled,
 * every client is told), registrations are also limited in rate, by a bucket of tokens that fills
 * steadily and allows the burst that a restarted broker sees, when everybody comes back at once.
 *
 * An account lives while it counts something or its bucket is not full, so that leaving and coming
 * back does not refill it.
 */
#include "broker/broker.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"

#define TOKEN UINT64_C(1000) /* a registration, in units of the bucket */

static uint32_t or_default(uint32_t value, uint32_t fallback)
{
    return value ? value : fallback;
}

void admit_init(struct admit *admit, const struct admit_limits *limits)
{
    admit->accounts = NULL;
    admit->limits = (struct admit_limits){
        .endpoints_max = or_default(limits->endpoints_max, ADMIT_ENDPOINTS_MAX),
        .instances_max = or_default(limits->instances_max, ADMIT_INSTANCES_MAX),
        .contracts_max = or_default(limits->contracts_max, ADMIT_CONTRACTS_MAX),
        .registrations_per_s = or_default(limits->registrations_per_s, ADMIT_REGISTRATIONS_PER_S),
        .registrations_burst = or_default(limits->registrations_burst, ADMIT_REGISTRATIONS_BURST),
    };
}

void admit_deinit(struct admit *admit)
{
    struct account *account;
    struct account *next;
    HASH_ITER(hh, admit->accounts, account, next) {
        HASH_DEL(admit->accounts, account);
        free(account);
    }
}

struct account *admit_account(struct admit *admit, uid_t uid, uint64_t now_ns)
{
    struct account *account;
    HASH_FIND(hh, admit->accounts, &uid, sizeof(uid), account);
    if (account)
        return account;
    account = calloc(1, sizeof(*account));
    if (!account)
        return NULL;
    account->uid = uid;
    account->tokens = admit->limits.registrations_burst * TOKEN;
    account->filled_at_ns = now_ns;
    HASH_ADD(hh, admit->accounts, uid, sizeof(account->uid), account);
    return account;
}

static void refill(const struct admit *admit, struct account *account, uint64_t now_ns)
{
    uint64_t full = admit->limits.registrations_burst * TOKEN;
    uint64_t elapsed_ns = now_ns > account->filled_at_ns ? now_ns - account->filled_at_ns : 0;
    if (elapsed_ns > 3600 * NS_PER_S)
        elapsed_ns = 3600 * NS_PER_S;
    uint64_t more = elapsed_ns / NS_PER_US * admit->limits.registrations_per_s / TOKEN;
    if (more == 0)
        return; /* the time goes on counting */
    account->filled_at_ns = now_ns;
    account->tokens = full - account->tokens > more ? account->tokens + more : full;
}

void admit_settle(struct admit *admit, struct account *account, uint64_t now_ns)
{
    if (account->endpoints || account->instances || account->contracts)
        return;
    refill(admit, account, now_ns);
    if (account->tokens < admit->limits.registrations_burst * TOKEN)
        return;
    HASH_DEL(admit->accounts, account);
    free(account);
}

static int count_one(uint32_t *count, uint32_t max, const struct account *account, const char *what,
                     struct error_text *error)
{
    if (*count >= max)
        return error_set(error, -EDQUOT, "user %u has %u %s already: at most %u are allowed",
                         (unsigned)account->uid, *count, what, max);
    (*count)++;
    return 0;
}

int admit_endpoint(struct admit *admit, struct account *account, struct error_text *error)
{
    return count_one(&account->endpoints, admit->limits.endpoints_max, account, "endpoints", error);
}

int admit_instance(struct admit *admit, struct account *account, struct error_text *error)
{
    return count_one(&account->instances, admit->limits.instances_max, account, "instances", error);
}

int admit_contract(struct admit *admit, struct account *account, struct error_text *error)
{
    return count_one(&account->contracts, admit->limits.contracts_max, account, "contracts", error);
}

int admit_registration(struct admit *admit, struct account *account, uint64_t now_ns,
                       struct error_text *error)
{
    refill(admit, account, now_ns);
    if (account->tokens < TOKEN)
        return error_set(error, -EDQUOT,
                         "user %u registers too fast: at most %u a second after %u at once; try "
                         "again later",
                         (unsigned)account->uid, admit->limits.registrations_per_s,
                         admit->limits.registrations_burst);
    account->tokens -= TOKEN;
    return 0;
}
