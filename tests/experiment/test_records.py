"""Records survive a kill at any byte, and never take in what belongs to another run."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alseg.experiment.records import Records, comparable, read_records
from alseg.files import AppendOnly, FolderInUse, RecordsError, jsonable


def write(folder, n, config=None):
    with Records(folder, config or {"seed": 0}) as records:
        for number in range(len(records.records), n):
            records.append({"round": number, "name": "é\u2028\r\n", "dice": [0.25, None]})
    return folder / "records.jsonl"


def test_a_line_a_record_and_back(tmp_path):
    path = write(tmp_path / "a" / "b", 3)
    lines = path.read_text("utf-8").split("\n")
    assert len(lines) == 4 and lines[-1] == ""
    assert [json.loads(line) for line in lines[:3]] == read_records(path)
    assert read_records(path.parent)[2] == {
        "round": 2,
        "name": "é\u2028\r\n",
        "dice": [0.25, None],
        "config": {"seed": 0},
    }


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000))
def test_cut_at_any_byte_loses_at_most_the_last_record(tmp_path_factory, cut):
    folder = tmp_path_factory.mktemp("cut")
    path = write(folder, 3)
    whole = path.read_bytes()
    cut %= len(whole) + 1
    path.write_bytes(whole[:cut])
    n_whole = whole[:cut].count(b"\n") + (whole[cut : cut + 1] == b"\n")
    assert len(read_records(path)) == n_whole
    assert path.read_bytes() == whole[:cut]  # reading changes nothing
    write(folder, 3)
    assert path.read_bytes() == whole
    kept = whole[:cut].rpartition(b"\n")[2] if whole[cut : cut + 1] != b"\n" else b""
    aside = folder / "records.jsonl.cut"
    assert aside.exists() == bool(kept)
    assert not kept or aside.read_bytes() == kept + b"\n"


def test_cuts_are_kept_one_after_the_other(tmp_path):
    path = write(tmp_path, 2)
    for tail in (b'{"round": 2', b'{"rou\xc3', b"\x00\x00\n"):
        with open(path, "ab") as file:
            file.write(tail)
        write(tmp_path, 2)
    assert (tmp_path / "records.jsonl.cut").read_bytes() == b'{"round": 2\n{"rou\xc3\n\x00\x00\n'
    assert len(read_records(path)) == 2


@pytest.mark.parametrize("bad", [b"{", b"[1]", b'{"dice": NaN}', b"\xff\xfe"])
def test_corrupt_line_in_the_middle_names_file_and_line(tmp_path, bad):
    path = write(tmp_path, 3)
    lines = path.read_bytes().split(b"\n")
    lines[1] = bad
    before = b"\n".join(lines)
    path.write_bytes(before)
    for attempt in (lambda: read_records(path), lambda: Records(tmp_path, {"seed": 0})):
        with pytest.raises(RecordsError, match=r"records\.jsonl, line 2: not a record"):
            attempt()
    assert path.read_bytes() == before


def test_records_of_another_run_are_left_alone(tmp_path):
    path = write(tmp_path, 1, {"seed": 0, "strategy": "entropy"})
    before = path.read_bytes()
    with pytest.raises(RecordsError, match=r"another run \(seed: 0 there, 1 now\)"):
        Records(tmp_path, {"seed": 1, "strategy": "entropy"})
    assert path.read_bytes() == before


def test_one_writer_at_a_time(tmp_path):
    with Records(tmp_path, {}), pytest.raises(FolderInUse, match="in use by another run"):
        Records(tmp_path, {})
    Records(tmp_path, {}).close()


def test_the_lock_goes_with_the_process(tmp_path):
    code = """
        import os, signal, sys
        from alseg.experiment.records import Records
        Records(sys.argv[1], {}).append({"round": 0})
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code), str(tmp_path)])
    assert done.returncode == -9
    with Records(tmp_path, {}) as records:
        assert records.records == [{"round": 0, "config": {}}]


def test_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="out must be a folder that can be .*, got '.*file/x'"):
        Records(tmp_path / "file" / "x", {})
    (tmp_path / "dir" / "records.jsonl").mkdir(parents=True)
    with pytest.raises(IsADirectoryError, match="out must be a folder"):
        Records(tmp_path / "dir", {})


def test_no_records(tmp_path):
    with pytest.raises(FileNotFoundError, match="no records at .*records.jsonl"):
        read_records(tmp_path)


def test_jsonable():
    bad = (np.float64("inf"), float("nan"), np.bool_(True))
    value = {1: np.array([[1, 2]]), "a": bad, "b": {3}}
    assert jsonable(value) == {"1": [[1, 2]], "a": [None, None, True], "b": [3]}
    assert type(jsonable(np.int64(3))) is int
    with pytest.raises(TypeError, match="must be made of numbers"):
        jsonable({"x": object()})


def test_comparable_leaves_out_what_differs_between_runs():
    record = {"round": 1, "seconds": {}, "memory_mib": {}, "environment": {}}
    assert comparable(record) == {"round": 1}


# -- checksums


def _edited(lines):
    return [lines[0], lines[1].replace(b"0.25", b"0.35"), *lines[2:]]


