"""The server attacked over its socket: what no page sends is refused, and the others go on."""

import json
import socket
import threading
import urllib.request

import pytest
from made_slides import write_slides

from alseg.annotate import serve

SIZE = (24, 32)
N = 24 * 32
HANG = 60  # seconds; guards against hangs and decides nothing else


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    place = tmp_path_factory.mktemp("attacked")
    write_slides(place / "slides", 4, SIZE)
    with serve(place / "state", place / "slides", block=False) as served:
        served.port = int(served.url.split(":")[2].split("/")[0])
        served.token = served.url.split("token=")[1]
        served.host = f"127.0.0.1:{served.port}"
        served.state = place / "state" / "state.json"
        yield served


def connected(served):
    return socket.create_connection(("127.0.0.1", served.port), HANG)


def head(served, method="GET", path="/api/project", *lines, host=None, token=None, more=()):
    """The first part of a request; `lines` replace those of the page, `more` come to them."""
    own = [
        f"Host: {served.host if host is None else host}",
        f"X-Alseg-Token: {token or served.token}",
    ]
    lines = [*(lines or own), *more, "Connection: close"]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode("latin-1")


def answered(line):
    """All that comes until the server closes: (status or None, headers and body)."""
    found = b""
    try:
        while part := line.recv(65536):
            found += part
    except ConnectionError:
        pass  # it was closed while we still sent
    status = int(found.split(b" ", 2)[1]) if found.startswith(b"HTTP/1.1 ") else None
    return status, found


def sent(served, *parts):
    with connected(served) as line:
        try:
            for part in parts:
                line.sendall(part)
        except ConnectionError:
            pass  # refused before it was all sent
        return answered(line)


def is_well(served):
    """The page is answered as ever, and nothing was changed."""
    status, found = sent(served, head(served))
    project = json.loads(found.split(b"\r\n\r\n", 1)[1])
    assert status == 200 and project["n_images"] == 4 and project["n_done"] == 0
    assert json.loads(served.state.read_text())["masks"] == {}


PATHS = [
    "/page/../server.py",
    "/page/%2e%2e/server.py",
    "/page/..%2fserver.py",
    "/page/%2e%2e%2fserver.py",
    "/page/%252e%252e%252fserver.py",
    "/page/..%5cserver.py",
    "/page/..\\server.py",
    "/page/....//server.py",
    "/page/..;/server.py",
    "/page/%c0%ae%c0%ae/server.py",
    "/page/%ef%bc%8e%ef%bc%8e/server.py",
    "/page//etc/passwd",
    "/page/%2fetc%2fpasswd",
    "/page/file:///etc/passwd",
    "/page/page.js%00.html",
    "/page/page.js%0a",
    "/page/PAGE.JS",
    "/page/page.js/",
    "/page/./page.js/..",
    "//page/page.js",
    "/page",
    "/../../etc/passwd",
    "http://evil.example/page/../server.py",
]


@pytest.mark.parametrize("path", PATHS)
def test_no_path_leads_out_of_the_page(served, path):
    status, found = sent(served, head(served, "GET", path))
    assert status in (400, 401, 403, 404), found
    assert b"starlette" not in found and b"root:" not in found
    is_well(served)


@pytest.mark.parametrize(
    "method", ["OPTIONS", "TRACE", "CONNECT", "PATCH", "DELETE", "PROPFIND", "get"]
)
def test_methods_that_no_page_uses_do_nothing(served, method):
    paths = ["/api/project", "/api/images/0/marks?revision=0&answer=nothing", "/page/page.js"]
    for path in paths:
        for token in (None, "no"):
            status, found = sent(served, head(served, method, path, token=token))
            assert status in (400, 401, 404, 405), found
            assert b"access-control-allow" not in found.lower()
    is_well(served)


def test_head_tells_no_more_than_get(served):
    status, found = sent(served, head(served, "HEAD"))
    assert status == 200 and found.endswith(b"\r\n\r\n")
    assert sent(served, head(served, "HEAD", token="no"))[0] == 401
    status, found = sent(served, head(served, "HEAD", "/page/page.js", host="evil.example"))
    assert status == 403


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{port}",
        "127.0.0.1",
        "127.0.0.1:{port}.evil.example",
        "127.0.0.1.evil.example:{port}",
        "127.0.0.1.:{port}",
        "0.0.0.0:{port}",
        "[::1]:{port}",
        "2130706433:{port}",
        "127.1:{port}",
        "user@127.0.0.1:{port}",
        "127.0.0.1:{port}/",
        "127.0.0.1:0{port}",
        "localhost.:{port}",
        "",
    ],
)
def test_names_that_were_bound_to_this_computer_are_refused(served, host):
    status, found = sent(served, head(served, host=host.format(port=served.port)))
    assert status in (400, 403), found


