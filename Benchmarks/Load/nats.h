// NATS as its WebSocket clients speak it: commands in binary frames, and frames that hold any stretch
// of the stream: half a message or twenty. To a mode of the client it looks like any other server: what
// it sends leaves as a PUB, and the payload of each MSG arrives.
#pragma once

#include "engine.h"

/// Greets, subscribes (all but the publisher of a fan-out) and asks for a PONG, which means ready.
void natsGreet(Engine *engine, Connection *connection);
void natsPublish(Engine *engine, Connection *connection, const uint8_t *payload, size_t length);
/// Takes the next stretch of the stream.
void natsReceive(Engine *engine, Connection *connection, const uint8_t *bytes, size_t count);
