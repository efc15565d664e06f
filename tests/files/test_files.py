"""The one door for writing: whole or not at all, inside our folders, nothing of the user's lost."""

import errno
import json
import os
import subprocess
import sys
import unicodedata
from contextlib import closing, suppress

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from waiting import HANG

from alseg.experiment.records import Records
from alseg.files import (
    LEDGER,
    AppendOnly,
    FolderInUse,
    NotOurs,
    OutsideFolder,
    OwnFolder,
    check_inside,
    csv_text,
    defuse,
    file_name,
    file_names,
    json_text,
    read_json,
    replacing,
    sweep,
    write_bytes,
    write_json,
    write_text,
)


def listing(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def patch_calls(monkeypatch, fail_at, error=None):
    """Let the `fail_at`-th call of the system by which files change fail; count them all."""
    counted = []

    def wrap(name):
        real = getattr(os, name)

        def call(*args, **kwargs):
            counted.append(name)
            if len(counted) == fail_at:
                raise error or Killed
            if len(counted) > fail_at and error is None:
                raise Killed  # a process that was killed does nothing more
            return real(*args, **kwargs)

        monkeypatch.setattr(os, name, call)

    for name in ("fsync", "replace", "unlink", "rmdir"):
        wrap(name)
    return counted


class Killed(BaseException):
    pass


# -- places


@pytest.mark.parametrize(
    "name", ["../a", "b/../../a", "/etc/a", ".", "", "..", "b/..", "out/a", "link"]
)
def test_no_name_leads_out_of_our_folder(tmp_path, name):
    own, other = tmp_path / "own", tmp_path / "other"
    own.mkdir(), other.mkdir()
    (other / "a").write_text("theirs")
    (own / "out").symlink_to(other)
    (own / "link").symlink_to(other / "a")
    with pytest.raises(OutsideFolder, match="must be inside"):
        write_text(own / name, "ours", own)
    with OwnFolder(own) as folder:
        for call in (folder.write, lambda n, d: folder.remove(n), lambda n, d: folder.adopt(n)):
            with pytest.raises(OutsideFolder, match="must be"):
                call(name, b"ours")
    assert (other / "a").read_text() == "theirs" and listing(other) == ["a"]


def test_a_loop_of_links_and_a_nul_are_named(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("loop/a", "a\0b"):
        with pytest.raises(OutsideFolder, match="must be inside"):
            check_inside(tmp_path / name, tmp_path)


def test_a_folder_of_ours_may_itself_be_reached_by_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "own").symlink_to(tmp_path / "disk")
    write_text(tmp_path / "own/sub/a", "ours", tmp_path / "own")
    assert (tmp_path / "disk/sub/a").read_text() == "ours"


# -- whole files


def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path):
    assert write_bytes(tmp_path / "sub/a.bin", b"1") == tmp_path / "sub/a.bin"
    write_bytes(tmp_path / "sub/a.bin", b"2")
    write_json(tmp_path / "sub/b.json", {"x": np.float32(0.5)})
    write_text(tmp_path / "sub/c.csv", csv_text(["x"], [["=1"]]))
    with replacing(tmp_path / "sub/d.tar.gz") as temporary:
        assert temporary.suffix == ".gz" and temporary.parent == tmp_path / "sub"
        temporary.write_text("d")
    assert (tmp_path / "sub/a.bin").read_bytes() == b"2"
    assert json.loads((tmp_path / "sub/b.json").read_text()) == {"x": 0.5}
    assert (tmp_path / "sub/c.csv").read_text() == "x\n'=1\n"
    assert listing(tmp_path) == ["sub/a.bin", "sub/b.json", "sub/c.csv", "sub/d.tar.gz"]


@pytest.mark.parametrize("name", ["a.txt", "a" * 251 + ".txt", "é" * 125 + ".txt", ".hidden"])
def test_any_name_that_the_system_takes_can_be_written(tmp_path, name):
    write_text(tmp_path / name, "x")
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_refusal_of_the_system_names_the_file_and_leaves_the_old_one(
    tmp_path, monkeypatch, call, number
):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def refuse(*args):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(
        OSError, match=f"{path} could not be written: {os.strerror(number)}"
    ) as info:
        write_text(path, "new")
    assert info.value.errno == number and "\n" not in str(info.value)
    assert path.read_text() == "old" and listing(tmp_path) == ["a.txt"]