def test_headers_that_come_twice_or_not_at_all(served):
    good = [f"Host: {served.host}", f"X-Alseg-Token: {served.token}"]
    assert sent(served, head(served, "GET", "/api/project", *good, "Host: evil.example"))[0] in (
        400,
        403,
    )
    assert sent(served, head(served, "GET", "/api/project", *good, "X-Alseg-Token: no"))[0] == 401
    assert sent(served, head(served, "GET", "/api/project", good[0]))[0] == 401
    assert sent(served, head(served, "GET", "/api/project", good[1]))[0] in (400, 403)
    two = [*good, f"Origin: http://{served.host}", "Origin: http://evil.example"]
    assert sent(served, head(served, "GET", "/api/project", *two))[0] == 403
    old = f"GET /api/project HTTP/1.0\r\nX-Alseg-Token: {served.token}\r\n\r\n".encode()
    assert sent(served, old)[0] in (400, 403)
    form = [*good, "Origin: null", "Content-Type: application/x-www-form-urlencoded"]
    assert sent(served, head(served, "POST", "/api/images/0/skip", *form))[0] == 403


def test_what_is_no_request_is_refused(served):
    for said in (
        b"\r\n\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),  # TLS
        b"GET\r\n\r\n",
        b"GET /api/project HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        bytes(range(256)) * 20 + b"\r\n\r\n",
    ):
        with connected(served) as line:
            line.sendall(said)
            line.shutdown(socket.SHUT_WR)
            status, found = answered(line)
        assert status in (None, 400, 401, 403, 404, 405), found
    is_well(served)


def test_headers_without_end_are_refused(served):
    for more in (["X-Long: " + "a" * 1_000_000], [f"X-{k}: {k}" for k in range(50_000)]):
        status, found = sent(served, head(served, more=more))
        assert status in (None, 400, 431), found[:200]
    status, found = sent(served, head(served, "GET", "/api/gallery?find=" + "a" * 1_000_000))
    assert status in (None, 400, 414, 431), found[:200]
    is_well(served)


BODIES = ["/api/images/0/marks?revision=0&answer=all", "/api/images/0/draft?revision=0"]


@pytest.mark.parametrize("path", [*BODIES, "/api/images/0/label"])
def test_a_body_that_is_too_large_is_refused_before_it_is_sent(served, path):
    start = head(served, "PUT", path, more=["Content-Length: 100000000"])
    status, found = sent(served, start)  # and not a byte of it
    assert status == 413 and b"at most" in found
    for said in ("99999999999999999999999", "-1", "1e3", "0x10", "+5", "\u00b2", "5, 5"):
        status, found = sent(
            served, head(served, "PUT", path, more=[f"Content-Length: {said}"]), b"abcde"
        )
        assert status in (None, 400, 413), (said, found)
    is_well(served)


@pytest.mark.parametrize("path", BODIES)
def test_a_body_in_pieces_is_taken_as_far_as_the_image_is_large(served, path):
    start = head(served, "PUT", path, more=["Transfer-Encoding: chunked"])
    piece = b"%x\r\n" % 10_000 + bytes(10_000) + b"\r\n"
    status, found = sent(served, start, *[piece] * 300)
    assert status in (None, 413), found
    both = head(served, "PUT", path, more=["Transfer-Encoding: chunked", "Content-Length: 3"])
    status, found = sent(served, both, b"3\r\nabc\r\n0\r\n\r\n")
    assert status in (400, 413), found
    wrong = head(served, "PUT", path, more=["Transfer-Encoding: chunked"])
    status, found = sent(served, wrong, b"zz\r\nabc\r\n0\r\n\r\n")
    assert status in (None, 400), found
    is_well(served)


