#include "run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"

// The first connections make the server allocate what it allocates once (pools, lazily mapped
// code, its allocator's arenas); bytes per connection are the slope after them.
// Fewer connections than that say nothing: one page more or less would be all of it.
static uint32_t baselineCount(uint32_t count) { return count >= 2000 ? 1000 : 0; }

static void rest(Run *run, double seconds) {
    int64_t until = nowNanoseconds() + nanosecondsFromSeconds(seconds);
    while (nowNanoseconds() < until) engineTurn(&run->engine, until);
}

static void failConnecting(const Run *run, uint32_t wanted) {
    const Engine *engine = &run->engine;
    int status = engine->firstRefusal;
    fprintf(stderr, "load: %llu of %u connections opened, %llu refused (first: %s %d)\n",
            (unsigned long long)engine->openedCount, wanted,
            (unsigned long long)engine->refusedCount,
            status < 0 ? strerror(-status) : status == 1 ? "closed or wrong answer"
                                                         : "HTTP status or close code", status);
    exit(3);
}

void runConnectAll(Run *run, uint32_t count, bool allowRefusals) {
    Engine *engine = &run->engine;
    const Options *options = run->options;
    run->startedAt = nowNanoseconds();
    uint32_t baseline = baselineCount(count), next = 0;
    bool isBaselineKnown = baseline == 0;
    int64_t pausedNanoseconds = 0;

    while (engine->openedCount + engine->refusedCount < count) {
        int64_t now = nowNanoseconds();
        int64_t elapsed = now - run->startedAt - pausedNanoseconds;
        double allowed = options->connectRate > 0 ? options->connectRate * (double)elapsed / 1e9 + 1
                                                  : (double)count;
        uint32_t limit = isBaselineKnown ? count : baseline;
        while (next < limit && next < allowed &&
               engine->pendingCount < options->connectConcurrency)
            engineConnect(engine, next++);
        engineTurn(engine, now + nanosecondsPerMillisecond);
        if (engine->refusedCount && !allowRefusals) failConnecting(run, count);
        if (!isBaselineKnown && engine->openedCount + engine->refusedCount == baseline) {
            int64_t pausedAt = nowNanoseconds();
            rest(run, options->idleSeconds);
            run->memoryBaseline = memoryNow(options);
            isBaselineKnown = true;
            pausedNanoseconds += nowNanoseconds() - pausedAt;
        }
    }
    run->connectSeconds = (double)(nowNanoseconds() - run->startedAt - pausedNanoseconds) / 1e9;
    rest(run, options->idleSeconds);
    run->memoryIdle = memoryNow(options);
    run->memoryDifference = baseline ? count - baseline : 0;
}

Window windowStart(const Run *run, int64_t now) {
    Window window = {.opensAt = now + nanosecondsFromSeconds(run->options->warmupSeconds)};
    window.end = window.opensAt + nanosecondsFromSeconds(run->options->seconds);
    return window;
}

bool windowPassed(Window *window, const Run *run, uint64_t counted, int64_t now) {
    if (!window->isOpen && now >= window->opensAt) {
        window->isOpen = true;
        window->before = usageNow(run->options);
        window->countBefore = counted;
    }
    return now >= window->end;
}

void windowClose(Window *window, const Run *run, uint64_t counted) {
    if (!window->isOpen) return;  // stopped in the warm-up: nothing was measured
    Usage after = usageNow(run->options);
    window->difference = usageBetween(&window->before, &after);
    window->count = counted - window->countBefore;
}

void runReportHead(Run *run) {
    const Options *options = run->options;
    Report *report = &run->report;
    reportText(report, "mode", options->mode);
    if (options->label) reportText(report, "label", options->label);
    reportCount(report, "connections", run->engine.openedCount);
    reportNumber(report, "connectSeconds", run->connectSeconds);
}

int runReportTail(Run *run) {
    const Engine *engine = &run->engine;
    Report *report = &run->report;
    reportZero(report, "protocolErrors", engine->protocolErrorCount + engine->fragmentCount);
    reportNumber(report, "framesBytesPerReceive",
                 engine->receiveCount ? (double)engine->receivedBytes / (double)engine->receiveCount
                                      : 0);
    reportText(report, "verdict", report->failed ? "FAILED" : "ok");
    reportPrint(report, run->options);
    return report->failed ? 1 : 0;
}
