/*
 * The control API's `schemas`: what the registry has.
 */
#include "broker/broker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void describe(struct negotiator *negotiator, struct schema_entry *entry,
                     Parley__SchemaInfo *out)
{
    const struct schema_service *service = schema_service(entry->schema);
    size_t bytes;
    (void)schema_set(entry->schema, &bytes);
    parley__schema_info__init(out);
    out->interface = service->interface->name;
    out->version = service->interface->version;
    out->service = (char *)(uintptr_t)service->name;
    out->previous = service->interface->previous;
    out->has_hash = out->has_bytes = out->has_published = out->has_in_force = out->has_users = true;
    out->hash = (ProtobufCBinaryData){.len = DIGEST_BYTES, .data = entry->hash.bytes};
    out->bytes = (uint32_t)bytes;
    out->file = entry->file[0] ? entry->file : NULL;
    out->has_origin = true;
    out->origin = entry->file[0] == '\0' ? entry->origin : PARLEY__SCHEMA_INFO__ORIGIN__FOLDER;
    out->published = entry->origin == PARLEY__SCHEMA_INFO__ORIGIN__INSTANCE;
    out->in_force = entry->origin != PARLEY__SCHEMA_INFO__ORIGIN__REFUSED &&
                    registry_in_force(negotiator, entry) == entry;
    out->users = entry->users;
}

int control_schemas(struct broker *broker, const Parley__SchemasRequest *request,
                    Parley__ControlReply *reply, uint8_t **ret_data, size_t *ret_bytes)
{
    struct negotiator *negotiator = &broker->negotiator;
    const char *wanted = request->interface && request->interface[0] ? request->interface : NULL;
    Parley__SchemaInfo *infos = calloc(negotiator->schema_count + 1, sizeof(*infos));
    Parley__SchemaInfo **pointers = calloc(negotiator->schema_count + 1, sizeof(void *));
    Parley__SchemasReply body = PARLEY__SCHEMAS_REPLY__INIT;
    int r = infos && pointers ? 0 : -ENOMEM;
    struct schema_entry *entry;
    TAILQ_FOREACH (entry, &negotiator->schemas, entry) {
        if (r < 0 ||
            (wanted && strcmp(schema_service(entry->schema)->interface->name, wanted) != 0))
            continue;
        describe(negotiator, entry, &infos[body.n_schema]);
        pointers[body.n_schema] = &infos[body.n_schema];
        body.n_schema++;
    }
    body.schema = pointers;
    reply->body_case = PARLEY__CONTROL_REPLY__BODY_SCHEMAS;
    reply->schemas = &body;
    if (r == 0)
        r = control_pack(reply, ret_data, ret_bytes);
    free(pointers);
    free(infos);
    return r;
}
