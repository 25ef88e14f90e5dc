"""What Skein is to reach, and what was measured before, to read this machine's figures by.

The reference figures were measured on a VM with 2 cores of AMD Zen 4, kernel 6.18, Debian 12, by the same
kind of set-up. A machine of another pace is judged beside the C server on epoll, which is the same program
there and here: what a goal is of that server's figure there, it is to be here.
"""
from dataclasses import dataclass

LOOPS_MAX = 1.35  # what epoll may cost beside io_uring
REFERENCE_MACHINE = "a VM with 2 cores of AMD Zen 4"
# row: {server: {metric: value}}
REFERENCE = {
    "echo1": {"uWebSockets": {"cpu": 5.51}, "C epoll": {"cpu": 5.47}},
    "echo4": {"uWebSockets": {"rate": 659e3, "cpu": 1.44}},
    "fanout1": {"uWebSockets": {"cpu": 4.44}, "C epoll": {"cpu": 4.24}},
    "fanout16": {"uWebSockets": {"rate": 2.36e6, "cpu": 0.42}, "C epoll": {"rate": 2.20e6, "cpu": 0.44}},
    "fanout30": {"uWebSockets": {"p50": 2900, "p99": 5700}, "C epoll": {"p50": 2800, "p99": 5700}},
    "pair": {"uWebSockets": {"rate": 157e3, "cpu": 6.27}, "C epoll": {"rate": 175e3, "cpu": 5.6}},
    "pair20k": {"uWebSockets": {"p50": 34, "p99": 396, "cpu": 15.4},
                "C epoll": {"p50": 33, "p99": 69, "cpu": 14.8}},
    "idle": {"uWebSockets": {"bytes": 498}},
    "connect": {"uWebSockets": {"rate": 27.0e3, "cpu": 18}, "C epoll": {"rate": 28.0e3, "cpu": 17}},
}
PUBLISHED = ("Centrifugo 27 KB per idle connection by default, 11.6 KB at best; AnyCable Pro 18 KB; "
             "Redis alone 0.67 µs per PUBLISH at pipeline 64, 11.9 µs unpipelined")


@dataclass(frozen=True)
class Goal:
    title: str
    row: str
    backplane: str
    metric: str      # cpu, rate, p50, p99, bytes; or computed from two cells: beside, scaling, growth
    goal: float
    then: float | None  # what comes after the goal, if anything
    scale_row: str = ""  # the C server's row to judge by; empty: the goal is the same everywhere
    other_row: str = ""  # the second row of scaling and growth
    peer: str = ""       # whose CPU in the same row and round the metric `beside` divides by

    @property
    def is_more_better(self):
        return self.metric in ("rate", "scaling")


GOALS = [
    Goal("echo, 1 in flight, beside uWebSockets", "echo1", "memory", "beside", 1.02, 1.0, "echo1",
         peer="uWebSockets"),
    Goal("echo, 4 in flight, beside uWebSockets", "echo4", "memory", "beside", 1.05, 1.0,
         peer="uWebSockets"),
    Goal("fan-out, one at a time, beside uWebSockets", "fanout1", "redis", "beside", 1.0, None, "fanout1",
         peer="uWebSockets"),
    Goal("fan-out, one at a time", "fanout1", "redis", "cpu", 4.1, 3.7, "fanout1"),
    Goal("fan-out, 16 in flight", "fanout16", "redis", "rate", 2.2e6, 2.6e6, "fanout16"),
    Goal("fan-out, 16 in flight", "fanout16", "redis", "cpu", 0.45, 0.38, "fanout16"),
    Goal("fan-out, 30 messages/s to 1000", "fanout30", "redis", "p50", 2800, 2400, "fanout30"),
    Goal("fan-out, 30 messages/s to 1000", "fanout30", "redis", "p99", 5500, 5000, "fanout30"),
    Goal("user → user, one node", "pair", "memory", "rate", 140e3, 165e3, "pair"),
    Goal("user → user, one node", "pair", "memory", "cpu", 7.0, 5.9, "pair"),
    Goal("the same at 20,000/s", "pair20k", "memory", "p50", 40, 40, "pair20k"),
    Goal("the same at 20,000/s", "pair20k", "memory", "p99", 400, 100, "pair20k"),
    Goal("user → user through Redis", "pair", "redis", "rate", 60e3, 80e3, "pair"),
    Goal("user → user through Redis", "pair", "redis", "cpu", 16, 12, "pair"),
    Goal("the same, each event kept in history", "kept", "redis", "rate", 40e3, 60e3, "pair"),
    Goal("the same, each event kept in history", "kept", "redis", "cpu", 24, 18, "pair"),
    Goal("idle connection", "idle", "memory", "bytes", 600, 450),
    Goal("idle TLS connection", "idletls", "memory", "bytes", 16e3, 14.5e3),
    Goal("connects, a JWT verified each", "connect", "memory", "rate", 15e3, 22e3, "connect"),
    Goal("connects, a JWT verified each", "connect", "memory", "cpu", 45, 30, "connect"),
    Goal("two shards against one, 20,000/s", "two20k", "memory", "scaling", 1.7, 1.9, other_row="one20k"),
    Goal("user → user, 19,000 connections against 1,000", "pair19k", "memory", "growth", 1.3, 1.1,
         other_row="pair1000"),
]
