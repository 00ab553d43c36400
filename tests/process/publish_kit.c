/*
 * publish_kit: publishes kit.v1 as it was built, until a signal, or says why it may not.
 *
 * Built once for each of kit_released.proto and kit_broken.proto, which declare the same names.
 */
#include KIT_HEADER

#include <signal.h>
#include <stdio.h>

static struct parley_endpoint *endpoint;

static void stop(int signal)
{
    (void)signal;
    parley_stop(endpoint);
}

int main(void)
{
    static Kit__V1__Kit_Service kit = {.base = {.descriptor = &kit__v1__kit__descriptor}};
    struct parley_service *service;
    if (parley_endpoint_new(NULL, &endpoint) != PARLEY_OK)
        return 2;
    signal(SIGTERM, stop);
    int code = 0;
    if (parley_service_new(endpoint, &kit__v1__kit__interface, &kit.base, NULL, &service) !=
        PARLEY_OK) {
        printf("%s\n", parley_error_text());
        code = 1;
    } else {
        printf("published\n");
        fflush(stdout);
        code = parley_run(endpoint) == PARLEY_OK ? 0 : 3;
    }
    parley_endpoint_free(endpoint);
    return code;
}
