"""The results as text: table.md, and the README's part about performance between its two markers."""
import glob
import json
import os
import shutil

import charts
from formats import number
from goals import LOOPS_MAX, PUBLISHED, REFERENCE, REFERENCE_MACHINE
from programs import ROOT
from summary import FASTEST, FLOOR, PEER, margin

BEGIN, END = "<!-- performance: begin -->", "<!-- performance: end -->"
KEPT = os.path.join("Benchmarks", "Compare", "results")
# Of the rate that was asked for: below it a latency is that of a queue that grows.
RATE_SHARE_MIN = 0.98
# A loop as the settings name it, and as the tables do.
LOOPS = {"uring": "io_uring", "epoll": "epoll"}
# Rows whose latencies are milliseconds.
IN_MILLISECONDS = ("fanout30",)


def latency(row, value):
    return f"{value / 1000:.1f}" if row in IN_MILLISECONDS else f"{value:.0f}"


def metric_text(row, metric, value):
    if metric in ("p50", "p99"):
        return latency(row, value) + (" ms" if row in IN_MILLISECONDS else " µs")
    if metric == "bytes":
        return f"{value:,.0f} bytes"
    if metric == "rate":
        return f"{number(value)}/s"
    if metric in ("beside", "scaling", "growth"):
        return f"{value:.2f}×"
    return f"{value:.2f} µs"


def cell(summary, row, server):
    name = row.name
    mark = "\\*" if summary.is_saturated(name, server) else ""
    noisy = " (noisy)" if summary.is_noisy(name, server) else ""
    if row.what == "memory":
        value = summary.value(name, server, "bytes")
        return f"{value:,.0f}" if value is not None else summary.why_empty(name, server)
    cpu = summary.value(name, server, "cpu")
    if cpu is None:
        return summary.why_empty(name, server)
    if row.what == "latency":
        p50, p99 = (latency(name, summary.value(name, server, key)) for key in ("p50", "p99"))
        share = summary.value(name, server, "rateShare")
        behind = f" ({share:.0%} of the rate)".replace("%", " %") if share and share < RATE_SHARE_MIN else ""
        return f"{p50}/{p99} · {number(cpu)}{noisy}{behind}"
    return f"{number(summary.value(name, server, 'rate'))}{mark} · {number(cpu)}{noisy}"


def row_title(row):
    unit = {"rate": "per s · CPU", "memory": "", "latency": "p50/p99 µs · CPU"}[row.what]
    if row.name in IN_MILLISECONDS:
        unit = unit.replace("µs", "ms")
    return f"{row.title}: {unit}" if unit else row.title


