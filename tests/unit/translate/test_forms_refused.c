/* Rules on structure that contradict, name nothing, or have no inverse: refused in both directions,
 * with the element, the rule and the way out. Each has a message and a service in refused_v2.proto.
 */
#include "plans.h"

static struct schema *read_service(const char *path, const char *package, const char *name)
{
    struct set set = set_read(path);
    struct schema *schema = NULL;
    struct error_text error = {""};
    char service[128];
    (void)snprintf(service, sizeof(service), "%s.%sCase", package, name);
    if (schema_new(set.data, set.bytes, service, &schema, &error) < 0)
        fail_msg("%s: %s", service, error.text);
    free(set.data);
    return schema;
}

struct refusal {
    const char *name, *element, *says;
};

static void assert_refusal(const struct refusal *refusal)
{
    struct schema *v1 = read_service(REFUSED_V1_SET, "refused.v1", refusal->name);
    struct schema *v2 = read_service(REFUSED_V2_SET, "refused.v2", refusal->name);
    for (int i = 0; i < 4; i++) {
        struct plan *plan = NULL;
        struct error_text error = {""};
        int r = plan_compile(i & 1 ? v1 : v2, i & 1 ? v2 : v1, i & 2 ? PLAN_REQUESTS : PLAN_REPLIES,
                             &plan, &error);
        if (r != -EINVAL || !strstr(error.text, refusal->element) ||
            !strstr(error.text, refusal->says))
            fail_msg("%s: %d: \"%s\" has no \"%s\" and \"%s\"", refusal->name, r, error.text,
                     refusal->element, refusal->says);
    }
    schema_unref(v1);
    schema_unref(v2);
}

static void test_rules_that_cannot_be_are_refused_by_name(void **state)
{
    (void)state;
    static const struct refusal refusals[] = {
        {"WrapNothing", "refused.v2.WrapNothing.f: (parley.field).wrap",
         "names no field of the message"},
        {"WrapPlain", "(parley.field).wrap", "write unwrap"},
        {"UnwrapPlain", "(parley.field).unwrap", "write wrap"},
        {"WrapOneof", "refused.v2.WrapOneof.f", "outside of oneofs"},
        {"WrapTypes", "refused.v2.WrapTypes.f", "no rule converts"},
        {"WrapRepeated", "refused.v2.WrapRepeated.f", "in both versions or in neither"},
        {"WrapInOneof", "refused.v2.WrapInOneof.f", "has a rule on its value"},
        {"WrapMap", "refused.v2.WrapMap.f", "entries"},
        {"WrapAndPick", "refused.v2.WrapAndPick.f", "cannot be combined"},
        {"Unwritten", "refused.v2.Unwritten.f", "wrap or unwrap"},
        {"PickBoth", "refused.v2.PickBoth.f", "in one of the versions only"},
        {"PickMap", "refused.v2.PickMap.f", "entries"},
        {"PickMissing", "refused.v2.PickMissing.f", "(parley.field).pick"},
        {"PickTypes", "refused.v2.PickTypes.f", "no rule converts"},
        {"EntriesPlain", "refused.v2.EntriesPlain.f", "is a map in one version"},
        {"EntriesNothing", "refused.v2.EntriesNothing.f", "needs the name of a field"},
        {"EntriesOnce", "refused.v2.EntriesOnce.f", "one field"},
        {"EntriesList", "refused.v2.EntriesList.f", "must be singular"},
        {"EntriesTypes", "refused.v2.EntriesTypes.f", "no rule converts"},
        {"MergeNothing", "refused.v2.MergeNothing.f: (parley.field).merge", "{nope}"},
        {"MergeString", "refused.v2.MergeString.f",
         "needs a singular message in the version before"},
        {"MergeSplit", "refused.v2.MergeSplit.f", "cannot be combined"},
        {"MoveFromNothing", "refused.v2.MoveFromNothing", "the version before has no such field"},
        {"MoveFromDeepNothing", "refused.v2.MoveFromDeepNothing",
         "the version before has no such field"},
        {"MoveTwice", "refused.v2.MoveTwice", "another move takes it already"},
        {"MoveTogether", "refused.v2.MoveTogether", "another field moves there"},
        {"MovePart", "refused.v2.MovePart", "or a part of it"},
        {"MoveCycle", "refused.v2.MoveCycle", "already"},
        {"MoveThere", "refused.v2.MoveThere", "already; remove one"},
        {"MoveIntoBoth", "Text.text", "in two places"},
        {"MoveTypes", "refused.v2.MoveTypes", "same type, label and presence"},
        {"MoveThroughList", "refused.v2.MoveThroughList", "move the whole list"},
        {"MoveThroughOneof", "refused.v2.MoveThroughOneof", "take the field out of the oneof"},
        {"MoveFlat", "refused.v2.MoveFlat", "(parley.field).from"},
        {"MoveAndDrop", "refused.v2.MoveAndDrop.f", "has another rule"},
        {"OneofRepeated", "refused.v2.OneofRepeated.f", "repeated in one of them"},
        {"OneofTypes", "refused.v2.OneofTypes.f", "no rule converts"},
        {"EntriesWhole", "(parley.field).entries", "may not have the key \"text\" as well"},
        {"FromNothing", "refused.v2.FromNothingCase.Find", "has no method \"Fetch\""},
        {"FromTwice", "refused.v2.FromTwiceCase", "only one may"},
        {"Streaming", "method", "is unary in one version and streaming"},
    };
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++)
        assert_refusal(&refusals[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules_that_cannot_be_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
