#define _GNU_SOURCE
#define OPENSSL_SUPPRESS_DEPRECATED
#include "engine.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "frame.h"
#include "nats.h"

#define receiveBytes (256u * 1024)
#define eventCountMax 1024
#define auxiliaryMark 0xffffffffu

static uint32_t nextRandom(Engine *engine) {
    engine->random ^= engine->random << 13;
    engine->random ^= engine->random >> 17;
    return engine->random ^= engine->random << 5;
}

// A few keys are enough: what is checked is that the server answers the key it was given, and a
// SHA-1 per handshake would be this client's time.
static void prepareKeys(Engine *engine) {
    for (int index = 0; index < keyCount; index++) {
        uint8_t nonce[16], digest[20];
        for (size_t part = 0; part < sizeof nonce; part++)
            nonce[part] = (uint8_t)nextRandom(engine);
        base64Encode(engine->keys[index], nonce, sizeof nonce);
        char text[96];
        int length = snprintf(text, sizeof text, "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11",
                              engine->keys[index]);
        SHA1((const uint8_t *)text, (size_t)length, digest);
        base64Encode(engine->accepts[index], digest, sizeof digest);
    }
}

void engineStart(Engine *engine, const Options *options, uint32_t connectionCapacity,
                 Handlers handlers, void *context) {
    *engine = (Engine){.options = options, .handlers = handlers, .context = context,
                       .connectionCapacity = connectionCapacity, .auxiliary = -1,
                       .overrideIndex = UINT32_MAX};
    engine->tokens = tokenSourceMake(options->tokensFile, options->secret, options->userPrefix,
                                     options->tokenTTLSeconds);
    engine->connections = calloc(connectionCapacity, sizeof(Connection));
    for (uint32_t index = 0; index < connectionCapacity; index++) {
        engine->connections[index].index = index;
        engine->connections[index].identity = index;
        engine->connections[index].targetIndex = (uint8_t)(index % options->targetCount);
        engine->connections[index].fd = -1;
    }
    engine->dirty = malloc(connectionCapacity * sizeof(uint32_t));
    engine->receive = malloc(receiveBytes);
    engine->epoll = epoll_create1(EPOLL_CLOEXEC);
    engine->random = (uint32_t)nowNanoseconds() | 1;
    // The default slack of 50 µs would be added to every due time.
    prctl(PR_SET_TIMERSLACK, 1);
    prepareKeys(engine);
}

void engineWatchAuxiliary(Engine *engine, int fd, void (*ready)(void *context)) {
    engine->auxiliary = fd;
    engine->auxiliaryReady = ready;
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = auxiliaryMark};
    epoll_ctl(engine->epoll, EPOLL_CTL_ADD, fd, &event);
}

// MARK: closing

static void release(Engine *engine, Connection *connection) {
    if (connection->state == stateOpen) engine->openCount--;
    if (connection->state > stateUnused && connection->state < stateOpen) engine->pendingCount--;
    if (connection->fd >= 0) close(connection->fd);
    free(connection->partial);
    free(connection->out);
    free(connection->stream);
    if (connection->tls) tlsFree(connection->tls);
    // isDirty stays: the dirty list may still name this connection, and skips what is closed.
    bool isDirty = connection->isDirty;
    uint16_t closeCode = connection->closeCode;
    *connection = (Connection){.index = connection->index, .identity = connection->identity,
                               .targetIndex = connection->targetIndex, .fd = -1,
                               .state = stateClosed, .isDirty = isDirty, .closeCode = closeCode};
}

void engineAbort(Engine *engine, Connection *connection) {
    if (connection->fd >= 0) {
        struct linger linger = {.l_onoff = 1, .l_linger = 0};
        setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    }
    release(engine, connection);
}

// `status`: an HTTP status, minus errno, or 0 for a connection that was open.
static void finish(Engine *engine, Connection *connection, int status, const char *reason,
                   uint32_t reasonBytes) {
    bool wasOpening = connection->state < stateOpen;
    if (wasOpening) {
        engine->refusedCount++;
        if (engine->firstRefusal == 0) engine->firstRefusal = status;
    } else {
        engine->closedCount++;
    }
    if (connection->closeCode == 0) connection->closeCode = 1006;
    engineAbort(engine, connection);
    if (engine->handlers.closed)
        engine->handlers.closed(engine->context, connection, status, reason, reasonBytes);
}

// MARK: sending

static void watch(Engine *engine, Connection *connection, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.u32 = connection->index};
    epoll_ctl(engine->epoll, operation, connection->fd, &event);
}

