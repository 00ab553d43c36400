/*
 * Services that work on bytes: the broker serves so for programs that it reaches by other ways than
 * shared memory (broker/serve.c).
 *
 * All but the crossing and the answer is what it is for any service (service.c): channels, plans
 * that change, cancels, draining, statistics. A request crosses once, as ever: plan_run() reads the
 * client's memory and writes a checked message in the service's own version, here right into memory
 * that the service names, such as the message that it is about to send on. An answer is bytes that
 * somebody else has made, and nobody here looks into them: the client's plan checks them as it
 * checks those of a hostile service, and its call ends as DATA_LOSS if they are no reply.
 *
 * No thread and no generated code: methods, names and the identity plan come from the schema.
 */
#include "rpc/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "rpc/refs.h"

struct raw_service {
    const struct schema *schema; /* borrowed */
    const struct rpc_service_ops *ops;
    void *userdata;
    struct parley_interface interface; /* what service.c asks for of it, and no more */
    ProtobufCServiceDescriptor descriptor;
    struct parley_method methods[];
};

/* ---- Calls ---- */

static int cross(struct parley_context *context, const struct frame *frame, uint32_t method,
                 const uint8_t *source, size_t source_bytes, uint8_t **ret_payload,
                 size_t *ret_bytes, struct plan_failure *failure)
{
    const struct raw_service *raw = context->service->raw;
    const struct plan *plan = context->channel->held->plan;
    size_t bytes_max = plan_output_bytes_max(plan, source_bytes);
    uint8_t *out = raw->ops->room(context, method, bytes_max, raw->userdata);
    if (!out)
        return -ENOMEM;
    *ret_payload = out;
    return plan_run(plan, frame->header.method, source, source_bytes, out, bytes_max, ret_bytes,
                    failure);
}

/* A handler that does not end, as it were: so services are not served, and nobody is waited for. */
static bool hold_back(struct parley_service *service, size_t bytes)
{
    const struct raw_service *raw = service->raw;
    if (!raw->ops->full || !raw->ops->full(bytes, raw->userdata))
        return false;
    service->endpoint->held_back = true;
    service->endpoint->handlers++;
    return true;
}

void rpc_service_resume(struct parley_service *service)
{
    struct parley_endpoint *endpoint = service->endpoint;
    if (!endpoint->held_back)
        return;
    endpoint->held_back = false;
    endpoint->handlers--;
}

int raw_enter(struct parley_context *context, const struct frame *frame, uint32_t method,
              uint8_t **ret_payload, size_t *ret_bytes, struct plan_failure *failure)
{
    _cleanup_(freep) uint8_t *expanded = NULL;
    const uint8_t *source = frame->payload;
    size_t bytes = frame->header.payload_bytes;
    if (rpc_context_owed(context) && hold_back(context->service, bytes))
        return CHANNEL_E_FULL;
    if (frame->refs->count > 0) {
        int r = refs_expand(frame, &expanded, &bytes);
        if (r < 0)
            return r;
        source = expanded;
    }
    return cross(context, frame, method, source, bytes, ret_payload, ret_bytes, failure);
}

void raw_serve(struct parley_context *context, uint32_t method, uint8_t *payload, size_t bytes)
{
    const struct raw_service *raw = context->service->raw;
    raw->ops->serve(context, method, payload, bytes, raw->userdata);
}

static int send_answer(struct parley_context *context, const struct raw_answer *answer)
{
    struct frame_header header = {.call_id = context->call_id,
                                  .status = (uint8_t)answer->status,
                                  .executed = (uint8_t)answer->executed};
    struct body body = {.data = answer->data, .bytes = answer->bytes};
    return service_send_response(context->channel, &header, &body);
}

/* Bytes cannot go stale between packing and writing, so there is nothing to fall back on. */
enum parley_status raw_send(struct parley_context *context, const struct raw_answer *answer)
{
    static const char too_large[] = "the reply is too large";
    const struct raw_answer instead = {.status = PARLEY_RESOURCE_EXHAUSTED,
                                       .executed = answer->executed,
                                       .data = (const uint8_t *)too_large,
                                       .bytes = sizeof(too_large) - 1};
    if (answer->bytes > WIRE_MESSAGE_BYTES_MAX)
        answer = &instead;
    (void)send_answer(context, answer);
    return answer->status;
}

