/*
 * The control API's requests about rollouts. What is asked is checked here; what may be done in
 * which phase is bus/rollout's to say.
 */
#include "broker/rollouts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

/* A RolloutInfo and what it points to. */
struct info {
    Parley__RolloutInfo message;
    char *json;
};

static void describe(const struct rollouts_item *item, bool whole, struct info *ret_info)
{
    struct rollout_view view;
    Parley__RolloutInfo *out = &ret_info->message;
    rollout_view(item->rollout, &view);
    parley__rollout_info__init(out);
    const struct rollout_entry *last =
        view.history_count ? rollout_history(item->rollout, view.history_count - 1) : NULL;
    out->name = (char *)(uintptr_t)item->name;
    out->interface = (char *)(uintptr_t)view.spec->interface;
    out->phase = (char *)(uintptr_t)rollout_phase_name(view.phase);
    out->has_step = out->has_steps = out->has_weight_per_100000 = out->has_ended = true;
    out->steps = view.spec->stage_count;
    out->step = view.stage < out->steps ? view.stage + 1 : out->steps;
    out->weight_per_100000 = view.canary_buckets;
    out->stable = view.stable[0] ? (char *)(uintptr_t)view.stable : NULL;
    out->canary = view.canary[0] ? (char *)(uintptr_t)view.canary : NULL;
    out->text = (char *)(uintptr_t)view.reason;
    out->has_updated_unix_ns = last != NULL;
    out->updated_unix_ns = last ? (uint64_t)last->wall_ms * 1000000 : 0;
    out->source = item->file[0] ? (char *)(uintptr_t)item->file : NULL;
    out->ended = !rollout_running(view.phase);
    if (!whole)
        return;
    json_t *json = rollouts_item_json(item);
    ret_info->json = json ? json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;
    json_decref(json);
    out->json = ret_info->json;
}

static int answer(struct rollouts_item *const *items, size_t count, bool whole,
                  Parley__ControlReply *reply, uint8_t **ret_data, size_t *ret_bytes)
{
    Parley__RolloutReply body = PARLEY__ROLLOUT_REPLY__INIT;
    _cleanup_(freep) struct info *infos = calloc(count + 1, sizeof(*infos));
    _cleanup_(freep) Parley__RolloutInfo **pointers = calloc(count + 1, sizeof(*pointers));
    if (!infos || !pointers)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++) {
        describe(items[i], whole, &infos[i]);
        pointers[i] = &infos[i].message;
    }
    body.n_rollout = count;
    body.rollout = pointers;
    reply->body_case = PARLEY__CONTROL_REPLY__BODY_ROLLOUT;
    reply->rollout = &body;
    int r = control_pack(reply, ret_data, ret_bytes);
    for (size_t i = 0; i < count; i++)
        free(infos[i].json);
    return r;
}

static enum parley_status status_of(int code)
{
    switch (code) {
    case 0:
        return PARLEY_OK;
    case -EEXIST:
        return PARLEY_ALREADY_EXISTS;
    case -ENOMEM:
        return PARLEY_RESOURCE_EXHAUSTED;
    default:
        return PARLEY_INVALID_ARGUMENT;
    }
}

static enum parley_status apply(struct broker *broker, const Parley__RolloutRequest *request,
                                const char *who, struct rollouts_item **ret_item,
                                struct error_text *error)
{
    const char *file = request->file && request->file[0] ? request->file : "document";
    const char *document = request->document ? request->document : "";
    char name[BROKER_FILE_BYTES];
    size_t used = 0;
    for (; file[used] && used + 1 < sizeof(name); used++)
        name[used] = (unsigned char)file[used] < 0x20 || file[used] == 0x7f ? '?' : file[used];
    name[used] = '\0';
    return status_of(
        rollouts_apply(broker, document, strlen(document), name, NULL, who, ret_item, error));
}

