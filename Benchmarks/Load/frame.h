// RFC 6455 frames from the client's side: written masked, read unmasked.
#pragma once

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define opcodeContinuation 0x0
#define opcodeText 0x1
#define opcodeBinary 0x2
#define opcodeClose 0x8
#define opcodePing 0x9
#define opcodePong 0xA

#define frameOverheadBytesMax 14

/// Writes a whole masked frame and returns its size; `destination` has room for
/// `length + frameOverheadBytesMax + 7` bytes, because the mask is laid on 8 bytes at a time.
static inline size_t frameWrite(uint8_t *destination, uint8_t opcode, const uint8_t *payload,
                                size_t length, uint32_t mask) {
    size_t head;
    destination[0] = 0x80 | opcode;
    if (length < 126) {
        destination[1] = 0x80 | (uint8_t)length;
        head = 2;
    } else if (length < 65536) {
        destination[1] = 0x80 | 126;
        uint16_t big = htobe16((uint16_t)length);
        memcpy(destination + 2, &big, 2);
        head = 4;
    } else {
        destination[1] = 0x80 | 127;
        uint64_t big = htobe64(length);
        memcpy(destination + 2, &big, 8);
        head = 10;
    }
    memcpy(destination + head, &mask, 4);
    uint8_t *body = destination + head + 4;
    uint64_t wide = (uint64_t)mask << 32 | mask;
    size_t index = 0;
    for (; index + 8 <= length; index += 8) {
        uint64_t part;
        memcpy(&part, payload + index, 8);
        part ^= wide;
        memcpy(body + index, &part, 8);
    }
    for (; index < length; index++)
        body[index] = payload[index] ^ (uint8_t)(wide >> (index % 8 * 8));
    return head + 4 + length;
}

typedef struct {
    uint8_t opcode;
    bool isFinal;
    bool isForbidden;  // masked, or with reserved bits: no server may send that to us
    size_t headBytes;
    uint64_t payloadBytes;
} FrameHead;

/// False when the head is not complete yet.
static inline bool frameHeadRead(const uint8_t *bytes, size_t count, FrameHead *head) {
    if (count < 2) return false;
    head->opcode = bytes[0] & 0x0f;
    head->isFinal = bytes[0] & 0x80;
    head->isForbidden = (bytes[0] & 0x70) || (bytes[1] & 0x80);
    head->payloadBytes = bytes[1] & 0x7f;
    head->headBytes = 2;
    if (head->payloadBytes == 126) {
        if (count < 4) return false;
        head->payloadBytes = (uint64_t)bytes[2] << 8 | bytes[3];
        head->headBytes = 4;
    } else if (head->payloadBytes == 127) {
        if (count < 10) return false;
        uint64_t big;
        memcpy(&big, bytes + 2, 8);
        head->payloadBytes = be64toh(big);
        head->headBytes = 10;
    }
    return true;
}
