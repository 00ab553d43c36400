/* The process around cli_main(): everything else is in the room's library, where tests reach it. */
#include "base/cleanup.h"
#include "cli/cli.h"

int main(int argc, char **argv)
{
    fd_hold_standard();
    return cli_main(argc, argv, stdin, stdout, stderr);
}
