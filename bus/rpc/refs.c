/*
 * References: bytes that are in a buffer of the channel are not copied into the message. In the
 * payload a stand-in has their place, of a fixed length, so that a message is packed, framed,
 * translated and unpacked as ever. It says where in the writer's arena they are; behind the payload
 * the frame says where it is.
 *
 *     payload   ... | tag | 16 | block segment offset bytes | ...
 *                               ^ a place: all of them lie behind the payload
 *
 * Nothing in a payload is ever taken for a reference but by the frame's own places. Each stand-in
 * is read once for what it says, bounded, and resolved against this channel's peer before the
 * frame's owner sees it; what the crossing copies there is never looked at.
 *
 * The reader unpacks the message with its stand-ins and then exchanges them, in the struct, for
 * pointers into its mapping of the peer. This is done if the message comes out as it would have
 * with the bytes in it: the plan only passes each of them on (plan_passes()), and each is found
 * again in the struct, where it was in the payload. In any other case, such as a rule that encodes
 * the bytes as text, a version that does not have the field, or a reader that wants a message and
 * no struct, the payload is expanded in private memory (wire/expand.c) and then is one like others.
 *
 * A message that refers to the peer's memory has a hold, with the names of the blocks and the
 * channel's memory. Who frees the reply, or ends the context, lets go: the names go back to the
 * peer, if it is still there. A service's peer may have given up on the call long before, and
 * written something else there; that is why a name is given back by the reader, not by the end of
 * the call.
 */
#include "rpc/frames.h"

#include <parley/buffer.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/copy.h"
#include "base/sanitized.h"
#include "rpc/refs.h"

#define SMALL_BYTES 1024 /* a payload that is copied to the stack */

static_assert(WIRE_REFS_MAX == FRAME_SHARES_MAX && WIRE_REF_BYTES == FRAME_STAND_IN_BYTES,
              "wire and layout say the same");
static_assert(ARENA_BYTES_TOTAL_MAX <= UINT32_MAX, "where bytes are takes 32 bits");
static_assert(offsetof(struct frame_stand_in, offset) == offsetof(struct frame_ref, offset) &&
                  offsetof(struct frame_stand_in, segment) == offsetof(struct frame_ref, segment),
              "they begin alike");

/* ---- Objects that are used again ---- */

#define SPARES_MAX 8 /* of a kind, of a channel */

struct spare {
    struct spare *next;
};

void *spare_take(struct spares *spares, size_t bytes)
{
    struct spare *spare = spares->first;
    if (!spare)
        return malloc(bytes);
    spares->first = spare->next;
    spares->count--;
    return spare;
}

void spare_put(struct spares *spares, void *object)
{
    struct spare *spare = object;
    if (SANITIZED || spares->count == SPARES_MAX) {
        free(object);
        return;
    }
    spare->next = spares->first;
    spares->first = spare;
    spares->count++;
}

static void spare_free(struct spares *spares)
{
    while (spares->first)
        free(spare_take(spares, 0));
}

/* ---- Sending ---- */

/* Member by member, and not a struct that was made so: that cannot be read in one piece before all
 * of it has left the store buffer. */
static inline void stand_in_write(uint8_t *out, const struct parley_buffer *buffer,
                                  const uint8_t *data, size_t bytes)
{
    const uint32_t offset = (uint32_t)(buffer->ref.offset + (uint64_t)(data - buffer->data));
    const uint32_t count = (uint32_t)bytes;
    memcpy(out, &buffer->ref, offsetof(struct frame_stand_in, offset));
    memcpy(out + offsetof(struct frame_stand_in, offset), &offset, sizeof(offset));
    memcpy(out + offsetof(struct frame_stand_in, bytes), &count, sizeof(count));
}

/* wire_refers. Answers alike until the message is written, whatever is allocated and taken back
 * meanwhile. */
static bool is_shared(void *userdata, const uint8_t *data, size_t bytes, size_t before,
                      uint8_t *stand_in)
{
    struct channel *channel = userdata;
    if (before >= channel->refs_most)
        return false;
    const struct parley_buffer *buffer = buffer_find(channel, data, bytes);
    if (!buffer)
        return false;
    channel->packed[before] = buffer;
    stand_in_write(stand_in, buffer, data, bytes);
    return true;
}

