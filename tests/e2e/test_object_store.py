"""The same job over an object store: source, checkpoints and sink are S3 URLs, the server is moto on loopback.

The engine is killed in the middle. The journal stays on this machine, as `--journal` says.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pyarrow.fs as fs
import pytest
from harness import BINARY, COMPLETED, HANG_SECONDS, POLL_SECONDS

ROWS: Final = 1200
FILES: Final = 4
BUCKET: Final = "forebay-test"
JOB: Final = f"""\
name = "remote"
checkpoint_interval = "200ms"
parallelism = 2

[source]
format = "jsonl"
path = "s3://{BUCKET}/in/*.jsonl"

[[step]]
infer = {{ model = "m", inputs = {{ text = "text" }}, outputs = {{ length = "length" }}, batch_rows = 16 }}

[model.m]
host = "fake"
service_time = "20ms"

[sink]
format = "jsonl"
path = "s3://{BUCKET}/out"
"""


@pytest.fixture
def endpoint() -> Iterator[str]:
    """An S3 server on a free port of loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for_port(port, server)
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(HANG_SECONDS)


def wait_for_port(port: int, server: subprocess.Popen[bytes]) -> None:
    """Waits until something listens; fails if the server ended."""
    end = time.monotonic() + HANG_SECONDS
    while time.monotonic() < end:
        if server.poll() is not None:
            pytest.fail("moto_server ended at once; is `moto[server,s3]` installed?")
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(POLL_SECONDS)
    pytest.fail("moto_server does not listen")


def committed(store: fs.S3FileSystem) -> list[int]:
    """The ids in the committed output."""
    listed = store.get_file_info(fs.FileSelector(f"{BUCKET}/out", allow_not_found=True))
    ids = []
    for info in listed:
        if info.base_name.startswith("part-"):
            with store.open_input_stream(info.path) as file:
                ids += [json.loads(line)["id"] for line in file.read().decode().splitlines()]
    return ids


def test_killed_job_over_an_object_store_commits_every_row_once(endpoint: str, tmp_path: Path) -> None:
    """Conditional creation publishes checkpoints; staged objects become output by copy, once."""
    store = fs.S3FileSystem(
        access_key="key",
        secret_key="secret",
        region="us-east-1",
        endpoint_override=endpoint,
        scheme="http",
        allow_bucket_creation=True,
    )
    store.create_dir(BUCKET)
    for number in range(FILES):
        with store.open_output_stream(f"{BUCKET}/in/{number}.jsonl") as file:
            for row in range(number, ROWS, FILES):
                file.write(json.dumps({"id": row, "text": f"row {row}"}).encode() + b"\n")
    (tmp_path / "job.toml").write_text(JOB)
    environment = os.environ | {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{endpoint}",
        "AWS_ALLOW_HTTP": "true",
    }
    command = [str(BINARY), "run", str(tmp_path / "job.toml"), "--checkpoints", f"s3://{BUCKET}/checkpoints"]
    command += ["--journal", str(tmp_path / "journal"), "--progress", "none"]
    first = subprocess.Popen(command, env=environment)
    end = time.monotonic() + HANG_SECONDS
    while not committed(store) and first.poll() is None and time.monotonic() < end:
        time.sleep(POLL_SECONDS)
    first.send_signal(signal.SIGKILL)
    assert first.wait(HANG_SECONDS) == -signal.SIGKILL, "the engine ended before it was killed"
    before = committed(store)
    assert 0 < len(before) < ROWS, "the kill did not come in the middle"
    resumed = subprocess.run([*command, "--resume", "latest"], env=environment, timeout=HANG_SECONDS, check=False)
    assert resumed.returncode == COMPLETED
    assert sorted(committed(store)) == list(range(ROWS))
