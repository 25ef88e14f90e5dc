#define _GNU_SOURCE
// Fan-out: one publisher (a Redis PUBLISH or a WebSocket connection) and many subscribers. A
// message is in flight until every subscriber has it; the loop is closed (`depth` in flight) or
// open (a fixed rate, latency from the time at which a message was due).
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "marker.h"
#include "message.h"
#include "redis.h"
#include "run.h"
#include "sequence.h"

#define slotCount 65536u  // messages in flight at most
#define publisherStream 0xfa0

typedef struct {
    int64_t dueAt;
    uint32_t receivedCount;
} Slot;

typedef struct {
    Run run;
    Window window;
    Message message;
    Redis redis;
    Sequence *sequences;  // one per subscriber
    Slot *slots;
    Verdicts verdicts;
    uint64_t published, completed, skipped, closedEarly, errors;
    bool isStopping;
    int64_t lastArrival;
    Histogram latency;
} FanoutMode;

static uint32_t publisherIndex(const FanoutMode *mode) {
    return mode->run.options->connectionCount;
}

static void publish(FanoutMode *mode, int64_t dueAt) {
    const Options *options = mode->run.options;
    Engine *engine = &mode->run.engine;
    if (mode->published - mode->completed >= slotCount) {
        mode->skipped++;
        return;
    }
    mode->slots[mode->published % slotCount] = (Slot){.dueAt = dueAt};
    messageNumber(&mode->message, (uint32_t)mode->published);
    mode->published++;
    if (options->redisPort) redisPublish(&mode->redis, mode->message.bytes, mode->message.length);
    else
        engineSend(engine, &engine->connections[publisherIndex(mode)], mode->message.bytes,
                   mode->message.length);
}

static void received(void *context, Connection *connection, const uint8_t *bytes,
                     uint32_t length) {
    FanoutMode *mode = context;
    Marker marker;
    if (!markerFind(bytes, length, &connection->hint, &marker)) {
        if (memmem(bytes, length, "\"error\"", 7)) mode->errors++;
        return;
    }
    if (connection->index == publisherIndex(mode) || marker.stream != publisherStream ||
        marker.sequence >= mode->published) {
        mode->verdicts.misrouted++;
        return;
    }
    mode->lastArrival = mode->run.engine.now;
    if (!sequenceAccept(&mode->sequences[connection->index], marker.sequence, &mode->verdicts))
        return;
    Slot *slot = &mode->slots[marker.sequence % slotCount];
    if (mode->window.isOpen) histogramRecord(&mode->latency, mode->lastArrival - slot->dueAt);
    if (++slot->receivedCount < mode->run.options->connectionCount) return;
    mode->completed++;
    uint64_t wanted = mode->run.options->messageCount;
    bool isClosedLoop = mode->run.options->rate == 0;
    if (isClosedLoop && !mode->isStopping && (!wanted || mode->published < wanted))
        publish(mode, mode->lastArrival);
}

static void closed(void *context, Connection *connection, int status, const char *reason,
                   uint32_t reasonBytes) {
    (void)connection, (void)reason, (void)reasonBytes;
    if (status == 0) ((FanoutMode *)context)->closedEarly++;
}

static void redisReady(void *context) { redisReceive(&((FanoutMode *)context)->redis); }

static void prepare(FanoutMode *mode) {
    const Options *options = mode->run.options;
    if (!options->redisPort && !options->hasPublisher) {
        fprintf(stderr, "load: fanout needs a publisher: --redis or --publish-url\n");
        exit(2);
    }
    mode->sequences = calloc(options->connectionCount, sizeof(Sequence));
    mode->slots = calloc(slotCount, sizeof(Slot));
    const char *template =
        messageTemplate(options->message, options->redisPort ? "relay" : "plain");
    mode->message =
        messageMake(template, options->payloadBytes, "", 0, true, publisherStream);
    if (!mode->message.hasMarker) {
        fprintf(stderr, "load: a fanout message needs %%marker%%\n");
        exit(2);
    }
}

static void connectPublisher(FanoutMode *mode) {
    const Options *options = mode->run.options;
    Engine *engine = &mode->run.engine;
    if (options->redisPort) {
        redisConnect(&mode->redis, options->redisHost, options->redisPort, options->redisChannel,
                     mode->message.length);
        engineWatchAuxiliary(engine, mode->redis.fd, redisReady);
        return;
    }
    engine->overrideTarget = &options->publisher;
    engine->overrideIndex = publisherIndex(mode);
    engineConnect(engine, engine->overrideIndex);
    const Connection *publisher = &engine->connections[engine->overrideIndex];
    while (publisher->state != stateOpen && publisher->state != stateClosed)
        engineTurn(engine, nowNanoseconds() + 10 * nanosecondsPerMillisecond);
    if (publisher->state != stateOpen) {
        fprintf(stderr, "load: the publisher's connection was refused\n");
        exit(3);
    }
}

