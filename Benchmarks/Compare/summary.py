"""From the cells of all rounds to medians, ratios and verdicts. A cell counts when it was quiet; where none
of its rounds was, all count, and the figure is marked."""
import statistics

from goals import GOALS, REFERENCE
from measuring import noise_of
from servers import SERVER, SERVERS
from work import ROW, ROWS

SATURATED = 0.96
FLOOR, FASTEST, PEER = "C epoll", "uWebSockets", "Go hub"
LATENCIES = {"p50": "latencyP50Micros", "p90": "latencyP90Micros", "p99": "latencyP99Micros",
             "p999": "latencyP999Micros"}
RATES = ("messagesPerSecond", "deliveriesPerSecond", "connectsPerSecond")


def metrics_of(row, result):
    """What of the client's result says something for this row."""
    if "unavailable" in result:
        return {}
    if row.what == "memory":
        return {"bytes": result["bytesPerIdleConnectionPSS"]}
    values = {"cpu": result["serverCPUMicrosPerDelivery"]}
    if row.what == "latency":
        values.update((name, result[key]) for name, key in LATENCIES.items())
        if "messagesPerSecond" in result:
            values["rateShare"] = result["messagesPerSecond"] / result["ratePerSecond"]
    else:
        values["rate"] = next(result[key] for key in RATES if key in result)
        values["saturated"] = result["clientCPUShare"] > SATURATED
    return values


class Summary:
    def __init__(self, data):
        self.data = data
        self.by_cell = {}
        for cell in data["cells"]:
            if cell["row"] in ROW and cell["server"] in SERVER:
                rounds = self.by_cell.setdefault((cell["row"], cell["server"]), {})
                rounds[cell["round"]] = cell["result"]
        self.rows = [row for row in ROWS if any(key[0] == row.name for key in self.by_cell)]
        self.servers = [server for server in SERVERS
                        if any(key[1] == server.name for key in self.by_cell)]

    def rounds(self, row, server):
        """round -> metrics, of those that count."""
        results = {number: result for number, result in self.by_cell.get((row, server), {}).items()
                   if "unavailable" not in result}
        quiet = {number: result for number, result in results.items() if not result["noisy"]}
        return {number: metrics_of(ROW[row], result) for number, result in (quiet or results).items()}

    def cell(self, row, server, number, metric):
        return self.rounds(row, server).get(number, {}).get(metric)

    def value(self, row, server, metric):
        values = [metrics[metric] for metrics in self.rounds(row, server).values()
                  if metric in metrics]
        return statistics.median(values) if values else None

    def ratio(self, row, server, metric, other_server=None, other_row=None):
        """Median of the ratios within each round, where both stood beside each other; where no round
        has both, the ratio of the medians."""
        own = self.rounds(row, server)
        other = self.rounds(other_row or row, other_server or server)
        ratios = [own[number][metric] / other[number][metric] for number in own
                  if metric in own[number] and other.get(number, {}).get(metric)]
        if ratios:
            return statistics.median(ratios)
        mine, theirs = (self.value(row, server, metric),
                        self.value(other_row or row, other_server or server, metric))
        return mine / theirs if mine and theirs else None

    def is_saturated(self, row, server):
        return any(metrics.get("saturated") for metrics in self.rounds(row, server).values())

    def is_noisy(self, row, server):
        results = self.by_cell.get((row, server), {}).values()
        measured = [result for result in results if "unavailable" not in result]
        return bool(measured) and all(result["noisy"] for result in measured)

    def why_empty(self, row, server):
        for result in self.by_cell.get((row, server), {}).values():
            if "unavailable" in result:
                return result["unavailable"]
        return ""

    def failures(self):
        """Cells in which messages were lost or disordered, or in which a server failed outright."""
        return sorted({key for key, rounds in self.by_cell.items() for result in rounds.values()
                       if result.get("verdict") == "FAILED" or
                       result.get("unavailable") == "failed"})

    def round_count(self):
        counts = [len(rounds) for rounds in self.by_cell.values()]
        return statistics.mode(counts) if counts else 0

    def noise(self):
        results = [result for (row, _), rounds in self.by_cell.items() for result in rounds.values()
                   if "unavailable" not in result and ROW[row].what != "memory"]
        kept = [result for result in results if not result["noisy"]]
        spreads = {}
        for row in self.rows:
            values = [metrics["cpu"] for metrics in self.rounds(row.name, FLOOR).values()
                      if "cpu" in metrics]
            if len(values) > 1:
                spreads[row.name] = (max(values) - min(values)) / statistics.median(values)
        return {
            "cells": len(results), "repeated": sum(result["tries"] > 1 for result in results),
            "noisy": len(results) - len(kept),
            "median": statistics.median(map(noise_of, kept)) if kept else 0,
            "worst": max(map(noise_of, kept), default=0),
            "stolen": max((result.get("stolenCPUShare", 0) for result in kept), default=0),
            "spreads": spreads}

    # Goals

    def goal_value(self, goal, server):
        if goal.metric == "beside":
            return self.ratio(goal.row, server, "cpu", goal.peer)
        if goal.metric == "growth":
            return self.ratio(goal.row, server, "cpu", other_row=goal.other_row)
        if goal.metric == "scaling":
            # Two cores do 2/c messages where c is what both together spend on one; one core does 1/c.
            ratio = self.ratio(goal.row, server, "cpu", other_row=goal.other_row)
            return 2 / ratio if ratio else None
        return self.value(goal.row, server, goal.metric)

    def verdicts(self):
        """(goal, {loop: value}, wanted beside the C server, {loop: value beside it}) for each goal; the last two are
        None and empty where that server says nothing."""
        for goal in GOALS:
            skein = {server.loop: server.name for server in SERVERS
                     if server.family == "skein" and server.backplane == goal.backplane}
            values = {loop: self.goal_value(goal, name) for loop, name in skein.items()}
            wanted, beside = None, {}
            if goal.scale_row:
                metric, there = goal.metric, goal.goal
                if metric == "beside":
                    metric, there = "cpu", goal.goal * REFERENCE[goal.row][goal.peer]["cpu"]
                wanted = there / REFERENCE[goal.scale_row][FLOOR][metric]
                beside = {loop: self.ratio(goal.row, name, metric, FLOOR, goal.scale_row)
                          for loop, name in skein.items()}
            yield goal, values, wanted, beside


def margin(goal, wanted, value):
    """By how much of the goal it is met; negative: missed."""
    return (value / wanted - 1) if goal.is_more_better else (1 - value / wanted)
