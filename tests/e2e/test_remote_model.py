"""A model behind an address that is slow, full, down and back: every row is answered, and each once."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

import pytest
from conftest import MakeSpace
from rows import balance, committed, dead_letters, plain_text, write_rows

ROWS: Final = 1500
KNEE: Final = 16
SERVICE_SECONDS: Final = 0.02

JOB: Final = """\
name = "answers"
parallelism = 2
checkpoint_interval = "200ms"

[source]
format = "jsonl"
path = "${{INPUT}}/*.jsonl"
batch_rows = 64

[[step]]
[step.infer]
uid = "ask"
model = "remote"
inputs = {{ text = "text" }}
outputs = {{ echo = "echo", length = "length" }}

[[step]]
select = ["id", "text", "echo", "length"]

[model.remote]
host = "http_json"
url = "{url}"
latency = "200ms"

[model.remote.http_json]
request = {{ text = "{{{{text}}}}" }}
outputs = {{ echo = {{ type = "string", at = "/echo" }}, length = {{ type = "int64", at = "/length" }} }}

[sink]
format = "parquet"
path = "${{OUT}}"
"""


class Backend(ThreadingHTTPServer):
    """Works on sixteen requests at once, queues as many, refuses the rest, and is down while told so."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self) -> None:
        """Listens on a free port of this machine."""
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.working = threading.Semaphore(KNEE)
        self.held = 0
        self.refused = 0
        self.down = False
        self.refuses_text: str | None = None
        self.forbids = False
        self.waiting = 0
        self.scraped = 0
        self.answered: Counter[str] = Counter()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}/infer"

    def ask(self, text: str) -> tuple[int, dict[str, object]]:
        """Answers one request: status and body."""
        with self.lock:
            self.held += 1
            full = self.held > 2 * KNEE or self.down
            self.refused += full
        try:
            if full:
                return 503, {"error": "busy"}
            with self.working:
                time.sleep(SERVICE_SECONDS)
            if self.forbids:
                return 401, {"error": "who are you?"}
            if self.refuses_text is not None and self.refuses_text in text:
                return 422, {"error": "not this one"}
            with self.lock:
                self.answered[text] += 1
            return 200, {"echo": text, "length": len(text)}
        finally:
            with self.lock:
                self.held -= 1


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Backend

    def do_POST(self) -> None:
        """Answers a request."""
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status, body = self.server.ask(request["text"])
        self.reply(status, json.dumps(body).encode())

    def do_GET(self) -> None:
        """Shows the metrics."""
        self.server.scraped += 1
        lines = [f"vllm:num_requests_waiting {self.server.waiting}", f"vllm:num_requests_running {self.server.held}"]
        self.reply(200, "".join(line + "\n" for line in lines).encode())

    def reply(self, status: int, body: bytes) -> None:
        """Sends an answer."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Says nothing."""


@pytest.fixture
def backend() -> Iterator[Backend]:
    """A running backend."""
    with Backend() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_model_that_goes_down_costs_time_and_no_row(space: MakeSpace, backend: Backend) -> None:
    """Rows wait for a backend that refuses everything; none is a dead letter, and no answered row is asked again."""
    workspace = space(JOB.format(url=backend.url))
    write_rows(workspace.input, ROWS)
    engine = workspace.start()
    engine.wait_until(lambda: sum(backend.answered.values()) > ROWS // 4, "a quarter is answered")
    backend.down = True
    before = backend.refused
    engine.wait_until(lambda: backend.refused > before + 20, "the outage is felt")
    backend.down = False
    outcome = engine.wait(0)
    assert balance([row["id"] for row in committed(workspace.out)], set(range(ROWS))).exact
    assert dead_letters(workspace.out) == []
    assert set(backend.answered) == {plain_text(number) for number in range(ROWS)}
    assert max(backend.answered.values()) == 1, "an answered row was asked again"
    assert outcome.report is not None
    model = outcome.report["models"]["remote"]
    assert model["limit"] >= 1
    assert "limit" in model["why"]


def test_a_killed_engine_asks_no_finished_row_again(space: MakeSpace, backend: Backend) -> None:
    """After SIGKILL only rows whose answers were not durable yet are asked twice."""
    workspace = space(JOB.format(url=backend.url))
    write_rows(workspace.input, ROWS)
    engine = workspace.start()
    engine.wait_until(lambda: sum(backend.answered.values()) > ROWS // 2, "half is answered")
    engine.kill()
    finished = workspace.finished()
    workspace.run(resume="latest")
    assert balance([row["id"] for row in committed(workspace.out)], set(range(ROWS))).exact
    assert len(finished) > ROWS // 4, "the kill came too early to prove anything"
    twice = sum(count - 1 for count in backend.answered.values())
    assert sum(backend.answered.values()) - twice == ROWS
    assert twice <= 4 * KNEE, "more rows were asked again than could have been in flight"


def test_a_row_that_the_model_refuses_is_a_dead_letter_alone(space: MakeSpace, backend: Backend) -> None:
    """A refusal for content is final for its row, and for no other."""
    workspace = space(JOB.format(url=backend.url))
    write_rows(workspace.input, 300)
    backend.refuses_text = plain_text(123)
    workspace.run()
    assert balance([row["id"] for row in committed(workspace.out)], set(range(300)) - {123}).exact
    letters = dead_letters(workspace.out)
    assert [(json.loads(letter["input"])["id"], letter["kind"]) for letter in letters] == [(123, "data")]


def test_a_credential_that_is_refused_stops_the_job_and_loses_no_row(space: MakeSpace, backend: Backend) -> None:
    """What is wrong with the job file is no row's fault: no dead letters, advice in the error, and a resume."""
    workspace = space(JOB.format(url=backend.url))
    write_rows(workspace.input, 300)
    backend.forbids = True
    stderr = workspace.run(2).stderr
    assert "credential" in stderr
    assert "--resume latest" in stderr
    assert dead_letters(workspace.out) == []
    backend.forbids = False
    workspace.run(resume="latest")
    assert balance([row["id"] for row in committed(workspace.out)], set(range(300))).exact


def test_what_waits_at_the_server_bounds_the_limit(space: MakeSpace, backend: Backend) -> None:
    """A server whose metrics show a long queue is given next to nothing until the queue is gone."""
    metrics = backend.url.replace("/infer", "/metrics")
    job = JOB.format(url=backend.url).replace('latency = "200ms"', f'latency = "200ms"\nmetrics = "{metrics}"')
    workspace = space(job)
    write_rows(workspace.input, 2 * ROWS)
    backend.waiting = 1000
    engine = workspace.start()
    engine.wait_until(lambda: backend.scraped >= 2 and backend.held <= 1, "the limit falls")
    backend.waiting = 0
    engine.wait_until(lambda: backend.held > 4, "the limit rises")
    engine.wait(0)
    assert balance([row["id"] for row in committed(workspace.out)], set(range(2 * ROWS))).exact


def test_a_credential_is_named_and_never_written(space: MakeSpace, backend: Backend) -> None:
    """A bare credential is refused before anything runs, and is not repeated."""
    job = JOB.format(url=backend.url).replace('latency = "200ms"', 'latency = "200ms"\ncredential = "hunter2"')
    workspace = space(job)
    write_rows(workspace.input, 8)
    outcome = workspace.run(2)
    assert "named, never written" in outcome.stderr
    assert not backend.answered
