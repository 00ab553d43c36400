/* C++ protobuf's side: the same conversions by hand, from wire bytes to wire bytes, in an arena
 * that is used again for each message. There only if a C++ compiler and libprotobuf-dev were. */
#ifndef PARLEY_BENCH_TRANSLATE_CPP_H
#define PARLEY_BENCH_TRANSLATE_CPP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Return: how long it became in @out, which has room enough; 0 if @in is no such message. */
size_t cpp_order_up(const uint8_t *in, size_t bytes, uint8_t *out);
size_t cpp_order_down(const uint8_t *in, size_t bytes, uint8_t *out);
size_t cpp_record_up(const uint8_t *in, size_t bytes, uint8_t *out);
size_t cpp_record_down(const uint8_t *in, size_t bytes, uint8_t *out);

#ifdef __cplusplus
}
#endif

#if HAVE_CPP_PEER
#define CPP(function) function
#else
#define CPP(function) NULL
#endif

#endif
