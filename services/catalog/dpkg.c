/*
 * A reader of dpkg's status file, whose paragraphs stanza.c reads.
 *
 * The file is read once into one block and parsed where it lies: a value is cut out by writing a
 * NUL behind it, a description is unindented by moving its lines down. So a database is that
 * block, an array of packages, and three arrays that were not in the file: ids, and the parts of
 * Depends. Nothing is allocated for a single package.
 *
 * The file belongs to root and is well-formed on a healthy machine, but a service must not die of
 * one that is not: every count and length has a limit, a broken stanza is left out and counted,
 * and bytes that are not UTF-8 (old maintainers' names in Latin-1) become '?', for protobuf
 * strings are UTF-8.
 *
 * "Installed" is the third word of Status, as in dpkg-query's ${db:Status-Status}: a package on
 * hold is installed, one with only its configuration left is not.
 */
#include "dpkg.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stanza.h"

struct dpkg_db {
    char *text; /* the file, with NULs where values end */
    size_t text_bytes;
    struct dpkg_package *packages;
    size_t count, room;
    char *ids;
    const char **depends;
    size_t depends_count, depends_room;
    size_t skipped;
    struct dpkg_error skipped_text;
    struct dpkg_limits limits;
};

/* ---- Fields ---- */

static bool is_installed(const struct stanza *stanza)
{
    char *start = stanza->value[FIELD_STATUS].start, *end = stanza->value[FIELD_STATUS].end;
    if (!start)
        return false;
    text_trim(&start, &end);
    static const char word[] = " installed";
    size_t bytes = sizeof(word) - 1;
    return (size_t)(end - start) > bytes && memcmp(end - bytes, word, bytes) == 0;
}

static bool is_name(const char *name, size_t bytes_max)
{
    size_t bytes = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                "0123456789+-._");
    return bytes > 0 && bytes <= bytes_max && name[bytes] == '\0';
}

/* Splits Description: the first line; the others, moved down over their indents. */
static void description_split(char *text, struct dpkg_package *package)
{
    package->summary = text;
    package->description = "";
    char *newline = strchr(text, '\n');
    if (!newline)
        return;
    char *last = newline;
    while (last > text && text_is_blank(last[-1]))
        last--;
    *last = '\0';
    char *out = newline + 1;
    package->description = out;
    for (char *in = newline + 1; *in;) {
        in += strcspn(in, "\n") > 0 && text_is_blank(*in);
        size_t bytes = strcspn(in, "\n");
        bool empty_line = bytes == 1 && *in == '.';
        if (!empty_line) {
            memmove(out, in, bytes);
            out += bytes;
        }
        in += bytes;
        if (*in)
            *out++ = *in++;
    }
    *out = '\0';
}

static uint32_t number(const char *text)
{
    if (!*text || text[strspn(text, "0123456789")])
        return 0;
    errno = 0;
    unsigned long long value = strtoull(text, NULL, 10);
    return errno || value > UINT32_MAX ? 0 : (uint32_t)value;
}

/* ---- The database ---- */

/* @array with room for @count elements: itself or a larger one; NULL without memory. */
static void *grow(void *array, size_t element_bytes, size_t *room, size_t count)
{
    if (count <= *room)
        return array;
    size_t more = *room ? *room * 2 : 256;
    void *bigger = reallocarray(array, more, element_bytes);
    if (bigger)
        *room = more;
    return bigger;
}

static void skip(struct dpkg_db *db, const struct stanza *stanza)
{
    if (db->skipped++ == 0)
        snprintf(db->skipped_text.text, sizeof(db->skipped_text.text), "line %zu: %s",
                 stanza->line, stanza->broken);
}

static void skip_twin(struct dpkg_db *db, const char *id)
{
    if (db->skipped++ == 0)
        snprintf(db->skipped_text.text, sizeof(db->skipped_text.text), "%.200s is there twice",
                 id);
}

