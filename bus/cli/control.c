/*
 * Asking the broker: one ControlRequest out, one ControlReply back, over NNG.
 *
 * What answers at a URL may be anything: another program, another version, a broker that is being
 * attacked. A reply is bounded (by nng.c), checked (wire_unpack()) and must hold what was asked
 * for before a command sees it, and each way to fail has an exit code of its own. Status other
 * than OK is the bus's answer, not a fault of ours: exit 1 with its name and sentence.
 */
#include "cli/cli.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/paths.h"
#include "cli/bus.h"
#include "control/nng.h"
#include "parley/status.h"
#include "schema/schema.h"
#include "wire/wire.h"

const char *control_url(struct cli *cli)
{
    if (cli->url)
        return cli->url;
    if (paths_control_url(NULL, cli->url_default, sizeof(cli->url_default)) < 0) {
        cli_usage(cli, "the path of the broker's folder is too long; give --url, or a shorter "
                       "PARLEY_DIR");
        return NULL;
    }
    return cli->url_default;
}

const char *bus_url(struct cli *cli)
{
    if (cli->url)
        return cli->url;
    if (paths_bus_url(NULL, cli->url_default, sizeof(cli->url_default)) < 0) {
        cli_usage(cli, "the path of the broker's folder is too long; give --url, or a shorter "
                       "PARLEY_DIR");
        return NULL;
    }
    return cli->url = cli->url_default;
}

const char *control_events_url(struct cli *cli)
{
    if (cli->events_url)
        return cli->events_url;
    if (paths_events_url(NULL, cli->events_url_default, sizeof(cli->events_url_default)) < 0) {
        cli_usage(cli, "the path of the broker's folder is too long; give --events, or a shorter "
                       "PARLEY_DIR");
        return NULL;
    }
    return cli->events_url_default;
}

int control_no_broker(struct cli *cli, int code, const struct error_text *error)
{
    if (code == -EINVAL || code == -EOPNOTSUPP) /* a URL that can lead nowhere */
        return cli_usage(cli, "%s", error->text);
    if (code == -ENOMEM)
        return cli_complain(cli, CLI_EXIT_TROUBLE, "%s", error->text);
    if (code == -EACCES) /* it is there, and not for us */
        return cli_complain(cli, CLI_EXIT_NO_BROKER, "%s", error->text);
    char hint[PATHS_HINT_BYTES];
    return cli_complain(cli, CLI_EXIT_NO_BROKER,
                        "%s\n"
                        "Start parleyd, or say where it is: --url URL, or PARLEY_DIR or "
                        "PARLEY_CONTROL in the environment%s.",
                        error->text, paths_hint(error->text, PATHS_HOST_DIR, hint, sizeof(hint)));
}

static const char *or_env(const char *given, const char *name)
{
    const char *set = given ? given : getenv(name);
    return set && *set ? set : NULL;
}

static struct tls_settings tls_of(const struct cli *cli)
{
    return (struct tls_settings){
        .ca = or_env(cli->tls.ca, "PARLEY_TLS_CA"),
        .certificate = or_env(cli->tls.certificate, "PARLEY_TLS_CERT"),
        .key = or_env(cli->tls.key, "PARLEY_TLS_KEY"),
        .server_name = or_env(NULL, "PARLEY_TLS_NAME"),
    };
}

int control_asker_new(const struct cli *cli, const char *url, uint64_t timeout_ns,
                      struct nng_asker **ret, struct error_text *error)
{
    const struct tls_settings tls = tls_of(cli);
    return nng_asker_new_tls(url, &tls, timeout_ns, ret, error);
}

int control_subscriber_new(const struct cli *cli, const char *url, struct nng_subscriber **ret,
                           struct error_text *error)
{
    const struct tls_settings tls = tls_of(cli);
    return nng_subscriber_new_tls(url, &tls, NULL, 0, ret, error);
}

