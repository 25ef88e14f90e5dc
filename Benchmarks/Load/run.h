// What every mode shares: bringing the connections up, the warm-up and the measured window, and
// the last lines of the report.
#pragma once

#include "engine.h"
#include "report.h"
#include "usage.h"

typedef struct {
    const Options *options;
    Engine engine;
    Report report;
    int64_t startedAt;
    double connectSeconds;
    Memory memoryBaseline, memoryIdle;
    uint32_t memoryDifference;  // connections between the two
} Run;

/// The window opens after the warm-up and closes at `end`; between, `counted()` is subtracted.
typedef struct {
    int64_t opensAt, end;
    bool isOpen;
    Usage before, difference;
    uint64_t countBefore, count;
} Window;

/// Connects `count` connections and waits for all of them; reads the server's memory on the way
/// (first connections opened: baseline) and after a rest. Exits with 3 when one is refused, unless
/// refusals are allowed.
void runConnectAll(Run *run, uint32_t count, bool allowRefusals);
Window windowStart(const Run *run, int64_t now);
/// Opens the window when the warm-up is over; true when the window's end is reached.
bool windowPassed(Window *window, const Run *run, uint64_t counted, int64_t now);
void windowClose(Window *window, const Run *run, uint64_t counted);
void runReportHead(Run *run);
/// Prints, and returns the exit code.
int runReportTail(Run *run);

int runEcho(const Options *options);
int runFanout(const Options *options);
int runPair(const Options *options);
int runHold(const Options *options);
int runConnect(const Options *options);
