"""All cases, and the nodes that they are played against."""


from .cases import (
    closing,
    compression,
    control,
    fragmentation,
    framing,
    handshake,
    limits,
    negotiation,
    relay,
    sessions,
    utf8,
)
from .player import Manner

GROUPS = {
    group.name: group.cases
    for group in (
        framing.group,
        control.group,
        fragmentation.group,
        utf8.group,
        closing.group,
        handshake.group,
        limits.group,
        relay.group,
        sessions.group,
        negotiation.group,
        compression.group,
        sessions.zipped,
    )
}
NEEDING_COMPRESSION = {"negotiation", "compression", "sessions-compressed"}
CASES = {case.id: case for cases in GROUPS.values() for case in cases}

# A node never pings by itself here, so that each frame is due to the case.
BASE = {
    "WS_ECHO_PATH": "/echo",
    "WS_MAX_CONNECTIONS_PER_USER": "0",
    "WS_PING_INTERVAL": "1h",
    "WS_PONG_TIMEOUT": "2h",
    "WS_HANDSHAKE_TIMEOUT": "60s",
}
PROFILES = {
    "default": {},
    "large": {"WS_MAX_MESSAGE_SIZE": str(1 << 24), "WS_SEND_QUEUE_BYTES": str(1 << 26)},
    "small": {"WS_MAX_MESSAGE_SIZE": "1000"},
    "tiny": {"WS_MAX_MESSAGE_SIZE": "1"},
    "takeover": {
        "WS_COMPRESSION_SERVER_TAKEOVER": "true",
        "WS_COMPRESSION_CLIENT_TAKEOVER": "true",
    },
    "window": {"WS_COMPRESSION_WINDOW_BITS": "9"},
}

MANNERS = [
    Manner("whole", "whole"),
    Manner("bytes", "bytes"),
    Manner("cuts", "cuts"),
    Manner("offered", "whole", offer=compression.OFFER),
]
"""The last has permessage-deflate agreed in every case that does not forbid it, and changes nothing
else: what is plain stays legal, what is a violation stays one."""
