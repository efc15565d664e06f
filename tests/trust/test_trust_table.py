"""The table of promises names tests that exist, and each file here is named in it."""

import ast
import re

import pytest
from running import ROOT

PAGE = (ROOT / "docs" / "user" / "trust.md").read_text()
NAMED = re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE)


def functions(path):
    return {
        node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)
    }


@pytest.mark.parametrize("file, name", NAMED, ids=[f"{file}::{name}" for file, name in NAMED])
def test_the_test_of_a_promise_exists(file, name):
    assert name in functions(ROOT / "tests" / file)


def test_every_promise_has_a_test():
    table = PAGE.split("## Promises and their tests")[1].split("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 15 and all("`::`" not in row and ".py::" in row for row in rows)


def test_what_is_here_is_in_the_table():
    for path in (ROOT / "tests" / "trust").glob("test_*.py"):
        if path.name != "test_trust_table.py":
            assert f"trust/{path.name}" in PAGE
