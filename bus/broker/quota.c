/*
 * Limits of the bus URL's peers.
 *
 * A user is whom we can hold to account: a uid that the kernel told, the common name of a
 * certificate that TLS verified, else the address without its port. More connections do not buy
 * more: what counts for a user counts for all of them together; what counts for a connection keeps
 * one that misbehaves from using up its user's share.
 *
 * Rates are buckets of tokens. A user's bucket outlives its connections until it is full again, or
 * hanging up would refill it; of those at most QUOTA_IDLE_MAX are kept, the oldest goes first.
 * So there are at most as many users as connections, and those.
 */
#include "broker/quota.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define TOKEN UINT64_C(1000)
#define RECEIVE_MORE ((size_t)64 << 10)

/* ---- Settings ---- */

/* One of them; the table is what the command line knows. */
struct setting {
    const char *key;
    size_t at; /* in struct quota_settings */
    bool size; /* of bytes: 64 bits, and a unit may follow */
    uint64_t value;
};
#define SETTING(key, field, size, value)                                                           \
    {                                                                                              \
        key, offsetof(struct quota_settings, field), size, value                                   \
    }
static const struct setting settings_known[] = {
    SETTING("message", message, true, QUOTA_MESSAGE),
    SETTING("bytes", bytes, true, QUOTA_BYTES),
    SETTING("connections", connections, false, QUOTA_CONNECTIONS),
    SETTING("calls", calls, false, QUOTA_CALLS),
    SETTING("user-calls", user_calls, false, QUOTA_USER_CALLS),
    SETTING("rate", rate, false, QUOTA_RATE),
    SETTING("burst", burst, false, QUOTA_BURST),
    SETTING("bad", bad, false, QUOTA_BAD),
};
#define SETTING_COUNT (sizeof(settings_known) / sizeof(settings_known[0]))

static uint64_t setting_get(const struct quota_settings *settings, const struct setting *setting)
{
    const void *at = (const uint8_t *)settings + setting->at;
    return setting->size ? *(const uint64_t *)at : *(const uint32_t *)at;
}

static void setting_put(struct quota_settings *settings, const struct setting *setting,
                        uint64_t value)
{
    void *at = (uint8_t *)settings + setting->at;
    if (setting->size)
        *(uint64_t *)at = value;
    else
        *(uint32_t *)at = (uint32_t)value;
}

static const struct setting *setting_find(const char *key, size_t bytes)
{
    for (size_t i = 0; i < SETTING_COUNT; i++)
        if (strlen(settings_known[i].key) == bytes &&
            memcmp(settings_known[i].key, key, bytes) == 0)
            return &settings_known[i];
    return NULL;
}

/* Digits, and K, M or G. Return: whether that is all, from 1 to @max. */
static bool read_value(const char *text, size_t bytes, bool size, uint64_t max, uint64_t *ret)
{
    uint64_t value = 0;
    size_t i = 0;
    for (; i < bytes && text[i] >= '0' && text[i] <= '9' && value <= max; i++)
        value = value * 10 + (uint64_t)(text[i] - '0');
    if (i == 0)
        return false;
    if (size && i + 1 == bytes) {
        unsigned shift = text[i] == 'K' ? 10 : text[i] == 'M' ? 20 : text[i] == 'G' ? 30 : 0;
        if (shift > 0 && value <= max >> shift) {
            value <<= shift;
            i++;
        }
    }
    *ret = value;
    return i == bytes && value >= 1 && value <= max;
}

static int parse_one(const char *text, size_t bytes, struct quota_settings *settings,
                     struct error_text *error)
{
    const char *equals = memchr(text, '=', bytes);
    size_t key_bytes = equals ? (size_t)(equals - text) : bytes;
    const struct setting *setting = setting_find(text, key_bytes);
    if (!setting || !equals) {
        char known[128] = "";
        for (size_t i = 0; i < SETTING_COUNT; i++)
            (void)snprintf(known + strlen(known), sizeof(known) - strlen(known), "%s%s",
                           i > 0 ? ", " : "", settings_known[i].key);
        return error_set(error, -EINVAL,
                         "'%.*s' is no limit: KEY=VALUE was expected, with one of %s",
                         (int)(bytes < 40 ? bytes : 40), text, known);
    }
    uint64_t value, max = setting->size ? QUOTA_SIZE_MAX : QUOTA_COUNT_MAX;
    size_t value_bytes = bytes - key_bytes - 1;
    if (!read_value(equals + 1, value_bytes, setting->size, max, &value))
        return error_set(
            error, -EINVAL, "%s is '%.*s': a whole number from 1 to %llu was expected%s",
            setting->key, (int)(value_bytes < 40 ? value_bytes : 40), equals + 1,
            (unsigned long long)max, setting->size ? ", with K, M or G behind it if wanted" : "");
    setting_put(settings, setting, value);
    return 0;
}

