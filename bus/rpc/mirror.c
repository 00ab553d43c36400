/*
 * Mirrored calls: a copy goes to the version that a rollout watches, its reply is compared with the
 * one that the caller got, and dropped.
 *
 * The copy is sent when the caller's call has ended, with what that was asked and answered packed
 * anew: so it cannot delay the call that it copies, nor fail it. What it costs is this thread's
 * time, of the share of calls that the route page says. It is an ordinary call (CALL_RAW) on a
 * channel to that version, marked by a flag of the frame, with a deadline of its own and one
 * attempt; counted in no cell but as a mirror, so that neither gates nor ejection see it. At most
 * MIRRORS_MAX of a client are on their way; a copy beyond that, or a large one, is counted as
 * skipped.
 *
 * Only of methods that declare an idempotency_level, for a copy is executed; not of one-way calls,
 * nor of calls whose handler did not run.
 *
 * Compared is what the client's version knows, after the translation of both replies to it: the
 * structs, field by field. Unknown fields do not count, for among them travels what the newer
 * version has more (the carrier); nor does the order of a map. Bytes would differ where nothing
 * does.
 */
#include "rpc/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/fault.h"
#include "base/random.h"

#define MIRRORS_MAX 16         /* of a client, on their way */
#define MIRROR_BYTES_MAX 65536 /* of a request, and of a reply */
#define MIRROR_TIMEOUT_NS NS_PER_S
#define MIRROR_TELL_NS NS_PER_S /* between two examples */
#define MIRROR_MAP_MAX 256      /* entries whose order is looked behind */
#define MIRROR_DEPTH_MAX 40     /* more than wire.h lets in */
#define MIRROR_PATH_BYTES 160

/* ---- Comparing ---- */

struct comparison {
    char *path;
    size_t used, bytes;
    const char *how;
    unsigned depth;
};

static bool messages_same(struct comparison *c, const ProtobufCMessage *a,
                          const ProtobufCMessage *b);

static bool differs(struct comparison *c, const char *how)
{
    c->how = how;
    return false;
}

static size_t value_bytes(const ProtobufCFieldDescriptor *field)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 8;
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    default:
        return 4;
    }
}

static bool values_same(struct comparison *c, const ProtobufCFieldDescriptor *field, const void *a,
                        const void *b)
{
    if (field->type == PROTOBUF_C_TYPE_STRING) {
        const char *x = *(char *const *)a, *y = *(char *const *)b;
        return strcmp(x ? x : "", y ? y : "") == 0 || differs(c, "another text");
    }
    if (field->type == PROTOBUF_C_TYPE_BYTES) {
        const ProtobufCBinaryData *x = a, *y = b;
        return (x->len == y->len && (x->len == 0 || memcmp(x->data, y->data, x->len) == 0)) ||
               differs(c, "other bytes");
    }
    if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        const ProtobufCMessage *x = *(ProtobufCMessage *const *)a;
        const ProtobufCMessage *y = *(ProtobufCMessage *const *)b;
        if (!x || !y)
            return x == y || differs(c, x ? "missing in the copy's" : "only in the copy's");
        return messages_same(c, x, y);
    }
    return memcmp(a, b, value_bytes(field)) == 0 || differs(c, "another value");
}

/* A map's entries have no order. protobuf-c knows no maps: it is their form. */
static bool is_map(const ProtobufCFieldDescriptor *field)
{
    const ProtobufCMessageDescriptor *entry =
        field->type == PROTOBUF_C_TYPE_MESSAGE ? field->descriptor : NULL;
    size_t length = entry ? strlen(entry->short_name) : 0;
    return length > 5 && strcmp(entry->short_name + length - 5, "Entry") == 0 &&
           entry->n_fields == 2 && strcmp(entry->fields[0].name, "key") == 0 &&
           strcmp(entry->fields[1].name, "value") == 0;
}

/* Keys are unique on both sides: each entry has at most one partner. */
static bool maps_same(struct comparison *c, const ProtobufCFieldDescriptor *field, size_t count,
                      const void *a, const void *b)
{
    ProtobufCMessage *const *x = a, *const *y = b;
    const ProtobufCFieldDescriptor *key =
        &((const ProtobufCMessageDescriptor *)field->descriptor)->fields[0];
    for (size_t i = 0; i < count; i++) {
        const uint8_t *own = (const uint8_t *)x[i] + key->offset;
        size_t k = 0;
        while (k < count && !values_same(c, key, own, (const uint8_t *)y[k] + key->offset))
            k++;
        if (k == count)
            return differs(c, "a key is missing in the copy's");
        if (!messages_same(c, x[i], y[k]))
            return false;
    }
    return true;
}