def matrix(summary, backplane):
    columns = [server for server in summary.servers if server.backplane == backplane]
    rows = [row for row in summary.rows
            if any(cell(summary, row, server.name) for server in columns)]
    if not rows:
        return ""
    lines = ["| | " + " | ".join(server.name for server in columns) + " |",
             "| --- |" + " --- |" * len(columns)]
    for row in rows:
        cells = [cell(summary, row, server.name) or "–" for server in columns]
        lines.append(f"| {row_title(row)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def ratios(summary):
    """CPU (or bytes) of Skein over that of the C server, of uWebSockets and of the Go hub, within the same rounds."""
    columns = [server for server in summary.servers if server.family == "skein"]
    if not columns:
        return ""
    lines = ["| CPU (or bytes), as a ratio | " +
             " | ".join(f"{server.name} to {FLOOR} · to {FASTEST} · to {PEER}" for server in columns) + " |",
             "| --- |" + " --- |" * len(columns)]
    for row in summary.rows:
        metric = "bytes" if row.what == "memory" else "cpu"
        cells = []
        for server in columns:
            peer = PEER + " + Redis" if server.backplane == "redis" else PEER
            pair = [summary.ratio(row.name, server.name, metric, other) for other in (FLOOR, FASTEST, peer)]
            cells.append(" · ".join(f"{ratio:.2f}×" if ratio else "–" for ratio in pair)
                         if any(pair) else "–")
        if any(text != "–" for text in cells):
            lines.append(f"| {row.title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def loops(summary):
    """What epoll costs beside io_uring, within the same rounds: all rows, and the worst in a sentence."""
    lines = ["| epoll over io_uring, CPU (or bytes) | in memory | through Redis |", "| --- | --- | --- |"]
    worst = []
    for row in summary.rows:
        metric = "bytes" if row.what == "memory" else "cpu"
        pair = [summary.ratio(row.name, f"Skein{through} epoll", metric, f"Skein{through} io_uring")
                for through in ("", "+Redis")]
        if any(pair):
            cells = [f"{ratio:.2f}×" if ratio else "–" for ratio in pair]
            lines.append(f"| {row.title} | " + " | ".join(cells) + " |")
            worst.append((max(filter(None, pair)), row.title))
    if not worst:
        return "", ""
    most, title = max(worst)
    sentence = (f"On epoll Skein costs at most {most:.2f}× what it does on io_uring, in the median of the "
                f"rounds' ratios ({title}); the goal is {LOOPS_MAX}× in every row: "
                f"{'met' if most <= LOOPS_MAX else 'missed'}.")
    return "\n".join(lines), sentence


def fanout_growth(summary):
    """What a delivery of a fan-out to 19,000 costs over one to 1,000: told beside what the others' does."""
    grown = {server.name: summary.ratio("fanout19k", server.name, "cpu", other_row="fanout1")
             for server in summary.servers}
    own = grown.get("Skein+Redis io_uring")
    if not own:
        return ""
    others = ", ".join(f"{name} {grown[name]:.2f}×" for name in ("C io_uring", FLOOR, FASTEST, PEER)
                       if grown.get(name))
    return (f"Not judged: a delivery of a fan-out to 19,000 costs {own:.2f}× one to 1,000 ({others}), for each "
            "event then touches 19,000 pairs of sockets, whose memory in the kernel no cache holds, and the client, "
            "which sleeps between two events, has to be woken.")


def verdict(goal, wanted, value):
    share = margin(goal, wanted, value)
    return f"{'met' if share >= 0 else 'missed'} by {abs(share):.0%}".replace("%", " %")


def reaches(goal, value):
    return goal.then is not None and margin(goal, goal.then, value) >= 0


def tally(summary):
    """How many goals each loop meets: as they were set, at this machine's pace, and what comes after them."""
    counts = {loop: {"total": 0, "set": 0, "here": 0, "then": 0} for loop in LOOPS}
    for goal, values, wanted, beside in summary.verdicts():
        for loop, count in counts.items():
            value, ratio = values.get(loop), beside.get(loop)
            if value is None:
                continue
            is_met = margin(goal, goal.goal, value) >= 0
            count["total"] += 1
            count["set"] += is_met
            count["here"] += margin(goal, wanted, ratio) >= 0 if ratio else is_met
            count["then"] += reaches(goal, value)
    own, other = counts["uring"], counts["epoll"]
    if not own["total"]:
        return ""
    return (f"Of {own['total']} goals io_uring meets {own['set']} as they were set, {own['here']} at this machine's "
            f"pace (the last column, where there is one), and in {own['then']} the figure in brackets; epoll "
            f"{other['set']}, {other['here']} and {other['then']}.")


def goals(summary):
    lines = ["| goal | wanted (then) | io_uring | epoll | beside the C server on epoll |",
             "| --- | --- | --- | --- | --- |"]
    for goal, values, wanted, beside in summary.verdicts():
        def show(value, goal=goal):
            return metric_text(goal.row, goal.metric, value)
        unit = {"rate": ", rate", "p50": ", p50", "p99": ", p99", "bytes": ""}.get(goal.metric, ", CPU")
        sign = "≥" if goal.is_more_better else "≤"
        cells = []
        for loop in LOOPS:
            value = values.get(loop)
            if value is None:
                cells.append(why_not_judged(summary, goal, loop))
            else:
                then = ", then reached" if reaches(goal, value) else ""
                mark = "\\*" if goal.metric == "rate" and summary.is_saturated(goal.row, skein(goal, loop)) else ""
                cells.append(f"{show(value)}{mark}: {verdict(goal, goal.goal, value)}{then}")
        judged = [f"{name} {beside[loop]:.2f}×, {verdict(goal, wanted, beside[loop])}"
                  for loop, name in LOOPS.items() if beside.get(loop)]
        beside_text = f"{sign} {wanted:.2f}×: {'; '.join(judged)}" if judged else "–"
        then = f" ({show(goal.then)})" if goal.then is not None else ""
        lines.append(f"| {goal.title}{unit} | {sign} {show(goal.goal)}{then} | {cells[0]} | {cells[1]} | "
                     f"{beside_text} |")
    lines.append(f"| allocations and retains of a frame, warm | 0 (0) | {warm_counts()} | the same | – |")
    return "\n".join(lines)


def skein(goal, loop):
    return f"Skein{'+Redis' if goal.backplane == 'redis' else ''} {LOOPS[loop]}"


def why_not_judged(summary, goal, loop):
    server = skein(goal, loop)
    if goal.peer and summary.value(goal.row, server, "cpu") is not None:
        return f"no {goal.peer} beside it"
    return summary.why_empty(goal.row, server) or "not measured"


def warm_counts():
    """What a warm frame takes at most, by the thresholds that `Benchmarks/micro` holds: whole turns of a shard."""
    most = {"allocations": 0.0, "retains": 0.0}
    for path in glob.glob(os.path.join(ROOT, "Benchmarks", "Thresholds", "*", "micro.json")):
        with open(path) as file:
            rows = json.load(file)
        for name, counts in rows.items():
            if name.startswith("shard: ") and "stall" not in name:
                most = {what: max(value, counts[what]) for what, value in most.items()}
    met = "met" if not any(most.values()) else "missed"
    return (f"{most['allocations']:g} and {most['retains']:g}: {met}, counted by `Benchmarks/micro` with every "
            "`Ops/test`")


def reference():
    lines = ["| | uWebSockets | C epoll |", "| --- | --- | --- |"]
    for row, by_server in REFERENCE.items():
        cells = [", ".join(f"{key} {metric_text(row, key, value)}" for key, value in
                           by_server.get(server, {}).items()) or "–"
                 for server in ("uWebSockets", "C epoll")]
        lines.append(f"| {row} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def conditions(summary):
    data, noise = summary.data, summary.noise()
    host = data["machine"]
    spreads = sorted(noise["spreads"].items(), key=lambda item: -item[1])
    spread = ("; between rounds the C server on epoll moved by "
              f"{spreads[len(spreads) // 2][1]:.0%} of its median in the median row and by "
              f"{spreads[0][1]:.0%} in {spreads[0][0]}" if spreads else "").replace("%", " %")
    absent = "; ".join(f"{name}: {why}" for name, why in data["absent"].items())
    tools = {name: f"{name} {text}" if text[:1].isdigit() or text[:1] == "v" else text
             for name, text in data["versions"].items() if name != "packages"}
    packages = data["versions"].get("packages", {})
    shown = ("golang-github-gorilla-websocket-dev", "node-ws", "libnginx-mod-nchan", "redis-server")
    versions = ", ".join([*tools.values(), *(f"{name} {packages[name]}" for name in shown
                                             if name in packages)])
    noise_text = (
        f"Noise: {noise['cells']} cells; others and the hypervisor took {noise['median']:.1%} of a core "
        f"in the median and {noise['worst']:.1%} at worst (stolen: {noise['stolen']:.1%}); "
        f"{noise['repeated']} cells were measured again because of it, {noise['noisy']} stayed noisy and "
        f"count only where nothing else was measured, and are marked there{spread}.")
    return (
        f"Measured on {host['cores']} cores of {host['cpu']} (a VM), kernel {host['kernel']}, "
        f"{host['system']}, commit {data['commit']}: {summary.round_count()} rounds of "
        f"{data['seconds']:g} s a cell, all servers in turns, medians. The server is alone on core 0 "
        "(its Redis with it), the C client of `Benchmarks/Load` on core 1; 128-byte payloads, in user → user "
        "rows of Skein, the Go and the node hub a `typing` event of 99 bytes, which nobody keeps or confirms; "
        "Skein with envelopes, users, limits (rates, too, at a million a second) and metrics on, history off "
        "where not named. "
        "CPU is user and system time of server, Redis and `ksoftirqd/0` in µs per delivery (per "
        "connect); \\*: the client was saturated, so the rate is the client's, and the CPU is what "
        "to compare. The C servers know no users, no JSON and no limits; uWebSockets (on libuv, as in "
        "uWebSockets.js), SwiftNIO, nchan and NATS know no users and no JSON in these rows; tokens are verified "
        "by Skein and by the Go and node hubs. A fan-out without Redis is published on a WebSocket; of Skein only "
        "backends publish to everyone, and the load client does so through Redis: its fan-out is in the second table "
        "only.\n\n"
        + noise_text.replace("%", " %").replace("  %", " %") +
        (f"\n\nLeft out: {absent}." if absent else "") + f"\n\nVersions: {versions}.")


def body(summary):
    parts = [conditions(summary), matrix(summary, "memory")]
    redis = matrix(summary, "redis")
    if redis:
        parts += ["Through Redis, its CPU included:", redis]
    parts += ["Skein's goals. They were set on " + REFERENCE_MACHINE + ", where the C server on epoll had "
              "its own pace; the last column asks for the same share of what it takes here. In brackets stands what is "
              "wanted then, after the goal. Two shards against one is computed, twice the CPU per message on one over "
              "that on two: the machine has no third core for the client. Where two cells are compared, it is the "
              "median of the rounds' own ratios, of those rounds in which both were quiet; user → user through Redis "
              "stands beside the C server's row without.",
              goals(summary), tally(summary), loops(summary)[1], fanout_growth(summary)]
    return "\n\n".join(part for part in parts if part)


def text(summary):
    failures = "".join(f"\n\nFAILED: {row} on {server}" for row, server in summary.failures())
    return body(summary) + failures


def write(summary, directory):
    with open(os.path.join(directory, "table.md"), "w") as file:
        file.write("# Skein beside others\n\nWritten by `Benchmarks/Compare/run`.\n\n" + text(summary) +
                   "\n\n## Ratios\n\n" + ratios(summary) + "\n\n" + loops(summary)[0] +
                   f"\n\n## Measured before\n\nOn {REFERENCE_MACHINE}, what the goals were set by:\n\n" + reference() +
                   f"\n\nPublished by others: {PUBLISHED}.\n")


def keep(summary, directory):
    """Puts the results into the repository and rewrites the README's part from them."""
    kept = os.path.join(ROOT, KEPT)
    os.makedirs(kept, exist_ok=True)
    for name in ("results.json", "table.md", *charts.NAMES):
        path = os.path.join(directory, name)
        if os.path.abspath(path) != os.path.join(kept, name) and os.path.exists(path):
            shutil.copyfile(path, os.path.join(kept, name))
    pictures = "\n".join(f"![{title}]({KEPT}/{name})" for name, title in charts.NAMES.items())
    part = (f"{BEGIN}\n{pictures}\n\n{body(summary)}\n\nRatios to the C server, uWebSockets and the Go hub, "
            f"and what the goals were set by: [{KEPT}/table.md]({KEPT}/table.md).\n{END}")
    path = os.path.join(ROOT, "README.md")
    with open(path) as file:
        readme = file.read()
    if readme.count(BEGIN) != 1 or readme.count(END) != 1:
        raise SystemExit(f"compare: README.md needs one {BEGIN} and one {END}")
    head, rest = readme.split(BEGIN)
    with open(path, "w") as file:
        file.write(head + part + rest.split(END)[1])
