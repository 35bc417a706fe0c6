"""URLs as columns: what stands behind them, and servers and URLs that are hostile."""

from __future__ import annotations

import gzip
import io
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import forebay as fb
from forebay import testing

asked: Counter[str] = Counter()


class Pages(BaseHTTPRequestHandler):
    """Has pages, and pages that are no good."""

    def do_GET(self) -> None:
        """Answers by the path."""
        asked[self.path] += 1
        handler = getattr(self, "get_" + self.path.strip("/").split("/")[0], None)
        if handler is None:
            self.reply(404, b"not here")
        else:
            handler()

    def get_page(self) -> None:
        """Says which it is."""
        self.reply(200, self.path.encode(), {"Content-Type": "text/plain"})

    def get_moved(self) -> None:
        """Is elsewhere."""
        self.reply(302, b"", {"Location": "/page/new"})

    def get_metadata(self) -> None:
        """Sends its reader where it should not go."""
        self.reply(302, b"", {"Location": "http://169.254.169.254/latest/meta-data/"})

    def get_busy(self) -> None:
        """Is full at first."""
        if asked[self.path] < 3:
            self.reply(429, b"", {"Retry-After": "0"})
        else:
            self.reply(200, b"at last")

    def get_broken(self) -> None:
        """Is broken for good."""
        self.reply(500, b"")

    def get_slow(self) -> None:
        """Answers when nobody waits any more."""
        time.sleep(3)
        self.reply(200, b"late")

    def get_large(self) -> None:
        """Is larger than it may be."""
        self.reply(200, bytes(100_000))

    def get_bomb(self) -> None:
        """Is small as long as nobody unpacks it."""
        self.reply(200, gzip.compress(bytes(10_000_000)), {"Content-Encoding": "gzip"})

    def get_image(self) -> None:
        """Is a picture."""
        content = io.BytesIO()
        Image.new("RGB", (4, 2), (255, 0, 0)).save(content, "png")
        self.reply(200, content.getvalue(), {"Content-Type": "image/png"})

    def reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        """Sends an answer; whoever asked may be gone."""
        try:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            pass

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - its base calls it so
        """Says nothing."""


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    """Where the pages are."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def nothing_asked() -> None:
    """Forgets what other tests asked."""
    asked.clear()


def rows_of(host: str, *paths: str | None) -> fb.DataFrame:
    """A frame of URLs."""
    return testing.rows([{"url": path if path is None or ":" in path else f"http://{host}/{path}"} for path in paths])


def collected(frame: fb.DataFrame) -> fb.Result:
    """The rows of a job that has dead letters, and nobody is told."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fb.DeadLetterWarning)
        return frame.collect()


def letters(result: fb.Result) -> dict[str, tuple[str, int, str]]:
    """Kind, attempts and reason of each dead letter, by the end of its URL."""
    found = {}
    for letter in result.dead_letters:
        found[letter["input"].split('"')[3].rsplit("/", 1)[-1]] = (letter["kind"], letter["attempts"], letter["reason"])
    return found


def test_urls_of_a_file_become_their_contents(host: str, tmp_path: Path) -> None:
    lines = [f'{{"id": {number}, "u": "http://{host}/page/{number}"}}\n' for number in range(100)]
    (tmp_path / "urls.jsonl").write_text("".join([*lines, '{"id": 100, "u": null}\n']))
    frame = fb.read_jsonl(tmp_path / "urls.jsonl")
    result = frame.with_column("content", fb.col("u").url.download(private_hosts=[host])).collect()
    found = {row["id"]: row["content"] for row in result}
    assert found == {number: f"/page/{number}".encode() for number in range(100)} | {100: None}
    assert max(asked.values()) == 1


def test_a_fetch_also_says_what_it_got(host: str) -> None:
    pages = fb.Model.fetch(private_hosts=[host])
    frame = rows_of(host, "page/1", "moved", "busy")
    result = frame.with_columns(pages.predict(url=fb.col("url"))).exclude("url").collect()
    found = {row["content"]: row["content_type"] for row in result}
    assert found == {b"/page/1": "text/plain", b"/page/new": "text/plain", b"at last": None}
    assert asked["/busy"] == 3


