"""What is measured: the rows, and how the load client does each row's work against each dialect.

A dialect is what a server speaks: `floor` (paths say who gets what), `relay` (Skein's envelopes and a
token per user; the Go and node hubs speak it too), `nchan` (channels in the query) and `nats`. Where a
server cannot do a row's work there are no arguments for it, and its cell stays empty.
"""
from dataclasses import dataclass, field

SECRET = "comparison-secret-of-at-least-thirty-two-bytes"
USER = ["--secret", SECRET, "--await", "connected"]
# What stays below a limit of 20,000 descriptors with room for a server's own.
MANY = 19000


@dataclass(frozen=True)
class Row:
    name: str
    title: str
    # What is compared: rate (with the CPU per delivery), latency (with the CPU) or memory.
    what: str
    # dialect -> arguments of the client; `relay` may be split into `relay memory` and `relay redis`.
    arguments: dict
    # Settings of the server that this row needs: tls, history, shards.
    settings: dict = field(default_factory=dict)
    # The families of servers it is for; empty: all that have arguments.
    families: tuple = ()


def echo(depth):
    common = ["echo", "--conns", "64", "--depth", str(depth)]
    return {
        "floor": [*common, "--url", "{ws}/echo"],
        "relay memory": [*common, "--url", "{ws}/echo", "--secret", SECRET],
        "nchan": [*common, "--url", "{ws}/?get={index}&put={index}"],
        "nats": [*common, "--url", "{ws}/", "--nats-subscribe", "e.{index}",
                 "--nats-publish", "e.{index}"],
    }


def fanout(connections, *traffic):
    common = ["fanout", "--conns", str(connections), "--connect-concurrency", "64", *traffic]
    relay = [*common, "--url", "{ws}/ws", *USER, "--message", "relay"]
    return {
        "floor": [*common, "--url", "{ws}/fanout", "--publish-url", "{ws}/publish"],
        "hub memory": [*relay, "--publish-url", "{ws}/publish"],
        "relay redis": [*relay, "--redis", "{redis}"],
        "nchan": [*common, "--url", "{ws}/?get=all&put=none", "--publish-url",
                  "{ws}/?get=none&put=all"],
        "nats": [*common, "--url", "{ws}/", "--publish-url", "{ws}/", "--nats-subscribe", "all",
                 "--nats-publish", "all"],
    }


def users(mode, *traffic):
    """Connections that send to each other in pairs, or that only stay."""
    return {
        "floor": [mode, *traffic, "--message", "floor", "--url", "{ws}/pair?id={index}"],
        "relay": [mode, *traffic, "--message", "typing", "--url", "{ws}/ws", *USER],
        "nchan": [mode, *traffic, "--message", "plain", "--url", "{ws}/?get={index}&put={partner}"],
        "nats": [mode, *traffic, "--message", "plain", "--url", "{ws}/", "--nats-subscribe",
                 "u.{index}", "--nats-publish", "u.{partner}"],
    }


def pair(connections, *traffic):
    return users("pair", "--conns", str(connections), "--connect-concurrency", "64", *traffic)


def idle(connections):
    return users("hold", "--conns", str(connections), "--sources", "4", "--idle", "1", "--seconds",
                 "0.2", "--warmup", "0.1")


def at_rate(rate):
    return ["--rate", str(rate), "--spin"]


CHAT = {"relay": ["pair", "--conns", "500", "--message", "chat", "--url", "{ws}/ws", *USER]}
# One kept event for each message; a chat message is two, for its sender is told.
KEPT = {"relay": ["pair", "--conns", "500", "--url", "{ws}/ws", *USER, "--message",
                  '{"type":"read_receipt","data":{"senderId":"%to%","messageIds":["%marker%%pad%"]}}']}
CONNECT = users("connect", "--sources", "4")

# Who speaks TLS by itself.
SECURED = ("uws", "skein memory", "hub memory", "nchan", "nats")
# Who takes part where only a curve is wanted.
SCALED = ("floor", "uws", "skein redis")

ROWS = [
    Row("echo1", "echo, 64 connections, 1 in flight", "rate", echo(1)),
    Row("echo4", "echo, 64 connections, 4 in flight", "rate", echo(4)),
    Row("fanout100", "fan-out 1→100, one message at a time", "rate", fanout(100), {}, SCALED),
    Row("fanout1", "fan-out 1→1000, one message at a time", "rate", fanout(1000)),
    Row("fanout5k", "fan-out 1→5,000, one message at a time", "rate",
        fanout(5000, "--warmup", "1"), {}, SCALED),
    Row("fanout19k", f"fan-out 1→{MANY:,}, one message at a time", "rate",
        fanout(MANY, "--sources", "4", "--warmup", "1")),
    Row("fanout16", "fan-out 1→1000, 16 in flight", "rate", fanout(1000, "--depth", "16")),
    Row("fanout30", "fan-out, 30 messages/s to 1000", "latency", fanout(1000, *at_rate(30))),
    Row("pair", "user → user, 500 connections, saturated", "rate", pair(500)),
    Row("pair20k", "user → user, 500 connections, 20,000/s", "latency", pair(500, *at_rate(20000))),
    Row("pair1000", "user → user, 1,000 connections, 20,000/s", "latency",
        pair(1000, *at_rate(20000))),
    Row("pair5000", "user → user, 5,000 connections, 20,000/s", "latency",
        pair(5000, "--sources", "4", *at_rate(20000))),
    Row("pair19k", f"user → user, {MANY:,} connections, 20,000/s", "latency",
        pair(MANY, "--sources", "4", "--warmup", "1", *at_rate(20000))),
    Row("pairtls", "user → user over TLS, 500 connections, 20,000/s", "latency",
        pair(500, *at_rate(20000)), {"tls": True}, SECURED),
    Row("chat", "chat message and confirmation, 500 connections", "rate", CHAT),
    Row("kept", "user → user, 500 connections, each event kept in history", "rate", KEPT,
        {"history": True}, ("skein",)),
    # The client shares its core with the second shard. At 20,000/s it leaves a quarter of it idle; at
    # 40,000/s the two use all but a twentieth, and wait for each other. Without spinning.
    Row("one20k", "user → user, 500 connections, 20,000/s, 1 shard", "latency",
        pair(500, "--rate", "20000"), {"shards": 1}, ("skein memory",)),
    Row("two20k", "user → user, 500 connections, 20,000/s, 2 shards", "latency",
        pair(500, "--rate", "20000"), {"shards": 2}, ("skein memory",)),
    Row("one40k", "user → user, 500 connections, 40,000/s, 1 shard", "latency",
        pair(500, "--rate", "40000"), {"shards": 1}, ("skein memory",)),
    Row("two40k", "user → user, 500 connections, 40,000/s, 2 shards", "latency",
        pair(500, "--rate", "40000"), {"shards": 2}, ("skein memory",)),
    Row("idle", "idle connection, user-space bytes", "memory", idle(16000)),
    Row("idletls", "idle TLS connection, user-space bytes", "memory", idle(4000), {"tls": True},
        SECURED),
    Row("connect", "connects, a new user each", "rate", CONNECT),
]
ROW = {row.name: row for row in ROWS}


def arguments_for(row, server):
    """The client's arguments for this row and server; None where there is nothing to measure."""
    if row.families and not any(server.is_a(family) for family in row.families):
        return None
    for key in (f"{server.family} {server.backplane}", f"{server.dialect} {server.backplane}",
                server.dialect):
        if key in row.arguments:
            return row.arguments[key]
    return None
