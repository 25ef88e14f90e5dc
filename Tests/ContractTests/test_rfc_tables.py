"""Holds RFC6455.md to what is there: each row names cases and tests that exist, and every group of the
catalogue is named by some row."""

import fnmatch
import re
from pathlib import Path

import pytest

from conformance.catalogue import CASES, GROUPS

HERE = Path(__file__).parent
ROW = re.compile(r"^\| ([\d.]+[^|]*) \| ([^|]+) \| ([^|]+) \|$")
LINES = (HERE / "RFC6455.md").read_text().splitlines()
ROWS = [match.groups() for line in LINES if (match := ROW.match(line))]


def test_both_tables_are_read():
    assert sum(section.startswith("7.2.3") for section, *_ in ROWS) >= 4, "RFC 7692"
    assert sum(section.startswith("5.") for section, *_ in ROWS) >= 20, "RFC 6455"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0].strip()}-{row[1][:50]}")
def test_what_holds_a_rule_exists(row):
    names = re.findall(r"`([^`]+)`", row[2])
    assert names, "nothing holds this rule"
    for name in names:
        file, is_test, test = name.partition("::")
        if is_test:
            source = (HERE / file).read_text()
            assert re.search(rf"^def {re.escape(test)}\(", source, re.M), f"{name} is not there"
        else:
            assert fnmatch.filter(CASES, name), f"no case is called {name}"


def test_each_group_holds_a_rule():
    named = {
        name.split("/")[0] for _, _, held in ROWS for name in re.findall(r"`([\w-]+/[^`]+)`", held)
    }
    assert named == set(GROUPS)
