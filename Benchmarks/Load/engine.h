// The client's sockets: one epoll loop on one thread. A connection goes through connecting,
// upgrading and awaiting (its first frame) to open; a mode is told of each by callbacks, and what
// it sends during one turn leaves in one write per connection at the turn's end.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "options.h"
#include "tls.h"
#include "token.h"

typedef enum {
    stateUnused,
    stateConnecting,
    stateUpgrading,
    stateAwaiting,
    stateOpen,
    stateClosing,  // a close frame went out or came in; the socket is still there
    stateClosed,
} ConnectionState;

typedef struct Connection {
    uint32_t index;
    uint32_t identity;    // which user: the index, unless the mode says otherwise
    uint8_t targetIndex;  // which --url
    int fd;
    uint8_t state;
    bool isDirty;        // has something to send at the end of this turn
    bool isWriteBlocked; // the kernel's buffer is full: EPOLLOUT continues
    uint8_t acceptIndex; // which prepared key its handshake used
    uint16_t closeCode;  // as the server said; 1006 when it said nothing
    uint32_t hint;       // where the mode found its mark in the frame before

    uint8_t *partial;  // the start of a frame whose rest has not arrived
    uint32_t partialBytes, partialCapacity;
    uint8_t *out;
    uint32_t outStart, outEnd, outCapacity;

    TLS *tls;          // NULL: a plain socket
    uint8_t *stream;   // NATS: the start of a message whose rest is in a later frame
    uint32_t streamBytes, streamCapacity;
} Connection;

typedef struct Engine Engine;

/// A callback may send and abort, but not connect: the bytes that the engine is reading belong to
/// the connection that was there when they arrived.
typedef struct {
    void (*opened)(void *context, Connection *connection);
    void (*message)(void *context, Connection *connection, const uint8_t *bytes, uint32_t length);
    /// `status` is the HTTP status of a refused handshake, else 0; `reason` is not terminated.
    void (*closed)(void *context, Connection *connection, int status, const char *reason,
                   uint32_t reasonBytes);
} Handlers;

#define keyCount 16
#define pathSuffixBytesMax 192

struct Engine {
    const Options *options;
    TokenSource *tokens;
    Handlers handlers;
    void *context;

    Connection *connections;  // `connectionCount` of the mode, one more for a publisher
    uint32_t connectionCapacity;
    const Target *overrideTarget;  // where connection `overrideIndex` (the publisher) goes instead
    uint32_t overrideIndex;
    /// Where set: what is appended to the query of connection `index`, its resume point.
    void (*querySuffix)(void *context, uint32_t index, char suffix[pathSuffixBytesMax]);

    int epoll;
    int64_t now;  // taken after each receive
    uint8_t *receive;
    uint32_t *dirty;
    uint32_t dirtyCount;
    uint32_t random;
    char keys[keyCount][32], accepts[keyCount][32];

    int auxiliary;  // one more descriptor: the Redis publisher's
    void (*auxiliaryReady)(void *context);

    uint32_t openCount, pendingCount;  // open; on the way to it
    uint64_t openedCount, refusedCount, closedCount;  // over the engine's life
    uint64_t fragmentCount, protocolErrorCount;
    uint64_t receivedBytes, sentBytes, receiveCount, sendCount, turnCount;
    int firstRefusal;  // HTTP status, or minus errno
};

void engineStart(Engine *engine, const Options *options, uint32_t connectionCapacity,
                 Handlers handlers, void *context);
void engineConnect(Engine *engine, uint32_t index);
/// Queues one message: a text frame, or a PUB where NATS is spoken. It leaves at the end of the turn.
void engineSend(Engine *engine, Connection *connection, const uint8_t *payload, size_t length);
void engineSendBinary(Engine *engine, Connection *connection, const uint8_t *payload, size_t length);
/// What the connection waited for after the handshake has come.
void engineReady(Engine *engine, Connection *connection);
void engineSendClose(Engine *engine, Connection *connection, uint16_t code);
/// Closes with a reset, so that no TIME_WAIT holds the port. No callback follows.
void engineAbort(Engine *engine, Connection *connection);
void engineWatchAuxiliary(Engine *engine, int fd, void (*ready)(void *context));
/// Handles what is ready, waiting for it until `until` at most, and flushes.
void engineTurn(Engine *engine, int64_t until);
void engineFlush(Engine *engine);
