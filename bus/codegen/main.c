/*
 * protoc-gen-parley: the plugin of protoc that stands beside protoc-gen-c.
 *
 * protoc starts it, writes a request to its standard input and reads the response from its standard
 * output; nothing else comes or goes that way. Who starts it by hand is told what it is for.
 */
#include "codegen/codegen.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "wire/wire.h"

static const char help[] =
    "protoc-gen-parley: interfaces and typed stubs for Parley, from .proto files.\n"
    "\n"
    "protoc runs it, together with protoc-gen-c:\n"
    "\n"
    "    protoc -I. -I/usr/share/parley/schemas --c_out=. --parley_out=. catalog.proto\n"
    "\n"
    "For each file that defines a service it writes, beside catalog.pb-c.h:\n"
    "\n"
    "    catalog.parley.h   the interface's table, typed stubs, connect and serve\n"
    "    catalog.parley.c   the same, with the descriptor set that is published\n"
    "\n"
    "The file gives its interface a name and a version:\n"
    "\n"
    "    import \"parley/options.proto\";\n"
    "    option (parley.interface) = { name: \"catalog\" version: \"1.0.0\" };\n"
    "\n"
    "With --parley_opt=aliases and all versions of an interface, it writes one more:\n"
    "\n"
    "    NAME.parley.h      names without a version; -DNAME_API=2 says which they mean\n"
    "\n"
    "Options: --help, --version. See protoc-gen-parley(1).\n";

/* All of @file, up to one byte more than a message may have. */
static int read_all(FILE *file, uint8_t **ret_data, size_t *ret_bytes)
{
    _cleanup_(freep) uint8_t *data = NULL;
    size_t bytes = 0, room = 0;
    for (;;) {
        if (bytes == room) {
            room = room > 0 ? 2 * room : (size_t)64 << 10;
            uint8_t *more = realloc(data, room);
            if (!more)
                return -ENOMEM;
            data = more;
        }
        size_t n = fread(data + bytes, 1, room - bytes, file);
        bytes += n;
        if (n == 0 || bytes > WIRE_MESSAGE_BYTES_MAX)
            break;
    }
    if (ferror(file))
        return -EIO;
    *ret_data = steal_ptr(&data);
    *ret_bytes = bytes;
    return 0;
}

static int run(void)
{
    _cleanup_(freep) uint8_t *request = NULL;
    _cleanup_(freep) uint8_t *response = NULL;
    size_t request_bytes, response_bytes;
    int r = read_all(stdin, &request, &request_bytes);
    if (r < 0) {
        (void)fprintf(stderr, "protoc-gen-parley: cannot read the request: %s\n", strerror(-r));
        return EXIT_FAILURE;
    }
    struct error_text error;
    r = codegen_run(request, request_bytes, &response, &response_bytes, &error);
    if (r < 0) {
        (void)fprintf(stderr, "protoc-gen-parley: %s\n", error.text);
        return EXIT_FAILURE;
    }
    if (fwrite(response, 1, response_bytes, stdout) != response_bytes || fflush(stdout) != 0) {
        (void)fprintf(stderr, "protoc-gen-parley: cannot write the response: %s\n",
                      strerror(errno));
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        (void)fputs(help, stdout);
        return EXIT_SUCCESS;
    }
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        (void)puts("protoc-gen-parley " PARLEY_VERSION);
        return EXIT_SUCCESS;
    }
    if (argc > 1) {
        (void)fprintf(stderr, "protoc-gen-parley: \"%s\" is no option; see --help\n", argv[1]);
        return 2;
    }
    if (isatty(STDIN_FILENO)) {
        (void)fputs("protoc-gen-parley: protoc runs this; see --help\n", stderr);
        return 2;
    }
    return run();
}
