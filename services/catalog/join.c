/*
 * Who starts a service by hand at a URL where nobody listens wants to know at once, not when all
 * patience is used up: the broker is tried for as long as one that is there needs to answer, and
 * what follows is said to be waiting.
 */
#include "join.h"

#include <stdio.h>

void join_say(const char *program)
{
    fprintf(stderr, "%s: %s (trying for %d s)\n", program, parley_error_text(), JOIN_SECONDS);
}

enum parley_status join(const char *program, struct parley_endpoint **ret_endpoint)
{
    struct parley_endpoint_options options = {.name = program, .connect_timeout_ns = JOIN_FIRST_NS};
    enum parley_status status = parley_endpoint_new(&options, ret_endpoint);
    if (status != PARLEY_UNAVAILABLE)
        return status;
    join_say(program);
    options.connect_timeout_ns = JOIN_NS;
    return parley_endpoint_new(&options, ret_endpoint);
}