static void turn(FanoutMode *mode, int64_t until) {
    engineTurn(&mode->run.engine, until);
    if (mode->run.options->redisPort) redisFlush(&mode->redis);
}

/// Publishes until the window is over, the messages are used up or nothing arrives any more.
static void drive(FanoutMode *mode) {
    const Options *options = mode->run.options;
    Engine *engine = &mode->run.engine;
    int64_t start = engine->now = mode->lastArrival = nowNanoseconds(), now = start;
    int64_t grace = nanosecondsFromSeconds(options->graceSeconds);
    double period = options->rate > 0 ? 1e9 / options->rate : 0;
    uint64_t due = 0;
    mode->window = windowStart(&mode->run, start);
    if (period == 0)
        for (uint32_t count = 0; count < options->depth; count++) publish(mode, start);
    engineFlush(engine);
    if (options->redisPort) redisFlush(&mode->redis);

    while (!mode->closedEarly && now - mode->lastArrival < grace) {
        int64_t until = now + 10 * nanosecondsPerMillisecond;
        if (period > 0) {
            now = nowNanoseconds();
            while (start + (int64_t)((double)due * period) <= now)
                publish(mode, start + (int64_t)((double)due++ * period));
            engineFlush(engine);
            if (options->redisPort) redisFlush(&mode->redis);
            until = start + (int64_t)((double)due * period);
        }
        turn(mode, until);
        now = engine->now;
        bool isDone = options->messageCount && mode->published >= options->messageCount;
        if (windowPassed(&mode->window, &mode->run, mode->verdicts.delivered, now) || isDone) break;
    }
    windowClose(&mode->window, &mode->run, mode->verdicts.delivered);
    mode->isStopping = true;
    while (mode->completed < mode->published && !mode->closedEarly &&
           engine->now - mode->lastArrival < grace)
        turn(mode, nowNanoseconds() + 10 * nanosecondsPerMillisecond);
    // A second copy of the last message would come after it: leave it the time to.
    int64_t quietUntil = nowNanoseconds() + 100 * nanosecondsPerMillisecond;
    while (nowNanoseconds() < quietUntil) turn(mode, quietUntil);
}

int runFanout(const Options *options) {
    static FanoutMode mode;
    mode.run.options = options;
    prepare(&mode);
    engineStart(&mode.run.engine, options, options->connectionCount + 1,
                (Handlers){.message = received, .closed = closed}, &mode);
    runConnectAll(&mode.run, options->connectionCount, false);
    connectPublisher(&mode);
    drive(&mode);

    Report *report = &mode.run.report;
    const Usage *usage = &mode.window.difference;
    double seconds = (double)usage->nanoseconds / 1e9;
    uint64_t expected = mode.published * options->connectionCount;
    runReportHead(&mode.run);
    reportText(report, "publisher", options->redisPort ? "redis" : "websocket");
    if (options->rate > 0) reportNumber(report, "ratePerSecond", options->rate);
    else reportCount(report, "depth", options->depth);
    reportCount(report, "payloadBytes", mode.message.length);
    reportNumber(report, "deliveriesPerSecond",
                 seconds > 0 ? (double)mode.window.count / seconds : 0);
    reportUsage(report, options, usage, mode.window.count);
    reportLatency(report, &mode.latency);
    reportMemory(report, options, &mode.run.memoryIdle, &mode.run.memoryBaseline,
                 mode.run.memoryDifference);
    reportCount(report, "published", mode.published);
    reportCount(report, "delivered", mode.verdicts.delivered);
    if (options->redisPort) {
        reportCount(report, "redisReceivers", mode.redis.receivers);
        reportZero(report, "redisErrors", mode.redis.errors);
    }
    reportZero(report, "lost", expected - mode.verdicts.delivered);
    reportZero(report, "duplicated", mode.verdicts.duplicated);
    reportZero(report, "outOfOrder", mode.verdicts.outOfOrder);
    reportZero(report, "misrouted", mode.verdicts.misrouted);
    reportZero(report, "errorFrames", mode.errors);
    reportZero(report, "notPublishedInTime", mode.skipped);
    reportZero(report, "closedEarly", mode.closedEarly);
    return runReportTail(&mode.run);
}
