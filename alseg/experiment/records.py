"""Records on disk: one JSON line a round, appended so that a kill loses at most that round."""

import json
from pathlib import Path

from alseg.files import (
    AppendOnly,
    RecordsError,
    current_name,
    digest_of,
    flat_settings,
    json_text,
    jsonable,
    naming,
    sweep,
    write_bytes,
)
from alseg.validation import message

RECORDS_FILE = "records.jsonl"

VOLATILE = ("seconds", "memory_mib", "environment")
"""Fields of a record that differ between two runs of the same command."""


def comparable(record):
    """A record without what differs between two runs of the same command (`VOLATILE`)."""
    return {key: value for key, value in record.items() if key not in VOLATILE}


def same(a, b):
    """Whether two configurations are the same, files by their content whatever their names.

    Both are as they stand in a file (`described`), and one may be of an earlier version. Objects at
    hand are compared by their parameters instead, where own code must be one and the same function.

    Parameters
    ----------
    a, b : JSON's types
        Files as `alseg.experiment.description.described_file` tells them.

    Returns
    -------
    bool

    Examples
    --------
    >>> there = {"lr": 0.1, "encoder_weights": {"file": "a.pt", "sha256": "93"}}
    >>> same(there, {"lr": 0.1, "encoder_weights": {"file": "b.pt", "sha256": "93"}})
    True
    >>> held_out = {"class": "alseg.segmenter.ValidationSet", "sha256": "5"}
    >>> same("alseg.segmenter.ValidationSet", held_out)
    True
    """
    if isinstance(a, dict) and isinstance(b, dict):
        if a.get("sha256") and b.get("sha256"):
            return a["sha256"] == b["sha256"]
        a, b = flat_settings(a), flat_settings(b)  # earlier versions told all side by side
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    for old, new in ((a, b), (b, a)):
        if isinstance(old, str) and isinstance(new, dict) and new.get("sha256"):
            # Records of earlier versions tell a ValidationSet by its class alone.
            return current_name(new.get("class")) == current_name(old)
    return current_name(a) == current_name(b)


def _reject_constant(name):
    raise ValueError(f"{name} is not JSON")


def _parse(raw):
    record = json.loads(raw.decode("utf-8"), parse_constant=_reject_constant)
    if not isinstance(record, dict):
        raise ValueError("not a JSON object")
    return record


def _split(data, path):
    """Records in `data`, their lines, and where a cut last line starts (or the end)."""
    records, lines, position = [], [], 0
    for number, raw in enumerate(data.split(b"\n"), 1):
        end = min(position + len(raw) + 1, len(data))
        if not raw.strip():
            position = end
            continue
        try:
            records.append(_parse(raw))
        except (ValueError, RecursionError) as error:
            if end < len(data):
                raise RecordsError(
                    f"{path}, line {number}: not a record ({error}). Only the last line of a "
                    "records file can be cut by an interruption: repair or remove this line, or "
                    "use another output folder."
                ) from error
            break
        lines.append((number, raw.strip()))
        position = end
    return records, lines, position


def checksums_path(path):
    """Where the checksums of a records file stand: beside it, a line a record, in the same order.

    Beside it and not in it: the lines are for other programs, and the same for the same run.
    """
    return path.with_name(path.name + ".sha256")


def _read_checksums(path):
    """The checksums of a records file, or None where an earlier version wrote it."""
    try:
        with naming(checksums_path(path), "read"):
            lines = checksums_path(path).read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return None
    # A line that a kill has cut is of a record that was not written.
    return [line[:64].decode("ascii", "replace") for line in lines if line.endswith(b"\n")]


def _verify(lines, checksums, path):
    """See that each line is the one that was written there."""
    digests = [digest_of(raw) for _, raw in lines]
    for place, ((number, _), digest) in enumerate(zip(lines, digests)):
        if place < len(checksums) and digest == checksums[place]:
            continue
        if digest in digests[:place]:
            what = f"a repetition of line {lines[digests.index(digest)][0]}"
        elif digest in checksums:
            what = f"the record that was written as number {checksums.index(digest) + 1}"
        elif place >= len(checksums):
            what = "not written by alseg"
        else:
            what = "not as it was written"
        raise RecordsError(
            f"{path}, line {number}: {what}. Take an earlier copy of the file, or use another "
            f"output folder; to take the lines as they stand, remove {checksums_path(path).name}."
        )


