// What both floor servers share: the handshake and the frames, nothing else. No users, no JSON, no
// limits, no timers: the least that a WebSocket server can do. The path says what a connection is:
//   /echo         gets its own messages back
//   /fanout       gets what publishers send
//   /publish      is a publisher
//   /pair?id=N    gets the messages that start with ">N "
#pragma once

#define _GNU_SOURCE
#define OPENSSL_SUPPRESS_DEPRECATED
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/sha.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define connectionCountMax 32768
#define idCountMax (1u << 20)
#define headBytesMax 8192

typedef enum { kindNone, kindEcho, kindFanout, kindPublish, kindPair } Kind;

typedef struct {
    uint8_t *partial;
    uint8_t *out;
    uint32_t partialBytes;
    uint32_t outStart, outEnd, outCapacity;
    uint32_t subscriberIndex;
    uint8_t kind;
    bool isOpen, isDirty;
    bool isBlocked;  // the kernel's buffer is full, and something waits for room in it
    bool isEnded;    // io_uring: the peer is gone, the kernel still holds bytes of ours
} Connection;

// Indexed by descriptor: the kernel keeps those small and dense.
static Connection connections[connectionCountMax];
static int byID[idCountMax];  // descriptor + 1
static int subscribers[connectionCountMax];
static uint32_t subscriberCount;
static int dirty[connectionCountMax];
static uint32_t dirtyCount;

static uint8_t *batch;  // the frames that publishers sent in this turn
static size_t batchBytes, batchCapacity;

// MARK: bytes out

static inline uint8_t *reserveOut(Connection *connection, size_t count) {
    if (connection->outStart == connection->outEnd) connection->outStart = connection->outEnd = 0;
    size_t needed = connection->outEnd + count;
    if (needed > connection->outCapacity) {
        size_t capacity = needed < 256 ? 256 : needed * 2;
        connection->out = realloc(connection->out, capacity);
        connection->outCapacity = (uint32_t)capacity;
    }
    return connection->out + connection->outEnd;
}

static inline void markDirty(int fd) {
    if (connections[fd].isDirty) return;
    connections[fd].isDirty = true;
    dirty[dirtyCount++] = fd;
}

static inline void queueBytes(int fd, const void *bytes, size_t count) {
    memcpy(reserveOut(&connections[fd], count), bytes, count);
    connections[fd].outEnd += (uint32_t)count;
    markDirty(fd);
}

static inline void releaseOut(Connection *connection) {
    free(connection->out);
    connection->out = NULL;
    connection->outStart = connection->outEnd = connection->outCapacity = 0;
}

static inline size_t writeFrame(uint8_t *destination, uint8_t opcode, const uint8_t *payload,
                                size_t length) {
    size_t head = 2;
    destination[0] = 0x80 | opcode;
    if (length < 126) {
        destination[1] = (uint8_t)length;
    } else {
        destination[1] = 126;
        destination[2] = (uint8_t)(length >> 8);
        destination[3] = (uint8_t)length;
        head = 4;
    }
    memcpy(destination + head, payload, length);
    return head + length;
}

static inline void queueFrame(int fd, uint8_t opcode, const uint8_t *payload, size_t length) {
    Connection *connection = &connections[fd];
    connection->outEnd +=
        (uint32_t)writeFrame(reserveOut(connection, length + 4), opcode, payload, length);
    markDirty(fd);
}

static inline void addToBatch(uint8_t opcode, const uint8_t *payload, size_t length) {
    if (batchBytes + length + 4 > batchCapacity) {
        batchCapacity = (batchBytes + length + 4) * 2;
        batch = realloc(batch, batchCapacity);
    }
    batchBytes += writeFrame(batch + batchBytes, opcode, payload, length);
}

// MARK: handshake

static inline void base64(char *out, const uint8_t *bytes, size_t count) {
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t index = 0; index < count; index += 3) {
        uint32_t group = (uint32_t)bytes[index] << 16;
        if (index + 1 < count) group |= (uint32_t)bytes[index + 1] << 8;
        if (index + 2 < count) group |= bytes[index + 2];
        *out++ = alphabet[group >> 18 & 63];
        *out++ = alphabet[group >> 12 & 63];
        *out++ = index + 1 < count ? alphabet[group >> 6 & 63] : '=';
        *out++ = index + 2 < count ? alphabet[group & 63] : '=';
    }
    *out = 0;
}

static inline bool startsWith(const uint8_t *bytes, const char *text) {
    return strncmp((const char *)bytes, text, strlen(text)) == 0;
}

static inline void openConnection(int fd, const uint8_t *path) {
    Connection *connection = &connections[fd];
    connection->isOpen = true;
    if (startsWith(path, "/fanout")) {
        connection->kind = kindFanout;
        connection->subscriberIndex = subscriberCount;
        subscribers[subscriberCount++] = fd;
    } else if (startsWith(path, "/publish")) {
        connection->kind = kindPublish;
    } else if (startsWith(path, "/pair?id=")) {
        connection->kind = kindPair;
        uint32_t id = (uint32_t)strtoul((const char *)path + 9, NULL, 10);
        if (id < idCountMax) byID[id] = fd + 1;
    } else {
        connection->kind = kindEcho;
    }
}

