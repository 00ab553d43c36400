/* Schemas from what a person names on the command line. */
#ifndef PARLEY_CLI_COMPILE_H
#define PARLEY_CLI_COMPILE_H

#include "cli/cli.h"
#include "schema/diff.h"

struct compiled {
    struct schema *schema; /* of all that is in it; need not be an interface */
    uint8_t *set;          /* with positions, if there are any */
    size_t bytes;
};

/**
 * compile_any() - read @path: a folder of .proto files, one, or a FileDescriptorSet
 * Return: CLI_EXIT_OK, or CLI_EXIT_USAGE after a complaint.
 */
int compile_any(struct cli *cli, const char *path, struct compiled *ret_compiled);
void compiled_deinit(struct compiled *compiled); /* also of {0} */

#endif
