"""Real servers of the Open Inference Protocol, from Python: MLServer by gRPC and JSON, KServe with raw tensors."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

import forebay as fb
from forebay import testing
from worker_process import PACKAGE

CACHE: Final = Path(os.environ.get("FOREBAY_CACHE") or Path.home() / ".cache/forebay")
SERVERS: Final = PACKAGE.parent / "tests/servers"
# Longest wait for a server to say that it is ready. It only ends a test that would hang.
READY_SECONDS: Final = 180.0
POLL_SECONDS: Final = 0.05
ROWS: Final = 100
# The model `double` of MLServer refuses it.
REFUSED: Final = 13


@fb.func.batch(returns=fb.Tensor("float32", 2))
def pair(n: np.ndarray) -> Any:
    return np.stack([n, n + 0.5], axis=1).astype("float32")


NUMBERS = testing.rows([{"n": n, "text": f"text {n} ü"} for n in range(ROWS)], files=2)
PAIRS = NUMBERS.select("n", x=pair(fb.col("n")))


@contextmanager
def serving(environment: str, script: str) -> Iterator[list[int]]:
    """Runs a server of `tests/servers`; gives its ports once it is ready."""
    python = CACHE / environment / "bin/python"
    assert python.is_file(), f"no {python}: run scripts/setup.sh, which installs the model servers"
    listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    ports = [each.getsockname()[1] for each in listening]
    for each in listening:
        each.close()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as log:
        command = [str(python), str(SERVERS / script), folder, *map(str, ports)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log)
        try:
            limit = time.monotonic() + READY_SECONDS
            while not ready(f"http://127.0.0.1:{ports[0]}/v2/health/ready"):
                if process.poll() is not None or time.monotonic() > limit:
                    log.seek(0)
                    pytest.fail(f"{script} is not ready:\n{log.read().decode()[-4000:]}")
                time.sleep(POLL_SECONDS)
            yield ports
        finally:
            # The script ends its server when its standard input closes.
            assert process.stdin is not None
            process.stdin.close()
            process.wait()


def ready(url: str) -> bool:
    """Whether a server says that it is ready."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@pytest.fixture(scope="module")
def mlserver() -> Iterator[dict[str, str]]:
    """Where MLServer listens, by transport."""
    with serving("venv-servers", "open_inference.py") as (http, grpc, _):
        yield {"http_json": f"http://127.0.0.1:{http}", "grpc": f"http://127.0.0.1:{grpc}"}


@pytest.fixture(scope="module")
def kserve() -> Iterator[str]:
    """Where KServe listens."""
    with serving("venv-kserve", "binary_tensors.py") as (http, *_):
        yield f"http://127.0.0.1:{http}"


def doubled(result: fb.Result) -> dict[int, list[float]]:
    """The answers of `double` by row."""
    return {row["n"]: row["y"].tolist() for row in result}


@pytest.mark.parametrize("transport", ["grpc", "http_json"])
def test_tensors_go_to_a_server_and_back(mlserver: dict[str, str], transport: str) -> None:
    model = fb.Model.open_inference(mlserver[transport], "double", transport=transport, outputs=["y"], batch_rows=16)
    result = PAIRS.with_columns(model.predict(x=fb.col("x"))).exclude("x").collect()
    assert doubled(result) == {n: [2.0 * n, 2.0 * n + 1] for n in range(ROWS) if n != REFUSED}
    (letter,) = result.dead_letters
    assert "13 is not digestible" in letter["reason"]
    assert letter["kind"] == "data"


def test_raw_tensors_go_over_http(kserve: str) -> None:
    model = fb.Model.open_inference(kserve, "double", transport="http_binary", batch_rows=16)
    result = PAIRS.with_column("y", model.predict(x=fb.col("x"))["y"]).exclude("x").collect()
    assert doubled(result) == {n: [2.0 * n, 2.0 * n + 1] for n in range(ROWS)}
    assert not result.dead_letters


@pytest.mark.parametrize("transport", ["grpc", "http_json"])
def test_texts_go_to_a_server_and_back(mlserver: dict[str, str], transport: str) -> None:
    model = fb.Model.open_inference(mlserver[transport], "text", transport=transport, latency="5s")
    answer = model.predict({"in": fb.col("text")})["out"]
    result = NUMBERS.with_column("echo", answer).collect()
    assert len(result) == ROWS
    assert all(row["echo"] == row["text"] for row in result)


def test_the_types_of_its_answers_are_known_before_it_is_asked(mlserver: dict[str, str]) -> None:
    model = fb.Model.open_inference(mlserver["grpc"], "double", outputs=["y"])
    schema = PAIRS.with_columns(model.predict(x=fb.col("x"))).schema
    assert (schema.field("y").type.shape, str(schema.field("y").type.value_type)) == ([2], "float")


def test_what_it_has_answered_is_not_asked_again(mlserver: dict[str, str], tmp_path: Path) -> None:
    model = fb.Model.open_inference(mlserver["grpc"], "text", batch_rows=8)
    frame = NUMBERS.with_column("echo", model.predict({"in": fb.col("text")})["out"])
    job = fb.Job(name="echo", checkpoint_interval="50ms").parquet(frame, tmp_path / "out")
    with job.run(checkpoints=tmp_path / "checkpoints") as run:
        first = run.stop()
    with job.run(checkpoints=tmp_path / "checkpoints") as run:
        second = run.wait()
    assert second is not None
    asked = [report.details["models"]["text"]["rows"] for report in (first, second)]
    assert sum(asked) == ROWS
    assert sorted(fb.read_parquet(tmp_path / "out/*.parquet").collect().column("n")) == list(range(ROWS))


@pytest.mark.parametrize(
    ("name", "inputs", "words"),
    [
        ("nobody", {"x": fb.col("x")}, "nobody"),
        ("double", {"z": fb.col("x")}, "z"),
        ("double", {"x": fb.col("n")}, "x"),
    ],
)
def test_what_the_server_does_not_have_is_refused_before_anything_is_read(
    mlserver: dict[str, str], name: str, inputs: dict[str, fb.Expression], words: str
) -> None:
    model = fb.Model.open_inference(mlserver["grpc"], name, outputs=["y"])
    with pytest.raises(fb.errors.InvalidError, match=words):
        PAIRS.with_columns(model.predict(inputs)).collect()
