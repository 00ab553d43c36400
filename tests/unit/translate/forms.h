/* The rules on structure, tested with messages as JSON: there, edited on the wire, and back. */
#ifndef PARLEY_TESTS_TRANSLATE_FORMS_H
#define PARLEY_TESTS_TRANSLATE_FORMS_H

#include "plans.h"

#include "forms_v1.pb-c.h"
#include "forms_v2.pb-c.h"

static struct versions forms;

static inline int forms_setup(void **state)
{
    (void)state;
    versions_init(&forms, FORMS_V1_SET, FORMS_V2_SET);
    return 0;
}

static inline int forms_teardown(void **state)
{
    (void)state;
    versions_deinit(&forms);
    return 0;
}

/* The method of the same name as the message, whose type it takes and returns. */
static inline uint32_t entry_of(const struct schema *schema, const char *method)
{
    size_t index = 0;
    if (!schema_method_find(schema, method, &index))
        fail_msg("no method %s", method);
    return (uint32_t)index;
}

static inline const struct schema_message *type_of(bool newer, const char *method)
{
    const struct schema *schema = newer ? forms.v2 : forms.v1;
    return schema_service(schema)->methods[entry_of(schema, method)].input;
}

static inline struct bytes from_json(bool newer, const char *method, const char *json)
{
    struct bytes in = {NULL, 0};
    struct error_text error = {""};
    if (json_to_wire(type_of(newer, method), json, &in.data, &in.bytes, &error) < 0)
        fail_msg("%s: %s", json, error.text);
    return in;
}

static inline void assert_json(bool newer, const char *method, struct bytes in, const char *json)
{
    char *text = NULL;
    struct error_text error = {""};
    struct bytes want = from_json(newer, method, json);
    char *want_text = NULL;
    assert_int_equal(
        json_from_wire(type_of(newer, method), want.data, want.bytes, 0, false, &want_text, &error),
        0);
    if (json_from_wire(type_of(newer, method), in.data, in.bytes, 0, false, &text, &error) < 0)
        fail_msg("%s: %s", json, error.text);
    assert_string_equal(text, want_text);
    free(text);
    free(want_text);
    free(want.data);
}

/* To the newer version, or from it; of a request, by the client's entry. */
static inline int go(bool up, const char *method, struct bytes in, struct bytes *ret_out)
{
    return run(up ? forms.up_requests : forms.down_requests,
               entry_of(up ? forms.v1 : forms.v2, method), in, ret_out, NULL);
}

static inline struct bytes must_go(bool up, const char *method, struct bytes in)
{
    return must_run(up ? forms.up_requests : forms.down_requests,
                    entry_of(up ? forms.v1 : forms.v2, method), in);
}

/* What a program does to a message: fields cleared (numbers, ended by 0), and others set: a message
 * behind a message is merged into it. Carriers stay, as unknown fields do. */
static inline struct bytes edited(bool newer, const char *method, struct bytes in,
                                  const uint32_t *clear, const char *set)
{
    struct bytes more = from_json(newer, method, set ? set : "{}");
    struct bytes out = {malloc(in.bytes + more.bytes + 1), 0};
    assert_non_null(out.data);
    struct wire_reader reader = {in.data, in.data + in.bytes};
    while (reader.pos < reader.end) {
        const uint8_t *at = reader.pos;
        uint32_t number = 0;
        enum wire_type type = WIRE_VARINT;
        assert_int_equal(wire_read_tag(&reader, &number, &type), 0);
        assert_int_equal(wire_skip(&reader, number, type), 0);
        bool cleared = false;
        for (const uint32_t *c = clear; c && *c; c++)
            cleared |= *c == number;
        if (cleared)
            continue;
        memcpy(out.data + out.bytes, at, (size_t)(reader.pos - at));
        out.bytes += (size_t)(reader.pos - at);
    }
    if (more.bytes > 0)
        memcpy(out.data + out.bytes, more.data, more.bytes);
    out.bytes += more.bytes;
    free(more.data);
    return out;
}

/* @in of one version is @there in the other; edited there, it comes back as @back. */
struct trip {
    bool up;
    const char *in, *there;
    uint32_t clear[4];
    const char *set;
    const char *back; /* NULL: as it went, unedited */
};

static inline void assert_trip(const char *method, const struct trip *trip)
{
    struct bytes in = from_json(!trip->up, method, trip->in);
    struct bytes there = must_go(trip->up, method, in);
    if (trip->there)
        assert_json(trip->up, method, there, trip->there);
    struct bytes other = edited(trip->up, method, there, trip->clear, trip->set);
    struct bytes back = must_go(!trip->up, method, other);
    assert_json(!trip->up, method, back, trip->back ? trip->back : trip->in);
    free(in.data);
    free(there.data);
    free(other.data);
    free(back.data);
}

#define assert_trips(method, trips)                                                                \
    for (size_t i_ = 0; i_ < sizeof(trips) / sizeof((trips)[0]); i_++)                             \
    assert_trip(method, &(trips)[i_])

#define UP true
#define DOWN false

/* ---- Random messages of one type ---- */

static inline bool form_comes_back(bool up, const char *method, struct bytes in, bool through,
                                   const ProtobufCMessageDescriptor *here,
                                   const ProtobufCMessageDescriptor *other, bool *ret_refused)
{
    struct bytes there = {NULL, 0}, back = {NULL, 0};
    int r = go(up, method, in, &there);
    *ret_refused = r == -ERANGE || r == -EBADMSG;
    if (*ret_refused)
        return true;
    bool held = r == 0 && wire_check(other, there.data, there.bytes, NULL, NULL) == 0;
    if (held && through) {
        struct bytes rewritten = canonical(other, there);
        free(there.data);
        there = rewritten;
    }
    held = held && go(!up, method, there, &back) == 0 &&
           wire_check(here, back.data, back.bytes, NULL, NULL) == 0 && same_message(here, in, back);
    if (!held) {
        print_bytes("in", in);
        if (there.data)
            print_bytes("there", there);
        if (back.data)
            print_bytes("back", back);
    }
    free(there.data);
    free(back.data);
    return held;
}

/* Messages of both versions, as they come and through a program in between. PARLEY_LAWS_COUNT of
 * them, if it is set. */
static inline void assert_comes_back(const char *method, const ProtobufCMessageDescriptor *v1,
                                     const ProtobufCMessageDescriptor *v2)
{
    const char *more = getenv("PARLEY_LAWS_COUNT");
    uint64_t count = more ? strtoull(more, NULL, 0) : 1500, held = 0;
    for (uint64_t seed = 1; seed <= count; seed++) {
        for (int how = 0; how < 4; how++) {
            bool up = how & 1, refused = false;
            const ProtobufCMessageDescriptor *here = up ? v1 : v2, *other = up ? v2 : v1;
            struct bytes in = generate(here, seed, 0);
            if (!form_comes_back(up, method, in, how & 2, here, other, &refused))
                fail_msg("%s, seed %u, %s%s: not the same after a round trip", method,
                         (unsigned)seed, up ? "up" : "down", how & 2 ? ", through a program" : "");
            held += !refused;
            free(in.data);
        }
    }
    assert_true(held > 2 * count); /* of four times as many */
}

#define assert_form_comes_back(method, type)                                                       \
    assert_comes_back(method, &forms__v1__##type##__descriptor, &forms__v2__##type##__descriptor)

#endif
