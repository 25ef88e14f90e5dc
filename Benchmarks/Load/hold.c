// Hold: many connections, a steady rate of messages between partners, and a close look at how the
// server lets go of them: close codes, the 1012 hint, and arrivals per 250 ms, so that waves show.
// Loss is judged by acceptance: a message that its sender saw confirmed must reach its receiver,
// on this connection or, with --resume, on the next one.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "traffic.h"

#define bucketNanoseconds (250 * nanosecondsPerMillisecond)
#define bucketCountMax 480
#define codeCountMax 16
#define retryMilliseconds 500
#define noConnection UINT32_MAX

// Reconnects wait in a wheel of 10 ms slots, because a drain gives thousands of them at once.
#define wheelSlotNanoseconds (10 * nanosecondsPerMillisecond)
#define wheelSlotCount 8192

typedef struct {
    char epoch[64], offset[64];
    uint32_t nextInSlot;
} ResumePoint;

typedef struct {
    Run run;
    Window window;
    Traffic traffic;
    uint64_t closes, refusals, unexpectedCloses;
    struct {
        uint16_t code;
        uint64_t count;
    } codes[codeCountMax];
    uint32_t codeCount;
    int64_t firstCloseAt, lastCloseAt;
    uint32_t closesPerBucket[bucketCountMax];
    char firstReason[128];
    uint64_t hintCount;
    int64_t hintMin, hintMax;

    ResumePoint *points;
    uint32_t wheel[wheelSlotCount];
    int64_t wheelSlot;  // the next one to look into
    uint64_t reconnects, recovered, notRecovered, replayed;
    uint32_t waiting;
    Histogram absence;
    int64_t *closedAt;
} HoldMode;

// MARK: resume points

/// Copies the string value behind `"name":"`; leaves `value` alone where there is none.
static bool readString(const uint8_t *bytes, uint32_t length, const char *name, char value[64]) {
    char wanted[32];
    int count = snprintf(wanted, sizeof wanted, "\"%s\":\"", name);
    const uint8_t *found = memmem(bytes, length, wanted, (size_t)count);
    if (!found) return false;
    const uint8_t *start = found + count;
    const uint8_t *end = memchr(start, '"', length - (size_t)(start - bytes));
    if (!end || end - start >= 64) return false;
    memcpy(value, start, (size_t)(end - start));
    value[end - start] = 0;
    return true;
}

static int64_t readNumber(const char *bytes, uint32_t length, const char *name) {
    char wanted[48];
    int count = snprintf(wanted, sizeof wanted, "\"%s\":", name);
    const char *found = memmem(bytes, length, wanted, (size_t)count);
    if (!found) return -1;
    int64_t value = 0;
    for (found += count; found < bytes + length && *found >= '0' && *found <= '9'; found++)
        value = value * 10 + (*found - '0');
    return value;
}

static void querySuffix(void *context, uint32_t index, char suffix[pathSuffixBytesMax]) {
    const ResumePoint *point = &((HoldMode *)context)->points[index];
    if (point->epoch[0])
        snprintf(suffix, pathSuffixBytesMax, "resume=%s:%s", point->epoch, point->offset);
}

/// The greeting's offset counts only for a connection that did not resume; after that, the offset
/// of the last event.
static void followOffset(HoldMode *mode, const Connection *connection, const uint8_t *bytes,
                         uint32_t length) {
    ResumePoint *point = &mode->points[connection->index];
    if (memmem(bytes, length, "\"epoch\":", 8)) {
        if (point->epoch[0]) return;
        readString(bytes, length, "epoch", point->epoch);
        readString(bytes, length, "offset", point->offset);
    } else if (memmem(bytes, length, "\"recovered\":", 12)) {
        if (memmem(bytes, length, "\"recovered\":true", 16)) mode->recovered++;
        else mode->notRecovered++;
        int64_t replayed = readNumber((const char *)bytes, length, "replayed");
        if (replayed > 0) mode->replayed += (uint64_t)replayed;
    } else {
        readString(bytes, length, "offset", point->offset);
    }
}

// MARK: reconnecting

