#include "reader.h"

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
