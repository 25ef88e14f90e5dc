// The hostile crowd: request heads that trickle in a byte a second, and devices that were connected
// and stopped reading, with a sender that gives those something to not read. It moves little itself,
// so that a run beside it measures the server and not the crowd. At the end one JSON line tells how
// long each lived.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../Load/clock.h"
#include "../Load/frame.h"
#include "../Load/token.h"

#define tickNanoseconds nanosecondsPerMillisecond
#define bodyBytesMax 60000
#define headBytesMax 4096

typedef enum { kindSlowHead, kindStopped, kindSender } Kind;

typedef struct {
    int fd;
    Kind kind;
    uint32_t index;
    bool isConnected;  // a stopped reader: its handshake was answered
    int64_t began, nextAt;
    size_t written;
} Peer;

typedef struct {
    uint64_t count;
    int64_t longest, shortest;
} Lives;

static uint16_t port;
static int loop;
static int64_t hungAfter;
static TokenSource *slowTokens, *stoppedTokens, *senderTokens;
static char head[headBytesMax];
static size_t headBytes;
static Lives slowLives, stoppedLives;
static uint32_t hungCount;
static volatile sig_atomic_t isEnding;

static void end(int number) { (void)number; isEnding = 1; }

static void fail(const char *what) {
    fprintf(stderr, "crowd: %s: %s\n", what, strerror(errno));
    exit(1);
}

static size_t writeHead(TokenSource *tokens, uint32_t index, char *into) {
    char token[tokenBytesMax];
    tokenSourceToken(tokens, index, token);
    return (size_t)snprintf(into, headBytesMax,
                            "GET /ws HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nUpgrade: websocket\r\n"
                            "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                            "Sec-WebSocket-Version: 13\r\nAuthorization: Bearer %s\r\n\r\n",
                            port, token);
}

/// From one of eight loopback addresses, so that a thousand are not one client to the limits.
static void start(Peer *peer, int64_t now, bool isWaiting) {
    peer->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (peer->fd < 0) fail("socket");
    if (peer->kind == kindStopped) {
        // Segments as on an Ethernet: with loopback's of 64 KiB the kernel gives the server a send
        // buffer of megabytes, and nothing would ever stand still.
        int bytes = 4096, segmentBytes = 1460;
        setsockopt(peer->fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
        setsockopt(peer->fd, IPPROTO_TCP, TCP_MAXSEG, &segmentBytes, sizeof segmentBytes);
    }
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000002 + peer->index % 8)};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(0x7f000001)};
    bind(peer->fd, (struct sockaddr *)&from, sizeof from);
    if (connect(peer->fd, (struct sockaddr *)&to, sizeof to)) fail("connect");
    peer->began = now;
    peer->written = 0;
    // Spread over the second.
    peer->nextAt = now + (isWaiting ? (int64_t)(peer->index % 1000) * tickNanoseconds : 0);
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.ptr = peer};
    if (epoll_ctl(loop, EPOLL_CTL_ADD, peer->fd, &event)) fail("epoll_ctl");
}

static void finish(Peer *peer, Lives *lives, int64_t now) {
    int64_t life = now - peer->began;
    if (life > lives->longest) lives->longest = life;
    if (lives->count == 0 || life < lives->shortest) lives->shortest = life;
    lives->count++;
    close(peer->fd);
    peer->fd = -1;
}

