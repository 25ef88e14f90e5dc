// Latencies in a log-linear histogram: each power of two is cut into 128 equal parts, so any value
// from 1 ns to 2^44 ns (almost five hours) is kept with an error below 0.8 %, in 38 KiB, with no
// allocation and a handful of instructions per sample.
#pragma once

#include <stdint.h>

#define histogramPartBits 7
#define histogramPartCount (1u << histogramPartBits)
#define histogramExponentMax 44
#define histogramBucketCount ((histogramExponentMax - histogramPartBits + 1) * histogramPartCount)

typedef struct {
    uint64_t counts[histogramBucketCount];
    uint64_t count;
    uint64_t sum;
    uint64_t max;
} Histogram;

static inline uint32_t histogramBucket(uint64_t value) {
    if (value < histogramPartCount) return (uint32_t)value;
    uint32_t exponent = 63 - (uint32_t)__builtin_clzll(value);
    if (exponent >= histogramExponentMax) return histogramBucketCount - 1;
    uint32_t part = (uint32_t)(value >> (exponent - histogramPartBits)) - histogramPartCount;
    return (exponent - histogramPartBits + 1) * histogramPartCount + part;
}

static inline void histogramRecord(Histogram *histogram, int64_t nanoseconds) {
    uint64_t value = nanoseconds > 0 ? (uint64_t)nanoseconds : 0;
    histogram->counts[histogramBucket(value)]++;
    histogram->count++;
    histogram->sum += value;
    if (value > histogram->max) histogram->max = value;
}

/// The upper edge of the bucket that holds the given share (0 … 1) of the samples, in nanoseconds:
/// never a smaller latency than the true one, except beyond the largest sample.
uint64_t histogramPercentile(const Histogram *histogram, double share);
double histogramMean(const Histogram *histogram);
