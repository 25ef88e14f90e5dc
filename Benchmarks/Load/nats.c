#define _GNU_SOURCE
#include "nats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define lineBytesMax 4096

static void expandSubject(const Connection *connection, const char *template, char subject[128]) {
    targetExpand(template, connection->identity, subject, 128);
}

static void sendText(Engine *engine, Connection *connection, const char *text) {
    engineSendBinary(engine, connection, (const uint8_t *)text, strlen(text));
}

void natsGreet(Engine *engine, Connection *connection) {
    char subject[128], text[256];
    sendText(engine, connection, "CONNECT {\"verbose\":false,\"pedantic\":false}\r\n");
    if (connection->index != engine->overrideIndex) {
        expandSubject(connection, engine->options->natsSubscribe, subject);
        snprintf(text, sizeof text, "SUB %s 1\r\n", subject);
        sendText(engine, connection, text);
    }
    sendText(engine, connection, "PING\r\n");
}

void natsPublish(Engine *engine, Connection *connection, const uint8_t *payload, size_t length) {
    static uint8_t command[65536];
    char subject[128];
    expandSubject(connection, engine->options->natsPublish, subject);
    size_t count = (size_t)snprintf((char *)command, 256, "PUB %s %zu\r\n", subject, length);
    memcpy(command + count, payload, length);
    memcpy(command + count + length, "\r\n", 2);
    engineSendBinary(engine, connection, command, count + length + 2);
}

/// How many bytes the first command took; 0 when it is not complete.
static size_t take(Engine *engine, Connection *connection, const uint8_t *bytes, size_t count) {
    const uint8_t *end = memmem(bytes, count, "\r\n", 2);
    if (!end) {
        // INFO is the longest line that a server sends, and it is a matter of some hundred bytes.
        if (count > lineBytesMax) engine->protocolErrorCount++;
        return 0;
    }
    size_t line = (size_t)(end - bytes) + 2;
    if (line > 4 && memcmp(bytes, "MSG ", 4) == 0) {
        const uint8_t *size = memrchr(bytes, ' ', line - 2);
        size_t length = strtoul((const char *)size + 1, NULL, 10);
        if (count - line < length + 2) return 0;
        if (connection->state == stateOpen)
            engine->handlers.message(engine->context, connection, bytes + line, (uint32_t)length);
        return line + length + 2;
    }
    if (memcmp(bytes, "PONG", 4) == 0) {
        if (connection->state == stateAwaiting) engineReady(engine, connection);
    } else if (memcmp(bytes, "PING", 4) == 0) {
        sendText(engine, connection, "PONG\r\n");
    } else if (memcmp(bytes, "-ERR", 4) == 0) {
        engine->protocolErrorCount++;
    }
    return line;
}

void natsReceive(Engine *engine, Connection *connection, const uint8_t *bytes, size_t count) {
    if (connection->streamBytes) {
        if (connection->streamBytes + count > connection->streamCapacity) {
            connection->streamCapacity = connection->streamBytes + (uint32_t)count + 512;
            connection->stream = realloc(connection->stream, connection->streamCapacity);
        }
        memcpy(connection->stream + connection->streamBytes, bytes, count);
        bytes = connection->stream;
        count += connection->streamBytes;
    }
    size_t used = 0, taken;
    // A callback may have closed the connection, and with it the bytes that were kept.
    while (used < count && (taken = take(engine, connection, bytes + used, count - used))) {
        used += taken;
        if (connection->fd < 0) return;
    }
    size_t left = count - used;
    if (left > connection->streamCapacity) {
        connection->streamCapacity = (uint32_t)left + 512;
        connection->stream = realloc(connection->stream, connection->streamCapacity);
    }
    if (left) memmove(connection->stream, bytes + used, left);
    connection->streamBytes = (uint32_t)left;
}