static const char *stanza_check(const struct dpkg_db *db, const struct stanza *stanza)
{
    if (stanza->broken)
        return stanza->broken;
    for (int i = 0; i < FIELD_COUNT; i++)
        if ((size_t)(stanza->value[i].end - stanza->value[i].start) > db->limits.value_bytes)
            return "a value is too long";
    return NULL;
}

/* Appends the parts of Depends to db->depends; the package keeps only their number until the
 * array has stopped moving. Return: 0, -ENOMEM, DPKG_E_NONE past the limit. */
static int depends_split(struct dpkg_db *db, char *text, struct dpkg_package *package)
{
    size_t before = db->depends_count;
    for (char *rest = text, *part; (part = strsep(&rest, ",")) != NULL;) {
        char *end = part + strlen(part);
        text_trim(&part, &end);
        if (part == end)
            continue;
        *end = '\0';
        if (db->depends_count - before == db->limits.depends) {
            db->depends_count = before;
            return DPKG_E_NONE;
        }
        const char **depends = grow(db->depends, sizeof(*db->depends), &db->depends_room,
                                    db->depends_count + 1);
        if (!depends)
            return -ENOMEM;
        db->depends = depends;
        db->depends[db->depends_count++] = part;
    }
    package->depends_count = db->depends_count - before;
    return 0;
}

static void package_fill(struct dpkg_package *package, const struct stanza *stanza)
{
    package->section = stanza_string(stanza, FIELD_SECTION);
    package->priority = stanza_string(stanza, FIELD_PRIORITY);
    package->maintainer = stanza_string(stanza, FIELD_MAINTAINER);
    package->homepage = stanza_string(stanza, FIELD_HOMEPAGE);
    package->bugs = stanza_string(stanza, FIELD_BUGS);
    package->origin = stanza_string(stanza, FIELD_ORIGIN);
    package->installed_kib = number(stanza_string(stanza, FIELD_INSTALLED_SIZE));
    package->essential = strcmp(stanza_string(stanza, FIELD_ESSENTIAL), "yes") == 0;
    package->summary = package->description = "";
    if (stanza->value[FIELD_DESCRIPTION].start)
        description_split((char *)stanza_string(stanza, FIELD_DESCRIPTION), package);
    package->source = package->name;
    if (stanza->value[FIELD_SOURCE].start) {
        char *source = (char *)stanza_string(stanza, FIELD_SOURCE);
        source[strcspn(source, " (")] = '\0';
        if (*source)
            package->source = source;
    }
}

/* Adds the package if it is installed and sound. Return: 0, -EFBIG, -ENOMEM. */
static int db_add(struct dpkg_db *db, struct stanza *stanza)
{
    stanza->broken = stanza_check(db, stanza);
    if (!stanza->broken && !is_installed(stanza))
        return 0;
    struct dpkg_package package = {0};
    if (!stanza->broken) {
        package.name = stanza_string(stanza, FIELD_PACKAGE);
        package.architecture = stanza_string(stanza, FIELD_ARCHITECTURE);
        package.version = stanza_string(stanza, FIELD_VERSION);
        if (!is_name(package.name, db->limits.name_bytes))
            stanza->broken = "Package is missing or no name";
        else if (!is_name(package.architecture, db->limits.name_bytes))
            stanza->broken = "Architecture is missing or no name";
        else if (!*package.version)
            stanza->broken = "Version is missing";
    }
    if (!stanza->broken && stanza->value[FIELD_DEPENDS].start) {
        int r = depends_split(db, (char *)stanza_string(stanza, FIELD_DEPENDS), &package);
        if (r < 0)
            return r;
        if (r == DPKG_E_NONE)
            stanza->broken = "Depends has too many parts";
    }
    if (stanza->broken) {
        skip(db, stanza);
        return 0;
    }
    if (db->count == db->limits.packages)
        return -EFBIG;
    struct dpkg_package *packages = grow(db->packages, sizeof(*db->packages), &db->room,
                                         db->count + 1);
    if (!packages)
        return -ENOMEM;
    db->packages = packages;
    package_fill(&package, stanza);
    db->packages[db->count++] = package;
    return 0;
}

