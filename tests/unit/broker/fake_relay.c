#include "fake_relay.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "echo.parley.h"

struct fake_call fake_call;
uint32_t fake_schema_users;
enum parley_status fake_refusal;

static struct schema_entry entry;
static struct interface interface = {.name = "echo"};
static struct version versions[3];

void fake_relay_set_up(struct broker *broker)
{
    static const char *const names[] = {"1.0.0", "1.2.0", "2.0.0"};
    struct error_text error;
    memset(broker, 0, sizeof(*broker));
    memset(&fake_call, 0, sizeof(fake_call));
    fake_schema_users = 0;
    fake_refusal = PARLEY_OK;
    if (schema_new(echo__v1__echo__interface.descriptor_set,
                   echo__v1__echo__interface.descriptor_set_bytes, "echo.v1.Echo", &entry.schema,
                   &error) < 0)
        abort();
    for (uint32_t i = 0; i < 3; i++) {
        versions[i] = (struct version){.interface = &interface, .index = i, .schema = &entry};
        (void)snprintf(versions[i].name, sizeof(versions[i].name), "%s", names[i]);
        (void)semver_parse(names[i], &versions[i].semver);
        interface.versions[i] = &versions[i];
    }
}

void fake_relay_tear_down(void)
{
    entry.schema = schema_unref(entry.schema);
}

void fake_end(const struct relay_end *end)
{
    fake_call.waits = false;
    fake_call.ask.ended(end, fake_call.ask.userdata);
}

struct interface *directory_find(const struct directory *directory, const char *name)
{
    (void)directory;
    return strcmp(name, interface.name) == 0 ? &interface : NULL;
}

void interface_describe(const struct interface *described, char *buffer, size_t bytes)
{
    (void)described;
    (void)snprintf(buffer, bytes, "1.0.0, 1.2.0, 2.0.0");
}

void schema_entry_keep(struct negotiator *negotiator, struct schema_entry *kept)
{
    (void)negotiator, (void)kept;
    fake_schema_users++;
}

struct schema_entry *schema_entry_drop(struct negotiator *negotiator, struct schema_entry *dropped)
{
    (void)negotiator, (void)dropped;
    fake_schema_users--;
    return NULL;
}

enum parley_status relay_find(struct broker *broker, const char *name, const char *version,
                              struct schema_entry **ret_schema, struct error_text *error)
{
    (void)broker;
    (void)snprintf(fake_call.version, sizeof(fake_call.version), "%s", version ? version : "");
    if (strcmp(name, interface.name) != 0) {
        error_set(error, 0, "no interface \"%.80s\" is published; there is: echo", name);
        return PARLEY_NOT_FOUND;
    }
    *ret_schema = &entry;
    return PARLEY_OK;
}

enum parley_status relay_method(const struct schema_entry *schema, const char *name,
                                size_t *ret_method, struct error_text *error)
{
    if (schema_method_find(schema->schema, name, ret_method))
        return PARLEY_OK;
    error_set(error, 0, "there is no method \"%.80s\"", name);
    return PARLEY_NOT_FOUND;
}

uint64_t relay_start(struct broker *broker, const struct relay_ask *ask,
                     enum parley_status *ret_status, struct error_text *error)
{
    (void)broker;
    if (fake_refusal != PARLEY_OK || ask->payload_bytes > sizeof(fake_call.payload)) {
        *ret_status = fake_refusal != PARLEY_OK ? fake_refusal : PARLEY_RESOURCE_EXHAUSTED;
        error_set(error, 0, "refused");
        return 0;
    }
    fake_call.ask = *ask;
    memcpy(fake_call.payload, ask->payload, ask->payload_bytes);
    memcpy(fake_call.metadata, ask->metadata, ask->metadata_bytes);
    (void)snprintf(fake_call.accept, sizeof(fake_call.accept), "%s",
                   ask->accept ? ask->accept : "");
    fake_call.waits = true;
    return 7;
}