static bool lists_same(struct comparison *c, const ProtobufCFieldDescriptor *field,
                       const ProtobufCMessage *a, const ProtobufCMessage *b)
{
    size_t count = *(const size_t *)((const uint8_t *)a + field->quantifier_offset);
    if (count != *(const size_t *)((const uint8_t *)b + field->quantifier_offset))
        return differs(c, "another number of elements");
    const uint8_t *x = *(uint8_t *const *)((const uint8_t *)a + field->offset);
    const uint8_t *y = *(uint8_t *const *)((const uint8_t *)b + field->offset);
    if (count <= MIRROR_MAP_MAX && is_map(field))
        return maps_same(c, field, count, x, y);
    size_t used = c->used;
    for (size_t i = 0; i < count; i++) {
        int n = snprintf(c->path + used, c->bytes - used, "[%zu]", i);
        c->used = n > 0 && (size_t)n < c->bytes - used ? used + (size_t)n : c->bytes - 1;
        if (!values_same(c, field, x + i * value_bytes(field), y + i * value_bytes(field)))
            return false;
    }
    c->used = used;
    c->path[used] = '\0';
    return true;
}

static bool is_there(const ProtobufCFieldDescriptor *field, const ProtobufCMessage *message)
{
    const uint8_t *base = (const uint8_t *)message;
    if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
        return *(const uint32_t *)(base + field->quantifier_offset) == field->id;
    if (field->label == PROTOBUF_C_LABEL_REQUIRED || field->label == PROTOBUF_C_LABEL_NONE)
        return field->type != PROTOBUF_C_TYPE_MESSAGE || *(void *const *)(base + field->offset);
    if (field->type == PROTOBUF_C_TYPE_STRING) {
        const void *value = *(void *const *)(base + field->offset);
        return value && value != field->default_value;
    }
    if (field->type == PROTOBUF_C_TYPE_MESSAGE)
        return *(void *const *)(base + field->offset) != NULL;
    return *(const protobuf_c_boolean *)(base + field->quantifier_offset);
}

static bool fields_same(struct comparison *c, const ProtobufCFieldDescriptor *field,
                        const ProtobufCMessage *a, const ProtobufCMessage *b)
{
    if (field->label == PROTOBUF_C_LABEL_REPEATED)
        return lists_same(c, field, a, b);
    bool in_a = is_there(field, a), in_b = is_there(field, b);
    if (in_a != in_b)
        return differs(c, in_a ? "missing in the copy's" : "only in the copy's");
    return !in_a || values_same(c, field, (const uint8_t *)a + field->offset,
                                (const uint8_t *)b + field->offset);
}

static bool messages_same(struct comparison *c, const ProtobufCMessage *a,
                          const ProtobufCMessage *b)
{
    size_t used = c->used;
    if (++c->depth > MIRROR_DEPTH_MAX)
        return differs(c, "it is nested too deep to tell");
    for (unsigned i = 0; i < a->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &a->descriptor->fields[i];
        int n = snprintf(c->path + used, c->bytes - used, "%s%s", used ? "." : "", field->name);
        c->used = n > 0 && (size_t)n < c->bytes - used ? used + (size_t)n : c->bytes - 1;
        if (!fields_same(c, field, a, b))
            return false;
    }
    c->depth--;
    c->used = used;
    c->path[used] = '\0';
    return true;
}

bool mirror_same(const ProtobufCMessage *a, const ProtobufCMessage *b, char *ret_path, size_t bytes,
                 const char **ret_how)
{
    struct comparison c = {.path = ret_path, .bytes = bytes};
    ret_path[0] = '\0';
    bool same = messages_same(&c, a, b);
    *ret_how = same ? NULL : c.how;
    return same;
}

/* ---- A copy ---- */

struct mirror {
    struct parley_client *client;
    struct stats_mirror *figures;
    unsigned method;
    enum parley_status status; /* the caller's */
    char served[RPC_VERSION_BYTES];
    size_t reply_bytes;
    uint8_t reply[]; /* the caller's, packed, if it ended OK */
};