def test_too_many_open_files_is_said_of_the_file_that_was_to_be_written(tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OSError, match="a.txt could not be written: Too many.*ulimit -n"):
        write_text(tmp_path / "a.txt", "x")


def test_a_disk_that_fills_up_while_a_library_writes(tmp_path):
    """A real limit of the system, in a process of its own: half a picture is never seen."""
    (tmp_path / "a.png").write_text("old")
    code = """
import resource, sys
from PIL import Image
import numpy as np
from alseg.files import replacing
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
noise = np.random.default_rng(0).integers(0, 256, (200, 200), np.uint8)
try:
    with replacing(sys.argv[1]) as temporary:
        Image.fromarray(noise).save(temporary)
except OSError as error:
    print(error)
"""
    run = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "a.png"],
        capture_output=True,
        text=True,
        timeout=HANG,
    )
    assert f"{tmp_path / 'a.png'} could not be written: File too large." in run.stdout, run.stderr
    assert (tmp_path / "a.png").read_text() == "old" and listing(tmp_path) == ["a.png"]


def test_an_error_of_the_writer_leaves_the_old_file(tmp_path):
    (tmp_path / "a").write_text("old")
    with pytest.raises(KeyError, match="writer"), replacing(tmp_path / "a") as temporary:
        temporary.write_text("half")
        raise KeyError("writer")
    assert (tmp_path / "a").read_text() == "old" and listing(tmp_path) == ["a"]


