/*
 * Static probes (USDT): places that a tracer can look at in a running program, without which they
 * are a nop each. docs/WATCHING.md has them and their arguments.
 *
 * A probe's arguments are what lies in a register or in memory there anyway: nothing is computed
 * for it. So it may be in the path of a call. Without <sys/sdt.h> (Debian: systemtap-sdt-dev) there
 * are none, nor with PARLEY_NO_PROBES.
 */
#ifndef PARLEY_BASE_PROBES_H
#define PARLEY_BASE_PROBES_H

#if defined(__has_include) && !defined(PARLEY_NO_PROBES)
#if __has_include(<sys/sdt.h>)
#include <sys/sdt.h>
#define PARLEY_PROBES 1
#endif
#endif

#ifdef PARLEY_PROBES
#ifdef __clang__ /* what <sys/sdt.h> makes of these */
#pragma clang diagnostic ignored "-Wgnu-zero-variadic-macro-arguments"
#endif
#define PROBE2(name, a, b) DTRACE_PROBE2(parley, name, a, b)
#define PROBE3(name, a, b, c) DTRACE_PROBE3(parley, name, a, b, c)
#define PROBE4(name, a, b, c, d) DTRACE_PROBE4(parley, name, a, b, c, d)
#else
#define PROBE2(name, a, b) ((void)(a), (void)(b))
#define PROBE3(name, a, b, c) ((void)(a), (void)(b), (void)(c))
#define PROBE4(name, a, b, c, d) ((void)(a), (void)(b), (void)(c), (void)(d))
#endif

#endif