TAMPERED = {
    "edited": (_edited, "line 2: not as it was written"),
    "seconds edited": (
        lambda lines: [*lines[:3], lines[3].replace(b'"round": 3', b'"round": 3 ')],
        "line 4: not as",
    ),
    "repeated": (lambda lines: [lines[0], lines[0], *lines[1:]], "line 2: a repetition of line 1"),
    "last repeated": (lambda lines: [*lines, lines[3]], "line 5: a repetition of line 4"),
    "swapped": (
        lambda lines: [lines[0], lines[2], lines[1], lines[3]],
        "line 2: the record that was written as number 3",
    ),
    "dropped": (
        lambda lines: [*lines[:2], lines[3]],
        "line 3: the record that was written as number 4",
    ),
    "first dropped": (lambda lines: lines[1:], "line 1: the record that was written as number 2"),
    "added": (
        lambda lines: [*lines, b'{"round": 4, "config": {"seed": 0}}'],
        "line 5: not written by alseg",
    ),
    "inserted": (lambda lines: [lines[0], b"{}", *lines[1:]], "line 2: not as it was written"),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_a_line_that_is_not_as_it_was_written_is_named(tmp_path, how):
    change, what = TAMPERED[how]
    path = write(tmp_path, 4)
    before = b"\n".join(change(path.read_bytes().splitlines())) + b"\n"
    path.write_bytes(before)
    for attempt in (lambda: read_records(tmp_path), lambda: Records(tmp_path, {"seed": 0})):
        with pytest.raises(
            RecordsError, match=rf"records\.jsonl, {what}.* remove records.jsonl.sha256"
        ):
            attempt()
    assert path.read_bytes() == before
    (tmp_path / "records.jsonl.sha256").unlink()  # the remedy
    assert len(read_records(tmp_path)) == before.count(b"\n")


def test_checksums_are_what_sha256sum_says_of_each_line(tmp_path):
    path = write(tmp_path, 2)
    expected = [hashlib.sha256(line).hexdigest() for line in path.read_bytes().splitlines()]
    assert (tmp_path / "records.jsonl.sha256").read_text().splitlines() == expected


def test_line_ends_of_another_system_are_no_edit(tmp_path):
    path = write(tmp_path, 3)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert len(read_records(path)) == 3


def test_records_of_an_earlier_version_are_read_and_get_checksums_when_continued(tmp_path):
    path = write(tmp_path, 2)
    (tmp_path / "records.jsonl.sha256").unlink()
    assert len(read_records(path)) == 2
    write(tmp_path, 3)
    lines = path.read_bytes().splitlines()
    assert len(lines) == len((tmp_path / "records.jsonl.sha256").read_bytes().splitlines()) == 3
    path.write_bytes(b"\n".join(_edited(lines)) + b"\n")
    with pytest.raises(RecordsError, match="line 2: not as it was written"):
        read_records(path)


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("fail_at", range(1, 14))
def test_killed_at_any_write_or_sync_the_records_continue(tmp_path, monkeypatch, fail_at, old):
    """Each write to a file may also have put down its first half alone."""
    write(tmp_path, 2)
    if old:
        (tmp_path / "records.jsonl.sha256").unlink()
    calls = []

    def dying(real, half=None):
        def call(*args):
            calls.append(real)
            if len(calls) == fail_at and half is not None:
                half(*args)
            if len(calls) >= fail_at:
                raise _Killed
            return real(*args)

        return call

    append = AppendOnly.append
    with monkeypatch.context() as patch:
        patch.setattr(AppendOnly, "append", dying(append, lambda f, d: append(f, d[: len(d) // 2])))
        patch.setattr(AppendOnly, "cut", dying(AppendOnly.cut))
        patch.setattr(os, "fsync", dying(os.fsync))
        patch.setattr(os, "replace", dying(os.replace))
        records = None
        try:
            records = Records(tmp_path, {"seed": 0})
            for number in (2, 3):
                records.append({"round": number, "name": "é\u2028\r\n", "dice": [0.25, None]})
        except _Killed:
            pass
        if records is not None:
            records.close()
    n = len(read_records(tmp_path))
    assert 2 <= n <= 4
    path = write(tmp_path, 4)
    assert [record["round"] for record in read_records(path)] == [0, 1, 2, 3]
    assert path.read_bytes() == write(tmp_path / "whole", 4).read_bytes()


class _Killed(BaseException):
    pass


def test_what_a_killed_command_left_half_written_is_swept(tmp_path):
    write(tmp_path, 1)
    (tmp_path / ".alseg-0123456789ab.tmp.jpg").write_text("half")
    write(tmp_path, 2)
    assert sorted(os.listdir(tmp_path)) == ["records.jsonl", "records.jsonl.sha256"]


# -- a file that goes away


@pytest.mark.parametrize(
    "change, what",
    [
        (lambda out: shutil.rmtree(out), "removed"),
        (lambda out: (out / "records.jsonl").unlink(), "removed"),
        (lambda out: out.rename(out.with_name("moved")), "removed"),
        (lambda out: os.truncate(out / "records.jsonl", 0), "changed"),
        (
            lambda out: shutil.copy(out / "records.jsonl", out / "c").replace(
                out / "records.jsonl"
            ),
            "replaced",
        ),
        (lambda out: (out / "records.jsonl.sha256").unlink(), "removed"),
    ],
)
def test_records_that_go_away_under_a_run_end_it(tmp_path, change, what):
    out = tmp_path / "out"
    with Records(out, {}) as records:
        records.append({"round": 0})
        change(out)
        with pytest.raises(
            OSError, match=rf"records\.jsonl(\.sha256)? was {what} while it was being"
        ):
            records.append({"round": 1})
        assert len(records.records) == 1
