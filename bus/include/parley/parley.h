/*
 * Parley: a shared-memory RPC service bus with versioned messages. See README.md.
 */
#ifndef PARLEY_PARLEY_H
#define PARLEY_PARLEY_H

#include <parley/buffer.h>
#include <parley/client.h>
#include <parley/endpoint.h>
#include <parley/interface.h>
#include <parley/service.h>
#include <parley/status.h>

#endif
