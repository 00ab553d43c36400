/*
 * Tables of examples: a message of one version as JSON, what the other version gets, what becomes
 * of it when it comes back, as it is and edited.
 */
#ifndef PARLEY_TESTS_TRANSLATE_ROWS_H
#define PARLEY_TESTS_TRANSLATE_ROWS_H

#include "plans.h"

struct row {
    const char *sent;   /* JSON, of the sender's version */
    const char *got;    /* of the receiver's; NULL: -ERANGE */
    const char *edited; /* what the receiver makes of it; NULL: nothing */
    const char *back;   /* what the sender gets of that */
};

/* A message type in both versions, and plans between them. */
struct pairs {
    const struct schema_message *v1, *v2;
    const struct plan *up, *down;
    uint32_t entry;
};

static inline struct pairs pairs_of(const struct versions *versions, const char *v1, const char *v2,
                                    const char *method)
{
    size_t index;
    assert_non_null(schema_method_find(versions->v1, method, &index));
    struct pairs pairs = {schema_message_find(versions->v1, v1),
                          schema_message_find(versions->v2, v2), versions->up_requests,
                          versions->down_replies, (uint32_t)index};
    assert_non_null(pairs.v1);
    assert_non_null(pairs.v2);
    return pairs;
}

static inline struct bytes wire_of(const struct schema_message *type, const char *json)
{
    struct bytes out = {NULL, 0};
    struct error_text error = {""};
    if (json_to_wire(type, json, &out.data, &out.bytes, &error) < 0)
        fail_msg("%s: %s", json, error.text);
    return out;
}

/* The JSON of the message, always the same for messages that are the same. */
static inline char *json_of(const struct schema_message *type, struct bytes in)
{
    char *json = NULL;
    struct error_text error = {""};
    if (json_from_wire(type, in.data, in.bytes, 0, false, &json, &error) < 0)
        fail_msg("json_from_wire: %s", error.text);
    return json;
}

static inline void assert_json(const struct schema_message *type, struct bytes in, const char *want,
                               const char *of)
{
    struct bytes wire = wire_of(type, want);
    char *a = json_of(type, in), *b = json_of(type, wire);
    if (strcmp(a, b) != 0) {
        print_bytes("wire", in);
        fail_msg("%s: got %s, not %s", of, a, b);
    }
    free(wire.data);
    free(a);
    free(b);
}

/* An edited message with the carriers of the one that it was made from, as a program writes it. */
static inline struct bytes with_carriers(struct bytes edited, struct bytes from)
{
    struct bytes out = {malloc(edited.bytes + from.bytes + 1), edited.bytes};
    assert_non_null(out.data);
    if (edited.bytes > 0)
        memcpy(out.data, edited.data, edited.bytes);
    struct wire_reader reader = {from.data, from.data + from.bytes};
    while (reader.pos < reader.end) {
        const uint8_t *at = reader.pos;
        uint32_t number = 0;
        enum wire_type type = WIRE_VARINT;
        assert_int_equal(wire_read_tag(&reader, &number, &type), 0);
        assert_int_equal(wire_skip(&reader, number, type), 0);
        if (number != UINT32_C(536870896))
            continue;
        memcpy(out.data + out.bytes, at, (size_t)(reader.pos - at));
        out.bytes += (size_t)(reader.pos - at);
    }
    return out;
}

static inline void try_row(const struct schema_message *here, const struct schema_message *there,
                           const struct plan *out, const struct plan *home, uint32_t entry,
                           const struct row *row)
{
    struct bytes sent = wire_of(here, row->sent), got = {NULL, 0};
    struct plan_failure failure = {0, 0, "?"};
    int r = run(out, entry, sent, &got, &failure);
    if (!row->got) {
        if (r != -ERANGE)
            fail_msg("%s: %d, not -ERANGE", row->sent, r);
        assert_true(failure.number > 0);
        free(sent.data);
        free(got.data);
        return;
    }
    if (r < 0)
        fail_msg("%s: %d: field %u: %s", row->sent, r, failure.number, failure.what);
    assert_json(there, got, row->got, row->sent);
    struct bytes back = must_run(home, entry, got);
    assert_json(here, back, row->sent, "unedited, back");
    free(back.data);
    /* A program writes its own fields in order, and unknown ones behind. */
    const char *edits[] = {row->got, row->edited};
    for (int i = 0; i < 2 && edits[i]; i++) {
        struct bytes plain = wire_of(there, edits[i]), whole = with_carriers(plain, got);
        back = must_run(home, entry, whole);
        assert_json(here, back, i == 0 ? row->sent : row->back, edits[i]);
        free(back.data);
        free(plain.data);
        free(whole.data);
    }
    free(sent.data);
    free(got.data);
}

static inline void try_up(const struct pairs *pairs, const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        try_row(pairs->v1, pairs->v2, pairs->up, pairs->down, pairs->entry, &rows[i]);
}

static inline void try_down(const struct pairs *pairs, const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        try_row(pairs->v2, pairs->v1, pairs->down, pairs->up, pairs->entry, &rows[i]);
}

#define TRY_UP(pairs, ...)                                                                         \
    do {                                                                                           \
        const struct row rows_[] = {__VA_ARGS__};                                                  \
        try_up(pairs, rows_, sizeof(rows_) / sizeof(rows_[0]));                                    \
    } while (0)
#define TRY_DOWN(pairs, ...)                                                                       \
    do {                                                                                           \
        const struct row rows_[] = {__VA_ARGS__};                                                  \
        try_down(pairs, rows_, sizeof(rows_) / sizeof(rows_[0]));                                  \
    } while (0)

#endif