/* How many names may go out; one is left for the block that the message itself may need. */
static inline uint32_t refs_most(struct channel *channel)
{
    uint32_t lendable = arena_lendable(&channel->ours);
    if (__builtin_expect(lendable < WIRE_REFS_MAX + 1, 0)) { /* else it can wait */
        (void)release_take(&channel->ours, &channel->peer);  /* what is wrong there shows again */
        lendable = arena_lendable(&channel->ours);
    }
    return lendable > 0 ? lendable - 1 : 0;
}

int refs_pack_shared(struct channel *channel, const struct wire_packer *packer, size_t type,
                     const ProtobufCMessage *message, struct body *body)
{
    if (channel->state != CHANNEL_UP || channel->queue.count > 0)
        return wire_pack(body->packing, packer, type, message, &body->bytes);
    channel->refs_most = refs_most(channel);
    int r = wire_pack_refs(body->packing, packer, type, message, is_shared, channel, &body->bytes);
    if (r == 0)
        (void)wire_packed_places(body->packing, &body->ref_count);
    return r;
}

int refs_forgo(struct body *body)
{
    body->ref_count = 0;
    int r = wire_pack_again(body->packing, &body->bytes);
    body->data = wire_packed(body->packing)->data;
    return r;
}

/* What is written there: @count places, of @width bytes each. */
static inline uint8_t *places_write(uint8_t *out, const uint32_t *places, size_t count,
                                    uint32_t width)
{
    for (size_t i = 0; i < count; i++, out += width) {
        const uint16_t near = (uint16_t)places[i];
        if (width == sizeof(near))
            memcpy(out, &near, sizeof(near));
        else
            memcpy(out, &places[i], sizeof(places[i]));
    }
    return out;
}

static inline void lend_packed(struct channel *channel, size_t count)
{
    for (size_t i = 0; i < count; i++)
        arena_lend(&channel->ours, channel->packed[i]->ref.block);
}

int refs_write(struct channel *channel, struct wire_packing *packing, size_t bytes,
               size_t ref_count, uint8_t *out)
{
    size_t count;
    const uint32_t *places = wire_packed_places(packing, &count);
    if (count != ref_count)
        return -ESTALE;
    (void)places_write(out, places, count, frame_places_bytes((uint32_t)bytes, 1));
    lend_packed(channel, count);
    return 0;
}

/* ---- What is behind a frame's body ---- */

static inline void copy_words(uint8_t *to, const uint8_t *from, size_t begin, size_t end)
{
    enum { PIECE = 32 };
    for (; begin + PIECE <= end; begin += PIECE)
        memcpy(to + begin, from + begin, PIECE);
    for (; begin < end; begin += sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, from + begin, sizeof(word));
        memcpy(to + begin, &word, sizeof(word));
    }
}

