/*
 * The terminal: ncurses, which knows what each can do, sends only what has changed (so that a slow
 * line keeps up), and puts everything back at the end.
 *
 * Without colours, or with NO_COLOR in the environment, bold and reverse do. SIGWINCH is blocked
 * but while we wait: no thread of libnng can take it, and none is lost between a look and a wait.
 * Ctrl-C is stop.c's.
 */
#include "cli/top_screen.h"

#include <errno.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NCURSES_NOMACROS
#include <curses.h>

#include "base/clock.h"

#define ESCAPE_DELAY_MS 25

struct screen {
    SCREEN *terminal;
    int input;
    bool colours, paused;
    size_t offset, line_count; /* the first line that is shown, and how many there are */
    sigset_t before, waiting;
};

static const char keys[] =
    " q quit  p pause  sort by: n name  s share  r rate  e errors  l p99  f in flight   "
    "arrows scroll";

static void block_resize(struct screen *screen)
{
    sigset_t resize;
    sigemptyset(&resize);
    sigaddset(&resize, SIGWINCH);
    (void)pthread_sigmask(SIG_BLOCK, &resize, &screen->before);
    screen->waiting = screen->before;
    (void)sigdelset(&screen->waiting, SIGWINCH);
}

static void begin_colours(struct screen *screen)
{
    const char *none = getenv("NO_COLOR");
    screen->colours = has_colors() && !(none && *none) && start_color() == OK;
    if (!screen->colours)
        return;
    (void)use_default_colors();
    (void)init_pair(TOP_GOOD, COLOR_GREEN, -1);
    (void)init_pair(TOP_BAD, COLOR_RED, -1);
    (void)init_pair(TOP_BUSY, COLOR_CYAN, -1);
}

struct screen *screen_new(struct cli *cli)
{
    struct screen *screen = text_alloc(sizeof(*screen));
    block_resize(screen);
    (void)setlocale(LC_CTYPE, ""); /* what the terminal takes for a letter */
    screen->input = fileno(cli->in);
    screen->terminal = newterm(NULL, cli->out, cli->in);
    if (!screen->terminal) {
        const char *name = getenv("TERM");
        (void)pthread_sigmask(SIG_SETMASK, &screen->before, NULL);
        free(screen);
        (void)cli_complain(cli, CLI_EXIT_TROUBLE,
                           "the terminal '%s' is not known here; --batch needs none",
                           name ? name : "");
        return NULL;
    }
    (void)cbreak();
    (void)noecho();
    (void)nonl();
    (void)keypad(stdscr, TRUE);
    (void)nodelay(stdscr, TRUE);
    (void)set_escdelay(ESCAPE_DELAY_MS);
    (void)curs_set(0);
    begin_colours(screen);
    return screen;
}

struct screen *screen_free(struct screen *screen)
{
    if (screen) {
        (void)endwin();
        delscreen(screen->terminal);
        (void)pthread_sigmask(SIG_SETMASK, &screen->before, NULL);
        free(screen);
    }
    return NULL;
}

bool screen_paused(const struct screen *screen)
{
    return screen->paused;
}

/* ---- Drawing ---- */

static attr_t attributes_of(const struct screen *screen, enum top_tone tone)
{
    if (tone == TOP_TITLE)
        return A_BOLD;
    if (tone == TOP_PLAIN)
        return A_NORMAL;
    if (screen->colours)
        return COLOR_PAIR(tone);
    return tone == TOP_BAD ? A_BOLD : A_NORMAL;
}

/* As much of it as there are columns, counted in code points. */
static void put(int row, const char *text, attr_t attributes, bool fill)
{
    size_t columns = 0, bytes = 0;
    while (text[bytes]) {
        if (((unsigned char)text[bytes] & 0xc0) != 0x80 && columns++ == (size_t)COLS)
            break;
        bytes++;
    }
    (void)attrset((int)attributes);
    (void)mvaddnstr(row, 0, text, (int)bytes);
    for (int x = getcurx(stdscr); fill && getcury(stdscr) == row && x < COLS - 1; x++)
        (void)addch(' ');
    (void)attrset(A_NORMAL);
}

/* Lines between the first and the last of the screen. */
static size_t room(void)
{
    return LINES > 2 ? (size_t)LINES - 2 : 0;
}

static void clamp(struct screen *screen)
{
    size_t most = screen->line_count > room() ? screen->line_count - room() : 0;
    if (screen->offset > most)
        screen->offset = most;
}

void screen_draw(struct screen *screen, const struct top *top)
{
    struct top_lines lines = top_body(top, TOP_EVENT_MAX);
    screen->line_count = lines.count;
    clamp(screen);
    (void)erase();
    char *head = top_head(top);
    put(0, head, A_REVERSE | (top->trouble.text[0] ? A_BOLD : A_NORMAL), true);
    free(head);
    for (size_t i = 0; i < room() && screen->offset + i < lines.count; i++) {
        const struct top_line *line = &lines.items[screen->offset + i];
        put((int)i + 1, line->text, attributes_of(screen, line->tone), false);
    }
    if (LINES > 1)
        put(LINES - 1, screen->paused ? " PAUSED: p goes on  q quit" : keys, A_REVERSE, true);
    top_lines_free(&lines);
    (void)refresh();
}

/* ---- Keys ---- */

static enum screen_wish sort_by(struct top *top, enum top_sort sort)
{
    top->sort = sort;
    return SCREEN_SORT;
}

static enum screen_wish scroll_by(struct screen *screen, long lines)
{
    if (lines < 0)
        screen->offset = (size_t)-lines < screen->offset ? screen->offset - (size_t)-lines : 0;
    else
        screen->offset += (size_t)lines;
    clamp(screen);
    return SCREEN_REDRAW;
}

static enum screen_wish on_key(struct screen *screen, struct top *top, int key)
{
    switch (key) {
    case 'q':
    case 'Q':
        return SCREEN_QUIT;
    case 'p':
    case ' ':
        screen->paused = !screen->paused;
        return SCREEN_PAUSE;
    case 'n':
        return sort_by(top, TOP_BY_NAME);
    case 's':
        return sort_by(top, TOP_BY_SHARE);
    case 'r':
        return sort_by(top, TOP_BY_RATE);
    case 'e':
        return sort_by(top, TOP_BY_ERRORS);
    case 'l':
        return sort_by(top, TOP_BY_P99);
    case 'f':
        return sort_by(top, TOP_BY_FLIGHT);
    case KEY_UP:
    case 'k':
        return scroll_by(screen, -1);
    case KEY_DOWN:
    case 'j':
        return scroll_by(screen, 1);
    case KEY_PPAGE:
        return scroll_by(screen, -(long)room());
    case KEY_NPAGE:
        return scroll_by(screen, (long)room());
    case KEY_HOME:
        screen->offset = 0;
        return SCREEN_REDRAW;
    case KEY_END:
        return scroll_by(screen, (long)screen->line_count);
    case KEY_RESIZE:
        return SCREEN_REDRAW;
    default:
        return SCREEN_NOTHING;
    }
}

enum screen_wish screen_wait(struct screen *screen, struct top *top, uint64_t ns)
{
    struct timespec time = {(time_t)(ns / NS_PER_S), (long)(ns % NS_PER_S)};
    struct pollfd fds[2] = {{.fd = screen->input, .events = POLLIN},
                            {.fd = stop_fd(), .events = POLLIN}};
    int n = ppoll(fds, 2, &time, &screen->waiting);
    if (stop_requested() || (n > 0 && (fds[0].revents & (POLLHUP | POLLERR | POLLNVAL))))
        return SCREEN_QUIT;
    return on_key(screen, top, getch());
}
