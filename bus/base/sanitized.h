/*
 * Whether this is built with a sanitizer that watches memory: then nothing is kept for later that
 * free() could have told it about.
 */
#ifndef PARLEY_BASE_SANITIZED_H
#define PARLEY_BASE_SANITIZED_H

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
    __has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

#endif
