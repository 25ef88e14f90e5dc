#define _GNU_SOURCE
#include "traffic.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "marker.h"

void trafficPrepare(Traffic *traffic, Run *run, uint32_t ringCount, bool keepsNumbers) {
    const Options *options = run->options;
    const char *template = messageTemplate(options->message, "typing");
    traffic->run = run;
    traffic->streamCount = options->connectionCount;
    traffic->hasFlag = messageHasFlag(template);
    traffic->keepsNumbers = keepsNumbers && !traffic->hasFlag;
    traffic->streams = calloc(traffic->streamCount, sizeof(Stream));
    uint32_t rounded = 1;
    while (rounded < ringCount) rounded *= 2;
    traffic->ringMask = rounded - 1;
    if (options->connectionCount % 2) {
        fprintf(stderr, "load: --conns must be even, connections send to each other in pairs\n");
        exit(2);
    }

    for (uint32_t index = 0; index < traffic->streamCount; index++) {
        Stream *stream = &traffic->streams[index];
        char user[userBytesMax], partner[userBytesMax];
        tokenSourceUser(run->engine.tokens, index, user);
        tokenSourceUser(run->engine.tokens, trafficPartner(index), partner);
        for (int flag = 0; flag <= traffic->hasFlag; flag++)
            stream->messages[flag] =
                messageMake(template, options->payloadBytes, partner, trafficPartner(index),
                            flag == 0, index);
        stream->senderTextBytes =
            (uint32_t)snprintf(stream->senderText, sizeof stream->senderText, "\"%s\"", user);
        stream->sentAt = calloc(rounded, sizeof(int64_t));
    }
    if (!traffic->hasFlag && !traffic->streams[0].messages[0].hasMarker) {
        fprintf(stderr, "load: the message needs %%marker%% or %%flag%%\n");
        exit(2);
    }
}

static void growBits(Stream *stream) {
    uint32_t old = stream->bitCapacity;
    stream->bitCapacity = old ? old * 2 : 64;
    uint64_t **all[] = {&stream->accepted, &stream->arrived};
    for (int index = 0; index < 2; index++) {
        *all[index] = realloc(*all[index], stream->bitCapacity / 8);
        memset((uint8_t *)*all[index] + old / 8, 0, (stream->bitCapacity - old) / 8);
    }
}

bool trafficSend(Traffic *traffic, uint32_t sender, int64_t dueAt) {
    Stream *stream = &traffic->streams[sender];
    Connection *connection = &traffic->run->engine.connections[sender];
    if (connection->state != stateOpen) return false;
    if (!traffic->keepsNumbers && stream->sent - stream->received.next > traffic->ringMask) {
        traffic->skipped++;
        return false;
    }
    if (traffic->keepsNumbers && stream->sent >= stream->bitCapacity) growBits(stream);
    Message *message = &stream->messages[traffic->hasFlag ? stream->sent & 1 : 0];
    messageNumber(message, stream->sent);
    stream->sentAt[stream->sent & traffic->ringMask] = dueAt;
    stream->sent++;
    traffic->sent++;
    engineSend(&traffic->run->engine, connection, message->bytes, message->length);
    return true;
}

static void setBit(uint64_t *bits, uint32_t number) { bits[number / 64] |= 1ULL << (number % 64); }

static void recordDelivery(Traffic *traffic, Stream *stream, uint32_t number) {
    int64_t now = traffic->run->engine.now;
    int64_t dueAt = stream->sentAt[number & traffic->ringMask];
    // Older than the ring: its due time is gone (it was resumed after a long absence).
    bool isKnown = stream->sent - number <= traffic->ringMask + 1;
    traffic->lastArrival = now;
    if (traffic->keepsNumbers) setBit(stream->arrived, number);
    if (isKnown && traffic->recordFrom && dueAt >= traffic->recordFrom)
        histogramRecord(&traffic->latency, now - dueAt);
}

static Arrival receiveMarked(Traffic *traffic, Connection *connection, Marker marker) {
    if (marker.stream == connection->index) {
        Stream *stream = &traffic->streams[connection->index];
        if (marker.sequence >= stream->sent) {
            traffic->confirmations.misrouted++;
            return arrivalNone;
        }
        if (!sequenceAccept(&stream->confirmed, marker.sequence, &traffic->confirmations))
            return arrivalNone;
        if (traffic->keepsNumbers) setBit(stream->accepted, marker.sequence);
        return arrivalConfirmation;
    }
    if (marker.stream != trafficPartner(connection->index) ||
        marker.sequence >= traffic->streams[marker.stream].sent) {
        traffic->deliveries.misrouted++;
        return arrivalNone;
    }
    Stream *stream = &traffic->streams[marker.stream];
    if (!sequenceAccept(&stream->received, marker.sequence, &traffic->deliveries))
        return arrivalNone;
    recordDelivery(traffic, stream, marker.sequence);
    return arrivalDelivery;
}

static Arrival receiveFlagged(Traffic *traffic, Connection *connection, const uint8_t *bytes,
                              uint32_t length, uint32_t flagOffset) {
    Stream *stream = &traffic->streams[trafficPartner(connection->index)];
    uint32_t hint = stream->senderHint;
    if (hint + stream->senderTextBytes > length ||
        memcmp(bytes + hint, stream->senderText, stream->senderTextBytes) != 0) {
        const uint8_t *found = memmem(bytes, length, stream->senderText, stream->senderTextBytes);
        if (!found) {
            traffic->deliveries.misrouted++;
            return arrivalNone;
        }
        stream->senderHint = (uint32_t)(found - bytes);
    }
    uint32_t number = stream->received.next;
    if (number >= stream->sent) {
        traffic->deliveries.duplicated++;
        return arrivalNone;
    }
    // One bit of sequence number: a gap or a copy breaks the alternation, and the counts at the
    // end tell which of the two it was.
    bool isFlagSet = bytes[flagOffset] == 't';
    if (isFlagSet != (number % 2 == 0)) {
        traffic->deliveries.outOfOrder++;
        return arrivalNone;
    }
    stream->received.next++;
    traffic->deliveries.delivered++;
    recordDelivery(traffic, stream, number);
    return arrivalDelivery;
}

static const char flagText[] = "\"isTyping\":";
#define flagTextBytes (sizeof flagText - 1)

static bool findFlag(const uint8_t *bytes, uint32_t length, uint32_t *hint) {
    if (*hint + flagTextBytes < length && memcmp(bytes + *hint, flagText, flagTextBytes) == 0)
        return true;
    const uint8_t *found = memmem(bytes, length, flagText, flagTextBytes);
    if (!found) return false;
    *hint = (uint32_t)(found - bytes);
    return true;
}

Arrival trafficReceive(Traffic *traffic, Connection *connection, const uint8_t *bytes,
                       uint32_t length) {
    if (traffic->hasFlag) {
        if (findFlag(bytes, length, &connection->hint))
            return receiveFlagged(traffic, connection, bytes, length,
                                  connection->hint + (uint32_t)flagTextBytes);
    } else {
        Marker marker;
        if (markerFind(bytes, length, &connection->hint, &marker))
            return receiveMarked(traffic, connection, marker);
    }
    if (memmem(bytes, length, "\"error\"", 7)) {
        if (traffic->errors++ == 0)
            snprintf(traffic->firstError, sizeof traffic->firstError, "%.*s", (int)length, bytes);
    } else {
        traffic->others++;
    }
    return arrivalNone;
}
