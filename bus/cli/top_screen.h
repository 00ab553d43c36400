/* The terminal of `parley top`: the only file that sees curses is top_screen.c. */
#ifndef PARLEY_CLI_TOP_SCREEN_H
#define PARLEY_CLI_TOP_SCREEN_H

#include "cli/top.h"

struct screen;

/* NULL: this terminal is not known, after a complaint. Signals are the caller's: stop_begin()
 * first. */
struct screen *screen_new(struct cli *cli);
struct screen *screen_free(struct screen *screen); /* the terminal is as it was; returns NULL */
void screen_draw(struct screen *screen, const struct top *top);

enum screen_wish { SCREEN_NOTHING, SCREEN_QUIT, SCREEN_SORT, SCREEN_PAUSE, SCREEN_REDRAW };
/* Waits for a key, a new size, a signal, or the time. SCREEN_SORT: top->sort is another one. */
enum screen_wish screen_wait(struct screen *screen, struct top *top, uint64_t ns);
bool screen_paused(const struct screen *screen);

#endif