def test_what_cannot_be_had_is_a_dead_letter_that_says_why(host: str) -> None:
    elsewhere = ["http://[::1]:9/loop", "file:///etc/passwd"]
    frame = rows_of(host, "page/1", "gone", "broken", "large", "bomb", "slow", "metadata", *elsewhere)
    content = fb.col("url").url.download(private_hosts=[host], answer_bytes=50_000, attempts=2, timeout="1s")
    result = collected(frame.with_column("content", content))
    assert result.column("content") == [b"/page/1"]
    found = letters(result)
    assert {name: (kind, attempts) for name, (kind, attempts, _) in found.items()} == {
        "gone": ("data", 1),
        "broken": ("unavailable", 2),
        "large": ("data", 1),
        "bomb": ("data", 1),
        "metadata": ("data", 1),
        "slow": ("timeout", 2),
        "loop": ("data", 1),
        "passwd": ("data", 1),
    }
    reasons = {name: reason for name, (_, _, reason) in found.items()}
    assert "status 404" in reasons["gone"]
    assert "raise answer_bytes" in reasons["large"]
    assert "compressed (gzip)" in reasons["bomb"]
    assert "169.254.169.254 is link-local" in reasons["metadata"]
    assert "name the host in private_hosts" in reasons["loop"]
    assert "only http and https" in reasons["passwd"]


def test_a_private_address_is_refused_without_the_setting(host: str) -> None:
    result = collected(rows_of(host, "page/1").with_column("content", fb.col("url").url.download()))
    (reason,) = (reason for _, _, reason in letters(result).values())
    assert "is loopback: if rows may ask there, name the host in private_hosts" in reason
    assert not asked


def test_what_cannot_be_had_is_null_where_that_is_said(host: str) -> None:
    content = fb.col("url").url.download(private_hosts=[host], on_error="null", timeout="500ms", attempts=1)
    result = rows_of(host, "page/1", "gone", "slow", None).with_column("content", content).collect()
    found = {str(row["url"]).rsplit("/", 1)[-1]: row["content"] for row in result}
    assert found == {"1": b"/page/1", "gone": None, "slow": None, "None": None}


def test_one_url_can_fail_the_job(host: str) -> None:
    content = fb.col("url").url.download(private_hosts=[host], on_error="fail")
    with pytest.raises(fb.errors.DataError, match="status 404"):
        rows_of(host, "gone").with_column("content", content).collect()


def test_many_urls_of_a_dead_server_hold_up_no_other(host: str) -> None:
    # Nobody listens on port 1 of this machine; a model that refused as many calls would be left alone by now.
    paths = [path for number in range(60) for path in (f"http://127.0.0.1:1/{number}", f"page/{number}")]
    content = fb.col("url").url.download(private_hosts=["127.0.0.1"], latency="5s")
    started = time.monotonic()
    result = collected(rows_of(host, *paths).with_column("content", content))
    assert sorted(result.column("content")) == sorted(f"/page/{number}".encode() for number in range(60))
    assert {(kind, attempts) for kind, attempts, _ in letters(result).values()} == {("unavailable", 3)}
    assert len(result.dead_letters) == 60
    assert time.monotonic() - started < 30


def test_contents_go_on_into_other_functions(host: str) -> None:
    pixels = fb.col("url").url.download(private_hosts=[host]).image.to_tensor(4, 2)
    (pixel,) = rows_of(host, "image").select(pixels=pixels).collect().column("pixels")
    assert pixel.shape == (2, 4, 3)
    assert pixel[0, 0].tolist() == [255, 0, 0]


def test_settings_that_cannot_work_are_refused(host: str) -> None:
    url = fb.col("url")
    with pytest.raises(fb.errors.InvalidError, match=r"private_hosts is a list of hosts: private_hosts=\['store'\]"):
        url.url.download(private_hosts="store")
    frame = rows_of(host, "page/1")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"private_hosts": ["*.example.com"]}, "names are exact"),
        ({"headers": {"Authorization": "Bearer x"}}, "whatever server a row names"),
        ({"answer_bytes": "1GiB"}, "at most 128MiB"),
    ]
    for settings, why in cases:
        with pytest.raises(fb.errors.InvalidError, match=why):
            frame.select(content=url.url.download(**settings)).collect()
    with pytest.raises(fb.errors.InvalidError, match="url says nothing to fetch"):
        frame.select(content=fb.Model.fetch(settings={"url": "http://x"}).predict(url=url)["content"]).collect()


def test_a_job_asks_with_as_many_at_a_time_as_it_says() -> None:
    def step(**options: Any) -> Any:
        return testing.rows([{"u": "x"}]).select(c=fb.col("u").url.download(**options)).to_job().to_dict()["step"][0]

    assert step()["infer"]["in_flight"] == 32
    assert step(in_flight=3)["infer"]["in_flight"] == 3
    assert "in_flight" not in step(latency="2s")["infer"]


def test_urls_are_taken_apart() -> None:
    url = fb.col("url").url.parse()
    frame = rows_of("a", "http://Store.example/a?b#c", None, "http:nothing").select(
        "url", host=url["host"], port=url["port"]
    )
    result = collected(frame)
    assert sorted((row["host"] or "", row["port"]) for row in result) == [
        ("", None),
        ("nothing", 80),
        ("store.example", 80),
    ]
    broken = collected(rows_of("a", "http://a:b/").select(parts=url))
    assert [letter["kind"] for letter in broken.dead_letters] == ["data"]
