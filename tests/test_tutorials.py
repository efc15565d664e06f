"""The tutorials say what happens: each page is run from top to bottom on the data that it names."""

import contextlib
import doctest
import io
import re
import shlex
from pathlib import Path

import pytest
from real_data import data_folder

from alseg.cli import main

PAGES = sorted((Path(__file__).parents[1] / "docs" / "tutorials").glob("[!i]*.md"))
NEAR = 0.04  # how far a number with a point may be from the one on the page, on another processor
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


class Near(doctest.OutputChecker):
    """Numbers with a point are compared roughly, and of commands all numbers are left out.

    Which image is asked for, and by how much, hangs on the last digits; what a page claims stands
    in comparisons, which are True.
    """

    after_command = False

    def command(self, line):
        """Run `alseg ...` and print what a terminal would show in the end, without bars."""
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
            status = main(shlex.split(line)[1:])
        for text in shown.getvalue().split("\n"):
            print(text.rpartition("\r")[2].strip())
        assert status in (None, 0), status
        self.after_command = True

    def check_output(self, want, got, optionflags):
        digits, self.after_command = r"\d+" if self.after_command else r"\d+\.\d+", False
        pairs = zip(re.findall(r"\d+\.\d+", want), re.findall(r"\d+\.\d+", got))
        near = digits == r"\d+" or all(abs(float(a) - float(b)) <= NEAR for a, b in pairs)
        want, got = (re.sub(digits, "#", text) for text in (want, got))
        return near and super().check_output(want, got, optionflags)


def examples(page, command=None):
    """The blocks of a page as one doctest, command lines (`$ alseg ...`) among them."""
    text = page.read_text(encoding="utf-8").replace("\\\n", "")
    text = re.sub(r"^\$ (alseg .*)$", lambda found: f">>> command({found[1]!r})", text, flags=re.M)
    return doctest.DocTestParser().get_doctest(text, {"command": command}, page.stem, str(page), 0)


def data_sets(page):
    return sorted(set(re.findall(r"\bdata/(\w+)", page.read_text(encoding="utf-8"))))


def test_numbers_may_be_near_and_those_of_commands_are_left_out():
    checker = Near()
    assert checker.check_output("0.71 True\n", "0.73 True\n", 0)
    assert not checker.check_output("0.71\n", "0.79\n", 0)
    assert not checker.check_output("0.71 True\n", "0.71 False\n", 0)
    assert not checker.check_output("(3, 0.71)\n", "(4, 0.71)\n", 0)
    checker.after_command = True
    assert checker.check_output("train_4\n0.71\n", "train_12\n0.95\n", 0)
    assert not checker.check_output("train_4\n", "train_12\n", 0)  # of one command alone


def test_there_are_tutorials():
    assert len(PAGES) == 5


@every_page
def test_tutorials_say_data_terms_and_time(page):
    text = page.read_text(encoding="utf-8")
    assert data_sets(page) and len(examples(page).examples) >= 8
    assert "on two cores" in text and "**Data.**" in text
    assert "all_ones" in text  # what a Dice is worth without a model


@pytest.mark.slow
@every_page
def test_tutorials_run(page, tmp_path, monkeypatch):
    for name in data_sets(page):
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / name).symlink_to(data_folder(name), target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    checker, said = Near(), []
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS | doctest.FAIL_FAST
    runner = doctest.DocTestRunner(checker, optionflags=flags)
    runner.run(examples(page, checker.command), out=said.append)
    assert not runner.failures, "".join(said)