static uint8_t *reserve(Connection *connection, size_t count) {
    if (connection->outStart == connection->outEnd) connection->outStart = connection->outEnd = 0;
    size_t needed = connection->outEnd + count;
    if (needed > connection->outCapacity) {
        size_t capacity = connection->outCapacity ? connection->outCapacity * 2 : 512;
        while (capacity < needed) capacity *= 2;
        connection->out = realloc(connection->out, capacity);
        connection->outCapacity = (uint32_t)capacity;
    }
    return connection->out + connection->outEnd;
}

static void markDirty(Engine *engine, Connection *connection) {
    if (connection->isDirty) return;
    connection->isDirty = true;
    engine->dirty[engine->dirtyCount++] = connection->index;
}

static void sendFrame(Engine *engine, Connection *connection, uint8_t opcode,
                      const uint8_t *payload, size_t length) {
    if (connection->fd < 0) return;
    uint8_t *destination = reserve(connection, length + frameOverheadBytesMax + 8);
    connection->outEnd +=
        (uint32_t)frameWrite(destination, opcode, payload, length, nextRandom(engine));
    markDirty(engine, connection);
}

void engineSend(Engine *engine, Connection *connection, const uint8_t *payload, size_t length) {
    if (engine->options->natsPublish) natsPublish(engine, connection, payload, length);
    else sendFrame(engine, connection, opcodeText, payload, length);
}

void engineSendBinary(Engine *engine, Connection *connection, const uint8_t *payload,
                      size_t length) {
    sendFrame(engine, connection, opcodeBinary, payload, length);
}

void engineSendClose(Engine *engine, Connection *connection, uint16_t code) {
    if (connection->state != stateOpen) return;
    uint8_t body[2] = {(uint8_t)(code >> 8), (uint8_t)code};
    sendFrame(engine, connection, opcodeClose, body, sizeof body);
    engine->openCount--;
    connection->state = stateClosing;
}

static void flush(Engine *engine, Connection *connection) {
    while (connection->outStart < connection->outEnd) {
        const uint8_t *bytes = connection->out + connection->outStart;
        size_t length = connection->outEnd - connection->outStart;
        ssize_t count = connection->tls ? tlsSend(connection->tls, bytes, length)
                                        : send(connection->fd, bytes, length,
                                               MSG_NOSIGNAL | MSG_DONTWAIT);
        engine->sendCount++;
        if (count < 0) {
            if (errno == EINTR) continue;
            // A socket that is still connecting says so with ENOTCONN or EAGAIN.
            if (errno != EAGAIN && errno != ENOTCONN) {
                // What the server said before it closed may still wait to be read: a close frame
                // with its code. Reading finds the end of the stream by itself.
                connection->outStart = connection->outEnd = 0;
                return;
            }
            if (!connection->isWriteBlocked) {
                connection->isWriteBlocked = true;
                watch(engine, connection, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            }
            return;
        }
        engine->sentBytes += (uint64_t)count;
        connection->outStart += (uint32_t)count;
    }
    if (connection->isWriteBlocked) {
        connection->isWriteBlocked = false;
        watch(engine, connection, EPOLL_CTL_MOD, EPOLLIN);
    }
}

void engineFlush(Engine *engine) {
    for (uint32_t index = 0; index < engine->dirtyCount; index++) {
        Connection *connection = &engine->connections[engine->dirty[index]];
        connection->isDirty = false;
        if (connection->fd >= 0 && !connection->isWriteBlocked) flush(engine, connection);
    }
    engine->dirtyCount = 0;
}

// MARK: connecting

static void bindSource(Engine *engine, int fd, uint32_t index) {
    if (engine->options->sourceCount < 2) return;
    int yes = 1;
    // The port is chosen by connect(), which knows the destination: each source address then
    // offers its whole range to each server.
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
    struct sockaddr_in source = {.sin_family = AF_INET};
    source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + index % engine->options->sourceCount);
    bind(fd, (struct sockaddr *)&source, sizeof source);
}

static size_t writePath(Engine *engine, const Target *target, const Connection *connection,
                        char *path, size_t capacity) {
    size_t count = targetExpand(target->path, connection->identity, path, capacity);
    if (engine->querySuffix) {
        char suffix[pathSuffixBytesMax] = "";
        engine->querySuffix(engine->context, connection->index, suffix);
        if (suffix[0])
            count += (size_t)snprintf(path + count, capacity - count, "%c%s",
                                      strchr(path, '?') ? '&' : '?', suffix);
    }
    return count;
}

