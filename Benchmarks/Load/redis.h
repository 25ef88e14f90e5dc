// A Redis connection that only publishes: commands gather until the turn's end, replies are
// counted.
#pragma once

#include <stddef.h>
#include <stdint.h>

typedef struct {
    int fd;
    char prefix[256];  // everything of the command before the message
    size_t prefixBytes;
    uint8_t *out;
    size_t outStart, outEnd, outCapacity;
    uint64_t published, answered, errors;
    uint32_t receivers;  // what the last PUBLISH reached
    uint32_t number;     // the integer that is being read
    char kind;           // the first byte of the reply that is being read, 0 between replies
} Redis;

void redisConnect(Redis *redis, const char *host, uint16_t port, const char *channel,
                  uint32_t messageBytes);
void redisPublish(Redis *redis, const uint8_t *message, size_t length);
void redisFlush(Redis *redis);
void redisReceive(Redis *redis);
