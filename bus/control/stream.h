/*
 * Inside of the stream backend: a line is a connection, a door is a URL, where lines come in or
 * from which one is dialled. replier_stream.c has the essay.
 */
#ifndef PARLEY_CONTROL_STREAM_H
#define PARLEY_CONTROL_STREAM_H

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <netinet/in.h>

#include "base/clock.h"
#include "control/replier_ops.h"
#include "control/stream_memory.h"

#define STREAM_HELLO_BYTES 8
#define STREAM_HELLO_NS (10 * NS_PER_S)   /* from the connection to the end of the greeting */
#define STREAM_MESSAGE_NS (30 * NS_PER_S) /* from the first byte of a message to its last, ... */
#define STREAM_BYTES_A_SECOND 65536       /* ... and so much more for its size */
#define STREAM_UNREAD_NS (30 * NS_PER_S)  /* how long an asker may take nothing of what waits */
#define STREAM_SILENT_S 30 /* a TCP connection may be without any sign of the other side's kernel  \
                            */
#define STREAM_HELLOS_MAX 256 /* lines that have not greeted yet; the oldest has to go */
#define STREAM_HOPS_MAX 16    /* words of the way back */
/* Answers that wait for one asker: at the first, no more requests are read; past the second, there
 * is no room for an answer but a short one that says so; past that and what short ones take, it is
 * hung up on. One answer may always wait. */
#define STREAM_OUT_BYTES_HOLD (UINT32_C(1) << 20)
#define STREAM_OUT_BYTES_MAX (UINT32_C(32) << 20)
#define STREAM_OUT_BYTES_SHORT (UINT32_C(4) << 20)
/* What one asker may have to come: answers that wait, and those of its requests under way, which
 * count as many bytes as they have, or as its answers had of late. Then no more is read until a
 * quarter of it is done. So who asks for more at once than it reads, as it may, is never hung up on
 * for it, unless its answers suddenly grow. One request may always be under way. */
#define STREAM_TO_COME_BYTES_MAX (STREAM_OUT_BYTES_MAX / 2)
/* The same where we have dialled: who asks there is the bus, of which no more is read than may be
 * unanswered; and what it had asked for must not be lost because all of it was answered at once. */
#define STREAM_OUT_BYTES_MAX_DIALLED (UINT32_C(1) << 30)
#define STREAM_SCRATCH_BYTES 65536
/* What the kernel may hold of large answers to one ipc connection (it takes twice that, and no more
 * than net.core.wmem_max): with its default of 208 KiB, 1 MiB is five waits for who reads. */
#define STREAM_SEND_BYTES (1 << 20)

struct stream_part;
struct stream_line;
struct tls_context;
struct tls_session;

/* One of SP's protocols, as one side of it: how it greets, and what may come. */
struct stream_protocol {
    uint8_t own, peer;   /* SP's numbers */
    uint8_t words_max;   /* before the body of what comes: the way back. 0: nothing may come */
    const char *no_peer; /* for the log: who greets otherwise */
};
extern const struct stream_protocol stream_rep, stream_req, stream_pub, stream_respondent;

/* What an event belongs to. */
enum stream_kind { STREAM_DOOR, STREAM_LINE, STREAM_LOOKUP };

union stream_address {
    struct sockaddr any;
    struct sockaddr_un path;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_storage storage;
};

/* Of ipc://PATH, tcp://HOST:PORT (tcp4, tcp6), tls+tcp://HOST:PORT. */
struct stream_url {
    union stream_address address;
    socklen_t address_bytes; /* 0: the host is a name that has not been looked up */
    bool ipc, tls, named;
    int family;
    char host[256], port[8];
};

#define STREAM_OWN_NAMES_MAX 16 /* of which the address is kept */

/* Return: 0; -EINVAL, ... with a sentence. A name is not looked up. @any: the host may be absent,
 * or *: all addresses. */
int stream_url_parse(const char *url, bool any, struct stream_url *ret_url,
                     struct error_text *error);
bool stream_url_is(const char *url); /* one of these schemes */
/* Fills in the address of the host, for which it may wait long. @flags: more of getaddrinfo()'s.
 * Return: as getaddrinfo(). */
int stream_url_find(struct stream_url *url, int flags);
/* To listen: waits for the address only where none of this process has listened there before. */
int stream_url_find_own(struct stream_url *url, const char *text, struct error_text *error);

