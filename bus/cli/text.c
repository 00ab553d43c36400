/*
 * Text for people: tables, durations, shares.
 *
 * Names on the bus come from whoever joined it. What a terminal would obey (escape sequences, a
 * carriage return) is replaced before it is printed, here and nowhere else; columns are as wide as
 * their widest cell whether or not a terminal shows them, and nothing is cut, so that what a
 * person sees is what a script gets. Width is counted in code points, which is right for all but
 * wide and combining characters.
 */
#include "cli/cli.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define TABLE_COLUMN_MAX 16

void *text_alloc(size_t bytes)
{
    void *memory = calloc(1, bytes ? bytes : 1);
    if (!memory) {
        fputs("parley: out of memory\n", stderr);
        exit(CLI_EXIT_TROUBLE);
    }
    return memory;
}

static char *format_args(const char *format, va_list args)
{
    char *text;
    if (vasprintf(&text, format, args) < 0) {
        fputs("parley: out of memory\n", stderr);
        exit(CLI_EXIT_TROUBLE);
    }
    return text;
}

char *text_format(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = format_args(format, args);
    va_end(args);
    return text;
}

/* C0, DEL, and C1 as UTF-8 writes it (0xc2 0x80..0x9f), which some terminals obey too. */
static void clean(char *text)
{
    for (unsigned char *c = (unsigned char *)text; *c; c++) {
        if (*c < 0x20 || *c == 0x7f) {
            *c = '?';
        } else if (*c == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0) {
            c[0] = '?';
            c[1] = '?';
        }
    }
}

void text_print(FILE *out, const char *text)
{
    char *copy = text_format("%s", text);
    clean(copy);
    fputs(copy, out);
    free(copy);
}

struct table {
    size_t column_count;
    size_t cell_count, cell_room;
    char **cells; /* the titles are the first row */
    bool right[TABLE_COLUMN_MAX];
};

static void add(struct table *table, char *cell)
{
    if (table->cell_count == table->cell_room) {
        size_t room = table->cell_room ? 2 * table->cell_room : 64;
        char **cells = text_alloc(room * sizeof(*cells));
        if (table->cell_count > 0)
            memcpy(cells, table->cells, table->cell_count * sizeof(*cells));
        free(table->cells);
        table->cells = cells;
        table->cell_room = room;
    }
    table->cells[table->cell_count++] = cell;
}

struct table *table_new(const char *const *titles)
{
    struct table *table = text_alloc(sizeof(*table));
    for (; titles[table->column_count] && table->column_count < TABLE_COLUMN_MAX;
         table->column_count++) {
        const char *title = titles[table->column_count];
        table->right[table->column_count] = *title == '>';
        add(table, text_format("%s", *title == '>' ? title + 1 : title));
    }
    return table;
}

struct table *table_free(struct table *table)
{
    if (!table)
        return NULL;
    for (size_t i = 0; i < table->cell_count; i++)
        free(table->cells[i]);
    free(table->cells);
    free(table);
    return NULL;
}

void table_cell(struct table *table, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *cell = format_args(format, args);
    va_end(args);
    clean(cell);
    add(table, cell);
}

void table_number(struct table *table, bool has, uint32_t number)
{
    if (has)
        table_cell(table, "%" PRIu32, number);
    else
        table_cell(table, "-");
}

static size_t width_of(const char *text)
{
    size_t width = 0;
    for (; *text; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

static void pad(FILE *out, size_t count)
{
    fprintf(out, "%*s", (int)count, "");
}

void table_print(const struct table *table, FILE *out)
{
    size_t widths[TABLE_COLUMN_MAX] = {0};
    for (size_t i = 0; i < table->cell_count; i++) {
        size_t width = width_of(table->cells[i]), *column = &widths[i % table->column_count];
        if (width > *column)
            *column = width;
    }
    for (size_t i = 0; i < table->cell_count; i++) {
        size_t column = i % table->column_count;
        bool last = column + 1 == table->column_count;
        size_t gap = widths[column] - width_of(table->cells[i]);
        if (table->right[column])
            pad(out, gap);
        fputs(table->cells[i], out);
        if (last) {
            fputc('\n', out);
            continue;
        }
        pad(out, (table->right[column] ? 0 : gap) + 2);
    }
}

const char *text_duration(uint64_t ns, char buffer[TEXT_DURATION_BYTES])
{
    static const char *const units[] = {"ns", "us", "ms", "s"};
    if (ns < 1000) {
        snprintf(buffer, TEXT_DURATION_BYTES, "%u ns", (unsigned)ns);
        return buffer;
    }
    double value = (double)ns;
    size_t unit = 0;
    /* 999.5 would be printed as 1000 of the smaller unit. */
    for (; value >= 999.5 && unit + 1 < sizeof(units) / sizeof(units[0]); unit++)
        value /= 1000;
    int digits = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
    snprintf(buffer, TEXT_DURATION_BYTES, "%.*f %s", digits, value, units[unit]);
    return buffer;
}

const char *text_time(uint64_t ns, char buffer[TEXT_DURATION_BYTES])
{
    const uint64_t all = ns / NS_PER_S;
    if (all < 60)
        return text_duration(ns, buffer);
    const struct {
        uint64_t count;
        char unit;
    } parts[] = {{all / 3600, 'h'}, {all / 60 % 60, 'm'}, {all % 60, 's'}};
    size_t used = 0;
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        if (parts[i].count > 0)
            used += (size_t)snprintf(buffer + used, TEXT_DURATION_BYTES - used, "%" PRIu64 "%c",
                                     parts[i].count, parts[i].unit);
    return buffer;
}

const char *text_share(double percent, char buffer[TEXT_SHARE_BYTES])
{
    if (!isfinite(percent) || percent < 0)
        percent = 0;
    if (percent > 0 && percent < 0.001) {
        snprintf(buffer, TEXT_SHARE_BYTES, "<0.001 %%");
        return buffer;
    }
    if (percent > 100)
        percent = 100;
    size_t length = (size_t)snprintf(buffer, TEXT_SHARE_BYTES, "%.3f", percent);
    while (buffer[length - 1] == '0')
        length--;
    if (buffer[length - 1] == '.')
        length--;
    snprintf(buffer + length, TEXT_SHARE_BYTES - length, " %%");
    return buffer;
}
