/*
 * Calls in JSON: whatever the text, there is one answer, which is JSON, with a status and a
 * sentence unless it is OK. Of input that begins with a byte above 127 the rest is a reply: its
 * bytes are what a service answered.
 */
#include "fuzz_check.h"

#include <string.h>

#include "../unit/broker/fake_relay.h"
#include "broker/call_json.h"

static unsigned answers;

static void on_answered(char *text, size_t bytes, void *userdata)
{
    (void)userdata;
    answers++;
    FUZZ_CHECK(text && strlen(text) == bytes);
    json_t *json = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, NULL);
    FUZZ_CHECK(json_is_object(json));
    const char *status = json_string_value(json_object_get(json, "status"));
    FUZZ_CHECK(status);
    if (strcmp(status, "OK") != 0)
        FUZZ_CHECK(json_string_length(json_object_get(json, "text")) > 0);
    json_decref(json);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct broker broker;
    static const char echo[] = "{\"interface\":\"echo\",\"method\":\"Echo\"}";
    static const struct replier_peer peer = {.text = "fuzz"};
    static bool ready;
    if (!ready)
        fake_relay_set_up(&broker);
    ready = true;
    answers = 0;
    bool reply = size > 0 && data[0] > 127;
    uint64_t call = reply ? call_json_text(&broker, (const uint8_t *)echo, sizeof(echo) - 1, &peer,
                                           on_answered, NULL)
                          : call_json_text(&broker, data, size, &peer, on_answered, NULL);
    FUZZ_CHECK((call != 0) == fake_call.waits && answers == (call == 0));
    if (call != 0)
        fake_end(
            &(struct relay_end){.status = PARLEY_OK,
                                .executed = PARLEY_EXECUTED_YES,
                                .version = "2.0.0",
                                .payload = reply ? data + 1 : fake_call.payload,
                                .payload_bytes = reply ? size - 1 : fake_call.ask.payload_bytes});
    FUZZ_CHECK(answers == 1 && fake_schema_users == 0);
    return 0;
}
