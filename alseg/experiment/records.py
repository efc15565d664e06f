"""Records on disk: one JSON line a round, appended so that a kill loses at most that round."""

import json
import os
from pathlib import Path

from alseg.files import FolderInUse, jsonable, lock, write_text  # noqa: F401
from alseg.validation import message

FILE_NAME = "records.jsonl"

VOLATILE = ("seconds", "memory_mib", "environment")
"""Fields of a record that differ between two runs of the same command."""


class RecordsError(ValueError):
    """A records file that cannot be read or continued as asked."""


def comparable(record):
    """A record without what differs between two runs of the same command (`VOLATILE`)."""
    return {key: value for key, value in record.items() if key not in VOLATILE}


def same(a, b):
    """Whether two configurations are the same, files by their content whatever their names.

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
    >>> same("alseg.segmenter.ValidationSet", {"class": "alseg.segmenter.ValidationSet", "sha256": "5"})
    True
    """
    if isinstance(a, dict) and isinstance(b, dict):
        if a.get("sha256") and b.get("sha256"):
            return a["sha256"] == b["sha256"]
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    for old, new in ((a, b), (b, a)):
        if isinstance(old, str) and isinstance(new, dict) and new.get("sha256"):
            # Records of earlier versions tell a ValidationSet by its class alone.
            return new.get("class") == old
    return a == b


def _reject_constant(name):
    raise ValueError(f"{name} is not JSON")


def _parse(raw):
    record = json.loads(raw.decode("utf-8"), parse_constant=_reject_constant)
    if not isinstance(record, dict):
        raise ValueError("not a JSON object")
    return record


def _split(data, path):
    """Records in `data`, and the position where a cut last line starts (or the end)."""
    records, position = [], 0
    for number, raw in enumerate(data.split(b"\n"), 1):
        end = min(position + len(raw) + 1, len(data))
        if not raw.strip():
            position = end
            continue
        try:
            records.append(_parse(raw))
        except ValueError as error:
            if end < len(data):
                raise RecordsError(
                    f"{path}, line {number}: not a record ({error}). Only the last line of a "
                    "records file can be cut by an interruption: repair or remove this line, or "
                    "use another output folder."
                ) from error
            return records, position
        position = end
    return records, position


def read_records(path):
    """Read the records of a run, also of one that is still running.

    Parameters
    ----------
    path : str or Path
        A records file, or the folder that holds `records.jsonl`. Nothing on disk is changed; a last
        line that was cut in the middle is left out.

    Returns
    -------
    records : list of dict

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    RecordsError
        If a line other than the last is not a JSON object; file and line are named.
    """
    path = Path(path)
    if path.is_dir():
        path = path / FILE_NAME
    if not path.is_file():
        raise FileNotFoundError(
            f"no records at {path}. Name a folder that `alseg run --out` has written."
        )
    return _split(path.read_bytes(), path)[0]


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
        If it holds records of another configuration, or a corrupt line before the last.

    Notes
    -----
    A last line that was cut in the middle (the process was killed while writing) is moved to
    `records.jsonl.cut` beside the file. Each appended line is flushed to the disk before `append`
    returns.

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

    def __init__(self, folder, config, file_name=FILE_NAME):
        self.config = jsonable(config)
        self.path = Path(folder) / file_name
        self._file = None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path, "a+b")
        except OSError as error:
            raise type(error)(
                message("out", "a folder that can be written to", str(folder))
                + f" {error.strerror or error}: {error.filename or self.path}"
            ) from error
        try:
            lock(self._file)
            self.records = self._recover()
            self._check_config()
        except BaseException:
            self.close()
            raise


    def _recover(self):
        self._file.seek(0)
        data = self._file.read()
        records, position = _split(data, self.path)
        if position < len(data):
            with open(self.path.with_name(self.path.name + ".cut"), "ab") as cut:
                cut.write(data[position:].rstrip(b"\n") + b"\n")
                cut.flush()
                os.fsync(cut.fileno())
            self._file.truncate(position)
            os.fsync(self._file.fileno())
        elif data and not data.endswith(b"\n"):  # a whole record that lacks its line end
            self._write(b"\n")
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

    def _write(self, data):
        self._file.write(data)
        self._file.flush()
        os.fsync(self._file.fileno())

    def append(self, record):
        """Write one record as a line of its own, on the disk when this returns.

        Parameters
        ----------
        record : dict
            See `jsonable` for what it may hold. `config` is added.
        """
        record = {**jsonable(record), "config": self.config}
        line = json.dumps(record, allow_nan=False, ensure_ascii=False)
        self._write(line.encode("utf-8") + b"\n")
        self.records.append(record)

    def close(self):
        """Close the file, which unlocks it."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()
