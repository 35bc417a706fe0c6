"""The job files of the tests, as text."""

from __future__ import annotations

from typing import Final

# Of the job in `python_kill_job.py`: its name, rows of a request batch, and which rows its second sink gets.
PYTHON_KILLS_NAME: Final = "python_kills"
PYTHON_KILLS_BATCH_ROWS: Final = 16
PYTHON_KILLS_EVERY: Final = 5
FAKE_NAME: Final = "answers"
IMAGES_NAME: Final = "pictures"

# The echo comes back from the model, so a row with another row's answer is seen.
FAKE: Final = """\
name = "answers"
parallelism = {parallelism}
checkpoint_interval = "{checkpoint_interval}"

[source]
format = "jsonl"
path = "${{INPUT}}/*.jsonl"
batch_rows = 64

[[step]]
[step.infer]
uid = "ask"
model = "fake"
inputs = {{ text = "text" }}
outputs = {{ echo = "echo", length = "length" }}
batch_rows = {batch_rows}
in_flight = {in_flight}
attempts = {attempts}

[[step]]
select = ["id", "text", "echo", "length"]

[model.fake]
host = "fake"
service_time = "{service_time}"
log = "${{EXECUTIONS}}"
{more}
[sink]
format = "parquet"
path = "${{OUT}}"
"""

# Three regions with durable edges between them, of both modes.
CUT_BATCH_ROWS: Final = 8
CUT_IN_FLIGHT: Final = 4
CUT: Final = f"""\
name = "cut"
parallelism = 2
checkpoint_interval = "50ms"

[source]
format = "jsonl"
path = "${{INPUT}}/*.jsonl"
batch_rows = 64

[[step]]
with = ["id + 1 AS after"]

[[step]]
uid = "read"
durable = {{ mode = "id_dedupe" }}

[[step]]
[step.infer]
uid = "ask"
model = "fake"
inputs = {{ text = "text" }}
outputs = {{ echo = "echo", length = "length" }}
batch_rows = {CUT_BATCH_ROWS}
in_flight = {CUT_IN_FLIGHT}
linger = "1ms"

[[step]]
uid = "answered"
durable = {{ quota = "1MiB" }}

[[step]]
select = ["id", "text", "echo", "length", "after"]

[model.fake]
host = "fake"
service_time = "10ms"
log = "${{EXECUTIONS}}"

[sink]
format = "parquet"
path = "${{OUT}}"
"""

IMAGES: Final = """\
name = "pictures"
checkpoint_interval = "200ms"

[source]
format = "images"
path = "${INPUT}/*.{png,jpg}"

[[step]]
select = ["split_part(path, '/', -1) AS file", "image_to_tensor(content, 16, 16, 'RGB', 'float32') AS pixels"]

[[step]]
infer = { model = "digits", inputs = { pixels = "pixels" }, outputs = { label = "label" } }

[[step]]
select = ["file", "label"]

[model.digits]
host = "onnx"
path = "examples/digits/digits.onnx"

[sink]
format = "parquet"
path = "${OUT}"
"""


def fake_job(
    *,
    parallelism: int = 2,
    service_time: str = "20ms",
    checkpoint_interval: str = "200ms",
    batch_rows: int = 32,
    in_flight: int = 3,
    attempts: int = 3,
    more: str = "",
) -> str:
    """Returns a job that asks a scripted model about every row; `more` are further lines of the model's table."""
    return FAKE.format(
        parallelism=parallelism,
        service_time=service_time,
        checkpoint_interval=checkpoint_interval,
        batch_rows=batch_rows,
        in_flight=in_flight,
        attempts=attempts,
        more=f"{more}\n" if more else "",
    )
