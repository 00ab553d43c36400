/*
 * What a person sees while it runs.
 *
 * On a terminal: a block of lines that is drawn over itself eight times a second, with notes above
 * it that stay. Anywhere else: a line when something happens, and one every two seconds. Rates and
 * quantiles are of about the last two seconds.
 */
#include "demo.h"

#include <stdarg.h>
#include <string.h>

#define BAR_COLUMNS 40
#define RECENT_COUNT (sizeof(((struct demo *)0)->recent) / sizeof(((struct demo *)0)->recent[0]))

/* "1234567" -> "1,234,567" */
static const char *grouped(uint64_t value, char text[32])
{
    char digits[24];
    int count = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)value);
    char *out = text;
    for (int i = 0; i < count; i++) {
        if (i && (count - i) % 3 == 0)
            *out++ = ',';
        *out++ = digits[i];
    }
    *out = '\0';
    return text;
}

static const char *duration(uint64_t ns, char text[32])
{
    if (ns < 10 * 1000)
        snprintf(text, 32, "%.1f us", (double)ns / 1e3);
    else if (ns < 1000 * 1000)
        snprintf(text, 32, "%.0f us", (double)ns / 1e3);
    else
        snprintf(text, 32, "%.1f ms", (double)ns / 1e6);
    return text;
}

static double elapsed(const struct demo *demo)
{
    return (double)(now_ns() - demo->start_ns) / 1e9;
}

/* What the clients did of late, and in how many seconds. */
static double recent(struct demo *demo, struct tally *total, struct tally *since)
{
    uint64_t now = now_ns();
    unsigned newest = (demo->recent_next + RECENT_COUNT - 1) % RECENT_COUNT;
    unsigned oldest = demo->recent[demo->recent_next].ns ? demo->recent_next : 0;
    demo_last_totals(demo, total);
    tally_since(total, &demo->recent[oldest].tally, since);
    double seconds = demo->recent[oldest].ns ? (double)(now - demo->recent[oldest].ns) / 1e9
                                             : elapsed(demo);
    if (!demo->recent[newest].ns || now - demo->recent[newest].ns > 250 * MILLISECOND) {
        demo->recent[demo->recent_next].ns = now;
        demo->recent[demo->recent_next].tally = *total;
        demo->recent_next = (demo->recent_next + 1) % RECENT_COUNT;
    }
    return seconds > 0.01 ? seconds : 0.01;
}

/* ---- A terminal ---- */

static const char *style(const struct demo *demo, const char *code)
{
    return demo->color ? code : "";
}