/* ---- stream_lookup.c: a name that is being looked up, for whoever does not wait for it ---- */

#define STREAM_LOOKUPS_MAX 64 /* at once, of the process */

struct stream_lookup;

/* Begins to. Return: 0; -EAGAIN: too many are under way; -errno. */
int stream_lookup_new(const struct stream_url *url, struct stream_lookup **ret_lookup);
int stream_lookup_fd(const struct stream_lookup *lookup); /* readable: it is done */
/* If it is: fills in the address. @ret_found: as getaddrinfo(). Return: whether it is. */
bool stream_lookup_take(const struct stream_lookup *lookup, struct stream_url *url, int *ret_found);
/* Done or not; NULL is fine; returns NULL. */
struct stream_lookup *stream_lookup_free(struct stream_lookup *lookup);

struct stream_door {
    enum stream_kind kind;
    struct stream_part *part;
    char *url;
    struct stream_url parsed;
    struct tls_context *tls;
    int fd; /* that listens; -1 */
    dev_t device;
    ino_t inode; /* of the socket file, so that nobody else's is removed */
    bool paused; /* no descriptors left: listens on at resume_ns */

    /* Dialling. */
    struct stream_line *line; /* NULL: none at the moment */
    uint64_t resume_ns;       /* when to dial, or listen again */
    uint32_t failures;        /* in a row */
    uint64_t opened_ns;       /* when the line greeted */
    enum stream_kind lookup_kind;
    struct stream_lookup *lookup; /* NULL: none is under way */
    int error;                    /* -errno of why there is no line; 0: it has no number */
    char why[128];                /* the same for people; "": not known */
};

/* An answer that waits to be sent; body behind `room`, which ends with head and way back. */
#define STREAM_ROOM_BYTES (16 + 4 * STREAM_HOPS_MAX)
struct stream_answer {
    struct stream_answer *next;
    size_t capacity; /* of the body */
    uint32_t begin;  /* where in `data` the message begins */
    size_t bytes;    /* of the whole message */
    size_t sent;     /* of them */
    uint8_t data[];  /* STREAM_ROOM_BYTES, then the body */
};

/* A request: whole, or still arriving. */
struct stream_ask {
    struct replier_request request;
    struct stream_line *line;
    struct stream_ask *next; /* in the part's queue */
    struct stream_answer *answer;
    size_t capacity;    /* of `data`; grows to `bytes` as they come */
    size_t bytes, have; /* of the message, way back included */
    uint32_t way_bytes;
    uint8_t data[];
};

enum stream_state {
    STREAM_CONNECTING, /* TCP's, of one that we dial */
    STREAM_SECURING,   /* TLS's handshake */
    STREAM_GREETING,
    STREAM_OPEN,
    STREAM_DEAD,
};

struct stream_line {
    enum stream_kind kind;
    enum stream_state state;
    struct stream_part *part;
    struct stream_door *door;
    struct stream_line *prev, *next; /* all that live, youngest first; or all that are dead */
    struct replier_peer peer;
    int fd;
    struct tls_session *tls;
    uint32_t references; /* the part's, and of each ask */
    uint32_t events;     /* that epoll watches */
    bool came;           /* the caller was told */
    bool wide;           /* has a send buffer of STREAM_SEND_BYTES */
    bool held;           /* not read: too much of it is unanswered or unread; or as told */
    uint64_t hold_ns;    /* until when it was told; 0: it was not */
    uint32_t unanswered;
    size_t in_bytes;     /* of those that are unanswered */
    size_t next_bytes;   /* of the message for which it is held; 0: that is not known */
    size_t answer_bytes; /* what its answers have of late, rather too much than too little */
    uint64_t in_deadline_ns, out_deadline_ns;

    struct stream_ask *arriving; /* NULL: none, or only a part of its head */
    uint8_t *kept;               /* read, but not taken yet */
    size_t kept_bytes;

    struct stream_answer *first, **last;
    size_t out_bytes; /* of all that wait */
    bool unsent;      /* in the part's list of those */
    struct stream_line *unsent_next;
};

