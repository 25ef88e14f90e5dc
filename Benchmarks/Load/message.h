// One message, rendered once per sender from a template, so that sending it again only patches the
// sequence number. Placeholders: %to% the receiver's user, %index% the receiver's number,
// %marker%, %flag% (true or false in turn, the sequence of messages that cannot carry a marker)
// and %pad% (x up to the payload size).
#pragma once

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    uint8_t *bytes;
    uint32_t length;
    uint32_t markerOffset;
    bool hasMarker;
} Message;

/// The template behind a preset's name; any other text is a template already.
const char *messageTemplate(const char *name, const char *fallback);
bool messageHasFlag(const char *template);
Message messageMake(const char *template, uint32_t payloadBytes, const char *to, uint32_t index,
                    bool flag, uint32_t stream);
/// Writes the sequence number into the marker, if there is one.
void messageNumber(Message *message, uint32_t sequence);
