"""The page from Python and in a notebook: a link, an end, and the folder free again."""

import gc
import threading
import urllib.error
import urllib.request

import pytest
from made_slides import write_slides

from alseg.annotate import serve
from alseg.files import FolderInUse
from alseg.project import open_project


@pytest.fixture
def folder(tmp_path):
    write_slides(tmp_path / "<slides>", 3)
    return tmp_path / "state", tmp_path / "<slides>"


def test_it_is_a_link_until_it_is_closed(folder):
    served = serve(*folder, block=False)
    shown = served._repr_html_()
    assert f'href="{served.url}"' in shown and "&lt;slides&gt;" in shown and "<slides>" not in shown
    assert "rel=" in shown and "<iframe" not in shown and served.url in repr(served)
    assert not served.closed
    served.close()
    served.close()
    assert served.closed and served.url not in served._repr_html_() + repr(served)
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(served.url, timeout=5)


def test_the_folder_is_free_again_however_it_ends(folder):
    with serve(*folder, block=False) as served:
        with pytest.raises(FolderInUse):
            serve(*folder, block=False)
        assert urllib.request.urlopen(served.url).status == 200  # the first goes on
    served = serve(*folder, block=False)
    n_threads = threading.active_count()
    del served  # nobody holds it any more
    gc.collect()
    assert threading.active_count() < n_threads
    with open_project(*folder) as project:
        served = serve(project, block=False)
        served.close()
        assert len(project.data) == 3  # one that was open already stays so
    with serve(*folder, block=False) as served:
        assert not served.closed


def test_what_cannot_be_served_leaves_nothing_open(folder):
    with serve(*folder, block=False) as served:
        port = int(served.url.split(":")[2].split("/")[0])
        other = folder[0].parent / "other"
        with pytest.raises(OSError, match="cannot be listened to"):
            serve(other, folder[1], port=port, block=False)
    with serve(other, folder[1], block=False):
        pass
