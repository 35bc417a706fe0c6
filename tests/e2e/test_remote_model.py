"""A model behind an address that is slow, full, down and back: every row is answered, and each once."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import json
import select
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import pytest
from conftest import MakeSpace
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from rows import balance, committed, dead_letters, plain_text, write_rows

ROWS: Final = 1500
KNEE: Final = 16
SERVICE_SECONDS: Final = 0.02
SLOW_SECONDS: Final = 2.0

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
        self.breaks_on: str | None = None
        self.broken = 0
        self.forbids = False
        self.waiting = 0
        self.scraped = 0
        self.slow_every = 0
        self.headers: dict[str, str] = {}
        self.asked = 0
        self.left = 0
        self.answered: Counter[str] = Counter()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}/infer"

    def ask(self, text: str) -> tuple[int, dict[str, object]]:
        """Answers one request: status and body."""
        with self.lock:
            self.held += 1
            self.asked += 1
            slow = self.slow_every > 0 and self.asked % self.slow_every == 0
            full = self.held > 2 * KNEE or self.down
            self.refused += full
        try:
            if full:
                return 503, {"error": "busy"}
            with self.working:
                time.sleep(SLOW_SECONDS if slow else SERVICE_SECONDS)
            if self.forbids:
                return 401, {"error": "who are you?"}
            if self.breaks_on is not None and self.breaks_on in text:
                with self.lock:
                    self.broken += 1
                return 500, {"error": "a bug"}
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
        if self.was_left():
            with self.server.lock:
                self.server.left += 1
            self.close_connection = True
            return
        self.reply(status, json.dumps(body).encode())

    def was_left(self) -> bool:
        """True if the client has closed the connection before its answer."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)

    def do_GET(self) -> None:
        """Shows the metrics."""
        self.server.scraped += 1
        lines = [f"vllm:num_requests_waiting {self.server.waiting}", f"vllm:num_requests_running {self.server.held}"]
        self.reply(200, "".join(line + "\n" for line in lines).encode())

    def reply(self, status: int, body: bytes) -> None:
        """Sends an answer."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Says nothing."""


@contextlib.contextmanager
def running(server: Backend) -> Iterator[Backend]:
    """Serves until the block ends."""
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def backend() -> Iterator[Backend]:
    """A running backend."""
    with running(Backend()) as server:
        yield server


@pytest.fixture
def replica() -> Iterator[Backend]:
    """Another one, of the same model."""
    with running(Backend()) as server:
        yield server


def job(backend: Backend, more: str) -> str:
    """The job with more keys of its model."""
    return JOB.format(url=backend.url).replace('latency = "200ms"', more)


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


def test_a_row_that_breaks_the_model_each_time_is_a_dead_letter_once_others_are_answered(
    space: MakeSpace, backend: Backend
) -> None:
    """A 500 for one row each time is told from an outage: the job ends without it, and no other row is lost."""
    workspace = space(JOB.format(url=backend.url))
    backend.breaks_on = f"{plain_text(77)}."
    texts = {number: plain_text(number) for number in range(ROWS)} | {77: f"{plain_text(77)}."}
    write_rows(workspace.input, ROWS, texts.__getitem__)
    workspace.run()
    assert balance([row["id"] for row in committed(workspace.out)], set(range(ROWS)) - {77}).exact
    (letter,) = dead_letters(workspace.out)
    assert (json.loads(letter["input"])["id"], letter["kind"]) == (77, "unavailable")
    assert letter["attempts"] == backend.broken
    assert f"so {backend.broken} times, while others were answered" in letter["reason"]
    assert max(backend.answered.values()) == 1


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


def test_declared_limits_hold_for_all_subtasks_together(space: MakeSpace, backend: Backend) -> None:
    """Two subtasks with four requests each stay below what the model may be asked in a second."""
    workspace = space(job(backend, "limits = { requests_per_second = 100 }"))
    write_rows(workspace.input, 300)
    outcome = workspace.run()
    assert balance([row["id"] for row in committed(workspace.out)], set(range(300))).exact
    assert outcome.report is not None
    assert outcome.report["run_seconds"] >= 2.9, "three hundred requests at a hundred a second"


def test_what_a_provider_says_is_left_lowers_the_pace(space: MakeSpace, backend: Backend) -> None:
    """A hundred requests left for two seconds are spread over them, with no key that says so."""
    backend.headers = {"x-ratelimit-remaining-requests": "100", "x-ratelimit-reset-requests": "2s"}
    workspace = space(job(backend, 'latency = "200ms"'))
    write_rows(workspace.input, 200)
    outcome = workspace.run()
    assert balance([row["id"] for row in committed(workspace.out)], set(range(200))).exact
    assert outcome.report is not None
    assert outcome.report["run_seconds"] >= 3.0, "two hundred requests at fifty a second, less those before it was told"
    assert outcome.report["models"]["remote"]["requests_left"] == 100


