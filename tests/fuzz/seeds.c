/* Writes the fuzz targets' first inputs: fuzz_seeds FOLDER */
#include "../unit/translate/plans.h"

#include <sys/stat.h>

static void write_seed(const char *folder, const char *target, unsigned index, const void *head,
                       size_t head_bytes, struct bytes message)
{
    char path[4096];
    (void)snprintf(path, sizeof(path), "%s/%s/%u", folder, target, index);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(head, 1, head_bytes, file) != head_bytes ||
        fwrite(message.data, 1, message.bytes, file) != message.bytes || fclose(file) != 0) {
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

int main(int argc, char **argv)
{
    if (argc != 2) {
        (void)fprintf(stderr, "usage: fuzz_seeds FOLDER\n");
        return 2;
    }
    const char *folder = argv[1];
    make_folder(folder, "");
    make_folder(folder, "run");
    make_folder(folder, "load");
    make_folder(folder, "check");
    struct versions shapes;
    versions_init(&shapes, SHAPES_V1_SET, SHAPES_V2_SET);
    const struct plan *plans[] = {shapes.up_requests, shapes.down_requests};
    for (unsigned i = 0; i < 60; i++) {
        struct bytes v1 = generate(&shapes__v1__shape__descriptor, i + 1, 5), v2 = {NULL, 0};
        uint8_t pick = (uint8_t)(i % 12);
        write_seed(folder, "run", i, &pick, 1, v1);
        write_seed(folder, "check", i, &pick, 1, v1);
        /* With carriers in it, too. */
        if (run(shapes.up_requests, 0, v1, &v2, NULL) == 0) {
            pick = 1;
            write_seed(folder, "run", 100 + i, &pick, 1, v2);
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
    free(set.data);
    versions_deinit(&shapes);
    return 0;
}
