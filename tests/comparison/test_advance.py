"""The bar of a comparison: fits that are done, also by jobs that are not at their end."""

import re

import pytest
from waiting import wait_until

from alseg.comparison.advance import _Counted, fits_bar
from alseg.comparison.jobs import Job
from alseg.experiment import RECORDS_FILE

START, CHAIN, OTHER = (
    Job("start", "a", 0, n_fits=1),
    Job("chain", "entropy", 0, n_fits=8),  # two a round
    Job("chain", "random", 0, n_fits=4),
)


def record(out, job, n):
    (out / job.folder).mkdir(parents=True, exist_ok=True)
    (out / job.folder / RECORDS_FILE).write_text("{}\n" * n)


def shown(err):
    """Fits that the bar has shown last, of how many."""
    return re.findall(r"(\d+)/(\d+) ", err)[-1]


@pytest.mark.parametrize("n, fits", [(0, 1), (1, 1), (2, 3), (4, 7), (5, 9), (9, 9)])
def test_rounds_on_disk_count(tmp_path, capsys, n, fits):
    record(tmp_path, CHAIN, n)
    with fits_bar([START, CHAIN, OTHER], [CHAIN, OTHER], 4, tmp_path, seconds=600):
        assert shown(capsys.readouterr().err) == (str(fits), "13")


def test_it_moves_while_jobs_run_and_counts_what_ended_whole(tmp_path, capsys):
    with fits_bar([START, CHAIN, OTHER], [CHAIN, OTHER], 4, tmp_path, seconds=0.01) as ended:
        assert shown(capsys.readouterr().err) == ("1", "13")
        record(tmp_path, CHAIN, 3)
        said = []

        def moved():
            said.append(capsys.readouterr().err)
            return "5/13 " in "".join(said)

        wait_until(moved)
        ended(CHAIN.folder)  # stopped early, so with fewer rounds than there might have been
        ended(OTHER.folder)
    err = "".join(said) + capsys.readouterr().err
    assert shown(err) == ("13", "13") and "entropy 0" in err and "random 0" in err


def test_records_are_read_from_where_they_were_read_to(tmp_path):
    path = tmp_path / CHAIN.folder / RECORDS_FILE
    path.parent.mkdir(parents=True)
    counted = _Counted(0, [CHAIN], 4, tmp_path)
    assert counted.fits() == 0
    path.write_bytes(b'{"a": 1}\n{"b": 2}\n{"c"')
    assert counted.fits() == 2  # a start and a round
    with open(path, "r+b") as file:
        file.write(b"\n" * 8)  # nobody does so: it shows that this part is not read again
        file.truncate(18)  # what a kill has cut goes
        file.seek(18)
        file.write(b"{}\n{}\n")
    assert counted.fits() == 6
    assert counted.fits() == 6
    path.unlink()
    assert counted.fits() == 6


def test_it_may_be_silent(tmp_path, capsys):
    with fits_bar([CHAIN], [CHAIN], 4, tmp_path, show=False) as ended:
        ended(CHAIN.folder)
    assert capsys.readouterr().err == ""
