/*
 * Services whose handlers say what they saw of their requests' bytes, and answer with bytes in
 * buffers. Version 2 has what its handlers need for the tests of translation, no more.
 */
#include "conformance/blobs.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "blob_v1.parley.h"
#include "blob_v2.parley.h"

static struct parley_endpoint *served;

void blob_fill(uint8_t *data, size_t bytes, uint8_t first)
{
    for (size_t i = 0; i < bytes; i++)
        data[i] = (uint8_t)(first + (i * 2654435761u >> 13));
}

static uint32_t live(ProtobufCBinaryData bytes, uint32_t bit)
{
    return parley_bytes_is_live(bytes) ? bit : 0;
}

/* ---- Version 1 ---- */

static void v1__look(Blob__V1__Store_Service *service, const Blob__V1__Blob *input,
                     Blob__V1__Blob_Closure closure, void *data)
{
    (void)service;
    Blob__V1__Blob reply = *input;
    reply.number = live(input->data, BLOB_DATA) | live(input->gone, BLOB_GONE) |
                   live(input->coded, BLOB_CODED);
    if (input->piece)
        reply.number |= live(input->piece->content, BLOB_PIECE);
    if (input->either_case == BLOB__V1__BLOB__EITHER_LEFT)
        reply.number |= live(input->left, BLOB_LEFT);
    for (size_t i = 0; i < input->n_more; i++)
        reply.number += live(input->more[i], BLOB_MORE);
    closure(&reply, data);
}

static void v1__make(Blob__V1__Store_Service *service, const Blob__V1__Blob *input,
                     Blob__V1__Blob_Closure closure, void *data)
{
    (void)service;
    Blob__V1__Blob reply = BLOB__V1__BLOB__INIT;
    Blob__V1__Piece piece = BLOB__V1__PIECE__INIT;
    size_t bytes = input->number;
    void *buffer = NULL;
    bool shared = parley_context_buffer(parley_context_current(), bytes, &buffer) == PARLEY_OK;
    if (!shared)
        buffer = malloc(bytes);
    blob_fill(buffer, bytes, input->data.len ? input->data.data[0] : 0);
    reply.number = shared;
    reply.data = (ProtobufCBinaryData){bytes, buffer};
    if (input->either_case == BLOB__V1__BLOB__EITHER_LEFT) {
        piece.content = reply.gone = reply.coded = reply.data;
        reply.piece = &piece;
        reply.either_case = BLOB__V1__BLOB__EITHER_LEFT;
        reply.left = reply.data;
        reply.n_more = 1;
        reply.more = &reply.data;
    }
    closure(&reply, data);
    if (!shared)
        free(buffer);
}

static struct {
    ProtobufCBinaryData bytes; /* of the request: live, maybe, until it is answered */
    Blob__V1__Blob_Closure closure;
    void *data;
} held;

static void v1__hold(Blob__V1__Store_Service *service, const Blob__V1__Blob *input,
                     Blob__V1__Blob_Closure closure, void *data)
{
    (void)service;
    held.bytes = input->data;
    held.closure = closure;
    held.data = data;
}

static void v1__tell(Blob__V1__Store_Service *service, const Blob__V1__Blob *input,
                     Blob__V1__Blob_Closure closure, void *data)
{
    (void)service;
    (void)input;
    Blob__V1__Blob reply = BLOB__V1__BLOB__INIT;
    reply.number = live(held.bytes, BLOB_DATA);
    reply.data = held.bytes;
    closure(&reply, data);
    reply.data.len = 0;
    held.closure(&reply, held.data);
}

static void v1__die(Blob__V1__Store_Service *service, const Blob__V1__Blob *input,
                    Blob__V1__Blob_Closure closure, void *data)
{
    (void)service;
    (void)input;
    (void)closure;
    (void)data;
    raise(SIGKILL);
}

/* ---- Version 2 ---- */

static void v2__look(Blob__V2__Store_Service *service, const Blob__V2__Blob *input,
                     Blob__V2__Blob_Closure closure, void *data)
{
    (void)service;
    Blob__V2__Blob reply = *input;
    reply.number = live(input->payload, BLOB_DATA);
    if (input->piece)
        reply.number |= live(input->piece->body, BLOB_PIECE);
    if (input->either_case == BLOB__V2__BLOB__EITHER_LEFT)
        reply.number |= live(input->left, BLOB_LEFT);
    for (size_t i = 0; i < input->n_more; i++)
        reply.number += live(input->more[i], BLOB_MORE);
    closure(&reply, data);
}

static void v2__make(Blob__V2__Store_Service *service, const Blob__V2__Blob *input,
                     Blob__V2__Blob_Closure closure, void *data)
{
    (void)service;
    Blob__V2__Blob reply = BLOB__V2__BLOB__INIT;
    void *buffer = NULL;
    bool shared =
        parley_context_buffer(parley_context_current(), input->number, &buffer) == PARLEY_OK;
    if (shared) {
        blob_fill(buffer, input->number, 0);
        reply.number = 1;
        reply.payload = (ProtobufCBinaryData){input->number, buffer};
    }
    closure(&reply, data);
}

static void v2__hold(Blob__V2__Store_Service *service, const Blob__V2__Blob *input,
                     Blob__V2__Blob_Closure closure, void *data)
{
    (void)service;
    closure(input, data);
}

static void v2__tell(Blob__V2__Store_Service *service, const Blob__V2__Blob *input,
                     Blob__V2__Blob_Closure closure, void *data)
{
    (void)service;
    closure(input, data);
}

static void v2__die(Blob__V2__Store_Service *service, const Blob__V2__Blob *input,
                    Blob__V2__Blob_Closure closure, void *data)
{
    (void)service;
    closure(input, data);
}

/* ---- Serving ---- */

static void stop(int signal)
{
    (void)signal;
    parley_stop(served);
}

int blobs_serve(struct bus *bus, void *version)
{
    static Blob__V1__Store_Service v1 = BLOB__V1__STORE__INIT(v1__);
    static Blob__V2__Store_Service v2 = BLOB__V2__STORE__INIT(v2__);
    bool first = *(const char *)version == '1';
    served = bus_endpoint(bus, "blobs");
    signal(SIGTERM, stop);
    struct parley_service *published;
    if (parley_service_new(served,
                           first ? &blob__v1__store__interface : &blob__v2__store__interface,
                           first ? &v1.base : &v2.base, NULL, &published) != PARLEY_OK)
        return 2;
    int r = parley_run(served) == PARLEY_OK ? 0 : 3;
    parley_endpoint_free(served);
    return r;
}
