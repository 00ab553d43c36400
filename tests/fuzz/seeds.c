/* Writes the fuzz targets' first inputs: fuzz_seeds FOLDER */
#include "../unit/translate/plans.h"
#include "laws/laws.h"
#include "shm/layout.h"

#include <sys/stat.h>

static void write_seed(const char *folder, const char *target, unsigned index, const void *head,
                       size_t head_bytes, struct bytes message)
{
    char path[4096];
    (void)snprintf(path, sizeof(path), "%s/%s/%u", folder, target, index);
    FILE *file = fopen(path, "wb");
    if (!file || (head_bytes > 0 && fwrite(head, 1, head_bytes, file) != head_bytes) ||
        (message.bytes > 0 && fwrite(message.data, 1, message.bytes, file) != message.bytes) ||
        fclose(file) != 0) {
        perror(path);
        exit(1);
    }
}

static void make_folder(const char *folder, const char *name)
{
    char path[4096];
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    if (mkdir(path, 0777) < 0 && errno != EEXIST) {
        perror(path);
        exit(1);
    }
}

static struct bytes of_buffer(const struct buffer *buffer)
{
    return (struct bytes){buffer->data, buffer->bytes};
}

static void write_generated(const char *folder)
{
    static struct law_case c;
    for (unsigned i = 0; i < 64; i++) {
        struct law_counts counts = {0};
        struct law_failure failure = {0};
        struct buffer message = {0}, sets = {0}, set = {0};
        case_plan(&c, i + 1);
        if (case_build(&c, true, &counts, &failure) < 0)
            exit(1);
        message_random(schema_service(c.schemas[i & 1])->methods[0].input, i, 5, &message);
        uint8_t head[2] = {(uint8_t)i, (uint8_t)(i & 1)};
        write_seed(folder, "laws", i, head, sizeof(head), of_buffer(&message));
        head[0] = (uint8_t)(i | (i & 1 ? 0 : 64));
        head[1] = 0;
        write_seed(folder, "corrupt", i, head, sizeof(head), of_buffer(&message));
        uint8_t seed[8] = {0, 0, (uint8_t)i, 4, (uint8_t)i, 0, 1, (uint8_t)(i + 1)};
        write_seed(folder, "compile", i, seed, sizeof(seed), of_buffer(&message));
        write_seed(folder, "diff", i, seed, sizeof(seed), (struct bytes){NULL, 0});
        describe_set(&c.versions[0], &set);
        if (i < 16)
            write_seed(folder, "schema", i, NULL, 0, of_buffer(&set));
        uint8_t pair[3] = {1, (uint8_t)(set.bytes >> 8), (uint8_t)set.bytes};
        buffer_add(&sets, set.data, set.bytes);
        set.bytes = 0;
        describe_set(&c.versions[1], &set);
        uint8_t bytes[2] = {(uint8_t)(set.bytes >> 8), (uint8_t)set.bytes};
        buffer_add(&sets, bytes, sizeof(bytes));
        buffer_add(&sets, set.data, set.bytes);
        buffer_add(&sets, message.data, message.bytes);
        if (i < 16) {
            write_seed(folder, "compile", 100 + i, pair, sizeof(pair), of_buffer(&sets));
            write_seed(folder, "diff", 100 + i, pair, sizeof(pair), of_buffer(&sets));
        }
        buffer_free(&set);
        buffer_free(&sets);
        buffer_free(&message);
        case_clear(&c);
    }
}

/* A field of bytes, alone and in a message in a message, with a stand-in. */
static void write_expand(const char *folder)
{
    static const uint8_t head[] = {1, 0, 2, 0x10, 0}, nested_head[] = {1, 0, 6, 0x10, 0};
    uint8_t nested[22] = {0x0a, 20, 0x0a, 18, 0x62, 16};
    uint8_t field[18] = {0x62, 16};
    write_seed(folder, "expand", 0, head, sizeof(head), (struct bytes){field, sizeof(field)});
    write_seed(folder, "expand", 1, nested_head, sizeof(nested_head),
               (struct bytes){nested, sizeof(nested)});
}

static void write_ranges(const char *folder)
{
    static const char *const texts[] = {
        "1.2.3\n~1.2, ^1", "2.0.0-rc.1\n>=2.0.0-rc.0 <3 || 1.x", "1.0.0\n1.0.0 - 2",
        "0.0.1\n*",        "3.1.4+build\n=3.1.4, ~3, ^0.0.1",    "1.2.3-alpha.beta\nX.x.*",
    };
    for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        write_seed(folder, "range", i, texts[i], strlen(texts[i]), (struct bytes){NULL, 0});
}

/* Documents, in block and in flow style, and a state. */
static void write_rollouts(const char *folder)
{
    static const char *const texts[] = {
        "apiVersion: parley.dev/v1alpha1\nkind: Rollout\nmetadata:\n  name: a\nspec:\n"
        "  interface: a.B\n  stable: ~1.4\n  canary: ^2\n  match:\n  - headers:\n"
        "    - {name: k, regex: 'a|b'}\n    - name: l\n      present: true\n  stickyKey: k\n"
        "  saltGroup: s\n  steps:\n  - {weight: 1.5, hold: 1h30m}\n  - approval: true\n  gates:\n"
        "    minCalls: 7\n    maxErrorRate: 2%\n    maxP99Ratio: 1.5\n    interval: 10s\n"
        "    failureLimit: 1\n    consecutiveSuccessLimit: 2\n  onFailure: pause\n  mirror: 3\n",
        "apiVersion: parley.dev/v1alpha1\nkind: Rollout\nmetadata: {name: a}\nspec: {interface: a, "
        "stable: '1', canary: '2', steps: [{weight: 100}]}\n",
        "{\"apiVersion\": \"parley.dev/v1alpha1\", \"kind\": \"Rollout\", \"metadata\": {\"name\": "
        "\"a\"}, \"spec\": {\"interface\": \"a\", \"stable\": \"1\", \"canary\": \"2\", \"steps\": "
        "[{\"weight\": 5}]}}",
        "{\"format\": 1, \"document\": \"kind: Rollout\", \"revision\": 1, \"phase\": \"Waiting\"}",
        "a: &x [*x]\n--- !!map\n? b\n: |-\n  c\n",
    };
    for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        write_seed(folder, "rollout", i, texts[i], strlen(texts[i]), (struct bytes){NULL, 0});
}