bool frame_at_once(struct channel *channel, const struct frame_words *given,
                   const struct wire_packer *packer, size_t type, const ProtobufCMessage *message)
{
    struct wire_packing *packing = channel->endpoint->packing;
    uint8_t made[FRAME_IN_PLACE_BYTES + sizeof(uint64_t)];
    size_t bytes, ref_count;
    int r;
    if (channel->packed_bytes > FRAME_IN_PLACE_BYTES) /* there it would be packed in vain */
        return frame_in_arena(channel, given, packer, type, message);
    if (LIST_EMPTY(&channel->buffers)) {
        r = wire_pack_at(packing, packer, type, message, made, FRAME_IN_PLACE_BYTES, &bytes);
    } else {
        channel->refs_most = refs_most(channel);
        r = wire_pack_refs_at(packing, packer, type, message, is_shared, channel, made,
                              FRAME_IN_PLACE_BYTES, &bytes);
    }
    if (r != 0)
        return false;
    channel->packed_bytes = (uint32_t)bytes;
    const uint32_t *places = wire_packed_places(packing, &ref_count);
    const uint32_t return_count = channel->return_count;
    const size_t body_bytes = bytes + frame_more_bytes_any(channel, bytes, ref_count);
    if (body_bytes > FRAME_IN_PLACE_BYTES)
        return false;
    static_assert(FRAME_IN_PLACE_BYTES <= UINT16_MAX, "a place takes two bytes");
    uint8_t *at = places_write(made + bytes, places, ref_count, sizeof(uint16_t));
    lend_packed(channel, ref_count);
    at = returns_write(channel, at, return_count);
    memset(at, 0, sizeof(uint64_t)); /* goes along, to the end of a word */

    struct frame_words words = *given;
    frame_words_add_bytes(&words, (uint32_t)bytes, 0);
    frame_words_add_more(&words, ref_count, return_count);
    struct segment *ours = &channel->ours;
    const uint32_t record_bytes = (uint32_t)(sizeof(struct frame_header) + body_bytes);
    const struct ring_room room = {.record = ring_our_prefix(ours, ours->head),
                                   .lines = ring_record_lines(record_bytes)};
    uint8_t *header = (uint8_t *)(room.record + 1), *body = header + sizeof(struct frame_header);
    copy_words(body, made, FRAME_FIRST_LINE_BYTES,
               body_bytes); /* to the end of a word: it is in its line */
    copy_words(body, made, 0,
               body_bytes < FRAME_FIRST_LINE_BYTES ? body_bytes : FRAME_FIRST_LINE_BYTES);
    frame_words_write(header, &words);
    ring_room_commit(ours, room, record_bytes);
    return true;
}

/* ---- A frame's shares ---- */

int share_refused(const struct frame *frame, uint64_t place, uint32_t bytes,
                  struct error_text *error)
{
    if (bytes > WIRE_MESSAGE_BYTES_MAX)
        return error_set(error, -EPROTO, "a share of %u bytes is too large", bytes);
    return error_set(error, -EPROTO, "a share of byte %u, in a payload of %u", (unsigned)place,
                     frame->header.payload_bytes);
}

/* @places: live */
static inline uint64_t place_read(const uint8_t *places, uint32_t index, uint32_t payload_bytes)
{
    uint32_t place;
    uint16_t near;
    if (payload_bytes > UINT16_MAX) {
        memcpy(&place, places + index * sizeof(place), sizeof(place));
        return place;
    }
    memcpy(&near, places + index * sizeof(near), sizeof(near));
    return near;
}

int frame_read_refs_any(struct channel *channel, const struct frame *frame,
                        struct error_text *error)
{
    const uint32_t payload_bytes = frame->header.payload_bytes;
    uint64_t before = 0;
    frame->refs->segments = 0;
    for (uint32_t i = 0; i < frame->header.share_count; i++) {
        const uint64_t place = place_read(frame->payload + payload_bytes, i, payload_bytes);
        int r = share_read(channel, frame, i, place, before, error);
        if (r < 0)
            return r;
        before = place + FRAME_STAND_IN_BYTES;
    }
    frame->refs->count = frame->header.share_count;
    return 0;
}

int refs_expand(const struct frame *frame, uint8_t **ret_payload, size_t *ret_bytes)
{
    const struct frame_refs *refs = frame->refs;
    size_t bytes = frame->header.payload_bytes;
    _cleanup_(freep) uint8_t *copy = malloc(bytes + 1);
    if (!copy)
        return -ENOMEM;
    memcpy(copy, frame->payload, bytes);
    return wire_expand(copy, bytes, refs->refs, refs->count, ret_payload, ret_bytes);
}

/* ---- What is live ---- */

/* A mapping that messages have pointed into. All of the process, for parley_bytes_is_live(), which
 * may be asked on any thread; locked when a channel has its first message in an arena, and when its
 * memory goes, not for each message. */
struct live {
    LIST_ENTRY(live) entry;
    const struct channel *channel;
    const uint8_t *base;
    size_t bytes;
};
static LIST_HEAD(, live) lives = LIST_HEAD_INITIALIZER(lives);
static pthread_mutex_t lives_lock = PTHREAD_MUTEX_INITIALIZER;

