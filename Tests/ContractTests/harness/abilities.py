"""What the binary under test says it can do, so that tests of what is not built yet are skipped by
name, and come alive by themselves on the day it is."""

import functools
import re

from .node import skein


@functools.cache
def effective_keys() -> frozenset[str]:
    """The configuration keys that have an effect."""
    listing = skein("config", "keys")
    assert listing.returncode == 0, listing.stderr
    entries = re.findall(r"^  (\w+)(?:=.*)?\n((?:      .*\n?)*)", listing.stdout, re.M)
    assert entries, listing.stdout
    return frozenset(name for name, text in entries if "Without effect" not in text)


def why_no_tls() -> str | None:
    """None when the node can serve TLS."""
    return lacking("TLS", "WS_TLS_CERTIFICATE", "WS_TLS_KEY")


def why_no_compression() -> str | None:
    """None when the node can negotiate permessage-deflate."""
    return lacking("permessage-deflate", "WS_ENABLE_COMPRESSION", "WS_COMPRESSION_SERVER_TAKEOVER")


def lacking(what, *keys) -> str | None:
    absent = [key for key in keys if key not in effective_keys()]
    return f"no {what} in this binary: {', '.join(absent)} without effect" if absent else None