static void reconnectLater(HoldMode *mode, uint32_t index, int64_t milliseconds) {
    int64_t at = nowNanoseconds() + milliseconds * nanosecondsPerMillisecond;
    int64_t slot = at / wheelSlotNanoseconds + 1;
    if (slot >= mode->wheelSlot + wheelSlotCount) slot = mode->wheelSlot + wheelSlotCount - 1;
    mode->points[index].nextInSlot = mode->wheel[slot % wheelSlotCount];
    mode->wheel[slot % wheelSlotCount] = index;
    mode->waiting++;
}

static void reconnectDue(HoldMode *mode, int64_t now) {
    Engine *engine = &mode->run.engine;
    for (; mode->wheelSlot <= now / wheelSlotNanoseconds; mode->wheelSlot++) {
        uint32_t index = mode->wheel[mode->wheelSlot % wheelSlotCount];
        mode->wheel[mode->wheelSlot % wheelSlotCount] = noConnection;
        while (index != noConnection) {
            uint32_t next = mode->points[index].nextInSlot;
            Connection *connection = &engine->connections[index];
            uint32_t target = connection->targetIndex + 1u;
            connection->targetIndex = (uint8_t)(target % mode->run.options->targetCount);
            mode->waiting--;
            engineConnect(engine, index);
            index = next;
        }
    }
}

// MARK: callbacks

static void received(void *context, Connection *connection, const uint8_t *bytes,
                     uint32_t length) {
    HoldMode *mode = context;
    if (mode->run.options->resume) followOffset(mode, connection, bytes, length);
    trafficReceive(&mode->traffic, connection, bytes, length);
}

static void opened(void *context, Connection *connection) {
    HoldMode *mode = context;
    if (mode->closedAt[connection->index] == 0) return;
    mode->reconnects++;
    histogramRecord(&mode->absence, mode->run.engine.now - mode->closedAt[connection->index]);
}

static void countClose(HoldMode *mode, uint16_t code) {
    uint32_t index = 0;
    while (index < mode->codeCount && mode->codes[index].code != code) index++;
    if (index == codeCountMax) return;
    if (index == mode->codeCount) mode->codes[mode->codeCount++].code = code;
    mode->codes[index].count++;
}

static void closed(void *context, Connection *connection, int status, const char *reason,
                   uint32_t reasonBytes) {
    HoldMode *mode = context;
    int64_t now = mode->run.engine.now = nowNanoseconds();
    if (status) {
        mode->refusals++;
        if (mode->closedAt[connection->index])
            reconnectLater(mode, connection->index, retryMilliseconds);
        return;
    }
    if (mode->closes++ == 0) {
        mode->firstCloseAt = now;
        snprintf(mode->firstReason, sizeof mode->firstReason, "%.*s", (int)reasonBytes, reason);
    }
    mode->lastCloseAt = now;
    mode->closedAt[connection->index] = now;
    countClose(mode, connection->closeCode);
    int64_t bucket = (now - mode->firstCloseAt) / bucketNanoseconds;
    mode->closesPerBucket[bucket < bucketCountMax ? bucket : bucketCountMax - 1]++;

    int64_t hint = readNumber(reason, reasonBytes, "reconnectAfterMs");
    if (hint >= 0) {
        if (mode->hintCount++ == 0) mode->hintMin = hint;
        if (hint < mode->hintMin) mode->hintMin = hint;
        if (hint > mode->hintMax) mode->hintMax = hint;
    }
    if (mode->run.options->resume)
        reconnectLater(mode, connection->index, hint >= 0 ? hint : retryMilliseconds);
}

// MARK: the run

static bool isSettled(const HoldMode *mode) {
    const Options *options = mode->run.options;
    const Engine *engine = &mode->run.engine;
    bool isDelivered = mode->traffic.deliveries.delivered >= mode->traffic.sent;
    if (options->expectClose && mode->closes < options->connectionCount) return false;
    if (options->resume) return mode->waiting == 0 && engine->pendingCount == 0 && isDelivered;
    return options->expectClose || isDelivered;
}

