/*
 * Stand-ins for peers whose libraries were not there when this was built: a name, and the package
 * to install. ./run bench peers installs it and builds again.
 */
#include "peer.h"

#if !HAVE_ZMQ
const struct peer peer_zmq = {.name = "zmq-ipc", .about = "ZeroMQ", .package = "libzmq3-dev"};
#endif

#if !HAVE_SDBUS
const struct peer peer_sdbus = {.name = "sd-bus", .about = "sd-bus", .package = "libsystemd-dev"};
#endif

#if !HAVE_ICEORYX
const struct peer peer_iceoryx = {
    .name = "iceoryx", .about = "iceoryx", .package = "libiceoryx-binding-c-dev"};
const struct peer peer_iceoryx_waiting = {
    .name = "iceoryx-waitset", .about = "iceoryx, WaitSet", .package = "libiceoryx-binding-c-dev"};

int peer_iceoryx_begin(const char *folder, struct error_text *error)
{
    (void)folder;
    (void)error;
    return 0;
}

void peer_iceoryx_end(void)
{
}
#endif

#if !HAVE_GRPC
const struct peer peer_grpc = {.name = "grpc", .about = "gRPC", .package = "libgrpc++-dev"};
#endif

#if !HAVE_CAPNP
const struct peer peer_capnp = {.name = "capnp", .about = "Cap'n Proto", .package = "libcapnp-dev"};
#endif
