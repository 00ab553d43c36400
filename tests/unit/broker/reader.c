#include "reader.h"

#include <stdlib.h>
#include <string.h>

#include "rpc/internal.h"

void *read_on(void *data)
{
    struct reading *reading = data;
    struct route_view view = {.sequence = 1};
    while (!atomic_load(&reading->done)) {
        if (!route_refresh(&view, reading->page, 0))
            continue;
        reading->changes++;
        reading->torn += view.version_count != 2 || view.threshold[0] != view.generation ||
                         view.threshold[1] != ROUTE_BUCKETS || view.instance_count != 2;
    }
    return NULL;
}

void *read_rules_on(void *data)
{
    struct reading *reading = data;
    struct route_view view = {.sequence = 1};
    struct route_rules rules;
    char value[8];
    while (!atomic_load(&reading->done)) {
        if (!route_refresh(&view, reading->page, 0) ||
            !route_rules_copy(&view, reading->page, 0, &rules))
            continue;
        reading->changes++;
        if (rules.rule_count == 0) {
            reading->torn += view.canary_buckets % 7 != 0;
            continue;
        }
        memcpy(value, rules.text + rules.condition[0].key_bytes, 5);
        value[5] = '\0';
        reading->torn += rules.rule_count != 1 || rules.condition_count != 1 ||
                         strtoul(value, NULL, 10) != view.canary_buckets;
    }
    return NULL;
}