static void writeRequest(Engine *engine, Connection *connection, const Target *target) {
    char token[tokenBytesMax], path[1024 + tokenBytesMax];
    tokenSourceToken(engine->tokens, connection->identity, token);
    size_t pathBytes = writePath(engine, target, connection, path, 1024);
    AuthKind auth = token[0] ? engine->options->auth : authNone;
    if (auth == authQuery)
        snprintf(path + pathBytes, sizeof path - pathBytes, "%ctoken=%s",
                 memchr(path, '?', pathBytes) ? '&' : '?', token);
    connection->acceptIndex = (uint8_t)(connection->index % keyCount);

    size_t capacity = sizeof path + sizeof token + 512;
    char *out = (char *)reserve(connection, capacity);
    int count = snprintf(
        out, capacity,
        "GET %s HTTP/1.1\r\nHost: %s:%u\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n%s%s%s\r\n",
        path, target->host, target->port, engine->keys[connection->acceptIndex],
        auth == authHeader ? "Authorization: Bearer "
                           : auth == authSubprotocol ? "Sec-WebSocket-Protocol: bearer, " : "",
        auth == authHeader || auth == authSubprotocol ? token : "",
        auth == authHeader || auth == authSubprotocol ? "\r\n" : "");
    connection->outEnd += (uint32_t)count;
}

void engineConnect(Engine *engine, uint32_t index) {
    Connection *connection = &engine->connections[index];
    const Target *target = index == engine->overrideIndex
                               ? engine->overrideTarget
                               : &engine->options->targets[connection->targetIndex];
    if (connection->fd >= 0) engineAbort(engine, connection);
    connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    connection->closeCode = 0;
    connection->state = stateConnecting;
    engine->pendingCount++;
    if (connection->fd < 0) {
        finish(engine, connection, -errno, "", 0);
        return;
    }
    int yes = 1;
    setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    bindSource(engine, connection->fd, connection->identity);

    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(target->port)};
    inet_pton(AF_INET, target->host, &address.sin_addr);
    if (connect(connection->fd, (struct sockaddr *)&address, sizeof address) != 0 &&
        errno != EINPROGRESS) {
        finish(engine, connection, -errno, "", 0);
        return;
    }
    if (target->isTLS && !(connection->tls = tlsConnect(connection->fd))) {
        finish(engine, connection, -errno, "", 0);
        return;
    }
    writeRequest(engine, connection, target);
    connection->state = stateUpgrading;
    watch(engine, connection, EPOLL_CTL_ADD, EPOLLIN);
    // On loopback the three-way handshake is over when connect() returns: the request can go at
    // once; otherwise flush() waits for EPOLLOUT.
    flush(engine, connection);
}

// MARK: receiving

static bool isReady(const Engine *engine, const uint8_t *bytes, uint32_t length) {
    char wanted[96];
    const char *await = engine->options->await;
    int count = snprintf(wanted, sizeof wanted, "\"%.80s\"", await);
    return memmem(bytes, length, wanted, (size_t)count) != NULL;
}

void engineReady(Engine *engine, Connection *connection) {
    connection->state = stateOpen;
    engine->pendingCount--;
    engine->openCount++;
    engine->openedCount++;
    if (engine->handlers.opened) engine->handlers.opened(engine->context, connection);
}

static void handleClose(Engine *engine, Connection *connection, const uint8_t *bytes,
                        uint32_t length) {
    connection->closeCode = length >= 2 ? (uint16_t)(bytes[0] << 8 | bytes[1]) : 1005;
    const char *reason = length > 2 ? (const char *)bytes + 2 : "";
    uint32_t reasonBytes = length > 2 ? length - 2 : 0;
    if (connection->state < stateOpen) {
        finish(engine, connection, connection->closeCode, reason, reasonBytes);
        return;
    }
    if (connection->state == stateOpen) {
        sendFrame(engine, connection, opcodeClose, bytes, length >= 2 ? 2 : 0);
        engine->openCount--;
    }
    // The server closes the socket first (RFC 6455, 7.1.1); what is told now is its close frame.
    connection->state = stateClosing;
    engine->closedCount++;
    if (engine->handlers.closed)
        engine->handlers.closed(engine->context, connection, 0, reason, reasonBytes);
}

static void handleFrame(Engine *engine, Connection *connection, const FrameHead *head,
                        const uint8_t *payload) {
    uint32_t length = (uint32_t)head->payloadBytes;
    if (head->isForbidden) engine->protocolErrorCount++;
    if (engine->options->natsSubscribe && head->opcode <= opcodeBinary) {
        natsReceive(engine, connection, payload, length);
        return;
    }
    switch (head->opcode) {
    case opcodeText:
    case opcodeBinary:
        if (!head->isFinal) engine->fragmentCount++;
        if (connection->state == stateOpen || connection->state == stateClosing)
            engine->handlers.message(engine->context, connection, payload, length);
        else if (isReady(engine, payload, length)) {
            // The first frame is the mode's too: it holds what a resume needs.
            engineReady(engine, connection);
            if (connection->state == stateOpen)
                engine->handlers.message(engine->context, connection, payload, length);
        }
        break;
    case opcodePing:
        sendFrame(engine, connection, opcodePong, payload, length);
        break;
    case opcodePong: break;
    case opcodeClose: handleClose(engine, connection, payload, length); break;
    case opcodeContinuation: engine->fragmentCount++; break;
    default: engine->protocolErrorCount++;
    }
}