struct stream_part {
    struct replier_part part;
    const struct stream_protocol *protocol;
    struct replier_options options; /* only limits, callbacks and `dial` are valid */
    int set;
    bool more; /* the last look at the set found something: there may be more behind it */
    struct stream_door *doors;
    size_t door_count;
    struct stream_line *lines, *dead;
    uint32_t line_count, hello_count;
    uint32_t hellos_max;              /* STREAM_HELLOS_MAX */
    struct stream_ask *first, **last; /* requests that nobody has taken yet */
    struct stream_line *unsent;       /* lines that have what was not tried to be sent yet */
    uint64_t check_ns;                /* when a deadline may have passed; or sooner */
    struct replier_counts counts;
    struct stream_memory memory; /* of asks and answers */
    uint64_t random;
    uint8_t scratch[STREAM_SCRATCH_BYTES];
};

/* ---- replier_stream.c: also for who does not answer, but begins (publisher.c, requester.c) ----
 */

/* As replier_ops.new(), free(). Of @options all but `protocol` and `backend` is used; no limit may
 * be 0. */
int stream_part_new(const struct stream_protocol *protocol, const struct replier_options *options,
                    struct stream_part **ret_part, struct error_text *error);
struct stream_part *stream_part_free(struct stream_part *part); /* NULL is fine */
/* Whatever has come of connections and messages; also runs `came` and `gone`. Return: 0; -errno. */
int stream_part_turn(struct stream_part *part);
/* When a turn is due though the set is silent; 0 while messages wait in the queue. */
uint64_t stream_part_next_ns(const struct stream_part *part);
/* Of what has come, the next; NULL: none. Until stream_ask_end(). */
struct stream_ask *stream_part_pop(struct stream_part *part);
void stream_ask_end(struct stream_ask *ask);
/* Room for a body of @bytes in *@message, which is NULL, or had less room, and is kept as far as it
 * fits. Return: 0; -ENOMEM. */
int stream_message_room(struct stream_part *part, struct stream_answer **message, size_t bytes,
                        uint8_t **ret_body);
/* Takes it, writes its head, and sends it; @way: words before the body. */
void stream_message_send(struct stream_line *line, struct stream_answer *message,
                         const uint8_t *way, uint32_t way_bytes, size_t bytes);

/* ---- stream_line.c ---- */

/* Takes @fd, also on failure. */
int stream_line_new(struct stream_door *door, int fd, bool connected);
void stream_line_ready(struct stream_line *line, uint32_t events);
/* Ends it; the caller is told by stream_bury(). @why: for the log. */
void stream_line_end(struct stream_line *line, const char *why);
void stream_line_check(struct stream_line *line, uint64_t now_ns); /* its deadlines */
void stream_line_unref(struct stream_line *line);
void stream_ask_free(struct stream_part *part, struct stream_ask *ask); /* NULL is fine */
void stream_line_hold(struct stream_line *line, uint64_t until_ns);     /* replier_hold() */
/* A request of it that had so many bytes is answered or dropped: it may be read on. */
void stream_line_answered(struct stream_line *line, size_t bytes);
/* Tells who is gone and frees them. No event may be on its way to anybody. */
void stream_bury(struct stream_part *part);
void stream_check_at(struct stream_part *part, uint64_t deadline_ns);
void stream_line_watch(struct stream_line *line); /* what, follows from its state */
/* Reads on, if it was held and there is room again. */
void stream_line_release(struct stream_line *line);

/* ---- stream_out.c ---- */

/* Takes the answer; sends it, or what it can of it. If the part gathers answers: at
 * stream_flush(). */
void stream_line_send(struct stream_line *line, struct stream_answer *answer);
void stream_flush(struct stream_part *part);
/* Sends what it can of what waits. Return: whether the line lives on. */
bool stream_line_flush(struct stream_line *line);
/* Whether an answer of @bytes can wait for it without its being hung up on. */
bool stream_line_has_room(const struct stream_line *line, size_t bytes);

/* ---- stream_door.c ---- */

int stream_door_open(struct stream_door *door, const struct replier_options *options,
                     const char *url, struct error_text *error);
void stream_door_close(struct stream_door *door);
void stream_door_ready(struct stream_door *door);
void stream_door_check(struct stream_door *door, uint64_t now_ns);
/* Its host has been looked up. @kind: door->lookup_kind. */
void stream_door_found(enum stream_kind *kind);
/* Fills in who is on the other side of one, as the kernel says. */
void stream_line_describe(struct stream_line *line);
/* Its line has ended. */
void stream_door_lost(struct stream_door *door, bool was_open, const char *why);

#endif
