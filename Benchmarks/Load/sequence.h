// What one recipient has seen of one stream. In order is one comparison; otherwise the last 64
// numbers that were skipped are remembered, so that a late message (out of order) is told from a
// second copy (duplicate) and from one that never came (lost).
#pragma once

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    uint64_t missing;  // bit n: number next - 1 - n has been skipped and has not come yet
    uint32_t next;
} Sequence;

typedef struct {
    uint64_t delivered;   // distinct messages
    uint64_t duplicated;
    uint64_t outOfOrder;
    uint64_t misrouted;   // reached a connection that it was not sent to, or was damaged
} Verdicts;

/// False for a message that was here before.
static inline bool sequenceAccept(Sequence *sequence, uint32_t number, Verdicts *verdicts) {
    if (__builtin_expect(number == sequence->next, 1)) {
        sequence->missing <<= 1;
        sequence->next++;
        verdicts->delivered++;
        return true;
    }
    if (number > sequence->next) {
        uint32_t skipped = number - sequence->next;
        if (skipped >= 63) sequence->missing = ~0ULL << 1;
        else sequence->missing = (sequence->missing << skipped | ((1ULL << skipped) - 1)) << 1;
        sequence->next = number + 1;
        verdicts->delivered++;
        return true;
    }
    uint32_t age = sequence->next - 1 - number;
    if (age >= 64 || !(sequence->missing >> age & 1)) {
        verdicts->duplicated++;
        return false;
    }
    sequence->missing &= ~(1ULL << age);
    verdicts->outOfOrder++;
    verdicts->delivered++;
    return true;
}
