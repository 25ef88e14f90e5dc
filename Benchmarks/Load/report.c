#include "report.h"

#include <stdio.h>
#include <string.h>

static ReportEntry *add(Report *report, const char *name) {
    static ReportEntry spare;
    ReportEntry *entry =
        report->count < reportEntryMax ? &report->entries[report->count++] : &spare;
    snprintf(entry->name, sizeof entry->name, "%s", name);
    return entry;
}

void reportText(Report *report, const char *name, const char *value) {
    ReportEntry *entry = add(report, name);
    size_t out = 0;
    entry->json[out++] = '"';
    for (; *value && out < sizeof entry->json - 8; value++) {
        unsigned char byte = (unsigned char)*value;
        if (byte == '"' || byte == '\\') entry->json[out++] = '\\';
        if (byte < 0x20) out += (size_t)snprintf(entry->json + out, 7, "\\u%04x", byte);
        else entry->json[out++] = (char)byte;
    }
    entry->json[out++] = '"';
    entry->json[out] = 0;
}

void reportCount(Report *report, const char *name, uint64_t value) {
    ReportEntry *entry = add(report, name);
    snprintf(entry->json, sizeof entry->json, "%llu", (unsigned long long)value);
}

void reportNumber(Report *report, const char *name, double value) {
    ReportEntry *entry = add(report, name);
    snprintf(entry->json, sizeof entry->json, value >= 1000 ? "%.0f" : "%.3f", value);
}

void reportJSON(Report *report, const char *name, const char *json) {
    ReportEntry *entry = add(report, name);
    snprintf(entry->json, sizeof entry->json, "%s", json);
}

void reportZero(Report *report, const char *name, uint64_t value) {
    reportCount(report, name, value);
    if (value) report->failed = true;
}

void reportLatency(Report *report, const Histogram *histogram) {
    if (histogram->count == 0) return;
    reportCount(report, "latencySamples", histogram->count);
    reportNumber(report, "latencyMeanMicros", histogramMean(histogram) / 1e3);
    reportNumber(report, "latencyP50Micros", (double)histogramPercentile(histogram, 0.5) / 1e3);
    reportNumber(report, "latencyP90Micros", (double)histogramPercentile(histogram, 0.9) / 1e3);
    reportNumber(report, "latencyP99Micros", (double)histogramPercentile(histogram, 0.99) / 1e3);
    reportNumber(report, "latencyP999Micros", (double)histogramPercentile(histogram, 0.999) / 1e3);
    reportNumber(report, "latencyMaxMicros", (double)histogram->max / 1e3);
}

void reportUsage(Report *report, const Options *options, const Usage *usage, uint64_t deliveries) {
    if (usage->nanoseconds == 0) return;  // stopped in the warm-up
    double seconds = (double)usage->nanoseconds / 1e9;
    double server = usage->serverSeconds + usage->softirqSeconds;
    double others = usage->busySeconds - usage->clientSeconds - server;
    reportNumber(report, "measuredSeconds", seconds);
    reportNumber(report, "clientCPUShare", usage->clientSeconds / seconds);
    if (options->processCount == 0) return;
    reportNumber(report, "serverCPUShare", server / seconds);
    reportNumber(report, "serverUserSeconds", usage->serverUserSeconds);
    reportNumber(report, "serverSystemSeconds", usage->serverSystemSeconds);
    reportNumber(report, "ksoftirqdSeconds", usage->softirqSeconds);
    if (deliveries)
        reportNumber(report, "serverCPUMicrosPerDelivery", server / (double)deliveries * 1e6);
    // What neither we nor the server used: when it is not near zero, the run says little.
    reportNumber(report, "otherCPUShare", (others > 0 ? others : 0) / seconds);
    reportNumber(report, "stolenCPUShare", usage->stolenSeconds / seconds);
}

void reportMemory(Report *report, const Options *options, const Memory *idle,
                  const Memory *baseline, uint32_t connectionDifference) {
    if (options->processCount == 0) return;
    reportCount(report, "serverRSSBytes", idle->rssBytes);
    reportCount(report, "serverPSSBytes", idle->pssBytes);
    if (connectionDifference == 0) return;
    double count = connectionDifference;
    reportNumber(report, "bytesPerIdleConnectionPSS",
                 ((double)idle->pssBytes - (double)baseline->pssBytes) / count);
    reportNumber(report, "bytesPerIdleConnectionAnonymous",
                 ((double)idle->anonymousBytes - (double)baseline->anonymousBytes) / count);
    reportNumber(report, "bytesPerIdleConnectionRSS",
                 ((double)idle->rssBytes - (double)baseline->rssBytes) / count);
}

void reportPrint(const Report *report, const Options *options) {
    if (options->json) printf("{");
    for (uint32_t index = 0; index < report->count; index++) {
        const ReportEntry *entry = &report->entries[index];
        if (options->json) printf("%s\"%s\":%s", index ? "," : "", entry->name, entry->json);
        else {
            // A text without its quotes; whatever was escaped stays so.
            bool isText = entry->json[0] == '"';
            int length = (int)strlen(entry->json) - (isText ? 2 : 0);
            printf("  %-34s %.*s\n", entry->name, length, entry->json + isText);
        }
    }
    if (options->json) printf("}\n");
    fflush(stdout);
}
