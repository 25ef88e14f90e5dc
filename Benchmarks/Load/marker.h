// Every payload carries a marker, `@@` + eight hexadecimal digits of the stream (who sent it) +
// eight of its sequence number. It survives any envelope a server puts around it, and is found
// again by looking first where it was in the frame before.
#pragma once

#define _GNU_SOURCE
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define markerBytes 18

typedef struct {
    uint32_t stream;
    uint32_t sequence;
} Marker;

static inline void hexWrite(uint8_t *destination, uint32_t value) {
    for (int index = 7; index >= 0; index--, value >>= 4)
        destination[index] = (uint8_t)"0123456789abcdef"[value & 15];
}

// Eight digits at a time: letters have bit 6 set and a low nibble that is 9 short of their value.
static inline uint32_t hexRead(const uint8_t *source) {
    uint64_t digits;
    memcpy(&digits, source, 8);
    digits = (digits & 0x0f0f0f0f0f0f0f0fULL) + 9 * ((digits >> 6) & 0x0101010101010101ULL);
    digits = __builtin_bswap64(digits);
    digits = (digits | digits >> 4) & 0x00ff00ff00ff00ffULL;
    digits = (digits | digits >> 8) & 0x0000ffff0000ffffULL;
    return (uint32_t)(digits | digits >> 16);
}

static inline void markerWrite(uint8_t *destination, Marker marker) {
    destination[0] = destination[1] = '@';
    hexWrite(destination + 2, marker.stream);
    hexWrite(destination + 10, marker.sequence);
}

/// `hint` is where the marker was in the frame before, and is moved when it was elsewhere.
static inline bool markerFind(const uint8_t *bytes, uint32_t length, uint32_t *hint,
                              Marker *marker) {
    uint32_t offset = *hint;
    if (offset + markerBytes > length || bytes[offset] != '@' || bytes[offset + 1] != '@') {
        const uint8_t *found = memmem(bytes, length, "@@", 2);
        if (!found || (uint32_t)(found - bytes) + markerBytes > length) return false;
        offset = (uint32_t)(found - bytes);
        *hint = offset;
    }
    marker->stream = hexRead(bytes + offset + 2);
    marker->sequence = hexRead(bytes + offset + 10);
    return true;
}
