"""The results as SVG, written by hand so that nothing has to be installed. Colours follow the reader's
scheme, light or dark, and every bar carries its figure as text."""
import math
import os
from html import escape

from formats import number
from work import ROW

# file -> what it shows
NAMES = {
    "throughput.svg": "Throughput, more is better",
    "cpu.svg": "CPU per delivery, less is better",
    "latency.svg": "Latency, less is better",
    "memory.svg": "Memory per idle connection, less is better",
    "scale.svg": "Cost and latency as connections and fan-out grow",
}
STYLE = """
text { font: 12px system-ui, "Segoe UI", sans-serif; fill: #1f2328 }
.head { font-weight: 600; font-size: 13px } .small { font-size: 11px; fill: #59636e }
.skein { fill: #c2410c } .floor { fill: #8b949e } .peer { fill: #3b6fb6 }
.line { stroke: #8b949e; stroke-opacity: .35 } .curve { fill: none; stroke-width: 2 }
.bridge { stroke-width: 3; stroke-opacity: .55 }
line.skein, .curve.skein { stroke: #c2410c } line.floor, .curve.floor { stroke: #8b949e }
line.peer, .curve.peer { stroke: #3b6fb6 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .small { fill: #9198a1 }
  .skein { fill: #f0883e } .floor { fill: #767e87 } .peer { fill: #6ea8fe }
  line.skein, .curve.skein { stroke: #f0883e } line.floor, .curve.floor { stroke: #767e87 }
  line.peer, .curve.peer { stroke: #6ea8fe }
}
"""
WIDTH, MARGIN, LABEL, LINE, GAP = 880, 12, 138, 19, 26
PANEL = (WIDTH - 3 * MARGIN) // 2


def tint(server):
    return server.family if server.family in ("skein", "floor") else "peer"


def text(x, y, words, style="", anchor="start"):
    style = f' class="{style}"' if style else ""
    return f'<text x="{x:.0f}" y="{y:.0f}"{style} text-anchor="{anchor}">{escape(words)}</text>'


def bars(x, y, title, entries, show):
    """One panel: a bar per (server, value), from zero."""
    widest = max(value for _, value in entries)
    room = PANEL - LABEL - 62
    parts = [text(x, y + 13, title, "head")]
    for index, (server, value) in enumerate(entries):
        top = y + 22 + index * LINE
        length = max(1, room * value / widest)
        parts += [text(x + LABEL - 6, top + 13, server.name, anchor="end"),
                  f'<rect x="{x + LABEL}" y="{top + 2}" width="{length:.1f}" height="{LINE - 5}" '
                  f'rx="2" class="{tint(server)}"/>',
                  text(x + LABEL + length + 5, top + 13, show(value), "small")]
    return parts, 22 + len(entries) * LINE


def spans(x, y, title, entries, show):
    """One panel on a logarithmic axis: p50, p90, p99 and p99.9 of each server, joined."""
    values = [value for _, points in entries for value in points]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    room = PANEL - LABEL - 20
    bottom = y + 22 + len(entries) * LINE

    def place(value):
        return x + LABEL + room * (math.log10(value) - low) / max(1, high - low)
    parts = [text(x, y + 13, title, "head")]
    for power in range(low, high + 1):
        at = place(10 ** power)
        parts += [f'<line x1="{at:.1f}" y1="{y + 20}" x2="{at:.1f}" y2="{bottom}" class="line"/>',
                  text(at, bottom + 13, show(10 ** power), "small", "middle")]
    for index, (server, points) in enumerate(entries):
        middle = y + 22 + index * LINE + LINE / 2
        ends = place(points[0]), place(points[-1])
        parts += [text(x + LABEL - 6, middle + 4, server.name, anchor="end"),
                  f'<line x1="{ends[0]:.1f}" y1="{middle}" x2="{ends[1]:.1f}" y2="{middle}" '
                  f'class="bridge {tint(server)}"/>']
        parts += [f'<circle cx="{place(value):.1f}" cy="{middle}" r="{radius}" class="{tint(server)}"/>'
                  for value, radius in zip(points, (5, 3, 4, 2.5))]
    return parts, 22 + len(entries) * LINE + 16


def curves(x, y, title, series, show):
    """One panel: lines over the number of connections, both from zero up, the first logarithmic."""
    places = sorted({count for _, points in series for count, _ in points})
    highest = max(value for _, points in series for _, value in points) * 1.1
    left, room, height = x + 52, PANEL - 52 - 112, 150
    low, high = math.log10(places[0]), math.log10(places[-1])
    bottom = y + 24 + height

    def across(count):
        return left + room * (math.log10(count) - low) / (high - low)

    def up(value):
        return bottom - height * value / highest
    parts = [text(x, y + 13, title, "head")]
    for step in (0, 0.5, 1):
        parts += [f'<line x1="{left}" y1="{up(highest * step):.1f}" x2="{left + room}" '
                  f'y2="{up(highest * step):.1f}" class="line"/>',
                  text(left - 5, up(highest * step) + 4, show(highest * step), "small", "end")]
    parts += [text(across(count), bottom + 14, number(count), "small", "middle") for count in places]
    ends = []
    for server, points in series:
        line = " ".join(f"{across(count):.1f},{up(value):.1f}" for count, value in points)
        dash = ' stroke-dasharray="5 3"' if server.loop == "epoll" else ""
        parts.append(f'<polyline points="{line}" fill="none" class="curve {tint(server)}"{dash}/>')
        parts += [f'<circle cx="{across(count):.1f}" cy="{up(value):.1f}" r="2.5" class="{tint(server)}"/>'
                  for count, value in points]
        ends.append((up(points[-1][1]), server.name))
    # Names stand beside the ends of their lines, and neither on each other nor below the axis.
    places, free = [], y + 12
    for place, name in sorted(ends):
        free = max(place + 4, free + 13)
        places.append((free, name))
    lowest = bottom + 17
    for place, name in reversed(places):
        lowest = min(place, lowest - 13)
        parts.append(text(left + room + 6, lowest, name, "small"))
    return parts, 24 + height + 20


