"""RFC 7692 §5 and §7.1: which offers of permessage-deflate are taken, and with what answer."""

from harness.raw import TEXT

from ..case import (
    Answer,
    Group,
    Request,
    binary,
    closed,
    compressed,
    echo_of_binary,
    echo_of_text,
    randomness,
    text,
)

OFFER = "permessage-deflate; client_max_window_bits"
group = Group("negotiation", agreed=True)
add = group.add
prose = "The quick brown fox jumps over the lazy dog, and then does it all again. " * 40

# Negotiation: each offer that has to be taken also has to work

NO_SERVER, NO_CLIENT = "server_no_context_takeover", "client_no_context_takeover"
SERVER_BITS, CLIENT_BITS = "server_max_window_bits", "client_max_window_bits"


def deflate(*parameters) -> str:
    return "; ".join(("permessage-deflate", *parameters))


TAKEN = {
    "alone": deflate(),
    "client-bits": deflate(CLIENT_BITS),
    "no-server-takeover": deflate(NO_SERVER),
    "no-client-takeover": deflate(NO_CLIENT),
    "no-takeover": deflate(NO_SERVER, NO_CLIENT),
    "everything": deflate(NO_SERVER, NO_CLIENT, f"{SERVER_BITS}=12", CLIENT_BITS),
    "everything-reversed": deflate(CLIENT_BITS, f"{SERVER_BITS}=12", NO_CLIENT, NO_SERVER),
    "bits-both-ways": deflate(f"{SERVER_BITS}=10", f"{CLIENT_BITS}=10"),
    "quoted-server-bits": deflate(f'{SERVER_BITS}="11"'),
    "quoted-client-bits": deflate(f'{CLIENT_BITS}="11"'),
    "spaces": f"permessage-deflate ;  {NO_CLIENT} ;{CLIENT_BITS}=15 ",
    "tabs": f"\tpermessage-deflate\t;\t{NO_CLIENT}",
    "no-spaces": f"permessage-deflate;{NO_SERVER};{CLIENT_BITS}=15",
    "behind-an-unknown-one": f"x-unknown, {OFFER}",
    "behind-an-unknown-one-with-parameters": f'foo; bar="baz"; n=1, {OFFER}',
    "before-an-unknown-one": f"{OFFER}, x-unknown",
    "twice": f"{deflate(SERVER_BITS + '=10')}, {deflate()}",
    "second-choice": f"{deflate('bogus')}, {deflate()}",
    "third-choice": f"{deflate(SERVER_BITS)}, {deflate(CLIENT_BITS + '=99')}, {deflate()}",
}
for bits in range(9, 16):
    TAKEN[f"server-bits-{bits}"] = deflate(f"{SERVER_BITS}={bits}")
for bits in range(8, 16):
    TAKEN[f"client-bits-{bits}"] = deflate(f"{CLIENT_BITS}={bits}")
noise = randomness.randbytes(700)
far = noise + bytes(3000) + noise + bytes(40_000) + noise
"""Repeats itself from so far that a window too large shows."""
for name, offer in TAKEN.items():
    add(
        f"taken-{name}",
        # Short enough for a window of 8 bits.
        compressed(TEXT, "Hello, hello, hello"),
        echo_of_text("Hello, hello, hello"),
        text(prose),
        echo_of_text(prose),
        binary(far),
        echo_of_binary(far),
        binary(far),
        echo_of_binary(far),
        offer=offer,
    )
add("server-bits-8", text(prose), echo_of_text(prose), binary(far), echo_of_binary(far),
    offer=deflate(f"{SERVER_BITS}=8"), agreed=None)  # fmt: skip

DECLINED = {
    "unknown-parameter": deflate("bogus"),
    "unknown-parameter-with-value": deflate("bogus=1"),
    "unknown-among-known": deflate(NO_SERVER, "x_window", CLIENT_BITS),
    "server-bits-without-value": deflate(SERVER_BITS),
    "no-server-takeover-with-value": deflate(f"{NO_SERVER}=1"),
    "no-server-takeover-true": deflate(f"{NO_SERVER}=true"),
    "no-client-takeover-with-value": deflate(f"{NO_CLIENT}=0"),
    "no-server-takeover-twice": deflate(NO_SERVER, NO_SERVER),
    "no-client-takeover-twice": deflate(NO_CLIENT, NO_CLIENT),
    "server-bits-twice": deflate(f"{SERVER_BITS}=10", f"{SERVER_BITS}=10"),
    "server-bits-two-values": deflate(f"{SERVER_BITS}=10", f"{SERVER_BITS}=12"),
    "client-bits-twice": deflate(CLIENT_BITS, CLIENT_BITS),
    "client-bits-two-values": deflate(f"{CLIENT_BITS}=10", f"{CLIENT_BITS}=12"),
    "other-name": "permessage-deflated",
    "bzip2": "permessage-bzip2",
    "webkit": "x-webkit-deflate-frame",
    "only-bad-choices": f"{deflate('bogus')}, {deflate(SERVER_BITS)}, x-unknown",
}
for which in (SERVER_BITS, CLIENT_BITS):
    for value in (
        "7",
        "16",
        "0",
        "1",
        "100",
        "08",
        "010",
        "015",
        "-9",
        "1.5",
        "abc",
        "0x9",
        "99999999999999999999",
    ):
        DECLINED[f"{which.replace('_', '-')}-{value}"] = deflate(f"{which}={value}")
    DECLINED[f"{which.replace('_', '-')}-quoted-16"] = deflate(f'{which}="16"')
for name, offer in DECLINED.items():
    add(f"declined-{name}", text(prose), echo_of_text(prose), offer=offer, agreed=False)
    add(
        f"declined-{name}-then-rsv1",
        compressed(TEXT, prose),
        closed(1002),
        offer=offer,
        agreed=False,
    )

# Space around the equals sign is white space that this grammar implies: it may be declined, not refused.
add("spaces-around-equals", text(prose), echo_of_text(prose), offer=f"permessage-deflate; {CLIENT_BITS} = 15",
    agreed=None)  # fmt: skip

none = {"sec-websocket-extensions": None}
shake = Group("negotiation", opened=False)
for name, value in {
    "semicolon-at-the-end": "permessage-deflate;",
    "value-empty": f"permessage-deflate; {CLIENT_BITS}=",
    "quote-open": f'permessage-deflate; {CLIENT_BITS}="10',
    "quotes-empty": f'permessage-deflate; {CLIENT_BITS}=""',
    "two-words": "permessage deflate",
    "equals-alone": "permessage-deflate; =",
    "parameter-of-two-words": f"permessage-deflate; {NO_SERVER} {NO_CLIENT}",
}.items():
    request = Request("/echo", {"headers": [("Sec-WebSocket-Extensions", value)]})
    shake.add(f"malformed-{name}", request, Answer(400))
shake.add("not-offered", Request("/echo"), Answer(101, none), text(prose), echo_of_text(prose))
group.cases += shake.cases