/// How many bytes of the response were consumed; 0: not complete, or the connection is gone.
static size_t handleResponse(Engine *engine, Connection *connection, const uint8_t *bytes,
                             size_t count) {
    const uint8_t *end = memmem(bytes, count, "\r\n\r\n", 4);
    if (!end) return 0;
    size_t head = (size_t)(end - bytes) + 4;
    int status = count > 12 ? atoi((const char *)bytes + 9) : 0;
    if (status != 101) {
        finish(engine, connection, status ? status : 1, "", 0);
        return 0;
    }
    const char *accept = engine->accepts[connection->acceptIndex];
    if (!memmem(bytes, head, accept, strlen(accept))) {
        engine->protocolErrorCount++;
        finish(engine, connection, 1, "", 0);
        return 0;
    }
    bool isPublisher = connection->index == engine->overrideIndex;
    if (engine->options->natsSubscribe) {
        connection->state = stateAwaiting;
        natsGreet(engine, connection);
    } else if (engine->options->await && !isPublisher) {
        connection->state = stateAwaiting;
    } else {
        engineReady(engine, connection);
    }
    return head;
}

/// Returns how many bytes were consumed.
static size_t consume(Engine *engine, Connection *connection, const uint8_t *bytes, size_t count) {
    size_t used = 0;
    if (connection->state == stateUpgrading) {
        used = handleResponse(engine, connection, bytes, count);
        if (used == 0) return 0;
    }
    FrameHead head;
    while (connection->fd >= 0 && frameHeadRead(bytes + used, count - used, &head)) {
        if (count - used - head.headBytes < head.payloadBytes) break;
        handleFrame(engine, connection, &head, bytes + used + head.headBytes);
        used += head.headBytes + head.payloadBytes;
    }
    return used;
}

static void keepPartial(Engine *engine, Connection *connection, const uint8_t *bytes,
                        size_t count) {
    if (count >= receiveBytes / 2) {
        engine->protocolErrorCount++;
        finish(engine, connection, 0, "", 0);
        return;
    }
    if (count > connection->partialCapacity) {
        connection->partialCapacity = (uint32_t)count + 256;
        connection->partial = realloc(connection->partial, connection->partialCapacity);
    }
    if (count) memcpy(connection->partial, bytes, count);
    connection->partialBytes = (uint32_t)count;
}

static void receiveReady(Engine *engine, Connection *connection) {
    size_t before = connection->partialBytes;
    if (before) memcpy(engine->receive, connection->partial, before);
    uint8_t *room = engine->receive + before;
    ssize_t count = connection->tls ? tlsReceive(connection->tls, room, receiveBytes - before)
                                    : recv(connection->fd, room, receiveBytes - before, 0);
    engine->receiveCount++;
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    engine->now = nowNanoseconds();
    if (count <= 0) {
        bool isExpected = connection->state == stateClosing && connection->closeCode;
        int status = connection->state < stateOpen ? (count ? -errno : 1) : 0;
        if (isExpected) release(engine, connection);
        else finish(engine, connection, status, "", 0);
        return;
    }
    engine->receivedBytes += (uint64_t)count;
    size_t total = before + (size_t)count;
    size_t used = consume(engine, connection, engine->receive, total);
    if (connection->fd >= 0 && (total != used || before))
        keepPartial(engine, connection, engine->receive + used, total - used);
}

void engineTurn(Engine *engine, int64_t until) {
    struct epoll_event events[eventCountMax];
    struct timespec timeout = {0};
    int64_t wait = engine->options->spin ? 0 : until - nowNanoseconds();
    if (wait > 0) {
        timeout.tv_sec = wait / nanosecondsPerSecond;
        timeout.tv_nsec = wait % nanosecondsPerSecond;
    }
    int count = epoll_pwait2(engine->epoll, events, eventCountMax, &timeout, NULL);
    engine->now = nowNanoseconds();
    engine->turnCount++;
    for (int index = 0; index < count; index++) {
        if (events[index].data.u32 == auxiliaryMark) {
            engine->auxiliaryReady(engine->context);
            continue;
        }
        Connection *connection = &engine->connections[events[index].data.u32];
        if (connection->fd < 0) continue;
        if (events[index].events & EPOLLOUT) flush(engine, connection);
        if (connection->fd >= 0 && events[index].events & (EPOLLIN | EPOLLERR | EPOLLHUP))
            do receiveReady(engine, connection);
            while (connection->tls && tlsHasMore(connection->tls));
    }
    engineFlush(engine);
}
