"""Waiting without guessing how long."""

import time


def until(probe, timeout=15.0, every=0.02, what="the condition"):
    """Polls `probe` until it gives something true, and returns that; fails after `timeout` seconds
    with the last thing that it gave."""
    deadline = time.monotonic() + timeout
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come within {timeout:g} s; last seen: {value!r}")
        time.sleep(every)


def holds(probe, seconds, every=0.05, what="the condition"):
    """Fails as soon as `probe` gives something false within `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = probe()
        if not value:
            raise AssertionError(f"{what} did not hold: {value!r}")
        time.sleep(every)
