// The result of a run: an ordered list of names and values, printed as a table or as one JSON
// object. Names are lowerCamelCase with the unit last, the same in both.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "histogram.h"
#include "options.h"
#include "sequence.h"
#include "usage.h"

#define reportEntryMax 128

typedef struct {
    char name[48];
    char json[1024];
} ReportEntry;

typedef struct {
    ReportEntry entries[reportEntryMax];
    uint32_t count;
    bool failed;
} Report;

void reportText(Report *report, const char *name, const char *value);
void reportCount(Report *report, const char *name, uint64_t value);
void reportNumber(Report *report, const char *name, double value);
/// A value that is JSON already (an array or an object).
void reportJSON(Report *report, const char *name, const char *json);
/// Counts that must be zero: anything else fails the run.
void reportZero(Report *report, const char *name, uint64_t value);
void reportLatency(Report *report, const Histogram *histogram);
/// Rates and CPU over the measured window, in which `deliveries` frames arrived.
void reportUsage(Report *report, const Options *options, const Usage *usage, uint64_t deliveries);
void reportMemory(Report *report, const Options *options, const Memory *idle,
                  const Memory *baseline, uint32_t connectionDifference);
void reportPrint(const Report *report, const Options *options);