static int live_add(struct channel *channel, uint32_t segment)
{
    const struct region *region =
        segment == 0 ? &channel->peer.region : &channel->peer.more[segment - 1];
    struct live *live = malloc(sizeof(*live));
    if (!live)
        return -ENOMEM;
    *live = (struct live){.channel = channel, .base = region->base, .bytes = region->bytes};
    (void)pthread_mutex_lock(&lives_lock);
    LIST_INSERT_HEAD(&lives, live, entry);
    (void)pthread_mutex_unlock(&lives_lock);
    channel->live |= UINT32_C(1) << segment;
    return 0;
}

static int live_add_all(struct channel *channel, uint32_t segments)
{
    int r = 0;
    for (uint32_t i = 0; i <= ARENA_SEGMENT_MAX && r == 0; i++) {
        if (segments & ~channel->live & UINT32_C(1) << i)
            r = live_add(channel, i);
    }
    return r;
}

static void lives_gone(const struct channel *channel)
{
    struct live *live, *next;
    (void)pthread_mutex_lock(&lives_lock);
    for (live = LIST_FIRST(&lives); live; live = next) {
        next = LIST_NEXT(live, entry);
        if (live->channel == channel) {
            LIST_REMOVE(live, entry);
            free(live);
        }
    }
    (void)pthread_mutex_unlock(&lives_lock);
}

void refs_memory_gone(struct channel *channel)
{
    if (channel->live != 0)
        lives_gone(channel);
    (void)buffers_unpark(channel);
    spare_free(&channel->spare_holds);
    spare_free(&channel->spare_buffers);
}

bool parley_bytes_is_live(ProtobufCBinaryData bytes)
{
    bool is_live = false;
    const struct live *live;
    (void)pthread_mutex_lock(&lives_lock);
    LIST_FOREACH (live, &lives, entry) {
        size_t at = (size_t)((uintptr_t)bytes.data - (uintptr_t)live->base);
        if (at < live->bytes && bytes.len > 0)
            is_live = true;
    }
    (void)pthread_mutex_unlock(&lives_lock);
    return is_live;
}

/* ---- Holds ---- */

struct refs_hold {
    struct wire_hold hold;   /* first */
    struct channel *channel; /* its memory */
    uint32_t count;
    uint32_t blocks[FRAME_SHARES_MAX];
};

static void hold_release(struct wire_hold *wire_hold)
{
    struct refs_hold *hold = (struct refs_hold *)wire_hold;
    struct channel *channel = hold->channel;
    if (hold->count > 0)
        channel_give_back(channel, hold->blocks, hold->count);
    spare_put(&channel->spare_holds, hold);
    channel_let_go(channel);
}

void refs_give_back_with_next(struct wire_hold *wire_hold)
{
    struct refs_hold *hold = (struct refs_hold *)wire_hold;
    if (channel_give_back_with_next(hold->channel, hold->blocks, hold->count))
        hold->count = 0;
}

/* Takes the frame's references over. Return: 0 or -ENOMEM. */
static inline __attribute__((always_inline)) int
hold_new(struct channel *channel, const struct frame *frame, ProtobufCMessage *message)
{
    struct frame_refs *refs = frame->refs;
    const uint32_t count = refs->count;
    if (__builtin_expect((refs->segments & ~channel->live) != 0, 0) &&
        live_add_all(channel, refs->segments) < 0)
        return -ENOMEM;
    struct refs_hold *hold = spare_take(&channel->spare_holds, sizeof(*hold));
    if (!hold)
        return -ENOMEM;
    hold->hold.release = hold_release;
    hold->channel = channel_keep(channel);
    hold->count = count;
    hold->blocks[0] = refs->blocks[0]; /* there is one at least */
    for (uint32_t i = 1; i < count; i++)
        hold->blocks[i] = refs->blocks[i];
    refs->count = 0;
    wire_hold_on(message, &hold->hold);
    return 0;
}

