#include "support/test.h"

#include "unit/cli/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

#define ARGUMENT_MAX 128

struct run run_cli(const char *const *argv, const char *in)
{
    struct run run;
    size_t out_bytes, err_bytes;
    /* Options are moved about in argv. */
    char *arguments[ARGUMENT_MAX] = {(char *)"parley"};
    int count = 1;
    for (; argv[count - 1]; count++)
        arguments[count] = strdup(argv[count - 1]);
    char *owned[ARGUMENT_MAX];
    memcpy(owned, arguments, sizeof(owned));

    FILE *input = fmemopen((void *)(in ? in : ""), in ? strlen(in) : 1, "r");
    FILE *out = open_memstream(&run.out, &out_bytes);
    FILE *err = open_memstream(&run.err, &err_bytes);
    assert_true(input && out && err);
    fake_broker_settle();
    run.code = cli_main(count, arguments, input, out, err);
    fake_broker_settle();
    fclose(input);
    fclose(out);
    fclose(err);
    for (int i = 1; i < count; i++)
        free(owned[i]);
    return run;
}

void run_free(struct run *run)
{
    free(run->out);
    free(run->err);
}

void assert_contains(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("expected '%s' in:\n%s", part, text);
}

char *read_file(const char *path, size_t *ret_bytes)
{
    FILE *file = fopen(path, "re");
    if (!file)
        fail_msg("%s cannot be read", path);
    char *text = NULL;
    size_t room = 0, bytes = 0;
    do {
        room = room ? 2 * room : 4096;
        text = realloc(text, room + 1);
        bytes += fread(text + bytes, 1, room - bytes, file);
    } while (bytes == room);
    fclose(file);
    text[bytes] = '\0';
    if (ret_bytes)
        *ret_bytes = bytes;
    return text;
}

void assert_golden(const char *text, const char *name)
{
    char path[512];
    snprintf(path, sizeof(path), CLI_GOLDEN "/%s", name);
    const char *mode = getenv("PARLEY_GOLDEN");
    if (mode && strcmp(mode, "write") == 0) {
        FILE *file = fopen(path, "we");
        assert_non_null(file);
        fputs(text, file);
        fclose(file);
    }
    char *expected = read_file(path, NULL);
    assert_string_equal(text, expected);
    free(expected);
}