static int by_id(const void *a, const void *b)
{
    const struct dpkg_package *one = a, *two = b;
    int order = strcmp(one->id, two->id);
    return order ? order : (one->name > two->name) - (one->name < two->name); /* file order */
}

/* Ids, the places of the dependencies, order; a second package of one id is left out. */
static int db_finish(struct dpkg_db *db)
{
    size_t bytes = 1;
    for (size_t i = 0; i < db->count; i++)
        bytes += strlen(db->packages[i].name) + strlen(db->packages[i].architecture) + 2;
    char *id = db->ids = malloc(bytes);
    if (!id)
        return -ENOMEM;
    const char **depends = db->depends;
    for (size_t i = 0; i < db->count; i++) {
        struct dpkg_package *package = &db->packages[i];
        package->id = id;
        id = stpcpy(stpcpy(stpcpy(id, package->name), ":"), package->architecture) + 1;
        package->depends = depends;
        depends += package->depends_count;
    }
    if (db->count)
        qsort(db->packages, db->count, sizeof(*db->packages), by_id);
    size_t kept = 0;
    for (size_t i = 0; i < db->count; i++) {
        if (kept && strcmp(db->packages[kept - 1].id, db->packages[i].id) == 0)
            skip_twin(db, db->packages[i].id);
        else
            db->packages[kept++] = db->packages[i];
    }
    db->count = kept;
    return 0;
}

static int db_parse(struct dpkg_db *db, struct dpkg_error *error)
{
    text_make_utf8(db->text, db->text_bytes);
    char *at = db->text, *end = db->text + db->text_bytes;
    size_t line = 0;
    while (at < end) {
        struct stanza stanza = {.line = line + 1};
        char *next = stanza_read(&stanza, at, end, &line);
        char *first = at, *last = next;
        text_trim(&first, &last);
        int r = first == last ? 0 : db_add(db, &stanza);
        if (r == -EFBIG)
            snprintf(error->text, sizeof(error->text), "More than %zu packages are installed.",
                     db->limits.packages);
        if (r < 0)
            return r;
        at = next;
    }
    return db_finish(db);
}

/* Takes @text, of @bytes and one more. */
static int db_new(char *text, size_t bytes, const struct dpkg_limits *limits,
                  struct dpkg_db **ret_db, struct dpkg_error *error)
{
    struct dpkg_db *db = calloc(1, sizeof(*db));
    if (!db) {
        free(text);
        snprintf(error->text, sizeof(error->text), "No memory for the packages.");
        return -ENOMEM;
    }
    db->text = text;
    db->text_bytes = bytes;
    db->limits = *limits;
    snprintf(error->text, sizeof(error->text), "No memory for the packages.");
    int r = db_parse(db, error);
    if (r < 0) {
        dpkg_free(db);
        return r;
    }
    error->text[0] = '\0';
    *ret_db = db;
    return 0;
}

int dpkg_parse(const char *data, size_t bytes, const struct dpkg_limits *limits,
               struct dpkg_db **ret_db, struct dpkg_error *error)
{
    struct dpkg_limits limit = limits ? *limits : DPKG_LIMITS_DEFAULT;
    if (bytes > limit.file_bytes) {
        snprintf(error->text, sizeof(error->text), "It is larger than %zu bytes.",
                 limit.file_bytes);
        return -EFBIG;
    }
    char *text = malloc(bytes + 1);
    if (!text) {
        snprintf(error->text, sizeof(error->text), "No memory for %zu bytes.", bytes);
        return -ENOMEM;
    }
    if (bytes)
        memcpy(text, data, bytes);
    text[bytes] = '\n';
    return db_new(text, bytes, &limit, ret_db, error);
}

