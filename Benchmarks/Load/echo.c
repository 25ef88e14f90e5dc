#define _GNU_SOURCE
// Echo, closed loop: each connection keeps `depth` messages in flight, and each answer must be the
// very bytes of the oldest one.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "marker.h"
#include "message.h"
#include "run.h"
#include "sequence.h"

typedef struct {
    Message message;
    Sequence sequence;
    uint32_t sent;
    int64_t *sentAt;  // of the last `ringCount` messages
} Echo;

typedef struct {
    Run run;
    Window window;
    Echo *echoes;
    uint32_t ringMask;
    Verdicts verdicts;
    uint64_t sent, damaged, closedEarly;
    bool isStopping;
    int64_t lastArrival;
    Histogram latency;
} EchoMode;

static void sendNext(EchoMode *mode, Connection *connection) {
    Echo *echo = &mode->echoes[connection->index];
    messageNumber(&echo->message, echo->sent);
    echo->sentAt[echo->sent & mode->ringMask] = mode->run.engine.now;
    echo->sent++;
    mode->sent++;
    engineSend(&mode->run.engine, connection, echo->message.bytes, echo->message.length);
}

static bool isIntact(const Message *message, const uint8_t *bytes, uint32_t length) {
    uint32_t after = message->markerOffset + markerBytes;
    return length == message->length &&
           memcmp(bytes, message->bytes, message->markerOffset + 10) == 0 &&
           memcmp(bytes + after, message->bytes + after, length - after) == 0;
}

static void received(void *context, Connection *connection, const uint8_t *bytes,
                     uint32_t length) {
    EchoMode *mode = context;
    Echo *echo = &mode->echoes[connection->index];
    Marker marker;
    // A greeting without a marker is not an echo.
    if (!markerFind(bytes, length, &connection->hint, &marker)) return;
    mode->lastArrival = mode->run.engine.now;
    if (!isIntact(&echo->message, bytes, length)) {
        mode->damaged++;
        return;
    }
    if (!sequenceAccept(&echo->sequence, marker.sequence, &mode->verdicts)) return;
    if (mode->window.isOpen)
        histogramRecord(&mode->latency,
                        mode->lastArrival - echo->sentAt[marker.sequence & mode->ringMask]);
    uint64_t wanted = mode->run.options->messageCount;
    if (!mode->isStopping && (!wanted || mode->sent < wanted)) sendNext(mode, connection);
}

static void closed(void *context, Connection *connection, int status, const char *reason,
                   uint32_t reasonBytes) {
    (void)connection, (void)reason, (void)reasonBytes;
    if (status == 0) ((EchoMode *)context)->closedEarly++;
}

static void prepare(EchoMode *mode) {
    const Options *options = mode->run.options;
    uint32_t ringCount = 1;
    while (ringCount < options->depth) ringCount *= 2;
    mode->ringMask = ringCount - 1;
    mode->echoes = calloc(options->connectionCount, sizeof(Echo));
    const char *template = messageTemplate(options->message, "plain");
    for (uint32_t index = 0; index < options->connectionCount; index++) {
        Echo *echo = &mode->echoes[index];
        echo->message = messageMake(template, options->payloadBytes, "", index, true, index);
        echo->sentAt = calloc(ringCount, sizeof(int64_t));
    }
    if (!mode->echoes[0].message.hasMarker) {
        fprintf(stderr, "load: an echo message needs %%marker%%\n");
        exit(2);
    }
}

int runEcho(const Options *options) {
    static EchoMode mode;
    mode.run.options = options;
    Engine *engine = &mode.run.engine;
    prepare(&mode);
    engineStart(engine, options, options->connectionCount,
                (Handlers){.message = received, .closed = closed}, &mode);
    runConnectAll(&mode.run, options->connectionCount, false);

    int64_t now = engine->now = mode.lastArrival = nowNanoseconds();
    mode.window = windowStart(&mode.run, now);
    int64_t grace = nanosecondsFromSeconds(options->graceSeconds);
    for (uint32_t index = 0; index < options->connectionCount; index++)
        for (uint32_t count = 0; count < options->depth; count++)
            sendNext(&mode, &engine->connections[index]);
    engineFlush(engine);

    for (;;) {
        engineTurn(engine, now + 10 * nanosecondsPerMillisecond);
        now = engine->now;
        bool isDone = options->messageCount && mode.verdicts.delivered >= options->messageCount;
        if (windowPassed(&mode.window, &mode.run, mode.verdicts.delivered, now) || isDone ||
            mode.closedEarly || now - mode.lastArrival > grace)
            break;
    }
    windowClose(&mode.window, &mode.run, mode.verdicts.delivered);
    mode.isStopping = true;
    while (mode.verdicts.delivered < mode.sent && !mode.closedEarly &&
           engine->now - mode.lastArrival < grace)
        engineTurn(engine, nowNanoseconds() + 10 * nanosecondsPerMillisecond);

    Report *report = &mode.run.report;
    const Usage *usage = &mode.window.difference;
    runReportHead(&mode.run);
    reportCount(report, "depth", options->depth);
    reportCount(report, "payloadBytes", mode.echoes[0].message.length);
    reportNumber(report, "messagesPerSecond",
                 usage->nanoseconds ? (double)mode.window.count * 1e9 / (double)usage->nanoseconds
                                    : 0);
    reportUsage(report, options, usage, mode.window.count);
    reportLatency(report, &mode.latency);
    reportMemory(report, options, &mode.run.memoryIdle, &mode.run.memoryBaseline,
                 mode.run.memoryDifference);
    reportCount(report, "sent", mode.sent);
    reportCount(report, "delivered", mode.verdicts.delivered);
    reportZero(report, "lost", mode.sent - mode.verdicts.delivered);
    reportZero(report, "duplicated", mode.verdicts.duplicated);
    reportZero(report, "outOfOrder", mode.verdicts.outOfOrder);
    reportZero(report, "damaged", mode.damaged);
    reportZero(report, "closedEarly", mode.closedEarly);
    return runReportTail(&mode.run);
}
