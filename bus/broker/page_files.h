/* The page's files, as bytes that meson made of bus/broker/page. For page.c alone. */
#ifndef PARLEY_BROKER_PAGE_FILES_H
#define PARLEY_BROKER_PAGE_FILES_H

#include <stddef.h>
#include <stdint.h>

struct page_file {
    const char *path, *type;
    const uint8_t *data;
    size_t bytes;
};

static const uint8_t page_index_html[] = {
#include "page_index_html.inc"
};
static const uint8_t page_page_css[] = {
#include "page_page_css.inc"
};
static const uint8_t page_page_js[] = {
#include "page_page_js.inc"
};
static const uint8_t page_model_js[] = {
#include "page_model_js.inc"
};
static const uint8_t page_draw_js[] = {
#include "page_draw_js.inc"
};
static const uint8_t page_card_js[] = {
#include "page_card_js.inc"
};
static const uint8_t page_rollout_js[] = {
#include "page_rollout_js.inc"
};
static const uint8_t page_events_js[] = {
#include "page_events_js.inc"
};
static const uint8_t page_icon_svg[] = {
#include "page_icon_svg.inc"
};
static const uint8_t page_chart_js[] = {
#include "page_chart_js.inc"
};

#define PAGE_TYPE_SCRIPT "text/javascript; charset=utf-8"
#define PAGE_FILE(path, type, name)                                                                \
    {                                                                                              \
        path, type, page_##name, sizeof(page_##name)                                               \
    }

static const struct page_file page_files[] = {
    PAGE_FILE("/", "text/html; charset=utf-8", index_html),
    PAGE_FILE("/page.css", "text/css; charset=utf-8", page_css),
    PAGE_FILE("/page.js", PAGE_TYPE_SCRIPT, page_js),
    PAGE_FILE("/model.js", PAGE_TYPE_SCRIPT, model_js),
    PAGE_FILE("/draw.js", PAGE_TYPE_SCRIPT, draw_js),
    PAGE_FILE("/card.js", PAGE_TYPE_SCRIPT, card_js),
    PAGE_FILE("/rollout.js", PAGE_TYPE_SCRIPT, rollout_js),
    PAGE_FILE("/events.js", PAGE_TYPE_SCRIPT, events_js),
    PAGE_FILE("/icon.svg", "image/svg+xml", icon_svg),
    PAGE_FILE("/chart.js", PAGE_TYPE_SCRIPT, chart_js),
};
#define PAGE_FILE_COUNT (sizeof(page_files) / sizeof(page_files[0]))

#endif
