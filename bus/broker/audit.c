/*
 * The audit trail: who was refused what, and why.
 *
 * Each refusal is published at once as an event of a topic "audit.…", and written as a line of JSON
 * to the file of --audit: one write(2) a line, to the end, whoever else writes there. SIGHUP opens
 * the file anew, for logrotate(8). Who asked is what the kernel says of the peer; the program's
 * name is /proc/PID/comm at that moment, which the program may have chosen.
 *
 * Refusals are cheap to cause. So a user may fill in a burst, and then a line a second, and all
 * users together ten a second; what is more is counted, and the next line says how many were left
 * out, of its own user and of all. At a rate of ten a second a day is 400 MB at most.
 */
#include "broker/broker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "wire/wire.h"

/* ---- How many ---- */

static bool bucket_take(struct audit_bucket *bucket, uint64_t now_ns, uint32_t burst,
                        uint64_t refill_ns)
{
    if (bucket->filled_at_ns == 0) {
        bucket->tokens = burst;
        bucket->filled_at_ns = now_ns;
    }
    uint64_t more = (now_ns - bucket->filled_at_ns) / refill_ns;
    if (more > 0) {
        bucket->tokens = more > burst - bucket->tokens ? burst : bucket->tokens + (uint32_t)more;
        bucket->filled_at_ns += more * refill_ns;
    }
    if (bucket->tokens == 0)
        return false;
    bucket->tokens--;
    return true;
}

/* The user's; of too many users those that come last share one. */
static struct audit_bucket *bucket_of(struct audit *audit, bool known, uid_t uid)
{
    if (!known)
        return &audit->rest;
    for (uint32_t i = 0; i < audit->user_count; i++)
        if (audit->users[i].uid == uid)
            return &audit->users[i];
    if (audit->user_count == AUDIT_USER_MAX)
        return &audit->rest;
    struct audit_bucket *user = &audit->users[audit->user_count++];
    *user = (struct audit_bucket){.uid = uid};
    return user;
}

bool audit_admits(struct audit *audit, bool known, uid_t uid, uint64_t now_ns)
{
    struct audit_bucket *user = bucket_of(audit, known, uid);
    if (bucket_take(user, now_ns, AUDIT_USER_BURST, AUDIT_USER_NS) &&
        bucket_take(&audit->all, now_ns, AUDIT_BURST, AUDIT_NS))
        return true;
    audit->suppressed++;
    audit->suppressed_ever++;
    return false;
}

/* ---- The file ---- */

static int open_file(const char *path, struct error_text *error)
{
    int fd =
        open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK,
             0600); /* a FIFO would wait for its reader */
    if (fd < 0)
        return error_set(error, -errno, "cannot open %s for the audit trail: %s", path,
                         strerror(errno));
    struct stat status;
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode))
        return fd;
    close(fd);
    return error_set(error, -EINVAL, "%s is no file: the audit trail needs one", path);
}

int audit_init(struct audit *audit, const char *path, struct error_text *error)
{
    *audit = (struct audit){.fd = -1, .path = path};
    int fd = path ? open_file(path, error) : -1;
    audit->fd = fd < 0 ? -1 : fd;
    return path && fd < 0 ? fd : 0;
}

void audit_reopen(struct audit *audit)
{
    struct error_text error = {""};
    if (!audit->path)
        return;
    int fd = open_file(audit->path, &error);
    if (fd < 0) {
        log_error("%s; it goes on in the file that was open", error.text);
        return;
    }
    fd_close(audit->fd);
    audit->fd = fd;
}