static void write_calls(const char *folder)
{
    static const char *const texts[] = {
        "{\"interface\":\"echo\",\"method\":\"Echo\"}",
        "{\"interface\": \"echo\", \"method\": \"Fail\", \"version\": \"~2.0, ^1 || 1.x\", "
        "\"accept\": \"*\", \"timeout\": \"1.5ms\", \"metadata\": {\"tenant\": \"b\", "
        "\"gray.a\": \"\"}, \"one_way\": true, \"body\": {\"number\": \"5\", \"payload\": "
        "\"aGk=\", \"text\": \"\\u00e9\"}}",
        "\x80\x10\x05\x1a\x02hi",
        "\xff\x0a\x03\x01\x02\x03\x22\x01x",
    };
    for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        write_seed(folder, "bus_json", i, texts[i], strlen(texts[i]), (struct bytes){NULL, 0});
}

/* Of each kind; the last one has a byte too many. */
static void write_frames(const char *folder)
{
    static const char asked[] = "\x10\x0a\0parley.interfaceparley.bus\x0d\x04\0parley.methodPing"
                                "\x06\x04\0tenantblue\x0f\x01\0parley.peer.uid0";
    static const char answered[] = "\x0e\x05\0parley.version1.0.0\x12\x03\0parley.translationiso"
                                   "\x0b\x01\0parley.more1";
    for (uint8_t kind = FRAME_REQUEST; kind <= FRAME_BYE + 1; kind++) {
        bool calls = kind == FRAME_REQUEST || kind == FRAME_ONE_WAY;
        bool answers = kind == FRAME_RESPONSE;
        uint8_t frame[256] = {7, [22] = kind};
        size_t bytes = calls ? sizeof(asked) - 1 : answers ? sizeof(answered) - 1 : 0;
        frame[16] = (uint8_t)bytes;
        frame[18] = frame[19] = calls ? 0xff : 0;
        frame[20] = answers || kind == FRAME_GOAWAY ? FRAME_TAG_SERVICE : FRAME_TAG_CLIENT;
        if (bytes)
            memcpy(frame + 32, calls ? asked : answered, bytes);
        write_seed(folder, "bus_frame", kind, frame, 32 + bytes + (kind > FRAME_BYE),
                   (struct bytes){NULL, 0});
    }
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        (void)fprintf(stderr, "usage: fuzz_seeds FOLDER\n");
        return 2;
    }
    const char *folder = argv[1];
    make_folder(folder, "");
    static const char *const targets[] = {"bus_frame", "bus_json", "check", "compile", "corrupt",
                                          "diff",      "expand",   "laws",  "load",    "pack",
                                          "range",     "rollout",  "run",   "schema",  "unpack"};
    for (unsigned i = 0; i < sizeof(targets) / sizeof(targets[0]); i++)
        make_folder(folder, targets[i]);
    write_generated(folder);
    write_ranges(folder);
    write_rollouts(folder);
    write_calls(folder);
    write_frames(folder);
    write_expand(folder);
    struct versions shapes;
    versions_init(&shapes, SHAPES_V1_SET, SHAPES_V2_SET);
    const struct plan *plans[] = {shapes.up_requests, shapes.down_requests};
    for (unsigned i = 0; i < 60; i++) {
        struct bytes v1 = generate(&shapes__v1__shape__descriptor, i + 1, 5), v2 = {NULL, 0};
        uint8_t pick = (uint8_t)(i % 12);
        write_seed(folder, "run", i, &pick, 1, v1);
        const uint8_t whole[] = {0, 0}, back[] = {1, 0}, same[] = {6, 0};
        const uint8_t broken[] = {(uint8_t)(i % 7), 1, (uint8_t)(i % 16), (uint8_t)(i * 37), 1};
        write_seed(folder, "unpack", i, whole, sizeof(whole), v1);
        write_seed(folder, "unpack", 100 + i, same, sizeof(same), v1);
        write_seed(folder, "unpack", 200 + i, broken, sizeof(broken), v1);
        write_seed(folder, "check", i, &pick, 1, v1);
        write_seed(folder, "pack", i, &pick, 1, v1);
        /* With carriers in it, too. */
        if (run(shapes.up_requests, 0, v1, &v2, NULL) == 0) {
            pick = 1;
            write_seed(folder, "run", 100 + i, &pick, 1, v2);
            write_seed(folder, "unpack", 300 + i, back, sizeof(back), v2);
        }
        size_t bytes;
        const uint8_t *program = plan_program(plans[i % 2], &bytes);
        if (i < 8)
            write_seed(folder, "load", i, program, bytes, i % 2 ? v2 : v1);
        free(v1.data);
        free(v2.data);
    }
    struct set set = set_read(SHAPES_V1_SET);
    uint8_t pick = 0;
    write_seed(folder, "check", 100, &pick, 1, (struct bytes){set.data, set.bytes});
    write_seed(folder, "pack", 100, &pick, 1, (struct bytes){set.data, set.bytes});
    free(set.data);
    versions_deinit(&shapes);
    return 0;
}
