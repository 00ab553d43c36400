#include "support/wakings.h"

#include "rpc/internal.h"

uint64_t wakings_by(struct parley_endpoint *endpoint)
{
    return atomic_load(&endpoint->stats.header->doorbells);
}