static void drive(HoldMode *mode) {
    const Options *options = mode->run.options;
    Engine *engine = &mode->run.engine;
    Traffic *traffic = &mode->traffic;
    int64_t start = engine->now = nowNanoseconds(), now = start;
    double period = options->rate > 0 ? 1e9 / options->rate : 0;
    uint64_t due = 0;
    mode->window = windowStart(&mode->run, start);
    traffic->recordFrom = mode->window.opensAt;
    for (;;) {
        int64_t until = now + 10 * nanosecondsPerMillisecond;
        if (period > 0) {
            now = nowNanoseconds();
            for (int64_t dueAt; (dueAt = start + (int64_t)((double)due * period)) <= now; due++)
                trafficSend(traffic, (uint32_t)(due % options->connectionCount), dueAt);
            engineFlush(engine);
            int64_t next = start + (int64_t)((double)due * period);
            if (next < until) until = next;
        }
        if (options->resume) reconnectDue(mode, now);
        engineTurn(engine, until);
        now = engine->now;
        bool isAllGone = !options->resume && engine->openCount == 0;
        if (windowPassed(&mode->window, &mode->run, traffic->deliveries.delivered, now) ||
            isAllGone)
            break;
    }
    windowClose(&mode->window, &mode->run, traffic->deliveries.delivered);

    int64_t graceUntil = nowNanoseconds() + nanosecondsFromSeconds(options->graceSeconds);
    while (!isSettled(mode) && now < graceUntil) {
        if (options->resume) reconnectDue(mode, now);
        engineTurn(engine, now + 10 * nanosecondsPerMillisecond);
        now = nowNanoseconds();
    }
    int64_t quietUntil = now + 200 * nanosecondsPerMillisecond;
    while (nowNanoseconds() < quietUntil) engineTurn(engine, quietUntil);
}

// MARK: the verdict

typedef struct {
    uint64_t acceptedLost;       // confirmed, and its receiver is connected: a broken promise
    uint64_t acceptedAtClosed;   // confirmed, but its receiver was closed and did not resume
    uint64_t unaccepted;         // not confirmed and not delivered
    uint64_t gaps;               // missing before a later one that arrived on the same connection
} Loss;

static Loss judge(const HoldMode *mode) {
    Loss loss = {0};
    const Traffic *traffic = &mode->traffic;
    const Engine *engine = &mode->run.engine;
    bool hasConfirmations = traffic->confirmations.delivered > 0;
    for (uint32_t sender = 0; sender < traffic->streamCount; sender++) {
        const Stream *stream = &traffic->streams[sender];
        bool isReceiverOpen = engine->connections[trafficPartner(sender)].state == stateOpen;
        bool isSenderOpen = engine->connections[sender].state == stateOpen;
        // Without confirmations, what was sent on a connection that is still open was accepted.
        bool countsAsAccepted = !hasConfirmations && isSenderOpen && !mode->closedAt[sender];
        for (uint32_t number = 0; number < stream->sent; number++) {
            bool isArrived = traffic->keepsNumbers ? trafficBit(stream->arrived, number)
                                                   : number < stream->received.next;
            if (isArrived) continue;
            bool isAccepted = hasConfirmations && traffic->keepsNumbers
                                  ? trafficBit(stream->accepted, number)
                                  : countsAsAccepted;
            if (!isAccepted) loss.unaccepted++;
            else if (isReceiverOpen) loss.acceptedLost++;
            else if (number < stream->received.next) loss.gaps++;
            else loss.acceptedAtClosed++;
        }
    }
    return loss;
}

static void reportCloses(HoldMode *mode) {
    Report *report = &mode->run.report;
    const Options *options = mode->run.options;
    reportCount(report, "closes", mode->closes);
    if (mode->closes == 0) return;
    char text[1000] = "{";
    size_t length = 1;
    for (uint32_t index = 0; index < mode->codeCount; index++)
        length += (size_t)snprintf(text + length, sizeof text - length, "%s\"%u\":%llu",
                                   index ? "," : "", mode->codes[index].code,
                                   (unsigned long long)mode->codes[index].count);
    snprintf(text + length, sizeof text - length, "}");
    reportJSON(report, "closeCodes", text);
    reportText(report, "firstCloseReason", mode->firstReason);
    reportCount(report, "closesWithHint", mode->hintCount);
    if (mode->hintCount) {
        reportCount(report, "hintMinMs", (uint64_t)mode->hintMin);
        reportCount(report, "hintMaxMs", (uint64_t)mode->hintMax);
    }
    reportNumber(report, "closesSpreadSeconds",
                 (double)(mode->lastCloseAt - mode->firstCloseAt) / 1e9);
    int64_t last = (mode->lastCloseAt - mode->firstCloseAt) / bucketNanoseconds;
    length = (size_t)snprintf(text, sizeof text, "[");
    for (int64_t bucket = 0; bucket <= last && bucket < bucketCountMax; bucket++) {
        if (length > sizeof text - 16) break;
        length += (size_t)snprintf(text + length, sizeof text - length, "%s%u", bucket ? "," : "",
                                   mode->closesPerBucket[bucket]);
    }
    snprintf(text + length, sizeof text - length, "]");
    reportJSON(report, "closesPer250Ms", text);
    if (!options->expectClose && !options->resume) reportZero(report, "closedEarly", mode->closes);
    if (options->expectClose && mode->closes < options->connectionCount)
        reportZero(report, "notClosed", options->connectionCount - mode->closes);
}

