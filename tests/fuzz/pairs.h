/* Two versions of an interface that the input makes: its own sets, or ones of the generator of
 * tests/laws that it patches, which gets deeper: most of such a pair is still sense. */
#ifndef PARLEY_TESTS_FUZZ_PAIRS_H
#define PARLEY_TESTS_FUZZ_PAIRS_H

#include "fuzz.h"

#include "laws/laws.h"

struct input {
    const uint8_t *data;
    size_t bytes;
};

static inline uint32_t take(struct input *input, unsigned bytes)
{
    uint32_t value = 0;
    for (unsigned i = 0; i < bytes && input->bytes > 0; i++, input->data++, input->bytes--)
        value = value << 8 | *input->data;
    return value;
}

static inline void take_sets(struct input *input, struct buffer sets[2])
{
    for (int i = 0; i < 2; i++) {
        size_t bytes = take(input, 2);
        bytes = bytes < input->bytes ? bytes : input->bytes;
        buffer_add(&sets[i], input->data, bytes);
        input->data += bytes;
        input->bytes -= bytes;
    }
}

static inline void make_sets(struct input *input, struct buffer sets[2])
{
    static struct version versions[2];
    version_random(&versions[0], take(input, 2));
    version_next(&versions[1], &versions[0]);
    for (uint32_t n = take(input, 1) % 8; n > 0; n--) {
        struct edit edit = {.kind = take(input, 1) % edit_kind_count(), .seed = take(input, 2)};
        (void)edit_apply(&edit, &versions[0], &versions[1]);
    }
    for (int i = 0; i < 2; i++)
        describe_set(&versions[i], &sets[i]);
    for (uint32_t n = take(input, 1) % 8; n > 0; n--) {
        struct buffer *set = &sets[take(input, 1) & 1];
        size_t at = take(input, 2) % set->bytes;
        set->data[at] = (uint8_t)take(input, 1);
    }
}

/* Takes them from the front of the input; NULL: refused. schema_unref() */
static inline void take_pair(struct input *input, struct schema *schemas[2])
{
    struct buffer sets[2] = {{0}, {0}};
    schemas[0] = schemas[1] = NULL;
    if (take(input, 1) & 1)
        take_sets(input, sets);
    else
        make_sets(input, sets);
    for (int i = 0; i < 2; i++) {
        struct error_text error = {""};
        int r = schema_new(sets[i].data, sets[i].bytes, NULL, &schemas[i], &error);
        FUZZ_CHECK(r == 0 || error.text[0]);
        buffer_free(&sets[i]);
    }
}

#endif
