/*
 * Frames of the bus: whatever the bytes, they are refused with a sentence, or what is named lies
 * within them; and what is written of it is read as the same.
 */
#include "fuzz_check.h"

#include <errno.h>
#include <string.h>

#include "control/bus_frame.h"

static const uint8_t *begins, *ends; /* of the frame */

static void check_within(const void *at, size_t bytes)
{
    const uint8_t *data = at;
    FUZZ_CHECK(data >= begins && data <= ends && bytes <= (size_t)(ends - data));
}

static void check_text(const struct bus_text *text, size_t bytes_max)
{
    FUZZ_CHECK((text->text == NULL) == (text->bytes == 0) && text->bytes <= bytes_max);
    if (text->text)
        check_within(text->text, text->bytes);
    for (size_t i = 0; i < text->bytes; i++)
        FUZZ_CHECK((uint8_t)text->text[i] >= 0x20 && text->text[i] != 0x7f);
}

static bool same_text(const struct bus_text *a, const struct bus_text *b)
{
    return a->bytes == b->bytes && (a->bytes == 0 || memcmp(a->text, b->text, a->bytes) == 0);
}

/* Its own pairs apart, and everything once more. */
static void check_written(const struct bus_frame *frame)
{
    static uint8_t pairs[BUS_FRAME_METADATA_BYTES_MAX], out[2 * BUS_FRAME_METADATA_BYTES_MAX];
    struct bus_frame again = *frame, read;
    struct error_text error = {""};
    again.metadata = pairs;
    again.metadata_bytes = bus_frame_metadata(frame, pairs);
    again.payload_bytes = 0;
    FUZZ_CHECK(again.metadata_bytes <= frame->metadata_bytes);
    FUZZ_CHECK(!frame->plain || again.metadata_bytes == frame->metadata_bytes);
    size_t bytes = bus_frame_head_bytes(&again);
    FUZZ_CHECK(bytes <= sizeof(out) && bus_frame_write(&again, out, bytes) == 0);
    FUZZ_CHECK(bus_frame_read(out, bytes, &read, &error) == 0);
    FUZZ_CHECK(
        read.header.call_id == frame->header.call_id && read.header.kind == frame->header.kind &&
        read.header.method == frame->header.method && read.header.status == frame->header.status);
    FUZZ_CHECK(same_text(&read.interface, &frame->interface) &&
               same_text(&read.version, &frame->version) &&
               same_text(&read.method, &frame->method) && same_text(&read.accept, &frame->accept) &&
               same_text(&read.contract, &frame->contract) &&
               same_text(&read.translation, &frame->translation));
    FUZZ_CHECK(!read.says_peer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *exact = malloc(size ? size : 1);
    struct bus_frame frame;
    struct error_text error = {""};
    FUZZ_CHECK(exact);
    memcpy(exact, data, size);
    begins = exact;
    ends = exact + size;
    int r = bus_frame_read(exact, size, &frame, &error);
    FUZZ_CHECK(r == 0 || (r == -EBADMSG && error.text[0]));
    FUZZ_CHECK(r < 0 || bus_frame_is(exact, size));
    if (r == 0) {
        check_within(frame.metadata, frame.metadata_bytes);
        check_within(frame.payload, frame.payload_bytes);
        FUZZ_CHECK(32 + frame.metadata_bytes + frame.payload_bytes == size);
        check_text(&frame.interface, 63);
        check_text(&frame.version, 31);
        check_text(&frame.method, 255);
        check_text(&frame.accept, 255);
        check_text(&frame.contract, 16);
        check_text(&frame.translation, 15);
        check_written(&frame);
    }
    free(exact);
    return 0;
}