static void reportResumes(HoldMode *mode) {
    Report *report = &mode->run.report;
    reportCount(report, "reconnects", mode->reconnects);
    reportCount(report, "recovered", mode->recovered);
    reportZero(report, "notRecovered", mode->notRecovered);
    reportCount(report, "replayed", mode->replayed);
    reportZero(report, "stillDisconnected",
               mode->run.options->connectionCount - mode->run.engine.openCount);
    if (mode->absence.count == 0) return;
    reportNumber(report, "absenceP50Ms", (double)histogramPercentile(&mode->absence, 0.5) / 1e6);
    reportNumber(report, "absenceMaxMs", (double)mode->absence.max / 1e6);
}

int runHold(const Options *options) {
    static HoldMode mode;
    mode.run.options = options;
    Engine *engine = &mode.run.engine;
    Traffic *traffic = &mode.traffic;
    engineStart(engine, options, options->connectionCount,
                (Handlers){.opened = opened, .message = received, .closed = closed}, &mode);
    mode.closedAt = calloc(options->connectionCount, sizeof(int64_t));
    mode.points = calloc(options->connectionCount, sizeof(ResumePoint));
    memset(mode.wheel, 0xff, sizeof mode.wheel);
    mode.wheelSlot = nowNanoseconds() / wheelSlotNanoseconds;
    if (options->resume) engine->querySuffix = querySuffix;
    trafficPrepare(traffic, &mode.run, 64, true);
    runConnectAll(&mode.run, options->connectionCount, false);
    drive(&mode);

    Report *report = &mode.run.report;
    const Usage *usage = &mode.window.difference;
    double seconds = (double)usage->nanoseconds / 1e9;
    Loss loss = judge(&mode);
    runReportHead(&mode.run);
    reportNumber(report, "ratePerSecond", options->rate);
    reportNumber(report, "messagesPerSecond",
                 seconds > 0 ? (double)mode.window.count / seconds : 0);
    reportUsage(report, options, usage, mode.window.count);
    reportLatency(report, &traffic->latency);
    reportMemory(report, options, &mode.run.memoryIdle, &mode.run.memoryBaseline,
                 mode.run.memoryDifference);
    reportCloses(&mode);
    if (options->resume) reportResumes(&mode);
    reportCount(report, "sent", traffic->sent);
    reportCount(report, "accepted", traffic->confirmations.delivered);
    reportCount(report, "delivered", traffic->deliveries.delivered);
    reportZero(report, "acceptedLost", loss.acceptedLost);
    reportZero(report, "gaps", loss.gaps);
    reportCount(report, "acceptedForClosedReceiver", loss.acceptedAtClosed);
    reportCount(report, "notAccepted", loss.unaccepted);
    reportZero(report, "duplicated",
               traffic->deliveries.duplicated + traffic->confirmations.duplicated);
    reportZero(report, "outOfOrder",
               traffic->deliveries.outOfOrder + traffic->confirmations.outOfOrder);
    reportZero(report, "misrouted",
               traffic->deliveries.misrouted + traffic->confirmations.misrouted);
    reportZero(report, "errorFrames", traffic->errors);
    if (traffic->errors) reportText(report, "firstError", traffic->firstError);
    reportCount(report, "otherFrames", traffic->others);
    reportCount(report, "notSentInTime", traffic->skipped);
    return runReportTail(&mode.run);
}
