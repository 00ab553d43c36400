#include "support/beside.h"

struct bus bus;
struct steady steady;

int set_up(void **state)
{
    (void)state;
    bus_start(&bus);
    steady_start(&steady, &bus);
    return 0;
}

int tear_down(void **state)
{
    (void)state;
    steady_stop(&steady);
    bus_stop(&bus);
    return 0;
}
