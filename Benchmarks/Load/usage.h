// What the machine spent: the CPU of this client, of the server's processes and of one ksoftirqd,
// the idle and stolen time of all cores, and the memory of the server. Two snapshots, one before
// and one after, make a measurement.
#pragma once

#include "options.h"

typedef struct {
    int64_t nanoseconds;
    double clientSeconds;
    double serverSeconds;  // all --pid processes, without ksoftirqd
    double serverUserSeconds, serverSystemSeconds;
    double softirqSeconds;
    double busySeconds;   // of all cores, whoever used them
    double stolenSeconds;
} Usage;

typedef struct {
    uint64_t rssBytes;
    uint64_t anonymousBytes;
    uint64_t pssBytes;
} Memory;

Usage usageNow(const Options *options);
Usage usageBetween(const Usage *before, const Usage *after);
Memory memoryNow(const Options *options);