@pytest.mark.parametrize("fail_at", range(1, 5))
def test_killed_between_any_two_calls_the_old_or_the_new_file_is_there(
    tmp_path, monkeypatch, fail_at
):
    write_text(tmp_path / "a", "old")
    with monkeypatch.context() as patch:
        patch_calls(patch, fail_at)
        with suppress(Killed):
            write_text(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() in ("old", "new")
    sweep(tmp_path)
    assert listing(tmp_path) == ["a"]


def test_a_file_without_our_marker_is_not_replaced(tmp_path):
    for marker in ("<meta ours>", lambda path: "ours" in path.read_text()):
        write_text(tmp_path / "report.html", "<meta ours> 1", marker=marker)
        write_text(tmp_path / "report.html", "<meta ours> 2", marker=marker)
    assert (tmp_path / "report.html").read_text() == "<meta ours> 2"
    (tmp_path / "thesis.html").write_text("years of work")
    (tmp_path / "folder").mkdir()
    for name in ("thesis.html", "folder"):
        with pytest.raises(NotOurs, match="alseg did not write it.* Move it away"):
            write_text(tmp_path / name, "<meta ours>", marker="<meta ours>")
    assert (tmp_path / "thesis.html").read_text() == "years of work"


def test_only_left_overs_of_dead_commands_are_swept(tmp_path):
    for name in (".alseg-0123456789ab.tmp.png", ".alseg-0123456789ab.tmp", ".alseg-x.tmp", "a.tmp"):
        (tmp_path / name).write_text("x")
    (tmp_path / ".alseg-ba9876543210.tmp").mkdir()
    with replacing(tmp_path / "b.png") as alive:  # another command at work
        alive.write_text("b")
        code = f"from alseg.files import sweep; sweep({str(tmp_path)!r})"
        subprocess.run([sys.executable, "-c", code], check=True, timeout=HANG)
        assert listing(tmp_path) == sorted([".alseg-x.tmp", "a.tmp", alive.name])
    assert (tmp_path / "b.png").read_text() == "b"
    assert (tmp_path / ".alseg-ba9876543210.tmp").is_dir()
    sweep(tmp_path / "not there")


def test_a_file_that_the_user_named_is_written_beside_no_left_overs(tmp_path):
    (tmp_path / ".alseg-0123456789ab.tmp.html").write_text("half")
    write_text(tmp_path / "report.html", "whole")
    assert listing(tmp_path) == ["report.html"]


# -- files that grow


def test_what_is_appended_is_there_and_locked(tmp_path):
    file = AppendOnly(tmp_path / "sub/log")
    file.append(b"one\n")
    with pytest.raises(FolderInUse, match="log is in use by another run"):
        AppendOnly(tmp_path / "sub/log")
    file.append(b"two\n")
    file.cut(4)
    file.append(b"2\n")
    assert file.read() == (tmp_path / "sub/log").read_bytes() == b"one\n2\n" and file.size == 6
    file.close()
    AppendOnly(tmp_path / "sub/log").close()


def _unlink(path):
    path.unlink()


def _replace(path):
    path.with_name("other").write_bytes(path.read_bytes())
    os.replace(path.with_name("other"), path)


def _move_folder(path):
    path.parent.rename(path.parent.with_name("moved"))


def _write(path):
    with open(path, "a") as file:
        file.write("x")


def _empty(path):
    os.truncate(path, 0)


@pytest.mark.parametrize(
    "change, what",
    [
        (_unlink, "removed"),
        (_replace, "replaced"),
        (_move_folder, "removed"),
        (_write, "changed"),
        (_empty, "changed"),
    ],
)
@pytest.mark.parametrize("when", ["before", "while"])
def test_a_file_that_is_no_longer_at_its_place_is_an_error(
    tmp_path, monkeypatch, change, what, when
):
    file = AppendOnly(tmp_path / "sub/log")
    file.append(b"one\n")
    if when == "before":
        change(file.path)
    else:
        monkeypatch.setattr(os, "fsync", lambda _: change(file.path))
    with pytest.raises(OSError, match=f"sub/log was {what} while it was being written"):
        file.append(b"two\n")
    file.close()


def test_no_link_leads_to_a_file_that_we_append_to(tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "theirs").write_text("theirs")
    for name, opened in (
        (LEDGER, OwnFolder),
        ("records.jsonl", lambda folder: Records(folder, {})),
    ):
        (tmp_path / "own" / name).symlink_to(tmp_path / "theirs")
        with pytest.raises(OutsideFolder, match="must be inside.*It leads to .*theirs"):
            opened(tmp_path / "own")
    assert (tmp_path / "theirs").read_text() == "theirs"


def test_a_line_that_was_cut_is_ended_before_the_next(tmp_path):
    (tmp_path / "log").write_bytes(b"one\nhal")
    for _ in range(2):
        with closing(AppendOnly(tmp_path / "log")) as file:
            file.end_line()
            file.append(b"two\n")
    assert (tmp_path / "log").read_bytes() == b"one\nhal\ntwo\ntwo\n"
    with closing(AppendOnly(tmp_path / "empty")) as file:
        file.end_line()
    assert (tmp_path / "empty").read_bytes() == b""


def test_after_a_full_disk_the_half_line_goes(tmp_path, monkeypatch):
    file = AppendOnly(tmp_path / "log")
    file.append(b"one\n")

    def refuse(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(OSError, match="log could not be written: No space.*Make room"):
            file.append(b"two\n")
    file.append(b"2\n")
    assert file.read() == b"one\n2\n"
    file.close()


# -- folders of ours among the user's files


def test_we_replace_and_remove_what_we_wrote_and_nothing_else(tmp_path):
    (tmp_path / "theirs.png").write_bytes(b"a photograph")
    with OwnFolder(tmp_path) as folder:
        assert folder.write("ours.png", b"1") and folder.write("ours.png", b"2")
        assert not folder.write("ours.png", b"2")
        assert not folder.write("theirs.png", b"a photograph")  # nothing to write
        with pytest.raises(NotOurs, match="theirs.png is there and alseg did not write it"):
            folder.write("theirs.png", b"3")
        refused = pytest.raises(NotOurs, match="theirs.png is there")
        with refused, folder.replacing("theirs.png") as temporary:
            temporary.write_bytes(b"3")
        assert not folder.remove("theirs.png") and not folder.remove("theirs.png")
        statuses = [folder.status(n) for n in ("ours.png", "theirs.png", "none", "ours.png/a")]
        assert statuses == ["ours", "foreign", "absent", "absent"]
        assert folder.names() == ["ours.png"] and folder.remove("ours.png") and folder.names() == []
        assert folder.remove("none")
    assert listing(tmp_path) == [LEDGER, "theirs.png"]
    assert (tmp_path / "theirs.png").read_bytes() == b"a photograph"


def test_what_somebody_changed_since_is_theirs_also_for_the_next_command(tmp_path):
    with OwnFolder(tmp_path) as folder:
        for name in ("edited", "same size", "linked", "folder", "kept", "removed"):
            folder.write(name, b"predicted")
        assert folder.remove("removed")
    (tmp_path / "edited").write_bytes(b"drawn by hand")
    (tmp_path / "same size").write_bytes(b"PREDICTED")
    (tmp_path / "removed").write_bytes(b"predicted")  # equal to ours, and put there by the user
    for name in ("linked", "folder"):
        (tmp_path / name).unlink()
    (tmp_path / "linked").symlink_to(tmp_path / "kept")
    (tmp_path / "folder").mkdir()
    with OwnFolder(tmp_path) as folder:
        for name in ("edited", "same size", "linked", "folder", "removed"):
            assert folder.status(name) == "foreign", name
            with pytest.raises(NotOurs, match="changed since"):
                folder.write(name, b"predicted again")
            refused = pytest.raises(NotOurs, match="changed since")
            with refused, folder.replacing(name) as temporary:
                temporary.write_bytes(b"predicted again")
        for name in ("edited", "same size", "linked", "removed"):
            assert not folder.remove(name)
        assert folder.write("kept", b"predicted again")
    assert (tmp_path / "edited").read_bytes() == b"drawn by hand"
    assert (tmp_path / "same size").read_bytes() == b"PREDICTED"
    assert (tmp_path / "linked").is_symlink()


def test_a_folder_goes_as_far_as_it_is_ours(tmp_path):
    with OwnFolder(tmp_path) as folder:
        for name in ("m/a", "m/b/c", "mm/a", "n/a"):
            folder.write(name, b"1")
        (tmp_path / "m/note.txt").write_text("the user's")
        assert not folder.remove("m") and folder.remove("n")
    assert listing(tmp_path) == [LEDGER, "m/note.txt", "mm/a"]
    assert not (tmp_path / "m/b").exists() and not (tmp_path / "n").exists()


def test_files_of_before_the_ledger_are_adopted(tmp_path):
    (tmp_path / "model-1").mkdir()
    (tmp_path / "model-1/weights").write_bytes(b"1")
    (tmp_path / "mask.png").write_bytes(b"1")
    with OwnFolder(tmp_path) as folder:
        folder.adopt("model-1")
        folder.adopt("mask.png")
    with OwnFolder(tmp_path) as folder:
        assert folder.write("mask.png", b"2") and folder.remove("model-1")
    assert listing(tmp_path) == [LEDGER, "mask.png"]


@pytest.mark.parametrize("fail_at", range(1, 5))
def test_a_killed_command_continues_whatever_it_wrote(tmp_path, monkeypatch, fail_at):
    with OwnFolder(tmp_path) as folder:
        folder.write("a", b"old")
    folder = OwnFolder(tmp_path)
    with monkeypatch.context() as patch:
        patch_calls(patch, fail_at)
        try:
            folder.write("a", b"new")
            folder.write("b", b"new")
        except Killed:
            pass
    folder.close()
    with OwnFolder(tmp_path) as folder:
        assert folder.status("a") == "ours" and folder.status("b") in ("ours", "absent")
        folder.write("a", b"newest")
        folder.write("b", b"newest")
        folder.sweep()
    assert listing(tmp_path) == [LEDGER, "a", "b"]


def test_a_damaged_ledger_makes_nothing_ours(tmp_path):
    with OwnFolder(tmp_path) as folder:
        folder.write("a", b"1")
        folder.write("b", b"1")
    (tmp_path / "theirs").write_bytes(b"1")
    with open(tmp_path / LEDGER, "ab") as file:
        file.write(
            b'[]\n{"name": "theirs"}\n{"name": ["x"], "removed": 1}\n'
            + b"[" * 9999
            + b'\n{"name": "b", "rem'
        )
    with OwnFolder(tmp_path) as folder:
        assert [folder.status(n) for n in ("a", "b", "theirs")] == ["ours", "ours", "foreign"]
        folder.write("c", b"1")
    with OwnFolder(tmp_path) as folder:
        assert folder.status("c") == "ours"


def test_one_command_at_a_time_in_a_folder(tmp_path):
    with OwnFolder(tmp_path), pytest.raises(FolderInUse, match="in use by another run"):
        OwnFolder(tmp_path)
    OwnFolder(tmp_path).close()


# -- names

texts = st.text(st.characters(exclude_categories=()), max_size=300) | st.text(
    "aAbß.-_ /~ſsK", max_size=4
)


def key(name):
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


@settings(max_examples=300, deadline=None)
@given(
    st.lists(texts, min_size=1, max_size=6, unique=True), st.sampled_from(["", ".png", ".tar.gz"])
)
@example(
    ["a", "A", "ﬀ", "ff", "é", "e\u0301", "ß", "ss", "con", "CON.txt", "../a", "a/", "a~"], ".png"
)
@example(["", ".", "..", "x" * 300, "x" * 301, "\udcff", "\0", "a.", "a ", "-rf", ".a"], "")
def test_names_are_safe_and_never_the_same(identifiers, suffix):
    for names in ([file_name(i, suffix) for i in identifiers], file_names(identifiers, suffix)):
        assert len({key(name) for name in names}) == len(identifiers)
        for name in names:
            assert 0 < len(name.encode("utf-8")) <= 255
            assert not set(name) & set('/\\:*?"<>|#%\0\n\r\t') and name.isprintable()
            assert not name.startswith((".", "-", " ")) and not name.endswith((".", " "))
            assert name.split(".")[0].lower() not in ("con", "prn", "aux", "nul", "com1", "lpt9")
            assert check_inside(f"/own/{name}", "/own").parent.name == "own"


def test_names_that_are_harmless_stay():
    for name in ("gland_01", "p1 (2)", "zürich", "図1", "2024-01-01"):
        assert file_name(name, ".png") == f"{name}.png"
    assert file_names(["IMG_1", "Zürich"], ".png") == ["IMG_1.png", "Zürich.png"]
    assert len(set(file_names(["IMG_1", "img_1", "Img_1"]))) == 3


# -- tables and JSON


@pytest.mark.parametrize(
    "cell",
    [
        "=1+1",
        "+cmd|' /C calc'!A0",
        "-2+3",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        "-",
        "+inf",
        "-1_0",
        "=\udcff",
    ],
)
def test_a_cell_that_would_be_a_formula_begins_with_an_apostrophe(cell):
    assert defuse(cell) == "'" + cell


@pytest.mark.parametrize(
    "cell", ["-1", "+0.5", "-1e-05", "-.5", "a=b", "", "'=1", -3, -0.5, None, True]
)
def test_numbers_and_plain_text_stay(cell):
    assert defuse(cell) is cell


def test_a_table_reads_back_but_for_the_apostrophes():
    assert (
        csv_text(["=x", 'q"'], [["a,b", -1.5], ["@y", None]]) == '\'=x,"q"""\n"a,b",-1.5\n\'@y,\n'
    )


def test_json_keeps_letters_and_escapes_what_is_no_utf8(tmp_path):
    assert json_text({"é": 1}) == '{"é": 1}'
    write_json(tmp_path / "a", {"name": "é\udcff"})
    assert read_json(tmp_path / "a") == {"name": "é\udcff"}
    write_text(tmp_path / "b", "é\udcff")
    assert (tmp_path / "b").read_text() == "é\\udcff"


@pytest.mark.parametrize(
    "data, reason",
    [
        (b"[" * 100000, "nested too deeply"),
        (b"{", "damaged"),
        (b"\xff", "damaged"),
        (b"[]", "got list"),
    ],
)
def test_a_file_that_is_no_json_object_is_named(tmp_path, data, reason):
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(ValueError, match=f"a.json must .*{reason}"):
        read_json(tmp_path / "a.json")
    with pytest.raises(FileNotFoundError, match="b.json could not be read: No such file"):
        read_json(tmp_path / "b.json")
