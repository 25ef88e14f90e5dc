// Connects per second: every connection is a new user with a token of its own, and is closed after
// its first frame (or its 101, where nothing is awaited).
#include <stdlib.h>

#include "clock.h"
#include "run.h"

typedef struct {
    Run run;
    Window window;
    int64_t *startedAt;    // by slot
    uint32_t *freeSlots;
    uint32_t freeCount;
    uint64_t begun, opened, refused, closed;
    Histogram latency;
} ConnectMode;

static void finished(ConnectMode *mode, const Connection *connection) {
    mode->freeSlots[mode->freeCount++] = connection->index;
}

static void opened(void *context, Connection *connection) {
    ConnectMode *mode = context;
    mode->opened++;
    if (mode->window.isOpen)
        histogramRecord(&mode->latency,
                        mode->run.engine.now - mode->startedAt[connection->index]);
    if (mode->run.options->closeByFrame) {
        engineSendClose(&mode->run.engine, connection, 1000);
        return;
    }
    engineAbort(&mode->run.engine, connection);
    finished(mode, connection);
}

static void received(void *context, Connection *connection, const uint8_t *bytes,
                     uint32_t length) {
    (void)context, (void)connection, (void)bytes, (void)length;
}

static void closed(void *context, Connection *connection, int status, const char *reason,
                   uint32_t reasonBytes) {
    (void)reason, (void)reasonBytes;
    ConnectMode *mode = context;
    if (status) mode->refused++;
    else mode->closed++;
    finished(mode, connection);
}

static void begin(ConnectMode *mode, int64_t now) {
    uint32_t slot = mode->freeSlots[--mode->freeCount];
    Connection *connection = &mode->run.engine.connections[slot];
    connection->identity = (uint32_t)mode->begun++;
    connection->targetIndex = (uint8_t)(connection->identity % mode->run.options->targetCount);
    mode->startedAt[slot] = now;
    engineConnect(&mode->run.engine, slot);
}

int runConnect(const Options *options) {
    static ConnectMode mode;
    mode.run.options = options;
    Engine *engine = &mode.run.engine;
    uint32_t slotCount = options->connectConcurrency;
    engineStart(engine, options, slotCount,
                (Handlers){.opened = opened, .message = received, .closed = closed}, &mode);
    mode.startedAt = calloc(slotCount, sizeof(int64_t));
    mode.freeSlots = calloc(slotCount, sizeof(uint32_t));
    for (uint32_t index = 0; index < slotCount; index++)
        mode.freeSlots[mode.freeCount++] = slotCount - 1 - index;

    int64_t start = nowNanoseconds(), now = start, lastOpened = start;
    uint64_t openedBefore = 0;
    mode.window = windowStart(&mode.run, start);
    for (;;) {
        double allowed = options->connectRate > 0
                             ? options->connectRate * (double)(now - start) / 1e9 + 1
                             : 1e18;
        while (mode.freeCount && (double)mode.begun < allowed &&
               (!options->messageCount || mode.begun < options->messageCount) && !mode.refused)
            begin(&mode, now);
        engineTurn(engine, now + nanosecondsPerMillisecond);
        now = engine->now;
        if (mode.opened > openedBefore) lastOpened = now;
        openedBefore = mode.opened;
        bool isDone = (options->messageCount && mode.opened >= options->messageCount) ||
                      mode.refused ||
                      now - lastOpened > nanosecondsFromSeconds(options->graceSeconds);
        if (windowPassed(&mode.window, &mode.run, mode.opened, now) || isDone) break;
    }
    windowClose(&mode.window, &mode.run, mode.opened);
    // What is under way must still succeed.
    int64_t graceUntil = now + nanosecondsFromSeconds(options->graceSeconds);
    while (mode.freeCount < slotCount && now < graceUntil) {
        engineTurn(engine, now + nanosecondsPerMillisecond);
        now = engine->now;
    }

    Report *report = &mode.run.report;
    const Usage *usage = &mode.window.difference;
    double seconds = (double)usage->nanoseconds / 1e9;
    reportText(report, "mode", options->mode);
    if (options->label) reportText(report, "label", options->label);
    reportNumber(report, "connectsPerSecond",
                 seconds > 0 ? (double)mode.window.count / seconds : 0);
    reportUsage(report, options, usage, mode.window.count);
    reportLatency(report, &mode.latency);
    reportCount(report, "begun", mode.begun);
    reportCount(report, "opened", mode.opened);
    reportZero(report, "refused", mode.refused);
    if (mode.refused) reportNumber(report, "firstRefusal", engine->firstRefusal);
    reportZero(report, "unanswered", mode.begun - mode.opened - mode.refused);
    return runReportTail(&mode.run);
}