int quota_parse(const char *text, struct quota_settings *settings, struct error_text *error)
{
    struct quota_settings parsed = *settings;
    for (;;) {
        size_t bytes = strcspn(text, ",");
        int r = parse_one(text, bytes, &parsed, error);
        if (r < 0)
            return r;
        if (text[bytes] == '\0')
            break;
        text += bytes + 1;
    }
    *settings = parsed;
    return 0;
}

void quota_init(struct quota *quota, const struct quota_settings *settings)
{
    *quota = (struct quota){.users = NULL};
    TAILQ_INIT(&quota->idle);
    if (settings)
        quota->settings = *settings;
    for (size_t i = 0; i < SETTING_COUNT; i++)
        if (setting_get(&quota->settings, &settings_known[i]) == 0)
            setting_put(&quota->settings, &settings_known[i], settings_known[i].value);
}

size_t quota_receive_max(const struct quota *quota)
{
    return (size_t)quota->settings.message + RECEIVE_MORE;
}

/* ---- Buckets ---- */

static void bucket_fill(struct quota_bucket *bucket, uint32_t per_s, uint32_t burst,
                        uint64_t now_ns)
{
    uint64_t elapsed_ns = now_ns > bucket->filled_at_ns ? now_ns - bucket->filled_at_ns : 0;
    uint64_t full = burst * TOKEN;
    if (elapsed_ns > 3600 * NS_PER_S)
        elapsed_ns = 3600 * NS_PER_S;
    /* In thousandths: ns/1000 * per_s / 1000 is at most 3.6e9 * 1e9 / 1000. */
    uint64_t more = elapsed_ns / NS_PER_US * per_s / TOKEN;
    if (more == 0)
        return; /* the time goes on counting */
    bucket->filled_at_ns = now_ns;
    bucket->tokens = full - bucket->tokens > more ? bucket->tokens + more : full;
}

static bool bucket_take(struct quota_bucket *bucket, uint32_t per_s, uint32_t burst,
                        uint64_t now_ns)
{
    bucket_fill(bucket, per_s, burst, now_ns);
    if (bucket->tokens < TOKEN)
        return false;
    bucket->tokens -= TOKEN;
    return true;
}

/* ---- Users ---- */

/* The address without its port: "10.1.2.3:4711", "[::1]:4711". */
static size_t host_bytes(const char *text)
{
    const char *colon = strrchr(text, ':');
    return colon && (text[0] == '[' ? colon[-1] == ']' : true) ? (size_t)(colon - text)
                                                               : strlen(text);
}

static void name_of(const struct replier_peer *peer, char *name, size_t bytes)
{
    if (peer->local)
        (void)snprintf(name, bytes, "user %u", (unsigned)peer->uid);
    else if (peer->identity[0])
        (void)snprintf(name, bytes, "certificate %.127s", peer->identity);
    else
        (void)snprintf(name, bytes, "address %.*s", (int)host_bytes(peer->text), peer->text);
}

static void user_free(struct quota *quota, struct quota_user *user)
{
    HASH_DEL(quota->users, user);
    free(user);
}

static void idle_remove(struct quota *quota, struct quota_user *user)
{
    TAILQ_REMOVE(&quota->idle, user, idle);
    quota->idle_count--;
}

/* Its last connection has gone. */
static void user_rests(struct quota *quota, struct quota_user *user)
{
    TAILQ_INSERT_TAIL(&quota->idle, user, idle);
    quota->idle_count++;
    if (quota->idle_count <= QUOTA_IDLE_MAX)
        return;
    struct quota_user *oldest = TAILQ_FIRST(&quota->idle);
    idle_remove(quota, oldest);
    user_free(quota, oldest);
}

/* Makes it. NULL: no memory. */
static struct quota_user *user_take(struct quota *quota, const struct replier_peer *peer,
                                    uint64_t now_ns)
{
    char name[sizeof(((struct quota_user *)0)->name)];
    struct quota_user *user;
    name_of(peer, name, sizeof(name));
    HASH_FIND_STR(quota->users, name, user);
    if (user) {
        if (user->connections == 0)
            idle_remove(quota, user);
        return user;
    }
    user = calloc(1, sizeof(*user));
    if (!user)
        return NULL;
    memcpy(user->name, name, sizeof(name));
    user->rate = (struct quota_bucket){quota->settings.burst * TOKEN, now_ns};
    HASH_ADD_STR(quota->users, name, user);
    return user;
}

