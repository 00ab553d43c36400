/*
 * A call as one NNG message: the call header of the native path (struct frame_header, 32 bytes),
 * metadata as native calls encode them, then the payload. docs/PROTOCOL.md has it byte by byte.
 *
 * What a native channel knows from its negotiation, a frame says in metadata whose keys begin with
 * "parley.": they are taken out before metadata travel on. A message is a frame if it has 32 bytes
 * and `kind` (byte 22) is 1..6, which no text of JSON has there; else it is tried as JSON.
 *
 * | key | in | |
 * | parley.interface | request | "catalog" |
 * | parley.version | request | that the payload is in, "1.0.0"; absent: the one with most calls |
 * | parley.method | request | "Get"; absent: header.method is the index in that version's service |
 * | parley.accept | request | ranges of versions that may serve it |
 * | parley.contract | request | 16 hexadecimal digits, instead of interface and version |
 * | parley.client | request to a REP service | the version that its caller was built against |
 * | parley.version | response | that served it |
 * | parley.translation | response | "identity", "iso", "carried", "lossy" |
 *
 * `method` 0xffff: by name, and only then. `version_tag` is 1 in what an asker sends, 2 in what a
 * service does; `plan_tag`, `share_count`, `reserved` and the flags are 0. `call_id` is the
 * asker's, repeated in the response. `time_left_us` 0: the default, 10 s. A ONE_WAY is answered as
 * soon as it is on its way. A CANCEL ends the call of that id from the same connection, and is
 * answered itself: OK, or NOT_FOUND. A response that is not OK has a sentence as payload.
 *
 * Numbers are little-endian. Keys that begin with "parley.peer." say who asks; they are the
 * broker's to say, to a service. Other "parley." keys are refused in a request and passed over in a
 * response, which may be a later broker's.
 */
#ifndef PARLEY_CONTROL_BUS_FRAME_H
#define PARLEY_CONTROL_BUS_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "shm/layout.h"

#define BUS_FRAME_METHOD_BY_NAME 0xffff
#define BUS_FRAME_METADATA_BYTES_MAX 20480 /* of the block, names included */
/* Of pairs that are not "parley.": as for any call. */
#define BUS_FRAME_PAIRS_MAX 32
#define BUS_FRAME_KEY_BYTES_MAX 64
#define BUS_FRAME_VALUE_BYTES_MAX 8192
#define BUS_FRAME_PAIRS_BYTES_MAX 16384 /* of keys and values together */
#define BUS_FRAME_PAYLOAD_BYTES_MAX (UINT32_C(64) << 20)

/* A string inside of the frame; bytes 0, text NULL: absent. */
struct bus_text {
    const char *text;
    size_t bytes;
};

/* What bus_frame_read() found. All borrowed from the frame. */
struct bus_frame {
    struct frame_header header;
    struct bus_text interface, version, method, accept, contract, client, translation;
    const uint8_t *metadata; /* the whole block, checked; "parley." keys are still in it */
    size_t metadata_bytes;
    bool plain;     /* the block has no "parley." key */
    bool says_peer; /* it has a "parley.peer." one */
    const uint8_t *payload;
    size_t payload_bytes;
};

/* Whether it can be a frame; else it may be JSON. */
bool bus_frame_is(const uint8_t *data, size_t bytes);
/* Bounds and checks everything but the payload's content. Return: 0; -EBADMSG with a sentence that
 * names the field. */
int bus_frame_read(const uint8_t *data, size_t bytes, struct bus_frame *ret_frame,
                   struct error_text *error);
/* The block without "parley." keys, into @out of at least frame->metadata_bytes. Return: its
 * length. */
size_t bus_frame_metadata(const struct bus_frame *frame, uint8_t *out);

/* Bytes before the payload of what bus_frame_write() would write. */
size_t bus_frame_head_bytes(const struct bus_frame *frame);
/* Writes header and metadata: frame->metadata as they are, then the texts that are set. version_tag
 * is filled in by `kind`, payload_bytes from frame->payload_bytes, metadata_bytes by what is
 * written; the payload is the caller's to put behind it. @out: of bus_frame_head_bytes(). Return:
 * 0; -EMSGSIZE: @bytes is less, or metadata or payload are too large. */
int bus_frame_write(const struct bus_frame *frame, uint8_t *out, size_t bytes);

#endif
