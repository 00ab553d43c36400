/* What every unit test includes first: cmocka, with what its header expects. */
#ifndef PARLEY_TESTS_SUPPORT_TEST_H
#define PARLEY_TESTS_SUPPORT_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