/* Frees the line; NULL: no memory. */
static void write_line(struct audit *audit, json_t *line)
{
    char *text = line ? json_dumps(line, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;
    json_decref(line);
    size_t bytes = text ? strlen(text) : 0;
    if (!text)
        return;
    text[bytes] = '\n'; /* instead of the NUL: one write, one line */
    ssize_t n = write(audit->fd, text, bytes + 1);
    bool failed = n != (ssize_t)bytes + 1;
    if (failed && !audit->failing)
        log_error("the audit trail cannot be written to %s: %s; refusals are only events now",
                  audit->path, n < 0 ? strerror(errno) : "no room for a line");
    audit->failing = failed;
    free(text);
}

void audit_deinit(struct audit *audit)
{
    if (audit->fd >= 0 && audit->suppressed > 0)
        write_line(audit, json_pack("{s:s,s:I}", "topic", "audit.suppressed", "suppressed",
                                    (json_int_t)audit->suppressed));
    audit->suppressed = 0;
    audit->fd = fd_close(audit->fd);
}

/* ---- A refusal ---- */

static void program_of(pid_t pid, char *name, size_t bytes)
{
    char path[40];
    name[0] = '\0';
    if (pid <= 0)
        return;
    (void)snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
    _cleanup_(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, name, bytes - 1);
    name[n > 0 ? n : 0] = '\0';
    for (char *c = name; *c; c++)
        if ((unsigned char)*c < 0x20 || (unsigned char)*c >= 0x7f)
            *c = *c == '\n' && !c[1] ? '\0' : '?';
}

static void set_text(json_t *line, const char *key, const char *text)
{
    if (text && *text)
        json_object_set_new(line, key, json_string(text));
}

/* What peers sent is printable ASCII, for jansson takes only what is UTF-8. */
static void set_words(json_t *line, const char *key, const char *text)
{
    char clean[ERROR_TEXT_BYTES_MAX];
    size_t n = 0;
    for (; text && text[n] && n + 1 < sizeof(clean); n++)
        clean[n] = (unsigned char)text[n] < 0x20 || (unsigned char)text[n] >= 0x7f ? '?' : text[n];
    clean[n] = '\0';
    set_text(line, key, clean);
}

static json_t *line_of(const struct refusal *refusal, const char *program, const char *why,
                       uint64_t suppressed)
{
    struct timespec now;
    struct tm parts;
    char stamp[40], time[64];
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &parts);
    (void)strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &parts);
    (void)snprintf(time, sizeof(time), "%s.%06ldZ", stamp, now.tv_nsec / 1000);
    json_t *line = json_pack("{s:s,s:s}", "time", time, "topic", refusal->topic);
    if (!line)
        return NULL;
    if (refusal->known) {
        json_object_set_new(line, "uid", json_integer(refusal->who.uid));
        if (refusal->who.gid != (gid_t)-1)
            json_object_set_new(line, "gid", json_integer(refusal->who.gid));
        json_object_set_new(line, "pid", json_integer(refusal->who.pid));
    }
    set_text(line, "program", program);
    set_words(line, "from", refusal->from);
    set_words(line, "asked", refusal->asked);
    set_words(line, "interface", refusal->interface);
    set_words(line, "version", refusal->version);
    set_text(line, "status", parley_status_name(refusal->status));
    set_words(line, "why", why);
    if (suppressed > 0)
        json_object_set_new(line, "suppressed", json_integer((json_int_t)suppressed));
    return line;
}

void audit_refused(struct broker *broker, const struct refusal *refusal, const char *format, ...)
{
    struct audit *audit = &broker->audit;
    char why[ERROR_TEXT_BYTES_MAX], program[32];
    va_list args;
    if (broker->stopping || !audit_admits(audit, refusal->known, refusal->who.uid, clock_now_ns()))
        return;
    va_start(args, format);
    (void)vsnprintf(why, sizeof(why), format, args);
    va_end(args);
    program_of(refusal->known ? refusal->who.pid : 0, program, sizeof(program));
    uint64_t suppressed = audit->suppressed;
    audit->suppressed = 0;
    const struct event event = {
        .topic = refusal->topic,
        .interface = refusal->interface,
        .version = refusal->version,
        .pid = refusal->known ? refusal->who.pid : 0,
        .quiet = true, /* the log has had it as what it is besides */
        .who = refusal->known ? &refusal->who : NULL,
        .program = program,
    };
    event_publish(broker, &event, "%s was refused (%s): %s",
                  refusal->asked ? refusal->asked : "something",
                  parley_status_name(refusal->status), why);
    if (audit->fd < 0)
        return;
    write_line(audit, line_of(refusal, program, why, suppressed));
}

void audit_refused_peer(struct endpoint *endpoint, const char *topic, const char *asked,
                        const char *interface, const char *version, enum parley_status status,
                        const char *why)
{
    const struct refusal refusal = {
        .topic = topic,
        .known = true,
        .who = endpoint->peer,
        .from = endpoint->name,
        .asked = asked,
        .interface = interface,
        .version = version,
        .status = status,
    };
    audit_refused(endpoint->broker, &refusal, "%s", why);
}

/* ---- The control API ---- */

static const char *asked_of(const Parley__ControlRequest *request)
{
    const ProtobufCFieldDescriptor *field =
        request ? protobuf_c_message_descriptor_get_field(&parley__control_request__descriptor,
                                                          request->body_case)
                : NULL;
    return field ? field->name : "a control request";
}

void audit_control(struct broker *broker, const Parley__ControlRequest *request,
                   const struct replier_request *asker, const uint8_t *reply, size_t reply_bytes)
{
    struct error_text error = {""};
    ProtobufCMessage *message;
    /* The status is the first field: what is OK is not read again. */
    if (reply_bytes < 2 || reply[0] != 0x08 || reply[1] == PARLEY_OK ||
        reply[1] == PARLEY_NOT_FOUND ||
        wire_unpack(&parley__control_reply__descriptor, reply, reply_bytes, NULL, &message,
                    &error) < 0)
        return;
    const Parley__ControlReply *answer = (const Parley__ControlReply *)message;
    const struct replier_peer here = {.text = "somebody in this process"};
    const struct replier_peer *peer = asker ? replier_request_peer(asker) : &here;
    const struct refusal refusal = {
        .topic = "audit.control",
        .known = peer->local,
        .who = {.pid = peer->pid, .uid = peer->uid, .gid = peer->gid},
        .from = peer->text,
        .asked = asked_of(request),
        .status = (enum parley_status)answer->status,
    };
    audit_refused(broker, &refusal, "%s", answer->text ? answer->text : "");
    wire_free(message);
}