void rpc_context_answer(struct parley_context *context, enum parley_status status,
                        enum parley_executed executed, const uint8_t *data, size_t bytes)
{
    struct raw_answer answer = {status, executed, data, bytes};
    if ((unsigned)status >= PARLEY_STATUS_COUNT)
        answer.status = PARLEY_UNKNOWN;
    if (status != PARLEY_OK && bytes >= RPC_TEXT_BYTES)
        answer.bytes = RPC_TEXT_BYTES - 1;
    raw_context_end(context, &answer);
}

bool rpc_context_one_way(const struct parley_context *context)
{
    return context->one_way;
}

bool rpc_context_owed(const struct parley_context *context)
{
    return context->one_way && !context->mirror;
}

uint64_t rpc_context_deadline_ns(const struct parley_context *context)
{
    return context->deadline_ns;
}

const uint8_t *rpc_context_metadata(const struct parley_context *context, size_t *ret_bytes)
{
    *ret_bytes = context->metadata_bytes;
    return context->metadata;
}

const char *rpc_context_trace(struct parley_context *context)
{
    return context->traced ? trace_context_text(context, NULL) : NULL;
}

/* ---- The service ---- */

bool rpc_endpoint_linked(const struct parley_endpoint *endpoint)
{
    return endpoint->link != NULL;
}

const char *raw_input_name(const struct parley_service *service, uint32_t method)
{
    return schema_service(service->raw->schema)->methods[method].input->name;
}

uint64_t rpc_service_id(const struct parley_service *service)
{
    return service->instance_id;
}

uint32_t rpc_service_serving(const struct parley_service *service)
{
    return service->serving;
}

void raw_published(struct parley_service *service)
{
    const struct raw_service *raw = service->raw;
    raw->ops->published(service, service->status, service->text, raw->userdata);
}

struct raw_service *raw_free(struct raw_service *raw)
{
    free(raw);
    return NULL;
}

static struct raw_service *raw_new(const struct rpc_service_spec *spec)
{
    const struct schema_service *described = schema_service(spec->schema);
    size_t count = described->method_count;
    struct raw_service *raw = calloc(1, sizeof(*raw) + count * sizeof(raw->methods[0]));
    if (!raw)
        return NULL;
    raw->schema = spec->schema;
    raw->ops = spec->ops;
    raw->userdata = spec->userdata;
    raw->descriptor.name = described->name;
    raw->descriptor.n_methods = (unsigned)count;
    for (size_t i = 0; i < count; i++)
        raw->methods[i] = (struct parley_method){
            .name = described->methods[i].name,
            .idempotency = (enum parley_idempotency)described->methods[i].idempotency,
        };
    raw->interface = (struct parley_interface){
        .name = described->interface->name,
        .version = described->interface->version,
        .service = &raw->descriptor,
        .methods = raw->methods,
    };
    raw->interface.descriptor_set = schema_set(spec->schema, &raw->interface.descriptor_set_bytes);
    return raw;
}

/* As if it had seen them on the page. */
void service_remember_weights(struct parley_service *service, const struct rpc_weights *weights)
{
    struct route_view *view = &service->view;
    uint32_t sum = 0;
    if (!weights || weights->count == 0)
        return;
    service->route_known = true;
    view->generation = weights->generation;
    view->version_count = weights->count;
    for (uint32_t i = 0; i < weights->count; i++) {
        view->threshold[i] = sum += weights->of[i].per_100000;
        (void)snprintf(view->version[i], sizeof(view->version[i]), "%s", weights->of[i].version);
    }
}

enum parley_status rpc_service_open(struct parley_endpoint *endpoint,
                                    const struct rpc_service_spec *spec,
                                    struct parley_service **ret_service)
{
    struct error_text error = {""};
    struct plan *identity;
    int r = plan_compile(spec->schema, spec->schema, PLAN_REQUESTS, &identity, &error);
    if (r < 0)
        return status_fail(status_from_errno(r), "%s", error.text);
    struct parley_service *service = calloc(1, sizeof(*service));
    struct raw_service *raw = raw_new(spec);
    if (!service || !raw) {
        plan_unref(identity);
        raw_free(raw);
        free(service);
        return status_fail(PARLEY_RESOURCE_EXHAUSTED, "out of memory for a service");
    }
    service->raw = raw;
    service->interface = &raw->interface;
    service->identity = identity;
    service->instance_id = spec->instance_id;
    service_remember_weights(service, spec->weights);
    const struct parley_service_options options = {.calls_max = spec->calls_max};
    service_join(service, endpoint, &options);
    if (endpoint->welcomed)
        service_link_up(service); /* else when it is */
    *ret_service = service;
    return PARLEY_OK;
}
