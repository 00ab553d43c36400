/* Serves hello.proto with libnng and nothing else: guest-hello CONTROL-URL DESCRIPTOR-SET
 * Messages of protobuf are built by hand here; who has a library for them uses that. */
#include <stdio.h>
#include <string.h>

#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>

static unsigned char out[1 << 20];

/* A field of bytes, in place of the @n bytes at @to: its tag, their length, they. Return: how many.
 */
static size_t wrap(unsigned char *to, unsigned char tag, size_t n)
{
    size_t head = 2;
    for (size_t left = n; left > 127; left >>= 7)
        head++;
    memmove(to + head, to, n);
    *to++ = tag;
    for (size_t left = n, i = 2; i <= head; left >>= 7, i++)
        *to++ = (unsigned char)((left & 127) | (i < head ? 128 : 0));
    return head + n;
}

int main(int argc, char **argv)
{
    nng_socket control, service;
    unsigned char *in;
    char url[256] = "";
    FILE *file = argc == 3 ? fopen(argv[2], "rb") : NULL;
    size_t n = file ? fread(out, 1, sizeof(out) - 16, file) : 0;
    n = wrap(out, 3 << 3 | 2, n);  /* PublishRequest.descriptor_set */
    n = wrap(out, 12 << 3 | 2, n); /* ControlRequest.publish */
    if (!file || nng_req0_open(&control) != 0 || nng_dial(control, argv[1], NULL, 0) != 0 ||
        nng_send(control, out, n, 0) != 0 || nng_recv(control, &in, &n, NNG_FLAG_ALLOC) != 0)
        return 2;
    for (size_t at = 0; at + 6 < n && !url[0]; at++) /* PublishReply.url */
        if (in[at] == (2 << 3 | 2) && in[at + 1] < n - at && strchr("it", in[at + 2]))
            memcpy(url, in + at + 2, in[at + 1]);
    if (nng_rep0_open(&service) != 0 || nng_dial(service, url, NULL, 0) != 0) {
        (void)fprintf(stderr, "%.*s\n", (int)n, (char *)in); /* has the sentence why not */
        return 1;
    }
    while (nng_recv(service, &in, &n, NNG_FLAG_ALLOC) == 0) {
        const unsigned char *field = in + 32 + in[16] + 256 * in[17]; /* tag, length, text */
        int bytes = field + 2 < in + n ? field[1] & 63 : 0;
        memset(out, 0, 32); /* status and executed, too: OK */
        bytes = sprintf((char *)out + 32, "Hello, %.*s", bytes, (const char *)field + 2);
        out[8] = (unsigned char)wrap(out + 32, 1 << 3 | 2, (size_t)bytes); /* payload_bytes */
        out[20] = 2;                                                       /* from a service */
        out[22] = 2;                                                       /* a response */
        if (nng_send(service, out, 32 + out[8], 0) != 0)
            return 1;
        nng_free(in, n);
    }
    return 0;
}
