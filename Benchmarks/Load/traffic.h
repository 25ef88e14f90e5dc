// Users in pairs: connection i sends to connection i ^ 1, and each message is followed from its
// due time to its delivery, and to the confirmation that its sender gets where the server gives
// one (`chat_message_sent`). Messages carry a marker; those that cannot (`typing`) alternate a
// flag instead, and are checked by that, by their sender's name and by their count.
#pragma once

#include "histogram.h"
#include "message.h"
#include "run.h"
#include "sequence.h"

typedef struct {
    Message messages[2];  // [1] only where the template has %flag%
    char senderText[160]; // what a flagged message must hold: the sender's name
    uint32_t senderTextBytes;
    uint32_t senderHint;
    uint32_t sent;
    Sequence received;   // of this stream, by its receiver
    Sequence confirmed;  // of this stream, by its sender
    int64_t *sentAt;     // due (open loop) or send times of the last ringCount messages
    uint64_t *accepted, *arrived;  // a bit per message, kept where loss is judged by acceptance
    uint32_t bitCapacity;
} Stream;

typedef struct {
    Run *run;
    Stream *streams;  // by sender
    uint32_t streamCount;
    uint32_t ringMask;
    bool hasFlag;
    bool keepsNumbers;
    uint64_t sent, skipped;
    Verdicts deliveries, confirmations;
    uint64_t errors, others;
    char firstError[256];
    int64_t recordFrom;  // latencies of messages due earlier belong to the warm-up
    int64_t lastArrival;
    Histogram latency;
} Traffic;

typedef enum { arrivalNone, arrivalDelivery, arrivalConfirmation } Arrival;

void trafficPrepare(Traffic *traffic, Run *run, uint32_t ringCount, bool keepsNumbers);
/// False when the sender is not open or has a full ring of messages under way.
bool trafficSend(Traffic *traffic, uint32_t sender, int64_t dueAt);
/// Judges one frame. A delivery's stream is the receiver's partner.
Arrival trafficReceive(Traffic *traffic, Connection *connection, const uint8_t *bytes,
                       uint32_t length);

static inline uint32_t trafficPartner(uint32_t index) { return index ^ 1; }
static inline bool trafficBit(const uint64_t *bits, uint32_t number) {
    return bits[number / 64] >> (number % 64) & 1;
}