static void line(struct demo *demo, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void line(struct demo *demo, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("\033[K", demo->out);
    vfprintf(demo->out, format, arguments);
    va_end(arguments);
    fputc('\n', demo->out);
    demo->drawn_lines++;
}

static void erase(struct demo *demo)
{
    if (demo->drawn_lines)
        fprintf(demo->out, "\033[%uA\r\033[J", demo->drawn_lines);
    demo->drawn_lines = 0;
}

static void bar(struct demo *demo, const char *version, const char *color,
                const struct tally *since, double seconds)
{
    char rate[32], cells[BAR_COLUMNS * 3 + 1] = "";
    uint64_t calls = tally_served_by(since, version);
    uint64_t all = tally_served_by(since, "1.0.0") + tally_served_by(since, "2.0.0");
    double share = all ? (double)calls / (double)all : 0;
    int full = (int)(share * BAR_COLUMNS + 0.5);
    for (int i = 0; i < BAR_COLUMNS; i++)
        strcat(cells, i < full ? "\u2588" : "\u2591");
    line(demo, "  %s  %s%s%s %5.1f %%  %9s calls/s", version, style(demo, color), cells,
         style(demo, "\033[0m"), 100 * share,
         grouped((uint64_t)((double)calls / seconds), rate));
}

static void draw(struct demo *demo)
{
    struct tally total, since;
    char p50[32], p99[32], calls[32], translated[32], number[32];
    double seconds = recent(demo, &total, &since);
    bool good = total.failed == 0 && total.wrong == 0;
    if (demo->drawn_lines)
        fprintf(demo->out, "\033[%uA\r", demo->drawn_lines);
    demo->drawn_lines = 0;
    line(demo, "%s%5.1f s  %s%s", style(demo, "\033[1m"), elapsed(demo), demo->phase,
         style(demo, "\033[0m"));
    bar(demo, "1.0.0", "\033[34m", &since, seconds);
    bar(demo, "2.0.0", "\033[32m", &since, seconds);
    line(demo, "  latency  p50 %s  p99 %s   calls %s   translated %s",
         duration(tally_quantile_ns(&since, 0.5), p50),
         duration(tally_quantile_ns(&since, 0.99), p99), grouped(total.calls, calls),
         grouped(total.translated, translated));
    line(demo, "  %sfailed %llu   wrong %llu%s", style(demo, good ? "\033[32m" : "\033[31m"),
         (unsigned long long)total.failed, (unsigned long long)total.wrong,
         style(demo, "\033[0m"));
    if (demo->chaos)
        line(demo, "  killed: broker %u, instance %u   repeated %s   UNAVAILABLE %llu",
             demo->after.broker_kills, demo->after.instances_killed,
             grouped(total.retried, number),
             (unsigned long long)(total.unavailable_no + total.unavailable_unknown));
    fflush(demo->out);
}

/* ---- No terminal ---- */

static void print_state(struct demo *demo)
{
    struct tally total, since;
    char p50[32], p99[32], calls[32], rate[32], translated[32];
    double seconds = recent(demo, &total, &since);
    if (total.calls == 0)
        return;
    double v1 = (double)tally_served_by(&since, "1.0.0");
    double v2 = (double)tally_served_by(&since, "2.0.0");
    fprintf(demo->out,
            "%5.1f s    v2 %.1f %%  %s calls/s  p50 %s  p99 %s  calls %s  translated %s  "
            "failed %llu  wrong %llu\n",
            elapsed(demo), v1 + v2 > 0 ? 100 * v2 / (v1 + v2) : 0,
            grouped((uint64_t)((double)since.calls / seconds), rate),
            duration(tally_quantile_ns(&since, 0.5), p50),
            duration(tally_quantile_ns(&since, 0.99), p99), grouped(total.calls, calls),
            grouped(total.translated, translated), (unsigned long long)total.failed,
            (unsigned long long)total.wrong);
    fflush(demo->out);
}

static void print_event(struct demo *demo, const char *mark, const char *text)
{
    if (demo->live)
        erase(demo);
    fprintf(demo->out, "%5.1f s  %s%s\n", elapsed(demo), mark, text);
    fflush(demo->out);
    demo->next_draw_ns = 0;
}

/* ---- For the others ---- */

void display_phase(struct demo *demo, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(demo->phase, sizeof(demo->phase), format, arguments);
    va_end(arguments);
    if (!demo->live)
        print_event(demo, "", demo->phase);
    demo->next_draw_ns = demo->live ? 0 : now_ns() + 2 * SECOND;
}

void display_note(struct demo *demo, const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    print_event(demo, demo->live ? "" : "  ", text);
    demo->next_draw_ns = demo->live ? 0 : now_ns() + 2 * SECOND;
}

void display_tick(struct demo *demo)
{
    uint64_t now = now_ns();
    if (now < demo->next_draw_ns)
        return;
    if (demo->live) {
        draw(demo);
        demo->next_draw_ns = now + 125 * MILLISECOND;
    } else {
        print_state(demo);
        demo->next_draw_ns = now + 2 * SECOND;
    }
}

void display_end(struct demo *demo)
{
    if (demo->live)
        erase(demo);
    fflush(demo->out);
}
