/*
 * CALL_PATH: what every call runs through, on either side.
 *
 * The linker puts such functions next to each other (.text.hot), in some 32 KiB. Who calls once a
 * second finds neither the caches nor the translations of addresses as he left them, and his call
 * came through 30 pages of code on each side. docs/PERFORMANCE.md has the figures.
 */
#ifndef PARLEY_BASE_CALL_PATH_H
#define PARLEY_BASE_CALL_PATH_H

#define CALL_PATH __attribute__((hot))

#endif
