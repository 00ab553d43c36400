/* An event as JSON. */
#include "report/report.h"

#include "report/set.h"

json_t *report_event(const Parley__Event *event)
{
    json_t *object = json_object();
    if (event->has_sequence) /* what people see first */
        (void)json_object_set_new(object, "sequence", json_integer((json_int_t)event->sequence));
    report_set_text(object, "topic", event->topic);
    report_set_counts(object, &event->base, UINT32_MAX);
    (void)json_object_del(object, "instance_id");
    report_set_text(object, "interface", event->interface);
    report_set_text(object, "version", event->version);
    if (event->has_instance_id)
        report_set_id(object, "instance", event->instance_id);
    report_set_text(object, "program", event->program);
    report_set_text(object, "text", event->text);
    return object;
}
