"""Which GPUs worker processes see. None is needed: `CUDA_VISIBLE_DEVICES` is passed on, `nvidia-smi` is a script."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

import forebay as fb
from forebay import testing

ROWS = testing.rows([{"n": 0}, {"n": 1}])
TWO = "0, GPU-aa, 16384\n1, GPU-bb, 16384\n"


@fb.func(batch_rows=1, in_flight=2, attempts=1)
def seen(n: int, folder: str) -> str:
    """Says which GPUs its process sees, once another process has been asked too."""
    Path(folder, str(os.getpid())).touch()
    for _ in range(300):
        if len(list(Path(folder).iterdir())) > 1:
            break
        time.sleep(0.1)
    return os.environ.get("CUDA_VISIBLE_DEVICES", "all")


@fb.func
def alone(n: int) -> str:
    """Says which GPUs its process sees."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "all")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine with two GPUs, as far as `nvidia-smi` goes."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ncat <<END\n{TWO}END\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def values(frame: fb.DataFrame) -> list[str]:
    """Returns what the workers saw."""
    return sorted(frame.collect().column("gpus"))


def test_each_replica_sees_gpus_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-a,MIG-b,MIG-c,MIG-d")
    function = seen.with_options(replicas=2, gpu=2)
    assert values(ROWS.select(gpus=function(fb.col("n"), str(tmp_path)))) == ["MIG-a,MIG-b", "MIG-c,MIG-d"]


@pytest.mark.usefixtures("machine")
def test_memory_that_is_declared_spreads_over_what_there_is(tmp_path: Path) -> None:
    function, folder = seen.with_options(replicas=2, gpu_memory="10GiB"), tmp_path / "asked"
    folder.mkdir()
    assert values(ROWS.select(gpus=function(fb.col("n"), str(folder)))) == ["GPU-aa", "GPU-bb"]


@pytest.mark.usefixtures("machine")
def test_functions_of_one_job_share_what_there_is() -> None:
    whole, part = alone.with_options(gpu=1), alone.with_options(gpu=0.5, version="another")
    frame = ROWS.select(first=part(fb.col("n")), second=whole(fb.col("n")))
    assert set(zip(*(frame.collect().column(name) for name in ("first", "second")), strict=True)) == {
        ("GPU-bb", "GPU-aa")
    }


@pytest.mark.usefixtures("machine")
def test_what_has_no_place_is_said_when_it_runs_and_not_when_it_is_planned() -> None:
    frame = ROWS.select(gpus=alone.with_options(replicas=3, gpu=0.5, gpu_memory="9GiB")(fb.col("n")))
    assert "each process needs 0.5 GPU and 9GiB of GPU memory" in frame.explain()
    with pytest.raises(fb.errors.InvalidError, match=r"replica 2 has no place: left are 0\.5 and 7168 MiB of GPU-aa"):
        frame.collect()


def test_without_a_gpu_the_error_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(fb.errors.InvalidError, match=r"sees no GPU.*remove gpu"):
        ROWS.select(gpus=alone.with_options(gpu=1)(fb.col("n"))).collect()


def test_a_function_that_declares_nothing_sees_what_the_job_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-a,MIG-b")
    assert values(ROWS.select(gpus=alone(fb.col("n")))) == ["MIG-a,MIG-b"] * 2


def test_neither_a_part_nor_whole_ones() -> None:
    with pytest.raises(fb.errors.InvalidError, match=r"gpu = 1\.5 is neither"):
        ROWS.select(gpus=alone.with_options(gpu=1.5)(fb.col("n"))).explain()
