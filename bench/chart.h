/*
 * Charts and the page around them, for --report DIR.
 *
 * For each chart there are two files in the folder, what gnuplot is told (with the data in it) and
 * what it drew, so that a chart can be drawn again in another way.
 */
#ifndef PARLEY_BENCH_CHART_H
#define PARLEY_BENCH_CHART_H

#include <stdio.h>

/* Makes the folder unless it is there. Return: 0, or 1, having said why. */
int chart_folder(const char *folder);
/* Return: FOLDER/NAME.ENDING, to be written; NULL, having said why. */
FILE *chart_open(const char *folder, const char *name, const char *ending);
/* Return: 0, or 1 if not all could be written. */
int chart_close(FILE *file);

/* Begins what gnuplot is told: an SVG called NAME, with a logarithmic vertical axis. */
void chart_head(FILE *file, const char *name, const char *title, int height);
/* One line for each of the @count blocks of $data, named by the block's first row. */
void chart_lines(FILE *file, int count, double point_size);

/**
 * chart_draw() - have gnuplot draw FOLDER/NAME.gp
 *
 * It has a minute; it works in the folder, by names without a path. Return: gnuplot's exit status;
 * 127 if it is not installed.
 */
int chart_draw(const char *folder, const char *name);
/* What is to be said instead of charts of which one was drawn with that status; NULL: they are
 * there. */
const char *chart_words(int status);

/* The page's beginning, up to its first paragraph. */
void chart_page(FILE *file, const char *title);

#endif
