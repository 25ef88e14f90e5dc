#!/usr/bin/env python3
"""A load generator of its own, to hold `skein bench` against: users in pairs send each other chat messages
at a fixed rate. Nothing but Python's sockets: no code, no library and no language in common with Skein.

Every message is followed to its receiver, and its latency counts from the moment at which it was due. It
polls without sleeping, as `skein bench --spin` does, so that the server is woken at the same moments by
both. Prints one JSON object; 1: something was lost, repeated or out of order.
"""
import argparse
import json
import os
import select
import socket
import struct
import sys
import time

MARK = b"@@"
MARK_BYTES = len(MARK) + 16


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--tokens", required=True, help="`user token` lines, one for each connection")
    parser.add_argument("--rate", type=float, default=5000, help="messages per second in all (5000)")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--warmup", type=float, default=0.5)
    parser.add_argument("--payload", type=int, default=128, help="bytes of a message, as JSON (128)")
    parser.add_argument("--pid", required=True, help="the server's processes, with commas")
    parser.add_argument("--core", type=int, help="core to run on")
    return parser.parse_args()


def cpu_seconds(processes):
    """By the scheduler's own account, in nanoseconds: that clock's number is made of the process's."""
    return sum(time.clock_gettime((~int(process) << 3) | 2) for process in processes.split(","))


def connect(port, token):
    connection = socket.create_connection(("127.0.0.1", port), 5)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(
        f"GET /ws?token={token} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode())
    received = b""
    while b'"connected"' not in received or not received.endswith(b"}"):
        part = connection.recv(4096)
        if not part:
            sys.exit(f"second: refused: {received[:200]!r}")
        received += part
    connection.setblocking(False)
    return connection


def masked_frame(payload):
    key = os.urandom(4)
    size = len(payload)
    head = struct.pack("!BB", 0x81, 0x80 | size) if size < 126 else struct.pack("!BBH", 0x81, 0xFE, size)
    repeated = (key * (size // 4 + 1))[:size]
    body = int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")
    return head + key + body.to_bytes(size, "big")


class Pairs:
    def __init__(self, options):
        self.payload = options.payload
        with open(options.tokens) as file:
            users = [line.split() for line in file]
        self.names = [user for user, _ in users]
        self.connections = [connect(options.port, token) for _, token in users]
        self.input = [b""] * len(users)
        self.number = [0] * len(users)    # sent by each
        self.heard = [0] * len(users)     # of each, by its partner
        self.due = [[] for _ in users]    # when each was to be sent
        self.latencies, self.delivered, self.disordered = [], 0, 0
        self.epoll = select.epoll()
        self.of = {connection.fileno(): index for index, connection in enumerate(self.connections)}
        for descriptor in self.of:
            self.epoll.register(descriptor, select.EPOLLIN)

    def send(self, index, due):
        partner = self.names[index ^ 1]
        mark = MARK + b"%08x%08x" % (index, self.number[index])
        message = b'{"type":"chat_message","data":{"receiverId":"%s","message":"%s"}}' % (partner.encode(), mark)
        message = message.replace(mark, mark + b"x" * (self.payload - len(message)))
        self.number[index] += 1
        self.due[index].append(due)
        # At these rates a socket has always room; one that has not is an error, and ends the run.
        frame = masked_frame(message)
        if self.connections[index].send(frame) != len(frame):
            sys.exit("second: the server does not read")

    def read(self):
        for descriptor, _ in self.epoll.poll(0):
            index = self.of[descriptor]
            part = self.connections[index].recv(65536)
            if not part:
                sys.exit("second: the server closed a connection")
            now = time.monotonic()
            self.take(index, self.input[index] + part, now)

    def take(self, index, data, now):
        while len(data) >= 4:
            size, head = data[1], 2
            if size == 126:
                size, head = struct.unpack_from("!H", data, 2)[0], 4
            if size == 127 or len(data) < head + size:
                break
            self.hear(index, data[head:head + size], now)
            data = data[head + size:]
        self.input[index] = data

    def hear(self, index, message, now):
        # The sender is told too that it was accepted: that is no delivery.
        if b'"chat_message_sent"' in message:
            return
        place = message.find(MARK)
        if place < 0:
            return
        sender = int(message[place + 2:place + 10], 16)
        number = int(message[place + 10:place + MARK_BYTES], 16)
        if sender != index ^ 1 or number != self.heard[sender]:
            self.disordered += 1
            return
        self.heard[sender] += 1
        self.delivered += 1
        self.latencies.append(now - self.due[sender][number])


def run(pairs, options):
    interval = 1 / options.rate
    began = due = time.monotonic()
    warm, end = began + options.warmup, began + options.warmup + options.seconds
    cpu = delivered = None
    index = 0
    while True:
        now = time.monotonic()
        if cpu is None and now >= warm:
            cpu, delivered, warm = cpu_seconds(options.pid), pairs.delivered, now
            pairs.latencies.clear()
        if now >= end:
            break
        while due <= now:
            pairs.send(index, due)
            index = (index + 1) % len(pairs.connections)
            due += interval
        pairs.read()
    cpu, delivered, seconds = cpu_seconds(options.pid) - cpu, pairs.delivered - delivered, now - warm
    grace = time.monotonic() + 5
    while pairs.delivered < sum(pairs.number) and time.monotonic() < grace:
        pairs.read()
    if not delivered:
        sys.exit(f"second: of {sum(pairs.number)} messages none arrived")
    ordered = sorted(pairs.latencies)
    lost = sum(pairs.number) - pairs.delivered
    return {
        "messagesPerSecond": delivered / seconds, "serverCPUMicrosPerDelivery": cpu / delivered * 1e6,
        "latencyP50Micros": ordered[len(ordered) // 2] * 1e6,
        "latencyP99Micros": ordered[len(ordered) * 99 // 100] * 1e6,
        "sent": sum(pairs.number), "lost": lost, "outOfOrder": pairs.disordered,
        "verdict": "FAILED" if lost or pairs.disordered else "ok"}


def main():
    options = parse()
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    result = run(Pairs(options), options)
    print(json.dumps(result))
    sys.exit(0 if result["verdict"] == "ok" else 1)


if __name__ == "__main__":
    main()
