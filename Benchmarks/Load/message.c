#define _GNU_SOURCE
#include "message.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "marker.h"

static const struct {
    const char *name, *template;
} presets[] = {
    {"plain", "%marker%%pad%"},
    {"floor", ">%index% %marker%%pad%"},
    {"typing",
     "{\"type\":\"typing\",\"data\":{\"receiverId\":\"%to%\",\"isTyping\":%flag%},"
     "\"timestamp\":\"2026-01-01T00:00:00.000Z\"}"},
    {"chat",
     "{\"type\":\"chat_message\",\"data\":{\"receiverId\":\"%to%\",\"message\":"
     "\"%marker%%pad%\"}}"},
    {"relay",
     "{\"type\":\"system\",\"data\":{\"message\":\"%marker%%pad%\"},"
     "\"timestamp\":\"2026-01-01T00:00:00.000Z\"}"},
};

const char *messageTemplate(const char *name, const char *fallback) {
    if (!name) name = fallback;
    for (size_t index = 0; index < sizeof presets / sizeof presets[0]; index++)
        if (strcmp(name, presets[index].name) == 0) return presets[index].template;
    return name;
}

bool messageHasFlag(const char *template) { return strstr(template, "%flag%") != NULL; }

static bool take(const char **template, const char *placeholder) {
    size_t length = strlen(placeholder);
    if (strncmp(*template, placeholder, length) != 0) return false;
    *template += length;
    return true;
}

/// Renders with `padBytes` of padding; NULL bytes only count.
static Message render(const char *template, uint32_t padBytes, const char *to, uint32_t index,
                      bool flag, uint32_t stream, uint8_t *bytes) {
    Message message = {.bytes = bytes};
    char number[16];
    snprintf(number, sizeof number, "%u", index);
    while (*template) {
        const char *text = NULL;
        if (take(&template, "%to%")) text = to;
        else if (take(&template, "%index%") || take(&template, "%partner%")) text = number;
        else if (take(&template, "%flag%")) text = flag ? "true" : "false";
        else if (take(&template, "%pad%")) {
            if (bytes) memset(bytes + message.length, 'x', padBytes);
            message.length += padBytes;
            continue;
        } else if (take(&template, "%marker%")) {
            if (bytes) markerWrite(bytes + message.length, (Marker){stream, 0});
            message.hasMarker = true;
            message.markerOffset = message.length;
            message.length += markerBytes;
            continue;
        }
        size_t count = text ? strlen(text) : 1;
        if (bytes) memcpy(bytes + message.length, text ? text : template, count);
        message.length += (uint32_t)count;
        if (!text) template++;
    }
    return message;
}

Message messageMake(const char *template, uint32_t payloadBytes, const char *to, uint32_t index,
                    bool flag, uint32_t stream) {
    uint32_t bare = render(template, 0, to, index, flag, stream, NULL).length;
    uint32_t padBytes = bare < payloadBytes ? payloadBytes - bare : 0;
    uint8_t *bytes = malloc(bare + padBytes + 8);
    return render(template, padBytes, to, index, flag, stream, bytes);
}

void messageNumber(Message *message, uint32_t sequence) {
    if (message->hasMarker) hexWrite(message->bytes + message->markerOffset + 10, sequence);
}