def test_a_body_that_ends_early_counts_for_nothing(served):
    for path in BODIES:
        with connected(served) as line:
            line.sendall(head(served, "PUT", path, more=[f"Content-Length: {N}"]) + bytes(N // 2))
    is_well(served)
    status, found = sent(served, head(served, "GET", "/api/images/0/marks"))
    assert status == 200 and found.endswith(b"\xff" * N)


def test_idle_and_slow_connections_hold_nobody_up(served):
    lines = [connected(served) for _ in range(150)]
    try:
        for k, line in enumerate(lines):
            if k % 3 == 1:
                line.sendall(b"GET /api/proj")  # and never the rest
            if k % 3 == 2:
                more = [f"Content-Length: {N}"]
                line.sendall(head(served, "PUT", BODIES[0], more=more) + b"\0")
        is_well(served)
        status, _ = sent(served, head(served, "GET", "/api/images/1/picture"))
        assert status == 200
    finally:
        for line in lines:
            line.close()
    is_well(served)


def test_many_requests_at_once_are_all_answered(served):
    found = []

    def ask(k):
        request = urllib.request.Request(f"http://{served.host}/api/images/{k % 4}/thumbnail")
        request.add_header("X-Alseg-Token", served.token)
        with urllib.request.urlopen(request, timeout=HANG) as answer:
            found.append(answer.status)

    threads = [threading.Thread(target=ask, args=(k,)) for k in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [200] * 60


@pytest.mark.parametrize(
    "path",
    [
        "/api/images/-1",
        "/api/images/4",
        "/api/images/1e0",
        "/api/images/0x1",
        "/api/images/+1",
        "/api/images/1.0",
        "/api/images/%D9%A3",  # a digit, of another script
        "/api/images/%EF%BC%91",
        "/api/images/%C2%B2",
        "/api/images/NaN",
        "/api/images/0%00",
        "/api/images/0%0a",
        "/api/images/99999999999999999999999999/picture",
        "/api/images/" + "9" * 10_000,
        "/api/next?after=%D9%A3",
        "/api/next?after=-1",
        "/api/next?after=1&after=",
        "/api/gallery?limit=nan",
        "/api/gallery?offset=1e400",
        "/api/gallery?sort=__class__",
        "/api/images/0/thumbnail?side=inf",
        "/api/images/0/overlay?of=../mask",
    ],
)
def test_numbers_that_are_none(served, path):
    status, found = sent(served, head(served, "GET", path))
    assert status in (400, 404), found
    assert set(json.loads(found.split(b"\r\n\r\n", 1)[1])) == {"error"}


def test_words_of_any_bytes_find_nothing(served):
    for find in ("%ff%fe", "%00", "%ed%a0%80", "%1b[2J", "'%22<b>", "%F0%9F%A6%A0", "a" * 5000):
        status, found = sent(served, head(served, "GET", f"/api/gallery?find={find}&label={find}"))
        assert status == 200 and json.loads(found.split(b"\r\n\r\n", 1)[1])["total"] == 0


@pytest.mark.parametrize(
    "body",
    [
        b'{"label": ' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        b'{"label": ' + b'{"a":' * 10_000,
        b'{"label": 1e400}',
        b'{"label": NaN}',
        b'{"label": -Infinity}',
        b'{"label": "\\ud800"}',
        b'{"label": "\\u0000\\u001b[2J"}',
        b'{"label": null}',
        b'{"label": ["regular"]}',
        b'{"label": "regular", "label": 3}',
        b'{"label": ' + b"9" * 5000 + b"}",
        b"\xef\xbb\xbf{}",
        b'{"__proto__": 1}',
        b"",
    ],
)
def test_json_that_is_no_label(served, body):
    start = head(served, "PUT", "/api/images/0/label", more=[f"Content-Length: {len(body)}"])
    status, found = sent(served, start, body)
    assert status == 400, found
    error = json.loads(found.split(b"\r\n\r\n", 1)[1])["error"]
    assert error.isprintable() and len(error) < 1000
    is_well(served)


def test_no_other_page_may_show_or_read_it(served):
    status, found = sent(served, head(served, "GET", f"/?token={served.token}"))
    said = found.split(b"\r\n\r\n", 1)[0].decode().lower()
    assert status == 200
    assert "frame-ancestors 'none'" in said and "default-src 'none'" in said
    assert "cross-origin-resource-policy: same-origin" in said and "no-referrer" in said
    assert "access-control-allow-origin" not in said and "\r\nserver:" not in said
