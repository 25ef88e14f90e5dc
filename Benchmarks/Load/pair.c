// User to user: closed loop (each connection keeps `depth` messages under way to its partner) or
// open loop (a fixed rate over all senders in turn, latency from the due time).
#include <stdlib.h>

#include "clock.h"
#include "traffic.h"

typedef struct {
    Run run;
    Window window;
    Traffic traffic;
    uint64_t closedEarly;
    bool isStopping;
} PairMode;

static void received(void *context, Connection *connection, const uint8_t *bytes,
                     uint32_t length) {
    PairMode *mode = context;
    const Options *options = mode->run.options;
    if (trafficReceive(&mode->traffic, connection, bytes, length) != arrivalDelivery) return;
    bool isMore = !options->messageCount || mode->traffic.sent < options->messageCount;
    if (options->rate == 0 && !mode->isStopping && isMore)
        trafficSend(&mode->traffic, trafficPartner(connection->index), mode->run.engine.now);
}

static void closed(void *context, Connection *connection, int status, const char *reason,
                   uint32_t reasonBytes) {
    (void)connection, (void)reason, (void)reasonBytes;
    if (status == 0) ((PairMode *)context)->closedEarly++;
}

static void startClosedLoop(PairMode *mode) {
    const Options *options = mode->run.options;
    for (uint32_t index = 0; index < options->connectionCount; index++)
        for (uint32_t count = 0; count < options->depth; count++)
            trafficSend(&mode->traffic, index, mode->run.engine.now);
    engineFlush(&mode->run.engine);
}

static void drive(PairMode *mode) {
    const Options *options = mode->run.options;
    Engine *engine = &mode->run.engine;
    Traffic *traffic = &mode->traffic;
    int64_t start = engine->now = traffic->lastArrival = nowNanoseconds(), now = start;
    int64_t grace = nanosecondsFromSeconds(options->graceSeconds);
    double period = options->rate > 0 ? 1e9 / options->rate : 0;
    uint64_t due = 0;
    mode->window = windowStart(&mode->run, start);
    traffic->recordFrom = mode->window.opensAt;
    if (period == 0) startClosedLoop(mode);

    while (!mode->closedEarly && now - traffic->lastArrival < grace) {
        int64_t until = now + 10 * nanosecondsPerMillisecond;
        if (period > 0) {
            now = nowNanoseconds();
            for (int64_t dueAt; (dueAt = start + (int64_t)((double)due * period)) <= now; due++)
                trafficSend(traffic, (uint32_t)(due % options->connectionCount), dueAt);
            engineFlush(engine);
            until = start + (int64_t)((double)due * period);
        }
        engineTurn(engine, until);
        now = engine->now;
        bool isDone = options->messageCount && traffic->sent >= options->messageCount;
        if (windowPassed(&mode->window, &mode->run, traffic->deliveries.delivered, now) || isDone)
            break;
    }
    windowClose(&mode->window, &mode->run, traffic->deliveries.delivered);
    mode->isStopping = true;
    while (traffic->deliveries.delivered < traffic->sent && !mode->closedEarly &&
           engine->now - traffic->lastArrival < grace)
        engineTurn(engine, nowNanoseconds() + 10 * nanosecondsPerMillisecond);
    int64_t quietUntil = nowNanoseconds() + 100 * nanosecondsPerMillisecond;
    while (nowNanoseconds() < quietUntil) engineTurn(engine, quietUntil);
}

int runPair(const Options *options) {
    static PairMode mode;
    mode.run.options = options;
    engineStart(&mode.run.engine, options, options->connectionCount,
                (Handlers){.message = received, .closed = closed}, &mode);
    trafficPrepare(&mode.traffic, &mode.run, options->rate > 0 ? 1024 : options->depth, false);
    runConnectAll(&mode.run, options->connectionCount, false);
    drive(&mode);

    Report *report = &mode.run.report;
    const Usage *usage = &mode.window.difference;
    const Traffic *traffic = &mode.traffic;
    double seconds = (double)usage->nanoseconds / 1e9;
    runReportHead(&mode.run);
    if (options->rate > 0) reportNumber(report, "ratePerSecond", options->rate);
    else reportCount(report, "depth", options->depth);
    reportCount(report, "payloadBytes", traffic->streams[0].messages[0].length);
    reportNumber(report, "messagesPerSecond",
                 seconds > 0 ? (double)mode.window.count / seconds : 0);
    reportUsage(report, options, usage, mode.window.count);
    reportLatency(report, &traffic->latency);
    reportMemory(report, options, &mode.run.memoryIdle, &mode.run.memoryBaseline,
                 mode.run.memoryDifference);
    reportCount(report, "sent", traffic->sent);
    reportCount(report, "delivered", traffic->deliveries.delivered);
    reportCount(report, "confirmed", traffic->confirmations.delivered);
    reportZero(report, "lost", traffic->sent - traffic->deliveries.delivered);
    // Where one message was confirmed, all must be.
    reportZero(report, "unconfirmed",
               traffic->confirmations.delivered ? traffic->sent - traffic->confirmations.delivered
                                                : 0);
    reportZero(report, "duplicated",
               traffic->deliveries.duplicated + traffic->confirmations.duplicated);
    reportZero(report, "outOfOrder",
               traffic->deliveries.outOfOrder + traffic->confirmations.outOfOrder);
    reportZero(report, "misrouted",
               traffic->deliveries.misrouted + traffic->confirmations.misrouted);
    reportZero(report, "errorFrames", traffic->errors);
    if (traffic->errors) reportText(report, "firstError", traffic->firstError);
    reportCount(report, "otherFrames", traffic->others);
    reportZero(report, "notSentInTime", traffic->skipped);
    reportZero(report, "closedEarly", mode.closedEarly);
    return runReportTail(&mode.run);
}
