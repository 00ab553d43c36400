/*
 * The range parser on any text, and what it reads on versions: a version and ranges, divided by a
 * newline. An alternative that matches is one of the range's, and the same text reads the same.
 */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[512];
    if (size >= sizeof(text))
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    char *newline = strchr(text, '\n');
    struct semver version = {.major = 1, .minor = 2, .patch = 3};
    if (newline) {
        *newline = '\0';
        if (semver_parse(text, &version) == 0)
            FUZZ_CHECK(semver_compare(&version, &version) == 0);
    }
    const char *range = newline ? newline + 1 : text;
    struct semver_ranges *ranges = NULL, *again = NULL;
    struct error_text error = {""};
    int r = semver_ranges_new(range, &ranges, &error);
    FUZZ_CHECK((r == 0) == (ranges != NULL) && (r == 0 || error.text[0]));
    if (r < 0)
        return 0;
    int index = semver_ranges_match(ranges, &version);
    int commas = 0;
    for (const char *at = range; *at; at++)
        commas += *at == ',';
    FUZZ_CHECK(index >= -1 && index <= commas);
    FUZZ_CHECK(semver_ranges_new(range, &again, &error) == 0);
    FUZZ_CHECK(semver_ranges_match(again, &version) == index);
    semver_ranges_free(ranges);
    semver_ranges_free(again);
    return 0;
}