int control_exchange(struct cli *cli, const Parley__ControlRequest *request, uint64_t timeout_ns,
                     Parley__ControlReply **ret_reply)
{
    struct error_text error = {.text = "out of memory"};
    struct nng_asker *asker = NULL;
    ProtobufCMessage *reply = NULL;
    uint8_t *answer = NULL;
    size_t answer_bytes = 0;
    const char *url = control_url(cli);
    if (!url)
        return CLI_EXIT_USAGE;
    if (cli->bus)
        return bus_exchange(cli, request, timeout_ns, ret_reply);
    size_t bytes = protobuf_c_message_get_packed_size(&request->base);
    _cleanup_(freep) uint8_t *data = text_alloc(bytes);
    protobuf_c_message_pack(&request->base, data);

    int r = control_asker_new(cli, url, timeout_ns, &asker, &error);
    if (r == 0)
        r = nng_asker_ask(asker, data, bytes, &answer, &answer_bytes, &error);
    nng_asker_free(asker);
    if (r < 0)
        return control_no_broker(cli, r, &error);
    cli->bus = bus_answers(answer, answer_bytes);
    if (cli->bus) {
        free(answer);
        return bus_exchange(cli, request, timeout_ns, ret_reply);
    }
    r = wire_unpack(&parley__control_reply__descriptor, answer, answer_bytes, NULL, &reply, &error);
    free(answer);
    if (r < 0)
        return cli_complain(cli, CLI_EXIT_BAD_REPLY,
                            "what answered at %s is no Parley broker, or one of another version: "
                            "%s",
                            url, error.text);
    *ret_reply = (Parley__ControlReply *)reply;
    return CLI_EXIT_OK;
}

int control_bad_reply(struct cli *cli, const char *what)
{
    return cli_complain(
        cli, CLI_EXIT_BAD_REPLY,
        "the broker at %s answered without %s; is it of this version (" PARLEY_VERSION ")?",
        control_url(cli), what);
}

int control_ask_with(struct cli *cli, const Parley__ControlRequest *request,
                     Parley__ControlReply__BodyCase body, control_refused_fn *refused,
                     Parley__ControlReply **ret_reply)
{
    uint64_t timeout_ns = cli->timeout_ns ? cli->timeout_ns : CLI_CONTROL_TIMEOUT_NS;
    Parley__ControlReply *reply;
    int code = control_exchange(cli, request, timeout_ns, &reply);
    if (code != CLI_EXIT_OK)
        return code;
    if (reply->status != PARLEY_OK && refused)
        refused(cli, reply);
    if (reply->status != PARLEY_OK)
        code =
            cli_complain(cli, CLI_EXIT_REFUSED, "%s: %s", parley_status_name(reply->status),
                         reply->text && *reply->text ? reply->text : "the broker gave no reason");
    else if (reply->body_case != body)
        code = control_bad_reply(cli, "what was asked for");
    if (code == CLI_EXIT_OK)
        *ret_reply = reply;
    else
        wire_free(reply);
    return code;
}

int control_ask(struct cli *cli, const Parley__ControlRequest *request,
                Parley__ControlReply__BodyCase body, Parley__ControlReply **ret_reply)
{
    return control_ask_with(cli, request, body, NULL, ret_reply);
}

int control_describe(struct cli *cli, const char *interface, const char *version,
                     control_refused_fn *refused, Parley__ControlReply **ret_reply,
                     struct schema **ret_schema)
{
    Parley__DescribeRequest describe = PARLEY__DESCRIBE_REQUEST__INIT;
    Parley__ControlRequest request = PARLEY__CONTROL_REQUEST__INIT;
    Parley__ControlReply *reply;
    struct error_text error = {.text = ""};
    request.body_case = PARLEY__CONTROL_REQUEST__BODY_DESCRIBE;
    request.describe = &describe;
    describe.interface = (char *)interface;
    describe.version = (char *)version;
    int code =
        control_ask_with(cli, &request, PARLEY__CONTROL_REPLY__BODY_DESCRIBE, refused, &reply);
    if (code != CLI_EXIT_OK)
        return code;
    const Parley__DescribeReply *body = reply->describe;
    if (!body->version || !body->has_descriptor_set) {
        code = control_bad_reply(cli, "a version and its descriptors");
    } else if (schema_new(body->descriptor_set.data, body->descriptor_set.len, body->service,
                          ret_schema, &error) < 0) {
        code = cli_complain(cli, CLI_EXIT_BAD_REPLY,
                            "the broker's descriptors of %s cannot be "
                            "read: %s",
                            interface, error.text);
    } else {
        *ret_reply = reply;
        return CLI_EXIT_OK;
    }
    wire_free(reply);
    return code;
}
