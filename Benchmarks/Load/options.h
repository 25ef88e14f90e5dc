// What the command line asks for. Parsed once, then read-only.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define targetCountMax 8
#define processCountMax 8

typedef struct {
    char host[64];
    uint16_t port;
    char path[512];  // `{index}` stands for the connection's number, `{partner}` for its partner's
    bool isTLS;
} Target;

typedef enum { authNone, authQuery, authHeader, authSubprotocol } AuthKind;

typedef struct {
    const char *mode;
    const char *label;

    Target targets[targetCountMax];  // connection n uses target n mod targetCount
    uint32_t targetCount;
    uint32_t connectionCount;
    double connectRate;  // 0: as fast as the handshakes complete
    uint32_t connectConcurrency;
    uint32_t sourceCount;   // loopback addresses to connect from, past one address's ports
    const char *await;      // `type` of the first frame that makes a connection ready

    AuthKind auth;
    const char *tokensFile;
    const char *secret;
    const char *userPrefix;
    uint32_t tokenTTLSeconds;

    // Subjects, with {index} and {partner}. Where they are set, the server speaks NATS.
    const char *natsSubscribe, *natsPublish;

    const char *message;  // a preset or a template
    uint32_t payloadBytes;
    uint32_t depth;
    double rate;  // messages per second in all; 0: closed loop
    double seconds, warmupSeconds, graceSeconds, idleSeconds, timeoutSeconds;
    uint64_t messageCount;  // 0: until the seconds are over
    bool spin;
    bool closeByFrame;
    bool expectClose;
    bool resume;

    char redisHost[64];
    uint16_t redisPort;  // 0: publish through a WebSocket
    const char *redisChannel;
    Target publisher;
    bool hasPublisher;

    int core;  // -1: not pinned
    int processes[processCountMax];
    uint32_t processCount;
    int softirqCore;  // -1: its ksoftirqd is not counted

    bool json;
} Options;

Options optionsParse(int argumentCount, char **arguments);
/// Fills in {index} and {partner}; returns the length.
size_t targetExpand(const char *template, uint32_t index, char *text, size_t capacity);