/* Of the cell that calls to that version count in; it may be the one for all that find none. */
static struct stats_mirror *figures_of(struct parley_client *client, unsigned method,
                                       const char *version)
{
    struct stats *stats = &client->endpoint->stats;
    const struct stats_cell *cell =
        stats_cell_find(stats, STATS_CLIENT, client->spec.interface,
                        client->spec.methods[method].name, client->spec.version, version);
    return &stats->mirrors[cell - stats->cells];
}

/* An example for the operator, now and then. */
static void tell(const struct mirror *mirror, const struct rpc_outcome *outcome, const char *path,
                 const char *how)
{
    struct parley_client *client = mirror->client;
    uint64_t now = clock_now_ns();
    if (client->freed || !client->endpoint->welcomed ||
        (client->mirror_told_ns && now - client->mirror_told_ns < MIRROR_TELL_NS))
        return;
    client->mirror_told_ns = now;
    Parley__MirrorDiffers body = PARLEY__MIRROR_DIFFERS__INIT;
    body.has_contract_id = true;
    body.contract_id = client->contract_id;
    body.method = (char *)(uintptr_t)client->spec.methods[mirror->method].name;
    body.served = (char *)(uintptr_t)mirror->served;
    body.mirrored = (char *)(uintptr_t)outcome->version;
    body.path = (char *)(uintptr_t)path;
    body.text = (char *)(uintptr_t)how;
    Parley__LinkMessage message = PARLEY__LINK_MESSAGE__INIT;
    message.body_case = PARLEY__LINK_MESSAGE__BODY_MIRROR_DIFFERS;
    message.mirror_differs = &body;
    (void)endpoint_send(client->endpoint, &message, NULL, 0);
}

/* Both OK. */
static bool replies_same(const struct mirror *mirror, const uint8_t *copy, size_t copy_bytes,
                         char *path, const char **ret_how)
{
    const ProtobufCMessageDescriptor *descriptor =
        mirror->client->descriptor->methods[mirror->method].output;
    ProtobufCMessage *a = NULL, *b = NULL;
    struct error_text error = {""};
    bool same = false;
    *ret_how = "one of the two cannot be read";
    if (wire_unpack(descriptor, mirror->reply, mirror->reply_bytes, NULL, &a, &error) == 0 &&
        wire_unpack(descriptor, copy, copy_bytes, NULL, &b, &error) == 0)
        same = mirror_same(a, b, path, MIRROR_PATH_BYTES, ret_how);
    wire_free(a);
    wire_free(b);
    return same;
}

static void copy_ended(const struct rpc_outcome *outcome, const uint8_t *payload, size_t bytes,
                       void *userdata)
{
    struct mirror *mirror = userdata;
    char path[MIRROR_PATH_BYTES] = "", status[RPC_TEXT_BYTES];
    const char *how = NULL;
    bool same = outcome->status == mirror->status;
    mirror->client->mirrors--;
    if (outcome->status == PARLEY_CANCELLED || outcome->executed == PARLEY_EXECUTED_NO) {
        stats_bump(&mirror->figures->skipped); /* it never got there */
        free(mirror);
        return;
    }
    stats_bump(&mirror->figures->sent);
    if (status_is_fault(outcome->status) && !status_is_fault(mirror->status))
        stats_bump(&mirror->figures->failed);
    if (!same) {
        (void)snprintf(status, sizeof(status), "%s instead of %s: %.150s",
                       parley_status_name(outcome->status), parley_status_name(mirror->status),
                       outcome->text);
        how = status;
    } else if (outcome->status == PARLEY_OK) {
        same = replies_same(mirror, payload, bytes, path, &how);
    }
    if (!same) {
        stats_bump(&mirror->figures->differ);
        tell(mirror, outcome, path, how);
    }
    free(mirror);
}

/* ---- Sending ---- */

static struct channel *channel_for(struct parley_client *client, uint32_t version)
{
    struct channel *found[ROUTE_INSTANCE_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < client->live_count; i++)
        if (client->live[i]->route_version == version)
            found[count++] = client->live[i];
    return count ? found[random_below(&client->endpoint->random, count)] : NULL;
}

