"""Flink as the peer of this benchmark: where it comes from, and how one query runs in it.

Flink is taken whole from PyPI, into a virtual environment of its own, and its Python is not used: `flink/` holds a
small Java program that runs one SQL query in a mini cluster of its own process, and the connector `nexmark`, which
makes
the rows of Forebay's source. A JDK 17 (`javac`, `java`) must be there.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parent.parent
CACHE: Final = Path(os.environ.get("FOREBAY_CACHE") or Path.home() / ".cache/forebay")
# What the public Nexmark for Flink sets, and object reuse, which spares a copy of every row between two operators.
TUNED: Final = {
    "pipeline.object-reuse": "true",
    "table.exec.mini-batch.enabled": "true",
    "table.exec.mini-batch.allow-latency": "2s",
    "table.exec.mini-batch.size": "50000",
    "table.optimizer.distinct-agg.split.enabled": "true",
    "table.local-time-zone": "UTC",
    # As often as Forebay's jobs.
    "execution.checkpointing.interval": "10s",
}
HEAP: Final = "4g"


def prepare() -> list[str]:
    """Installs Flink and compiles the Java unless that is done; returns the start of the command that runs a query."""
    home = install()
    classes = CACHE / "nexmark-classes"
    sources = sorted((HERE / "flink").rglob("*.java"))
    newest = max(path.stat().st_mtime for path in [*sources, *(HERE / "flink/META-INF").rglob("*")])
    mark = classes / "compiled"
    jars = f"{home}/lib/*"
    if not mark.exists() or mark.stat().st_mtime < newest:
        shutil.rmtree(classes, ignore_errors=True)
        classes.mkdir(parents=True)
        subprocess.run(["javac", "-proc:none", "-cp", jars, "-d", str(classes), *map(str, sources)], check=True)
        shutil.copytree(HERE / "flink/META-INF", classes / "META-INF")
        mark.touch()
    opens = re.findall(r"--add-\w+=\S+", (home / "conf/config.yaml").read_text())
    log = f"-Dlog4j.configurationFile={HERE / 'flink/log4j2.properties'}"
    return ["java", f"-Xmx{HEAP}", log, *opens, "-cp", f"{classes}:{jars}", "forebay.nexmark.Peer"]


def install() -> Path:
    """Returns Flink's home."""
    venv = CACHE / "venv-flink"
    homes = list(venv.glob("lib/python3*/site-packages/pyflink"))
    if not homes or not list(homes[0].glob("lib/flink-dist-*.jar")):
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        pip = [str(venv / "bin/python"), "-m", "pip", "install", "--quiet", "--no-deps"]
        subprocess.run([*pip, "-r", str(ROOT / "python/requirements-flink.txt")], check=True)
        homes = list(venv.glob("lib/python3*/site-packages/pyflink"))
    return homes[0]


def command(start: list[str], query: str, rows: int, parallelism: int, folder: Path, sink: str) -> list[str]:
    """The command that runs a query over `rows` rows; `sink` is `blackhole` or the path of a file."""
    tables = folder / "tables.sql"
    options = f"'rows' = '{rows}'"
    tables.write_text((HERE / "queries/tables.sql").read_text().replace("${OPTIONS}", options))
    settings = TUNED | {
        "parallelism.default": str(parallelism),
        "execution.checkpointing.dir": (folder / "checkpoints").as_uri(),
    }
    pairs = [f"{key}={value}" for key, value in settings.items()]
    return [*start, str(tables), str(HERE / f"queries/{query}.sql"), sink, *pairs]
