/* Who was refused what (audit.c). */
#ifndef PARLEY_BROKER_AUDIT_H
#define PARLEY_BROKER_AUDIT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "base/error.h"
#include "control/replier.h"
#include "parley/control.pb-c.h"
#include "parley/status.h"

struct broker;
struct endpoint;

#define AUDIT_USER_MAX 64
#define AUDIT_USER_BURST 100                     /* refusals of one user */
#define AUDIT_USER_NS (UINT64_C(1) * 1000000000) /* until there is room for another */
#define AUDIT_BURST 1000                         /* of all */
#define AUDIT_NS (UINT64_C(100) * 1000000)

struct audit_bucket {
    uid_t uid;
    uint32_t tokens;
    uint64_t filled_at_ns; /* 0: never used */
};

struct audit {
    int fd;           /* -1: no file */
    const char *path; /* NULL: none; borrowed */
    bool failing;     /* the last line could not be written */
    struct audit_bucket users[AUDIT_USER_MAX], rest, all;
    uint32_t user_count;
    uint64_t suppressed; /* since the last that was not */
    uint64_t suppressed_ever;
};

struct refusal {
    const char *topic; /* "audit.link", "audit.publish", "audit.contract", "audit.connect",
                        * "audit.control", "audit.http" */
    bool known;        /* `who` is what the kernel says */
    struct ucred who;
    const char *from;                /* an endpoint's name, or an address; NULL */
    const char *asked;               /* "a link", "publish", "drain" */
    const char *interface, *version; /* NULL: none */
    enum parley_status status;
};

/* @path: of the file, borrowed; NULL: none. Return: 0; -errno with a sentence. */
int audit_init(struct audit *audit, const char *path, struct error_text *error);
void audit_deinit(struct audit *audit);
void audit_reopen(struct audit *audit); /* as SIGHUP wants */
/* Whether there is room for one more of that user; counts what there is not. */
bool audit_admits(struct audit *audit, bool known, uid_t uid, uint64_t now_ns);
/* Published and written down. */
void audit_refused(struct broker *broker, const struct refusal *refusal, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void audit_refused_peer(struct endpoint *endpoint, const char *topic, const char *asked,
                        const char *interface, const char *version, enum parley_status status,
                        const char *why);
/* If the answer is a refusal. @request: NULL: it could not be read; @asker: NULL: this process */
void audit_control(struct broker *broker, const Parley__ControlRequest *request,
                   const struct replier_request *asker, const uint8_t *reply, size_t reply_bytes);

#endif