/* What the caller asked, packed into the copy. Return: 0; -E2BIG; what packing says. */
static int copy_request(const struct call *call, struct call *copy)
{
    struct wire_packing *packing = call->client->endpoint->packing;
    size_t bytes = call->packed_bytes;
    int r = 0;
    if (call->delivery == CALL_SYNC)
        r = wire_pack(packing, call->client->packer, call->method, call->message, &bytes);
    if (r == 0 && bytes > MIRROR_BYTES_MAX)
        r = -E2BIG;
    if (r < 0)
        return r;
    if (bytes > copy->packed_bytes_max) {
        uint8_t *grown = realloc(copy->packed, bytes);
        if (!grown)
            return -ENOMEM;
        copy->packed = grown;
        copy->packed_bytes_max = (uint32_t)bytes;
    }
    copy->packed_bytes = (uint32_t)bytes;
    if (call->delivery == CALL_SYNC)
        return bytes ? wire_pack_write(packing, copy->packed) : 0;
    if (bytes)
        memcpy(copy->packed, call_packed(call), bytes);
    return 0;
}

static int copy_metadata(const struct call *call, struct call *copy)
{
    size_t bytes = call->metadata_bytes;
    if (bytes > copy->metadata_bytes_max) {
        uint8_t *grown = realloc(copy->metadata, bytes);
        if (!grown)
            return -ENOMEM;
        copy->metadata = grown;
        copy->metadata_bytes_max = bytes;
    }
    if (bytes)
        memcpy(copy->metadata, call->metadata, bytes);
    copy->metadata_bytes = bytes;
    copy->extras = true;
    return 0;
}

/* NULL: too large, or no memory. */
static struct mirror *mirror_new(const struct call *call)
{
    size_t bytes = call->reply ? protobuf_c_message_get_packed_size(call->reply) : 0;
    if (bytes > MIRROR_BYTES_MAX)
        return NULL;
    struct mirror *mirror = calloc(1, sizeof(*mirror) + bytes);
    if (!mirror)
        return NULL;
    mirror->client = call->client;
    mirror->method = call->method;
    mirror->status = call->status;
    (void)snprintf(mirror->served, sizeof(mirror->served), "%s", call_version(call));
    mirror->reply_bytes = call->reply ? protobuf_c_message_pack(call->reply, mirror->reply) : 0;
    return mirror;
}

/* Return: whether it is on its way, or has ended already. */
static bool send_copy(struct call *call, struct channel *channel, struct stats_mirror *figures)
{
    struct parley_client *client = call->client;
    struct parley_endpoint *endpoint = client->endpoint;
    struct call *copy = endpoint_call_new(endpoint);
    struct mirror *mirror = copy ? mirror_new(call) : NULL;
    if (!mirror || copy_request(call, copy) < 0 || copy_metadata(call, copy) < 0) {
        free(mirror);
        if (copy)
            endpoint_call_free(endpoint, copy);
        return false;
    }
    mirror->figures = figures;
    copy->mirror = true;
    copy->delivery = CALL_RAW;
    copy->extras = true;
    copy->replied = copy_ended;
    copy->userdata = mirror;
    copy->started_ns = quick_clock_now_ns(&endpoint->clock);
    copy->deadline_ns = copy->started_ns + MIRROR_TIMEOUT_NS;
    call_join(copy, client, call->method);
    client->mirrors++;
    call_submit_to(copy, channel);
    return true;
}

void mirror_consider(struct call *call, uint32_t served)
{
    struct parley_client *client = call->client;
    const struct route_view *view = &client->view;
    if (call->mirror || call->one_way || call->delivery == CALL_RAW || client->freed ||
        call->executed != PARLEY_EXECUTED_YES || call->status == PARLEY_CANCELLED ||
        served == ROUTE_NOBODY || served == view->mirror_version || !client->descriptor ||
        client->spec.methods[call->method].idempotency == PARLEY_IDEMPOTENCY_UNKNOWN ||
        random_below(&client->endpoint->random, ROUTE_BUCKETS) >= view->mirror_buckets)
        return;
    struct channel *channel = channel_for(client, view->mirror_version);
    if (!channel)
        return; /* nobody there to send it to */
    struct stats_mirror *figures = figures_of(client, call->method, channel->version);
    if (client->mirrors >= MIRRORS_MAX || !send_copy(call, channel, figures))
        stats_bump(&figures->skipped);
}
