/*
 * Errors.
 *
 * A function returns one int: 0; -errno, which callers forward unchanged; or a positive ROOM_E_X,
 * a documented condition that the caller handles and never forwards. Where a person will read of
 * it, the function also takes a `struct error_text` and says what happened, to what, and what to
 * do about it.
 */
#ifndef PARLEY_BASE_ERROR_H
#define PARLEY_BASE_ERROR_H

#define ERROR_TEXT_BYTES_MAX 1024

struct error_text {
    char text[ERROR_TEXT_BYTES_MAX]; /* NUL-terminated, cut at the limit */
};

/**
 * error_set() - describe a failure and pass its code through
 * @error: where to write, or NULL
 * @code:  what to return
 *
 * Meant for `return error_set(error, -EINVAL, "...", ...);`.
 * Return: @code.
 */
int error_set(struct error_text *error, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "PREFIX: " before what @error says already. Returns @code. */
int error_prefix(struct error_text *error, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
