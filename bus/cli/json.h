/* JSON that the commands build themselves, with jansson. */
#ifndef PARLEY_CLI_JSON_H
#define PARLEY_CLI_JSON_H

#include <stdint.h>
#include <stdio.h>

#include <jansson.h>

/* 16 hexadecimal digits, as the tables show it: a 64-bit number is none that JSON can keep. */
void json_set_id(json_t *object, const char *key, uint64_t id);
/* null if there is no text, or if it is no UTF-8. */
void json_set_text(json_t *object, const char *key, const char *text);
/* One line if @indent is 0. Takes @value over. */
void json_print(FILE *out, json_t *value, unsigned indent);

#endif