void parley_bytes_copy(ProtobufCBinaryData bytes, void *out)
{
    if (bytes.len > 0)
        copy_bytes(out, bytes.data, bytes.len);
}

/* ---- Stand-ins in structs ---- */

struct exchange {
    const struct frame_refs *refs;
    const uint8_t *copy; /* of the payload */
    uint32_t left;       /* bits: the references that have not been found */
};

/* Whether these are the bytes that reference @index stands for: those at its place. */
static inline bool stands_for(const struct frame_refs *refs, uint32_t index, const uint8_t *copy,
                              const ProtobufCBinaryData *bytes)
{
    return bytes->len == WIRE_REF_BYTES && bytes->data == copy + refs->refs[index].place;
}

static inline ProtobufCBinaryData bytes_of(const struct wire_ref *ref)
{
    return (ProtobufCBinaryData){ref->bytes, (uint8_t *)(uintptr_t)ref->data};
}

static void exchange_bytes(struct exchange *x, ProtobufCBinaryData *bytes)
{
    for (uint32_t i = 0; i < x->refs->count; i++) {
        if ((x->left & UINT32_C(1) << i) && stands_for(x->refs, i, x->copy, bytes)) {
            *bytes = bytes_of(&x->refs->refs[i]);
            x->left &= ~(UINT32_C(1) << i);
            return;
        }
    }
}

/* Whether a singular field is there; a member of a oneof that is not has another one's value. */
static bool is_there(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    const uint8_t *base = (const uint8_t *)message;
    uint32_t number;
    if (!(field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF))
        return true;
    memcpy(&number, base + field->quantifier_offset, sizeof(number));
    return number == field->id;
}

static void exchange_nested(struct exchange *x, ProtobufCMessage *message);

__attribute__((noinline)) static void exchange_field(struct exchange *x, ProtobufCMessage *message,
                                                     const ProtobufCFieldDescriptor *field)
{
    uint8_t *member = (uint8_t *)message + field->offset;
    size_t count = 1;
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        memcpy(&count, (uint8_t *)message + field->quantifier_offset, sizeof(count));
        void *array;
        memcpy(&array, member, sizeof(array));
        member = array;
    } else if (!is_there(message, field)) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (field->type == PROTOBUF_C_TYPE_BYTES)
            exchange_bytes(x, (ProtobufCBinaryData *)(void *)member + i);
        else if (((ProtobufCMessage **)(void *)member)[i])
            exchange_nested(x, ((ProtobufCMessage **)(void *)member)[i]);
    }
}

/* Always there, once. */
static bool is_plain(const ProtobufCFieldDescriptor *field)
{
    return field->label != PROTOBUF_C_LABEL_REPEATED &&
           !(field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF);
}

/* Until all have been found. No deeper than what plan_unpack() makes: WIRE_DEPTH_MAX. */
static void exchange_nested(struct exchange *x, ProtobufCMessage *message)
{
    const ProtobufCFieldDescriptor *field = message->descriptor->fields;
    const ProtobufCFieldDescriptor *end = field + message->descriptor->n_fields;
    for (; field < end && x->left != 0; field++) {
        if (field->type == PROTOBUF_C_TYPE_BYTES || field->type == PROTOBUF_C_TYPE_MESSAGE)
            exchange_field(x, message, field);
    }
}

/* All that plain_exchanged() has not found. Return: whether they have been found now. */
__attribute__((noinline)) static bool exchange_rest(const struct frame_refs *refs,
                                                    const uint8_t *copy, ProtobufCMessage *message,
                                                    uint32_t found)
{
    struct exchange x = {
        .refs = refs,
        .copy = copy,
        .left = ((UINT32_C(1) << refs->count) - 1) & ~((UINT32_C(1) << found) - 1),
    };
    exchange_nested(&x, message);
    return x.left == 0;
}

/* The references in fields of bytes of the message itself, in their order: nearly always all.
 * Return: how many. */
