#include "unit/schema/protos.h"

#include <dirent.h>
#include <unistd.h>

#include "support/program.h"

#define PATH_BYTES 512

char *folder_make(void)
{
    const char *base = getenv("TMPDIR");
    char *path = malloc(PATH_BYTES);
    assert_non_null(path);
    (void)snprintf(path, PATH_BYTES, "%s/parley-protos-XXXXXX", base ? base : "/tmp");
    assert_non_null(mkdtemp(path));
    return path;
}

void folder_remove(char *folder)
{
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    for (struct dirent *entry = readdir(dir); entry; entry = readdir(dir)) {
        char path[2 * PATH_BYTES];
        (void)snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        if (entry->d_name[0] != '.')
            assert_int_equal(unlink(path), 0);
    }
    closedir(dir);
    assert_int_equal(rmdir(folder), 0);
    free(folder);
}

void file_write(const char *folder, const char *name, const char *text)
{
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

struct set protos_compile(const struct proto_file *files, size_t count)
{
    char *folder = folder_make();
    char here[2 * PATH_BYTES], out[2 * PATH_BYTES], said[4096], path[PATH_BYTES];
    const char *argv[32] = {PROTOC_PATH,
                            "--include_imports",
                            "--include_source_info",
                            "-I" PROTOC_SCHEMAS,
                            "-I/usr/include",
                            here,
                            out};
    size_t n = 7;
    (void)snprintf(here, sizeof(here), "-I%s", folder);
    (void)snprintf(path, sizeof(path), "%s/out.set", folder);
    (void)snprintf(out, sizeof(out), "--descriptor_set_out=%s", path);
    for (size_t i = 0; i < count; i++) {
        assert_true(n < 31);
        file_write(folder, files[i].name, files[i].text);
        argv[n++] = files[i].name;
    }
    if (program_run(argv, said, sizeof(said)) != 0)
        fail_msg("protoc: %s\n%s", said, files[0].text);
    struct set set = set_read(path);
    folder_remove(folder);
    return set;
}

struct set proto_compile(const char *text)
{
    return protos_compile(&(struct proto_file){"x.proto", text}, 1);
}

struct schema *schema_of(struct set set)
{
    struct schema *schema = NULL;
    struct error_text error = {""};
    if (schema_new_set(set.data, set.bytes, &schema, &error) < 0)
        fail_msg("%s", error.text);
    free(set.data);
    return schema;
}