static void trickle(Peer *peer, int64_t now) {
    if (now - peer->began > hungAfter) {
        hungCount++;
        finish(peer, &slowLives, now);
        start(peer, now, false);
        return;
    }
    if (now < peer->nextAt) return;
    peer->nextAt += nanosecondsPerSecond;
    if (send(peer->fd, head + peer->written, 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1) peer->written++;
}

static void upgrade(Peer *peer, TokenSource *tokens) {
    char request[headBytesMax], answer[64] = "";
    size_t count = writeHead(tokens, peer->index, request);
    if (send(peer->fd, request, count, MSG_NOSIGNAL) != (ssize_t)count) fail("send");
    if (recv(peer->fd, answer, 12, MSG_WAITALL) != 12 || strncmp(answer, "HTTP/1.1 101", 12)) {
        fprintf(stderr, "crowd: refused: %.12s\n", answer);
        exit(1);
    }
    peer->isConnected = true;
}

static size_t bodyBytes;

/// One message to the next stopped reader that is still there.
static bool feed(Peer *sender, Peer *stopped, uint32_t count, uint32_t *next) {
    static uint8_t message[bodyBytesMax + 256], frame[bodyBytesMax + 512];
    static size_t written, length;
    if (written == length) {
        uint32_t tries = 0;
        while (tries++ < count && stopped[*next % count].fd < 0) ++*next;
        const Peer *target = &stopped[*next % count];
        if (target->fd < 0) return false;
        ++*next;
        int prefix = snprintf((char *)message, sizeof message,
                              "{\"type\":\"chat_message\",\"data\":{\"receiverId\":\"stopped%u\",\"message\":\"",
                              target->index);
        memset(message + prefix, 'x', bodyBytes);
        memcpy(message + prefix + bodyBytes, "\"}}", 3);
        length = frameWrite(frame, opcodeText, message, (size_t)prefix + bodyBytes + 3, 0x5a17c3e9);
        written = 0;
    }
    ssize_t sent = send(sender->fd, frame + written, length - written, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) written += (size_t)sent;
    return written == length;
}

static void handle(Peer *peer, uint32_t events, int64_t now) {
    static char waste[65536];
    if (peer->kind == kindStopped) {
        // Armed for nothing but its end.
        if (events & (EPOLLHUP | EPOLLERR)) finish(peer, &stoppedLives, now);
        return;
    }
    ssize_t count = recv(peer->fd, waste, sizeof waste, MSG_DONTWAIT);
    if (count > 0 || (count < 0 && errno == EAGAIN)) return;
    if (peer->kind == kindSender) {
        fprintf(stderr, "crowd: the sender was closed\n");
        exit(1);
    }
    finish(peer, &slowLives, now);
    start(peer, now, false);
}

static void print(const char *name, const Lives *lives, const char *tail) {
    printf("\"%s\":{\"closed\":%llu,\"shortestSeconds\":%.2f,\"longestSeconds\":%.2f}%s", name,
           (unsigned long long)lives->count, (double)lives->shortest / 1e9,
           (double)lives->longest / 1e9, tail);
}

int main(int argumentCount, char **arguments) {
    if (argumentCount != 8) {
        fprintf(stderr,
                "usage: crowd PORT SECRET SLOW_HEADS STOPPED_READERS MESSAGES_PER_SECOND MESSAGE_BYTES DEADLINE_SECONDS\n"
                "Runs until SIGTERM, then prints one JSON line.\n");
        return 2;
    }
    port = (uint16_t)atoi(arguments[1]);
    uint32_t slowCount = (uint32_t)atoi(arguments[3]), stoppedCount = (uint32_t)atoi(arguments[4]);
    double rate = atof(arguments[5]);
    // Past the deadline by five seconds is not lateness but a connection that nobody closes.
    bodyBytes = (size_t)atoi(arguments[6]);
    if (bodyBytes > bodyBytesMax) bodyBytes = bodyBytesMax;
    hungAfter = nanosecondsFromSeconds(atof(arguments[7]) + 5);
    signal(SIGTERM, end);
    loop = epoll_create1(EPOLL_CLOEXEC);
    stoppedTokens = tokenSourceMake(NULL, arguments[2], "stopped", 3600);
    senderTokens = tokenSourceMake(NULL, arguments[2], "sender", 3600);
    slowTokens = tokenSourceMake(NULL, arguments[2], "slow", 3600);
    headBytes = writeHead(slowTokens, 0, head);

    Peer *peers = calloc(slowCount + stoppedCount + 1, sizeof(Peer));
    Peer *stopped = peers + slowCount, *sender = stopped + stoppedCount;
    int64_t now = nowNanoseconds();
    for (uint32_t n = 0; n < stoppedCount + 1; n++) {
        Peer *peer = &stopped[n];
        *peer = (Peer){.kind = peer == sender ? kindSender : kindStopped, .index = n};
        start(peer, now, false);
        upgrade(peer, peer == sender ? senderTokens : stoppedTokens);
        struct epoll_event event = {.events = peer == sender ? EPOLLIN : 0, .data.ptr = peer};
        epoll_ctl(loop, EPOLL_CTL_MOD, peer->fd, &event);
    }
    for (uint32_t n = 0; n < slowCount; n++) {
        peers[n] = (Peer){.kind = kindSlowHead, .index = n};
        start(&peers[n], now, true);
    }
    printf("ready\n");
    fflush(stdout);

    uint32_t next = 0;
    int64_t begin = nowNanoseconds(), fed = 0;
    while (!isEnding) {
        struct epoll_event events[256];
        // A turn a tick: with longer ones what is due would come in bursts, which no crowd of strangers does.
        int count = epoll_wait(loop, events, 256, 1);
        now = nowNanoseconds();
        for (int index = 0; index < count; index++) handle(events[index].data.ptr, events[index].events, now);
        for (uint32_t n = 0; n < slowCount; n++) trickle(&peers[n], now);
        while (stoppedCount && fed < (int64_t)((double)(now - begin) / 1e9 * rate)) {
            if (!feed(sender, stopped, stoppedCount, &next)) break;
            fed++;
        }
    }
    printf("{");
    print("slowHeads", &slowLives, ",");
    printf("\"hung\":%u,", hungCount);
    print("stoppedReaders", &stoppedLives, "");
    printf(",\"fed\":%lld}\n", (long long)fed);
    return 0;
}