/* All of @fd, at most @bytes_max, and room for one byte more. */
static int read_all(int fd, size_t bytes_max, char **ret_text, size_t *ret_bytes)
{
    char *text = NULL;
    size_t bytes = 0, room = 0;
    for (;;) {
        if (bytes + 1 >= room) {
            room = room ? room * 2 : (size_t)1 << 20;
            char *bigger = realloc(text, room);
            if (!bigger) {
                free(text);
                return -ENOMEM;
            }
            text = bigger;
        }
        ssize_t got = read(fd, text + bytes, room - bytes - 1);
        if (got < 0 && errno == EINTR)
            continue;
        int r = got < 0 ? -errno : 0;
        bytes += got > 0 ? (size_t)got : 0;
        if (r == 0 && bytes > bytes_max)
            r = -EFBIG;
        if (r < 0) {
            free(text);
            return r;
        }
        if (got == 0)
            break;
    }
    text[bytes] = '\n';
    *ret_text = text;
    *ret_bytes = bytes;
    return 0;
}

int dpkg_load(const char *path, const struct dpkg_limits *limits, struct dpkg_db **ret_db,
              struct dpkg_error *error)
{
    struct dpkg_limits limit = limits ? *limits : DPKG_LIMITS_DEFAULT;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int r = fd < 0 ? -errno : 0;
    char *text = NULL;
    size_t bytes = 0;
    if (r == 0) {
        r = read_all(fd, limit.file_bytes, &text, &bytes);
        close(fd);
    }
    if (r < 0) {
        if (r == -EFBIG)
            snprintf(error->text, sizeof(error->text), "%.128s is larger than %zu bytes.", path,
                     limit.file_bytes);
        else
            snprintf(error->text, sizeof(error->text), "%.128s cannot be read: %s.", path,
                     strerror(-r));
        return r;
    }
    return db_new(text, bytes, &limit, ret_db, error);
}

struct dpkg_db *dpkg_free(struct dpkg_db *db)
{
    if (db) {
        free(db->text);
        free(db->packages);
        free(db->ids);
        free(db->depends);
        free(db);
    }
    return NULL;
}

size_t dpkg_count(const struct dpkg_db *db)
{
    return db->count;
}

const struct dpkg_package *dpkg_at(const struct dpkg_db *db, size_t index)
{
    return &db->packages[index];
}

size_t dpkg_skipped(const struct dpkg_db *db)
{
    return db->skipped;
}

const char *dpkg_skipped_text(const struct dpkg_db *db)
{
    return db->skipped_text.text;
}

/* ---- Looking up ---- */

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

bool dpkg_contains(const char *haystack, const char *text)
{
    if (!*text)
        return true;
    for (; *haystack; haystack++) {
        size_t i = 0;
        while (text[i] && lower(haystack[i]) == lower(text[i]))
            i++;
        if (!text[i])
            return true;
    }
    return false;
}

/* -1, 0, 1: where @package's id is, against @name (with the ':' behind a name) as a prefix. */
static int compare(const struct dpkg_package *package, const char *name, bool is_id)
{
    if (is_id)
        return strcmp(package->id, name);
    size_t bytes = strlen(name);
    int order = strncmp(package->id, name, bytes);
    return order ? order : (package->id[bytes] > ':') - (package->id[bytes] < ':');
}

/* The first package that is not before @name: all of one name are neighbours, for their ids share
 * the prefix "name:". */
int dpkg_find(const struct dpkg_db *db, const char *name_or_id, size_t *ret_index)
{
    bool is_id = strchr(name_or_id, ':') != NULL;
    size_t low = 0, high = db->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare(&db->packages[middle], name_or_id, is_id) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == db->count || compare(&db->packages[low], name_or_id, is_id) != 0)
        return DPKG_E_NONE;
    if (!is_id && low + 1 < db->count && compare(&db->packages[low + 1], name_or_id, is_id) == 0)
        return DPKG_E_AMBIGUOUS;
    *ret_index = low;
    return 0;
}