void quota_deinit(struct quota *quota)
{
    struct quota_user *user;
    struct quota_user *next;
    HASH_ITER (hh, quota->users, user, next)
        user_free(quota, user);
}

/* ---- Connections ---- */

/* One too many is refused by answers, so that its program hears why; but only as many again as are
 * allowed, for each holds a place that another user may want. */
int quota_connect(struct quota *quota, const struct replier_peer *peer, uint64_t now_ns,
                  struct quota_connection *ret_connection, struct error_text *error)
{
    uint32_t max = quota->settings.connections;
    *ret_connection = (struct quota_connection){.user = NULL};
    struct quota_user *user = user_take(quota, peer, now_ns);
    if (!user)
        return error_set(error, -ENOMEM, "the broker is out of memory");
    bool refused = user->connections >= max;
    if (refused) {
        quota->counts.connections++;
        error_set(error, 0,
                  "%s has %u connections already: at most %u are allowed (--limit connections=N)",
                  user->name, user->connections, max);
    }
    if (refused && user->connections - max >= max)
        return -ECONNREFUSED;
    user->connections++;
    *ret_connection = (struct quota_connection){
        .user = user,
        .refused = refused,
        .bad = {2 * TOKEN * quota->settings.bad, now_ns},
    };
    return refused ? -EDQUOT : 0;
}

void quota_disconnect(struct quota *quota, struct quota_connection *connection)
{
    struct quota_user *user = connection->user;
    if (!user)
        return;
    connection->user = NULL;
    if (--user->connections == 0)
        user_rests(quota, user);
}

bool quota_bad(struct quota *quota, struct quota_connection *connection, uint64_t now_ns)
{
    uint32_t bad = quota->settings.bad;
    if (bucket_take(&connection->bad, bad, 2 * bad, now_ns))
        return false;
    quota->counts.bad++;
    return true;
}

/* ---- Requests ---- */

static enum parley_status refuse(uint64_t *count, struct error_text *error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static enum parley_status refuse(uint64_t *count, struct error_text *error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(error->text, sizeof(error->text), format, args);
    va_end(args);
    (*count)++;
    return PARLEY_RESOURCE_EXHAUSTED;
}

enum parley_status quota_begin(struct quota *quota, struct quota_connection *connection,
                               size_t bytes, uint64_t now_ns, struct error_text *error)
{
    const struct quota_settings *max = &quota->settings;
    struct quota_counts *counts = &quota->counts;
    struct quota_user *user = connection->user;
    if (!user || connection->refused)
        return refuse(&counts->connections, error,
                      "too many connections of this peer: at most %u are allowed (--limit "
                      "connections=N); close some, and connect anew",
                      max->connections);
    if (bytes > max->message)
        return refuse(&counts->message, error,
                      "a message of %zu bytes: at most %llu are allowed (--limit message=N)", bytes,
                      (unsigned long long)max->message);
    if (connection->calls >= max->calls)
        return refuse(&counts->calls, error,
                      "%u calls of this connection are under way: at most %u are allowed (--limit "
                      "calls=N); wait for some of them",
                      connection->calls, max->calls);
    if (user->calls >= max->user_calls)
        return refuse(&counts->calls, error,
                      "%s has %u calls under way: at most %u are allowed (--limit user-calls=N); "
                      "wait for some of them",
                      user->name, user->calls, max->user_calls);
    if (bytes > max->bytes - user->bytes)
        return refuse(&counts->bytes, error,
                      "%s has requests of %llu bytes under way, and %zu more came: at most %llu "
                      "are allowed (--limit bytes=N); wait for some of them",
                      user->name, (unsigned long long)user->bytes, bytes,
                      (unsigned long long)max->bytes);
    if (!bucket_take(&user->rate, max->rate, max->burst, now_ns))
        return refuse(
            &counts->rate, error,
            "%s calls too fast: at most %u a second after %u at once are allowed (--limit "
            "rate=N,burst=N); try again later",
            user->name, max->rate, max->burst);
    connection->calls++;
    user->calls++;
    user->bytes += bytes;
    return PARLEY_OK;
}

void quota_end(struct quota *quota, struct quota_connection *connection, size_t bytes)
{
    (void)quota;
    struct quota_user *user = connection->user;
    connection->calls--;
    user->calls--;
    user->bytes -= bytes;
}
