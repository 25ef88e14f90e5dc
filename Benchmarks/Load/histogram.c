#include "histogram.h"

static uint64_t bucketUpperEdge(uint32_t bucket) {
    if (bucket < histogramPartCount) return bucket;
    uint32_t exponent = bucket / histogramPartCount - 1 + histogramPartBits;
    uint64_t part = bucket % histogramPartCount + histogramPartCount;
    return ((part + 1) << (exponent - histogramPartBits)) - 1;
}

uint64_t histogramPercentile(const Histogram *histogram, double share) {
    if (histogram->count == 0) return 0;
    uint64_t rank = (uint64_t)(share * (double)histogram->count);
    if (rank >= histogram->count) rank = histogram->count - 1;
    uint64_t seen = 0;
    for (uint32_t bucket = 0; bucket < histogramBucketCount; bucket++) {
        seen += histogram->counts[bucket];
        if (seen <= rank) continue;
        uint64_t edge = bucketUpperEdge(bucket);
        return edge < histogram->max ? edge : histogram->max;
    }
    return histogram->max;
}

double histogramMean(const Histogram *histogram) {
    return histogram->count ? (double)histogram->sum / (double)histogram->count : 0;
}