static inline uint32_t plain_exchanged(const struct frame_refs *refs, const uint8_t *copy,
                                       ProtobufCMessage *message)
{
    const ProtobufCFieldDescriptor *field = message->descriptor->fields;
    const ProtobufCFieldDescriptor *end = field + message->descriptor->n_fields;
    const uint32_t count = refs->count;
    uint32_t found = 0;
    for (; field < end; field++) {
        if (field->type != PROTOBUF_C_TYPE_BYTES || !is_plain(field))
            continue;
        ProtobufCBinaryData *bytes = (void *)((uint8_t *)message + field->offset);
        if (!stands_for(refs, found, copy, bytes))
            continue;
        *bytes = bytes_of(&refs->refs[found]);
        if (++found == count)
            break;
    }
    return found;
}

/* ---- Receiving ---- */

static bool all_pass(const struct plan *plan, uint32_t entry, const struct frame_refs *refs,
                     const uint8_t *payload, size_t bytes)
{
    bool pass = true;
    for (uint32_t i = 0; i < refs->count && pass; i++)
        pass = plan_passes(plan, entry, payload, bytes, refs->refs[i].place, WIRE_REF_BYTES);
    return pass;
}

/* @payload: private, or that of the frame if the plan does not look at it: then it is read once
 * here, by the crossing. All references pass. Return: 0; or -EAGAIN: with the bytes in it, then. */
static inline __attribute__((always_inline)) int
unpack_by_reference(struct channel *channel, const struct frame *frame,
                    const struct plan_binding *binding, uint32_t entry, const uint8_t *payload,
                    ProtobufCMessage **ret_message)
{
    const struct frame_refs *refs = frame->refs;
    ProtobufCMessage *message;
    const uint8_t *copy;
    if (plan_unpack_copy(binding, entry, payload, frame->header.payload_bytes, &message, &copy,
                         NULL) < 0)
        return -EAGAIN;
    const uint32_t found = plain_exchanged(refs, copy, message);
    if ((found != refs->count && !exchange_rest(refs, copy, message, found)) ||
        hold_new(channel, frame, message) < 0) {
        wire_free(message);
        return -EAGAIN;
    }
    *ret_message = message;
    return 0;
}

/* By a private copy of the payload: another crossing, if there was one before, of bytes that are
 * read anew. @try_reference: it has not been tried yet */
__attribute__((noinline)) static int
unpack_private(struct channel *channel, const struct frame *frame,
               const struct plan_binding *binding, uint32_t entry, bool try_reference,
               ProtobufCMessage **ret_message, struct plan_failure *ret_failure)
{
    size_t bytes = frame->header.payload_bytes, expanded_bytes;
    uint8_t small[SMALL_BYTES];
    _cleanup_(freep) uint8_t *large = bytes > sizeof(small) ? malloc(bytes) : NULL;
    _cleanup_(freep) uint8_t *expanded = NULL;
    uint8_t *payload = bytes > sizeof(small) ? large : small;
    if (!payload)
        return -ENOMEM;
    memcpy(payload, frame->payload, bytes);
    if (try_reference && all_pass(plan_binding_plan(binding), entry, frame->refs, payload, bytes) &&
        unpack_by_reference(channel, frame, binding, entry, payload, ret_message) == 0)
        return 0;
    int r = wire_expand(payload, bytes, frame->refs->refs, frame->refs->count, &expanded,
                        &expanded_bytes);
    if (r == 0)
        return plan_unpack(binding, entry, expanded, expanded_bytes, ret_message, ret_failure);
    *ret_failure = (struct plan_failure){.what = "a reference that is no field's value"};
    return r;
}

int refs_unpack_shared(struct channel *channel, const struct frame *frame,
                       const struct plan_binding *binding, uint32_t entry,
                       ProtobufCMessage **ret_message, struct plan_failure *ret_failure)
{
    /* The identity looks at texts alone; that each is in a field of bytes is seen in the struct. */
    const bool identity = plan_class(plan_binding_plan(binding)) == PLAN_IDENTITY;
    if (identity &&
        unpack_by_reference(channel, frame, binding, entry, frame->payload, ret_message) == 0)
        return 0;
    return unpack_private(channel, frame, binding, entry, !identity, ret_message, ret_failure);
}
