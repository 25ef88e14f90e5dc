#define _GNU_SOURCE
#include "redis.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

void redisConnect(Redis *redis, const char *host, uint16_t port, const char *channel,
                  uint32_t messageBytes) {
    *redis = (Redis){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, host, &address.sin_addr);
    int yes = 1;
    setsockopt(redis->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (connect(redis->fd, (struct sockaddr *)&address, sizeof address) != 0) {
        fprintf(stderr, "load: no Redis at %s:%u: %s\n", host, port, strerror(errno));
        exit(3);
    }
    redis->prefixBytes = (size_t)snprintf(
        redis->prefix, sizeof redis->prefix, "*3\r\n$7\r\nPUBLISH\r\n$%zu\r\n%.128s\r\n$%u\r\n",
        strlen(channel), channel, messageBytes);
}

void redisPublish(Redis *redis, const uint8_t *message, size_t length) {
    if (redis->outStart == redis->outEnd) redis->outStart = redis->outEnd = 0;
    size_t needed = redis->outEnd + redis->prefixBytes + length + 2;
    if (needed > redis->outCapacity) {
        redis->outCapacity = needed * 2;
        redis->out = realloc(redis->out, redis->outCapacity);
    }
    uint8_t *out = redis->out + redis->outEnd;
    memcpy(out, redis->prefix, redis->prefixBytes);
    memcpy(out + redis->prefixBytes, message, length);
    memcpy(out + redis->prefixBytes + length, "\r\n", 2);
    redis->outEnd = needed;
    redis->published++;
}

// What does not fit now goes with the next turn's flush: turns are never more than 10 ms apart.
void redisFlush(Redis *redis) {
    while (redis->outStart < redis->outEnd) {
        ssize_t count = send(redis->fd, redis->out + redis->outStart,
                             redis->outEnd - redis->outStart, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (count < 0 && errno == EAGAIN) return;
        if (count < 0) {
            fprintf(stderr, "load: Redis closed the connection: %s\n", strerror(errno));
            exit(3);
        }
        redis->outStart += (size_t)count;
    }
}

void redisReceive(Redis *redis) {
    char buffer[16384];
    ssize_t count = recv(redis->fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (count < 0 && errno == EAGAIN) return;
    if (count <= 0) {
        fprintf(stderr, "load: Redis closed the connection\n");
        exit(3);
    }
    for (ssize_t index = 0; index < count; index++) {
        char byte = buffer[index];
        if (redis->kind == 0) {
            redis->kind = byte;
            redis->number = 0;
        } else if (byte == '\n') {
            redis->answered++;
            if (redis->kind == ':') redis->receivers = redis->number;
            else redis->errors++;
            redis->kind = 0;
        } else if (byte >= '0' && byte <= '9') {
            redis->number = redis->number * 10 + (uint32_t)(byte - '0');
        }
    }
}