def read_records(path):
    """Read the records of a run, also of one that is still running.

    Parameters
    ----------
    path : str or Path
        A records file, or the folder that holds `records.jsonl`. Nothing on disk is changed; a last
        line that was cut in the middle is left out. Each line is compared with its checksum in
        `records.jsonl.sha256`, if that is there.

    Returns
    -------
    records : list of dict

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    RecordsError
        If a line other than the last is not a JSON object, or if a line was edited, repeated,
        added, or moved since it was written; file and line are named.
    """
    path = Path(path)
    if path.is_dir():
        path = path / RECORDS_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"no records at {path}. Name a folder that `alseg run --out` has written."
        )
    with naming(path, "read"):
        data = path.read_bytes()
    # After the records: a checksum is written before its line.
    checksums = _read_checksums(path)
    records, lines, _ = _split(data, path)
    if checksums is not None:
        _verify(lines, checksums, path)
    return records


class Records:
    """The records of one run, open for appending and locked against a second run.

    Parameters
    ----------
    folder : str or Path
        Made if it is not there.
    config : dict
        What decides the numbers of the run. It is written into every record; records of another
        configuration in the folder are an error, and nothing is overwritten.
    file_name : str, default="records.jsonl"

    Attributes
    ----------
    path : Path
    records : list of dict
        What is on disk.

    Raises
    ------
    OSError
        If the folder or file cannot be written to.
    FolderInUse
        If another process has it open.
    RecordsError
        If it holds records of another configuration, a corrupt line before the last, or a line that
        is not the one that was written.

    Notes
    -----
    A last line that was cut in the middle (the process was killed while writing) is moved to
    `records.jsonl.cut` beside the file. Each appended line is flushed to the disk before `append`
    returns. The SHA-256 of each line, without its end, stands in `records.jsonl.sha256`; records of
    earlier versions, which lack it, get it when they are continued.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> with Records(folder, {"seed": 0}) as records:
    ...     records.append({"round": 0, "dice": 0.5})
    >>> with Records(folder, {"seed": 0}) as records:  # the next day
    ...     len(records.records)
    1
    """

    def __init__(self, folder, config, file_name=RECORDS_FILE):
        self.config = jsonable(config)
        self.path = Path(folder) / file_name
        self._file = self._checksums = None
        try:
            self._file = AppendOnly(self.path)
        except OSError as error:
            reason = error.__cause__ or error
            named = type(error)(
                message("out", "a folder that can be written to", str(folder))
                + f" {reason.strerror or reason}: {reason.filename or self.path}"
            )
            named.errno = error.errno
            raise named from error
        try:
            sweep(self.path.parent)
            self.records = self._recover()
            self._check_config()
        except BaseException:
            self.close()
            raise

    def _recover(self):
        data, checksums = self._file.read(), _read_checksums(self.path)
        records, lines, position = _split(data, self.path)
        if checksums is not None:
            _verify(lines, checksums, self.path)
        if position < len(data):
            cut = AppendOnly(self.path.with_name(self.path.name + ".cut"))
            try:
                cut.append(data[position:].rstrip(b"\n") + b"\n")
            finally:
                cut.close()
            self._file.cut(position)
        elif data and not data.endswith(b"\n"):  # a whole record that lacks its line end
            self._file.append(b"\n")
        if checksums is None:
            whole = b"".join(_checksum_line(raw) for _, raw in lines)
            write_bytes(checksums_path(self.path), whole)
        self._checksums = AppendOnly(checksums_path(self.path))
        self._checksums.cut(
            len(_checksum_line(b"")) * len(lines)
        )  # of a record that a kill prevented
        return records

    def _check_config(self):
        for number, record in enumerate(self.records, 1):
            there = record.get("config", {})
            keys = [
                key
                for key in sorted(set(there) | set(self.config))
                if not same(there.get(key), self.config.get(key))
            ]
            if keys:
                shown = "; ".join(
                    f"{key}: {there.get(key)!r} there, {self.config.get(key)!r} now"
                    for key in keys[:3]
                )
                more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
                raise RecordsError(
                    f"{self.path}, line {number}, is of another run ({shown}{more}). Use another "
                    "output folder, or the options of that run to continue it."
                )

    def append(self, record):
        """Write one record as a line of its own, on the disk when this returns.

        Parameters
        ----------
        record : dict
            See `jsonable` for what it may hold. `config` is added.

        Raises
        ------
        OSError
            If it cannot be written, or the file is no longer the one at its path: removed, replaced
            or changed while the run was at work.
        """
        record = {**jsonable(record), "config": self.config}
        line = json_text(record).encode()
        self._file.check()
        # First the checksum: a line without one was not written by us.
        self._checksums.append(_checksum_line(line))
        self._file.append(line + b"\n")
        self.records.append(record)

    def close(self):
        """Close the file, which unlocks it."""
        for file in (self._checksums, self._file):
            if file is not None:
                file.close()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()


def _checksum_line(raw):
    return digest_of(raw).encode() + b"\n"
