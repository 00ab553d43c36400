/*
 * What is bounded in the rpc room, and how long things may take.
 */
#ifndef PARLEY_RPC_BOUNDS_H
#define PARLEY_RPC_BOUNDS_H

#include "base/clock.h"

#define RPC_NAME_BYTES 64
#define RPC_TEXT_BYTES 256
#define RPC_BROKER_BYTES 256

#define RPC_CONNECT_TIMEOUT_NS NS_PER_S
#define RPC_WAIT_TIMEOUT_NS (5 * NS_PER_S)
#define RPC_CALL_TIMEOUT_NS (10 * NS_PER_S)
#define RPC_CALL_TIMEOUT_NS_MAX (3600 * NS_PER_S)
#define RPC_DRAIN_TIMEOUT_NS (10 * NS_PER_S)
#define RPC_BYE_GRACE_NS NS_PER_S /* how long a draining service waits for a client that says nothing */
#define RPC_SPIN_NS_MAX (100 * NS_PER_US)
#define RPC_ATTEMPTS_MAX 5
#define RPC_CALLS_MAX 65536            /* in flight on one endpoint */
#define RPC_SERVING_MAX 4096           /* a service's, by default */
#define RPC_QUEUE_BYTES_MAX (UINT32_C(128) << 20) /* a channel's frames that wait for room */
#define RPC_RING_GROW_AFTER 4096 /* frames that waited for room: the channel gets a larger ring */
#define RPC_QUEUE_FRAMES_MAX (2 * RPC_CALLS_MAX)   /* for many have no bytes */
#define RPC_ATTACH_NS_MIN (10 * NS_PER_MS) /* pause before attaching again; doubles */
#define RPC_ATTACH_NS_MAX NS_PER_S
#define RPC_ATTACH_HOPES 5             /* attempts for which calls wait */
#define RPC_ATTACH_TIMEOUT_NS NS_PER_S /* for one attempt */
#define RPC_NESTING_MAX 16             /* calls from inside closures from inside calls ... */
#define RPC_CONTEXT_BUCKETS 64         /* of one channel; a power of two */
#define RPC_CONTEXTS_KEPT 64           /* that an endpoint keeps for later */
#define RPC_FIRST_MESSAGE_BYTES 512     /* unpacked: a block of so many is there for the first call */
#define RPC_METADATA_KEPT_BYTES_MAX 1024 /* with a context, and with a call's slot */
#define RPC_PACKED_BYTES_MIN 256         /* that a call has room for, once it has any */
#define RPC_PACKED_KEPT_BYTES_MAX 65536  /* with a call's slot */
#define RPC_CHANNELS_MAX 4096          /* of one service */
#define RPC_PLANS_MAX 1024             /* that one broker sends */
#define RPC_BATCH_MAX 64               /* records taken in a turn from a channel that is hot alone */

#endif
