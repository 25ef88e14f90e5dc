"""Prints what `llvm-cov export` found, by target: coverage-table.py JSON SOURCES FLOOR [--files].
Ends with 1 when less than FLOOR percent of all lines are covered."""

import json
import sys
from collections import defaultdict
from pathlib import Path


def main(report, sources, floor, *options):
    found = json.loads(Path(report).read_text())["data"][0]["files"]
    targets, files = defaultdict(lambda: [0, 0]), []
    for file in found:
        path = Path(file["filename"])
        if not path.is_relative_to(sources):
            continue
        lines = file["summary"]["lines"]
        inside = path.relative_to(sources)
        files.append((inside, lines["covered"], lines["count"]))
        targets[inside.parts[0]][0] += lines["covered"]
        targets[inside.parts[0]][1] += lines["count"]
    assert files, f"no file of {sources} in {report}"

    def row(name, covered, count):
        print(f"{name:<56} {count:>7} {covered:>8} {100 * covered / max(count, 1):>6.1f} %")

    print(f"{'':<56} {'lines':>7} {'covered':>8}")
    if "--files" in options:
        for name, covered, count in sorted(files, key=lambda file: (file[0].parts[0], file[1] / max(file[2], 1))):
            row(str(name), covered, count)
    for name in sorted(targets):
        row(name, *targets[name])
    covered, count = (sum(counts) for counts in zip(*targets.values()))
    row("all", covered, count)
    if 100 * covered < float(floor) * count:
        sys.exit(f"Less than {floor} % of the lines are covered.")


main(*sys.argv[1:])