def picture(path, title, note, panels):
    """`panels`: functions of (x, y) that return (parts, height), laid out in two columns."""
    y, parts = MARGIN, []
    for start in range(0, len(panels), 2):
        heights = []
        for column, panel in enumerate(panels[start:start + 2]):
            drawn, height = panel(MARGIN + column * (PANEL + MARGIN), y)
            parts += drawn
            heights.append(height)
        y += max(heights) + GAP
    parts.append(text(MARGIN, y, note, "small"))
    height = y + MARGIN
    with open(path, "w") as file:
        file.write(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" '
                   f'width="{WIDTH}" height="{height:.0f}" role="img" aria-label="{escape(title)}">\n'
                   f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n" + "\n".join(parts) +
                   "\n</svg>\n")


def panels_of(summary, names, metric, show, more_is_better=False):
    panels = []
    for name in names:
        entries = [(server, summary.value(name, server.name, metric)) for server in summary.servers]
        entries = sorted(((server, value) for server, value in entries if value),
                         key=lambda entry: -entry[1] if more_is_better else entry[1])
        if entries:
            panels.append(lambda x, y, name=name, entries=entries:
                          bars(x, y, ROW[name].title, entries, show))
    return panels


def scale_panels(summary):
    """How cost and latency go with the number of connections: (title, rows by count, metric, how shown)."""
    users = {1000: "pair1000", 5000: "pair5000", 19000: "pair19k"}
    many = {100: "fanout100", 1000: "fanout1", 5000: "fanout5k", 19000: "fanout19k"}
    panels = []
    for title, rows, metric, show in (
            ("user → user at 20,000/s: CPU per delivery", users, "cpu", "{:.0f} µs".format),
            ("fan-out, one at a time: CPU per delivery", many, "cpu", "{:.1f} µs".format),
            ("user → user at 20,000/s: p50", users, "p50", microseconds),
            ("user → user at 20,000/s: p99", users, "p99", microseconds)):
        series = []
        for server in summary.servers:
            points = [(count, summary.value(row, server.name, metric)) for count, row in rows.items()]
            points = [point for point in points if point[1]]
            # Who is far above would press the others flat: those figures are in the table.
            is_shown = server.family in ("skein", "floor", "uws") or server.name == "Go hub"
            if rows is users and server.backplane == "redis":
                is_shown = False
            if is_shown and len(points) > 2:
                series.append((server, points))
        if series:
            panels.append(lambda x, y, title=title, series=series, show=show: curves(x, y, title, series, show))
    return panels


def latency_panels(summary, names):
    panels = []
    for name in names:
        entries = []
        for server in summary.servers:
            points = [summary.value(name, server.name, key) for key in ("p50", "p90", "p99", "p999")]
            if all(points):
                entries.append((server, points))
        entries.sort(key=lambda entry: entry[1][2])
        if entries:
            panels.append(lambda x, y, name=name, entries=entries:
                          spans(x, y, ROW[name].title, entries, microseconds))
    return panels


def microseconds(value):
    if value < 1000:
        return f"{value:.0f} µs"
    return f"{value / 1000:.1f} ms" if value < 10_000 and value % 1000 else f"{value / 1000:.0f} ms"


def write(summary, directory):
    drawings = {
        "throughput.svg": (
            "Messages or deliveries per second; the server has one core. Where the C client was "
            "saturated (see the table) the bar is the client's.",
            panels_of(summary, ["echo4", "fanout16", "pair", "connect"], "rate",
                      lambda value: number(value), more_is_better=True)),
        "cpu.svg": (
            "Microseconds of CPU per delivery: server, its Redis, and ksoftirqd.",
            panels_of(summary, ["echo1", "fanout1", "pair", "pair20k"], "cpu",
                      lambda value: f"{value:.2f} µs")),
        "latency.svg": (
            "From the moment a message was due: p50, p90, p99, p99.9; the axis is logarithmic.",
            latency_panels(summary, ["fanout30", "pair20k"])),
        "memory.svg": (
            "User-space bytes per idle connection: the slope from the first 1,000 connections on.",
            panels_of(summary, ["idle", "idletls"], "bytes", lambda value: f"{value:,.0f}")),
        "scale.svg": (
            "Over the number of connections, one server core; dashed: on epoll. Fan-out of Skein goes through Redis.",
            scale_panels(summary)),
    }
    for name, (note, panels) in drawings.items():
        path = os.path.join(directory, name)
        if panels:
            picture(path, NAMES[name], note, panels)
        elif os.path.exists(path):
            os.remove(path)