def test_a_replica_that_is_down_costs_nothing_but_its_share(
    space: MakeSpace, backend: Backend, replica: Backend
) -> None:
    """Requests go to both replicas, and to the other one while one is down; no row is asked twice for it."""
    urls = f'urls = ["{backend.url}", "{replica.url}"]\nlatency = "200ms"'
    text = job(backend, urls).replace(f'\nurl = "{backend.url}"', "")
    workspace = space(text)
    write_rows(workspace.input, 2 * ROWS)
    engine = workspace.start()
    engine.wait_until(lambda: min(sum(backend.answered.values()), sum(replica.answered.values())) > 200, "both answer")
    replica.down = True
    engine.wait(0)
    assert balance([row["id"] for row in committed(workspace.out)], set(range(2 * ROWS))).exact
    assert dead_letters(workspace.out) == []
    assert max((backend.answered + replica.answered).values()) == 1
    assert replica.refused < ROWS // 4, "a replica that is down was asked on and on"


def test_slow_requests_get_a_second_copy(space: MakeSpace, backend: Backend, replica: Backend) -> None:
    """One request in fifty hangs, gets a copy on the replica that has room, and is given up once that has answered."""
    rows, backend.slow_every, replica.slow_every = 600, 50, 50
    keys = 'idempotent = true\nhedge = { after = "100ms", budget = 0.1 }\nlatency = "2s"'
    urls = f'urls = ["{backend.url}", "{replica.url}"]\n{keys}'
    text = job(backend, urls).replace(f'\nurl = "{backend.url}"', "")
    workspace = space(text.replace('model = "remote"', 'model = "remote"\nin_flight = 6'))
    write_rows(workspace.input, rows)
    outcome = workspace.run()
    assert balance([row["id"] for row in committed(workspace.out)], set(range(rows))).exact
    assert outcome.report is not None
    hedged = outcome.report["models"]["remote"]["hedged"]
    assert 5 <= hedged <= rows // 10 + 20
    assert backend.asked + replica.asked == rows + hedged, "a copy is sent for a hedge, and for nothing else"
    assert backend.left + replica.left >= hedged // 2, "copies answered, and their slow twins were still waited for"


def test_a_refusal_means_what_the_job_file_says(space: MakeSpace, backend: Backend) -> None:
    """A server that says it is full in its own way is not taken to refuse the rows."""
    backend.refuses_text = plain_text(7)
    refusals = 'refusals = [{ status = 422, contains = "not this one", means = "overload" }]'
    workspace = space(job(backend, f'latency = "200ms"\n{refusals}'))
    write_rows(workspace.input, 50)
    engine = workspace.start()
    engine.wait_until(lambda: sum(backend.answered.values()) >= 49, "all others are answered")
    backend.refuses_text = None
    engine.wait(0)
    assert balance([row["id"] for row in committed(workspace.out)], set(range(50))).exact
    assert dead_letters(workspace.out) == []


def authority(folder: Path) -> tuple[Path, Path]:
    """A self-made authority's certificate, and a server's certificate and key that it signed."""
    now = datetime.datetime.now(datetime.UTC)

    def certificate(name: str, issuer: str, *, is_ca: bool) -> x509.CertificateBuilder:
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        )
        return builder if is_ca else builder.add_extension(address, critical=False)

    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = certificate("tests", "tests", is_ca=True).public_key(ca_key.public_key()).sign(ca_key, hashes.SHA256())
    own = certificate("server", "tests", is_ca=False).public_key(key.public_key()).sign(ca_key, hashes.SHA256())
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    ca_file, server_file = folder / "ca.pem", folder / "server.pem"
    ca_file.write_bytes(ca.public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    server_file.write_bytes(private + own.public_bytes(pem))
    return ca_file, server_file


def test_tls_trusts_the_authority_that_the_job_file_names_and_no_other(
    space: MakeSpace, backend: Backend, tmp_path: Path
) -> None:
    """A server with a certificate of a self-made authority is refused without `ca`, and answers with it."""
    ca, certificate = authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    backend.socket = context.wrap_socket(backend.socket, server_side=True)
    url = backend.url.replace("http://", "https://")
    distrusting = space(JOB.format(url=url))
    write_rows(distrusting.input, 20)
    engine = distrusting.start()
    engine.wait_until(lambda: "certificate" in engine.stderr.lower(), "the certificate is refused")
    engine.end()
    assert not backend.answered
    trusting = space(JOB.format(url=url).replace('latency = "200ms"', f'latency = "200ms"\nca = "{ca}"'))
    write_rows(trusting.input, 20)
    trusting.run()
    assert balance([row["id"] for row in committed(trusting.out)], set(range(20))).exact