/// Returns the bytes of the request's head, 0 while it is not complete, -1 when it is none.
static inline ssize_t handshake(int fd, uint8_t *bytes, size_t count) {
    uint8_t *end = memmem(bytes, count, "\r\n\r\n", 4);
    if (!end) return count > headBytesMax ? -1 : 0;
    static const char name[] = "\r\nSec-WebSocket-Key: ";
    uint8_t *key = memmem(bytes, (size_t)(end - bytes), name, sizeof name - 1);
    if (!key || !startsWith(bytes, "GET ")) return -1;
    key += sizeof name - 1;
    size_t keyBytes = strcspn((char *)key, "\r");
    if (keyBytes > 64) return -1;

    char text[128], accept[32], response[192];
    uint8_t digest[20];
    int length = snprintf(text, sizeof text, "%.*s258EAFA5-E914-47DA-95CA-C5AB0DC85B11",
                          (int)keyBytes, (char *)key);
    SHA1((const uint8_t *)text, (size_t)length, digest);
    base64(accept, digest, sizeof digest);
    length = snprintf(response, sizeof response,
                      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                      "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", accept);
    openConnection(fd, bytes + 4);
    queueBytes(fd, response, (size_t)length);
    return end + 4 - bytes;
}

// MARK: bytes in

static inline void unmask(uint8_t *bytes, size_t length, const uint8_t key[4]) {
    uint32_t narrow;
    memcpy(&narrow, key, 4);
    uint64_t wide = (uint64_t)narrow << 32 | narrow;
    size_t index = 0;
    for (; index + 8 <= length; index += 8) {
        uint64_t part;
        memcpy(&part, bytes + index, 8);
        part ^= wide;
        memcpy(bytes + index, &part, 8);
    }
    for (; index < length; index++) bytes[index] ^= key[index % 4];
}

static inline void route(int fd, uint8_t opcode, const uint8_t *payload, size_t length) {
    switch (connections[fd].kind) {
    case kindEcho: queueFrame(fd, opcode, payload, length); break;
    case kindPublish: addToBatch(opcode, payload, length); break;
    case kindPair: {
        uint32_t id = 0;
        for (size_t index = 1; index < length && payload[index] >= '0' && payload[index] <= '9';
             index++)
            id = id * 10 + (payload[index] - '0');
        if (length && payload[0] == '>' && id < idCountMax && byID[id])
            queueFrame(byID[id] - 1, opcode, payload, length);
        break;
    }
    default: break;
    }
}

/// Handles all whole frames; returns the bytes used, -1 when the connection must end.
static inline ssize_t consume(int fd, uint8_t *bytes, size_t count) {
    size_t used = 0;
    if (!connections[fd].isOpen) {
        ssize_t head = handshake(fd, bytes, count);
        if (head <= 0) return head;
        used = (size_t)head;
    }
    while (count - used >= 6) {
        uint8_t *frame = bytes + used;
        size_t length = frame[1] & 0x7f, head = 6;
        if (!(frame[1] & 0x80) || length == 127) return -1;
        if (length == 126) {
            length = (size_t)frame[2] << 8 | frame[3];
            head = 8;
        }
        if (count - used < head + length) break;
        uint8_t opcode = frame[0] & 0x0f;
        unmask(frame + head, length, frame + head - 4);
        if (opcode <= 2) route(fd, opcode, frame + head, length);
        else if (opcode == 8) queueFrame(fd, 8, frame + head, length < 2 ? 0 : 2);
        else if (opcode == 9) queueFrame(fd, 10, frame + head, length);
        used += head + length;
    }
    return (ssize_t)used;
}

static inline void keepPartial(Connection *connection, const uint8_t *bytes, size_t count) {
    if (count == 0) {
        free(connection->partial);
        connection->partial = NULL;
    } else {
        uint8_t *kept = malloc(count);
        memcpy(kept, bytes, count);
        free(connection->partial);
        connection->partial = kept;
    }
    connection->partialBytes = (uint32_t)count;
}

static inline void forget(int fd) {
    Connection *connection = &connections[fd];
    if (connection->kind == kindFanout) {
        int last = subscribers[--subscriberCount];
        subscribers[connection->subscriberIndex] = last;
        connections[last].subscriberIndex = connection->subscriberIndex;
    }
    free(connection->partial);
    free(connection->out);
    bool isDirty = connection->isDirty;  // the dirty list still names it
    *connection = (Connection){.isDirty = isDirty};
    close(fd);
}

// MARK: start

static inline int listenOn(int port) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    signal(SIGPIPE, SIG_IGN);

    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), yes = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    // Accepted sockets inherit it.
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_ANY)};
    socklen_t length = sizeof address;
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 4096) != 0) {
        perror("bind");
        exit(1);
    }
    getsockname(fd, (struct sockaddr *)&address, &length);
    printf("sockets ws://127.0.0.1:%u\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}
