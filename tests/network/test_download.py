"""Weights from URLs: one file a URL, checked by content at each use."""

import errno
import functools
import hashlib
import os
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from safetensors.torch import save_file

from alseg.network.download import downloaded
from alseg.network.encoder import TinyEncoder, build_encoder


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        self.server.asked.append(self.path)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server of files on this machine, and an empty cache."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    root = tmp_path / "served"
    root.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(root)))
    server.root, server.asked = root, []
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def put(server, name, seed, kind="safetensors"):
    torch.manual_seed(seed)
    state, path = TinyEncoder().state_dict(), server.root / name
    path.parent.mkdir(exist_ok=True)
    save_file(state, path) if kind == "safetensors" else torch.save(state, path)
    return state


def same(encoder, state):
    return all(torch.equal(v, state[k]) for k, v in encoder.state_dict().items())


@pytest.mark.parametrize("kind", ["safetensors", "pth"])
def test_two_urls_with_one_file_name_are_two_files(server, kind):
    states = [put(server, f"{folder}/w.{kind}", i, kind) for i, folder in enumerate("ab")]
    for _ in range(2):
        for state, folder in zip(states, "ab"):
            assert same(build_encoder("tiny", f"{server.url}/{folder}/w.{kind}"), state)
    query = f"{server.url}/a/w.{kind}?version=2#x"
    assert same(build_encoder("tiny", query), states[0])
    assert len(server.asked) == 3  # once each


def test_a_file_of_the_cache_that_was_changed_is_named(server, tmp_path):
    put(server, "w.safetensors", 0)
    path = downloaded(f"{server.url}/w.safetensors")
    assert path.parent == tmp_path / "home/hub/checkpoints"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert path.with_name(path.name + ".sha256").read_text() == digest + "\n"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match=f"{path.name} must be what was downloaded.*Remove it"):
        build_encoder("tiny", f"{server.url}/w.safetensors")
    path.unlink()
    assert downloaded(f"{server.url}/w.safetensors") == path and len(server.asked) == 2


def test_the_hash_in_a_name_is_checked(server, tmp_path):
    put(server, "w.pth", 0, "pth")
    data = (server.root / "w.pth").read_bytes()
    good = hashlib.sha256(data).hexdigest()[:8]
    for name in (f"w-{good}.pth", "w-01234567.pth", "w-20240131.pth"):
        (server.root / name).write_bytes(data)
    assert downloaded(f"{server.url}/w-{good}.pth").read_bytes() == data
    assert downloaded(f"{server.url}/w-20240131.pth").read_bytes() == data  # a date
    with pytest.raises(ValueError, match="01234567..., got .*Nothing was kept"):
        downloaded(f"{server.url}/w-01234567.pth")
    assert not list((tmp_path / "home/hub/checkpoints").glob("w-01234567*"))


def test_what_torchvision_has_downloaded_is_used_if_it_is_what_its_name_says(server, tmp_path):
    put(server, "w.pth", 0, "pth")
    data = (server.root / "w.pth").read_bytes()
    name = f"w-{hashlib.sha256(data).hexdigest()[:8]}.pth"
    (server.root / name).write_bytes(data)
    cache = tmp_path / "home/hub/checkpoints"
    cache.mkdir(parents=True)
    (cache / name).write_bytes(data)
    assert downloaded(f"{server.url}/{name}") == cache / name and server.asked == []
    (cache / name).write_bytes(b"something else")
    assert downloaded(f"{server.url}/{name}").read_bytes() == data
    assert (cache / name).read_bytes() == b"something else"
    (cache / "w.pth").write_bytes(b"of another URL")  # its name tells nothing
    assert downloaded(f"{server.url}/w.pth").read_bytes() == data


def test_what_cannot_be_read_is_fetched_anew(server):
    url = f"{server.url}/w.pth"
    (server.root / "w.pth").write_bytes(b"half a file")
    with pytest.raises(ValueError, match="which cannot be read"):
        build_encoder("tiny", url)
    state = put(server, "w.pth", 0, "pth")
    assert same(build_encoder("tiny", url), state)


@pytest.mark.parametrize(
    "name", ["%2e%2e%2fw.pth", "a%2F..%2F..%2Fw.pth", "", "x" * 400 + ".pth", "é:*.pth"]
)
def test_no_url_leads_out_of_the_cache(tmp_path, monkeypatch, name):
    def fetch(url, target, *args, **kwargs):
        with open(target, "wb") as file:
            file.write(b"weights")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    path = downloaded(f"https://example.org/{name}", tmp_path / "cache")
    assert path.parent == tmp_path / "cache" and path.read_bytes() == b"weights"
    assert sorted(os.listdir(tmp_path)) == ["cache"] and len(os.listdir(tmp_path / "cache")) == 2


def test_what_is_not_there_is_said_with_its_url(server, tmp_path):
    with pytest.raises(
        OSError, match=f"could not be downloaded from {server.url}/none.pth: .*not found"
    ):
        build_encoder("tiny", f"{server.url}/none.pth")
    with pytest.raises(
        OSError, match="could not be downloaded from http://127.0.0.1:1/.*refused.*by other"
    ):
        downloaded("http://127.0.0.1:1/w.pth")
    assert os.listdir(tmp_path / "home/hub/checkpoints") == []


def test_a_full_disk_names_the_file_of_the_cache(tmp_path, monkeypatch):
    def fetch(url, target, *args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    with pytest.raises(OSError, match=r"w-\w+.pth could not be written: No space left"):
        downloaded("https://example.org/w.pth", tmp_path)
    assert os.listdir(tmp_path) == []
