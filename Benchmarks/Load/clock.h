// One clock for everything: monotonic nanoseconds, so that due times, send times and arrival times
// can be subtracted from each other.
#pragma once

#include <stdint.h>
#include <time.h>

#define nanosecondsPerSecond 1000000000LL
#define nanosecondsPerMillisecond 1000000LL

static inline int64_t nowNanoseconds(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * nanosecondsPerSecond + time.tv_nsec;
}

static inline int64_t nanosecondsFromSeconds(double seconds) { return (int64_t)(seconds * 1e9); }