static enum parley_status delete (struct rollouts_item *item, const char *who, const char *why,
                                  struct error_text *error) {
    if (item->file[0] != '\0' && item->broker->rollouts->folder){
        (void)error_set(error, 0, "rollout %s is the one of %s/%s: remove that", item->name,
                        item->broker->rollouts->path, item->file);
        return PARLEY_FAILED_PRECONDITION;}
rollouts_end(item, who, why &&why[0] ? why : "no reason was given");
return PARLEY_OK;
}

/* Return: whether it is one. */
static bool verb_of(const Parley__RolloutRequest *request, enum rollout_verb *ret_verb)
{
    switch (request->action) {
    case PARLEY__ROLLOUT_ACTION__ROLLOUT_PAUSE:
        *ret_verb = ROLLOUT_PAUSE;
        return true;
    case PARLEY__ROLLOUT_ACTION__ROLLOUT_RESUME:
        *ret_verb = ROLLOUT_RESUME;
        return true;
    case PARLEY__ROLLOUT_ACTION__ROLLOUT_PROMOTE:
        *ret_verb = request->full ? ROLLOUT_PROMOTE_FULL : ROLLOUT_PROMOTE;
        return true;
    case PARLEY__ROLLOUT_ACTION__ROLLOUT_ROLLBACK:
        *ret_verb = ROLLOUT_ROLLBACK;
        return true;
    case PARLEY__ROLLOUT_ACTION__ROLLOUT_UNDO:
        *ret_verb = ROLLOUT_UNDO;
        return true;
    case PARLEY__ROLLOUT_ACTION__ROLLOUT_APPROVE:
        *ret_verb = ROLLOUT_APPROVE;
        return true;
    default:
        return false;
    }
}

static enum parley_status act(struct broker *broker, const Parley__RolloutRequest *request,
                              const char *who, struct rollouts_item **ret_item,
                              struct error_text *error)
{
    enum rollout_verb verb;
    if (request->action == PARLEY__ROLLOUT_ACTION__ROLLOUT_APPLY)
        return apply(broker, request, who, ret_item, error);
    *ret_item = rollouts_find(broker, request->name);
    if (!*ret_item) {
        (void)error_set(error, 0, "there is no rollout \"%.80s\"; parley rollout ls lists them",
                        request->name ? request->name : "");
        return PARLEY_NOT_FOUND;
    }
    if (request->action == PARLEY__ROLLOUT_ACTION__ROLLOUT_SHOW)
        return PARLEY_OK;
    if (request->action == PARLEY__ROLLOUT_ACTION__ROLLOUT_DELETE) {
        enum parley_status status = delete (*ret_item, who, request->reason, error);
        *ret_item = NULL;
        return status;
    }
    if (!verb_of(request, &verb)) {
        (void)error_set(error, 0, "this broker knows no action %d of rollouts",
                        (int)request->action);
        return PARLEY_UNIMPLEMENTED;
    }
    return rollouts_order(broker, request->name, verb, who, request->reason, error);
}

int control_rollout(struct broker *broker, const Parley__RolloutRequest *request,
                    const struct replier_request *asker, Parley__ControlReply *reply,
                    uint8_t **ret_data, size_t *ret_bytes)
{
    struct rollouts_item *items[ROLLOUTS_MAX] = {NULL};
    struct error_text error = {""};
    char who[ROLLOUT_WHO_BYTES_MAX + 1];
    if (request->action == PARLEY__ROLLOUT_ACTION__ROLLOUT_LIST)
        return answer(items, rollouts_sorted(broker, items), false, reply, ret_data, ret_bytes);
    enum parley_status status = rollouts_who(asker, who, &error);
    if (status == PARLEY_OK || request->action == PARLEY__ROLLOUT_ACTION__ROLLOUT_SHOW)
        status = act(broker, request, who, &items[0], &error);
    if (status == PARLEY_OK)
        return answer(items, items[0] ? 1 : 0, true, reply, ret_data, ret_bytes);
    reply->status = status;
    reply->text = error.text;
    return control_pack(reply, ret_data, ret_bytes);
}
