/*
 * Asking at a bus URL, where frames are understood; beside cli.h, for the commands that can.
 */
#ifndef PARLEY_CLI_BUS_H
#define PARLEY_CLI_BUS_H

#include "cli/cli.h"

/* Whether what came back to a control request says that a bus is there. */
bool bus_answers(const uint8_t *data, size_t bytes);

/* control_exchange(), by frames. */
int bus_exchange(struct cli *cli, const Parley__ControlRequest *request, uint64_t timeout_ns,
                 Parley__ControlReply **ret_reply);

/* A method of parley.bus. @ret_reply: wire_free(); NULL if it was refused: @ret_end has status and
 * text then, which is the caller's to free(). Return: an exit code. */
int bus_ask(struct cli *cli, const char *method, const ProtobufCMessage *request,
            uint64_t timeout_ns, const ProtobufCMessageDescriptor *descriptor,
            ProtobufCMessage **ret_reply, Parley__ControlReply *ret_end);

#endif
