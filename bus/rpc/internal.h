/*
 * The rpc room's own structs. Nothing here leaves the room.
 *
 * An endpoint has clients and services; a client has calls and channels, a service has channels and
 * contexts (calls that it serves); a channel belongs to one client or one service. All of it is one
 * thread's. What a closure or handler may free while we are in the middle of it goes through the
 * endpoint's graveyard and is freed when the outermost turn of the loop ends.
 */
#ifndef PARLEY_RPC_INTERNAL_H
#define PARLEY_RPC_INTERNAL_H

#include <stdarg.h>

#include "base/cleanup.h"
#include "control/transcript.h"
#include "rpc/bounds.h"
#include "rpc/call_state.h"
#include "rpc/channel.h"
#include "rpc/client.h"
#include "rpc/context.h"
#include "rpc/endpoint.h"
#include "rpc/metadata.h"
#include "rpc/pack.h"
#include "rpc/plans.h"
#include "rpc/service.h"
#include "rpc/status.h"

#endif
