"""A model of torch in a job: loaded once in each replica, asked about images, called the same in every process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import forebay as fb
from forebay import testing
from worker_process import HANG_SECONDS, PACKAGE, Worker

SIDE = 16
Pixels = fb.Tensor("float32", SIDE, SIDE, 3)
Vector = fb.Tensor("float32", 8)


class Network(nn.Module):  # type: ignore[misc]
    """Small, and with layers that differ between training and use."""

    def __init__(self) -> None:
        """Random weights."""
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.dropout = nn.Dropout(0.5)

    def forward(self, pixels: Any) -> Any:
        """The embeddings of images with channels last."""
        return self.dropout(self.norm(self.convolution(pixels.permute(0, 3, 1, 2))).relu()).mean((2, 3))


@fb.cls(replicas=2)
class Embedder:
    """Loads its weights, and is warm when it is ready."""

    def __init__(self, path: str) -> None:
        """Reads `path`."""
        self.network = Network()
        self.network.load_state_dict(torch.load(path, weights_only=True))
        self.network.eval()
        self.warm = self.network(torch.zeros(1, SIDE, SIDE, 3))

    @fb.method.batch(returns=Vector, batch_rows=8)
    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def embed(self, pixels: Annotated[torch.Tensor, Pixels]) -> Any:
        """A batch at a time."""
        assert self.warm.shape == (1, 8)
        return self.network(pixels)

    @fb.method.batch(returns=Vector, batch_rows=8)
    @torch.no_grad()  # type: ignore[untyped-decorator]
    def embed_narrow(self, pixels: Annotated[torch.Tensor, Pixels]) -> Any:
        """In bfloat16."""
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.network(pixels)

    @fb.method(returns=Vector)
    def embed_one(self, pixels: Annotated[torch.Tensor, Pixels]) -> Any:
        """A row at a time, with gradients."""
        return self.network(pixels[None])[0]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of weights."""
    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("weights") / "network.pt"
    torch.save(Network().state_dict(), path)
    return str(path)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> fb.DataFrame:
    """Images of several sizes as pixels."""
    folder = tmp_path_factory.mktemp("images")
    noise = np.random.default_rng(7)
    for number in range(30):
        Image.fromarray(noise.integers(0, 256, (SIDE + number, 2 * SIDE, 3), "uint8")).save(folder / f"{number}.png")
    pixels = fb.col("content").image.to_tensor(SIDE, SIDE, dtype="float32", mean=0.5, std=0.25)
    return fb.read_images(str(folder / "*.png")).select("path", pixels=pixels)


@pytest.mark.parametrize(
    ("method", "use_process", "tolerance"),
    [("embed", True, 1e-6), ("embed_narrow", False, 0.05), ("embed_one", False, 1e-6)],
)
def test_images_become_embeddings(
    weights: str, images: fb.DataFrame, method: str, use_process: bool, tolerance: float
) -> None:
    embed = getattr(Embedder(weights), method).with_options(use_process=use_process)
    frame = images.with_column("vector", embed(fb.col("pixels")))
    found = frame.with_column("unit", fb.col("vector").embedding.l2_normalize()).exclude("path").to_torch()
    network = Network().eval()
    network.load_state_dict(torch.load(weights, weights_only=True))
    with torch.inference_mode():
        expected = network(found["pixels"])
    assert found["vector"].shape == (30, 8)
    assert torch.allclose(found["vector"], expected, atol=tolerance)
    unit = nn.functional.normalize(found["vector"], dim=1)
    assert torch.allclose(found["unit"].float(), unit, atol=1e-6)


VERSIONS = """
import tempfile
import torch
from torch import nn
import forebay as fb

class Network(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        nn.init.constant_(self.layer.weight, value)
        nn.init.zeros_(self.layer.bias)

@fb.cls
class Model:
    def __init__(self, network, scale):
        self.network, self.scale = network, scale

    @fb.method.batch(returns=float)
    def ask(self, n: torch.Tensor):
        return self.network(n)

def outer(weights):
    @fb.func.batch(returns=float)
    def ask(n: torch.Tensor):
        return n * weights
    return ask

for ask in (
    Model(Network(1), torch.ones(2)).ask,
    Model(Network(2), torch.ones(2)).ask,
    Model(Network(1), torch.ones(2).half()).ask,
    Model(Network(1).state_dict(), torch.tensor(3.0).bfloat16()).ask,
    outer(torch.ones(3)),
    outer(torch.zeros(3)),
):
    print(ask(fb.col("n")).call.asked.table(tempfile.mkdtemp())["version"])
"""


def test_the_version_of_what_is_made_with_tensors_is_that_of_their_values(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(VERSIONS)
    environment = os.environ | {"PYTHONPATH": str(PACKAGE)}
    found = set()
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=HANG_SECONDS
        )
        assert done.returncode == 0, done.stderr
        found.add(done.stdout)
    (versions,) = found
    assert len(set(versions.split())) == 6


@fb.func.batch(returns=int)
def threads(n: torch.Tensor) -> Any:
    """In how many threads torch computes."""
    return [torch.get_num_threads()] * len(n)


def threads_of_a_worker(folder: Path, replicas: int) -> int:
    """What one of several replicas says."""
    worker = Worker.of(folder, threads, replicas=replicas)
    answers, _ = worker.call(n=[1])
    worker.end()
    return int(answers["value"][0])


@pytest.mark.parametrize("replicas", [1, 2, 1000])
def test_replicas_share_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replicas: int) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    cores = len(os.sched_getaffinity(0))
    expected = torch.get_num_threads() if replicas == 1 else max(1, cores // replicas)
    assert threads_of_a_worker(tmp_path, replicas) == expected


def test_threads_that_the_environment_names_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))
    assert threads_of_a_worker(tmp_path, 1000) == torch.get_num_threads()


@fb.func(returns=int)
def greedy(n: int) -> Any:
    """Wants 4 PiB."""
    return torch.empty(1 << 50).sum() + n


def test_memory_that_torch_cannot_have_is_exhausted(tmp_path: Path) -> None:
    worker = Worker.of(tmp_path, greedy)
    refused = worker.refused(n=[1, 2])
    worker.end()
    assert refused["kind"] == "Exhausted"
    assert "can't allocate memory" in refused["reason"]


@fb.func.batch(returns=float)
def spoiled(n: torch.Tensor) -> Any:
    """Fails for one of its rows."""
    return torch.linalg.cholesky((n != 13)[:, None, None] * torch.eye(2)).sum((1, 2)) + n


def test_an_error_of_torch_costs_the_row_at_fault() -> None:
    result = testing.rows([{"n": n} for n in range(20)]).select("n", y=spoiled(fb.col("n"))).collect()
    assert {row["n"]: row["y"] for row in result} == {n: n + 2.0 for n in range(20) if n != 13}
    (letter,) = result.dead_letters
    assert "cholesky" in letter["reason"]
