"""Damaged or missing disk: a flipped byte in a checkpoint, a journal cut short, a full disk.

Each gives an error or a warning that names the file and says what to do; following it loses and doubles nothing.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from conftest import MakeSpace
from harness import FAILED, Engine, Workspace
from jobs import fake_job
from rows import check_exact, committed, random_text, write_rows

ROWS: Final = 2000
EPOCHS: Final = 4
# A checkpoint every 100 ms, and retained for long enough that there is an older one to go back to.
JOB: Final = fake_job(checkpoint_interval="100ms", service_time="30ms")
DISK_MIB: Final = 32
# Space left on the full disk: enough to start, too little for the answers of `FULL_ROWS` rows of 2 KB.
LEFT_BYTES: Final = 1 << 20
FULL_ROWS: Final = 2000
CUT_BYTES: Final = 5


def kill_after_epochs(workspace: Workspace, epochs: int) -> Engine:
    """Starts the job and kills it once that many checkpoints were published and rows are committed."""
    engine = workspace.start()
    engine.wait_until(lambda: len(workspace.published()) >= epochs and bool(committed(workspace.out)), "checkpoints")
    engine.kill()
    return engine


def flip(path: Path) -> None:
    """Changes one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)


@pytest.mark.parametrize("part", [Workspace.manifests, Workspace.states], ids=["manifest", "state"])
def test_flipped_byte_is_found_and_an_older_checkpoint_works(
    space: MakeSpace, part: Callable[[Workspace], list[Path]]
) -> None:
    """The newest checkpoint is damaged: `--resume latest` refuses, and names an epoch that can be resumed."""
    workspace = space(JOB)
    write_rows(workspace.input, ROWS)
    kill_after_epochs(workspace, EPOCHS)
    victim = part(workspace)[-1]
    flip(victim)
    said = workspace.run(FAILED, resume="latest").stderr
    assert "checksum" in said, said
    assert victim.name in said, said
    listed = workspace.in_checkpoints("checkpoints", "verify", expected=FAILED)
    assert victim.name in listed, listed
    advice = re.search(r"--resume (\d+)", said)
    assert advice, said
    workspace.run(resume=int(advice[1]))
    check_exact(workspace.out, ROWS)


def test_journal_cut_inside_a_record_is_told_and_costs_that_record_alone(space: MakeSpace) -> None:
    """The last write to the journal did not reach the disk whole."""
    workspace = space(JOB)
    write_rows(workspace.input, ROWS)
    kill_after_epochs(workspace, 2)
    segment = workspace.segments()[-1]
    before = workspace.finished()
    os.truncate(segment, segment.stat().st_size - CUT_BYTES)
    after = workspace.finished()
    assert after <= before
    at_kill = len(workspace.executed())
    said = workspace.run(resume="latest").stderr
    assert segment.name in said, said
    check_exact(workspace.out, ROWS)
    assert not after & set(workspace.executed()[at_kill:]), "finished inferences run again"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of a few MiB, almost full with a file `ballast` that the test removes to free space.

    Mounted here, which takes root; anyone else mounts one and names it: `FOREBAY_SMALL_DISK=/mnt/small`.
    """
    given = os.environ.get("FOREBAY_SMALL_DISK")
    folder = Path(given) if given else tmp_path / "disk"
    if not given:
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(folder)]
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
        if mounted.returncode != 0:
            pytest.fail(f"{' '.join(command)}: {mounted.stderr.strip()}; as another user set FOREBAY_SMALL_DISK")
    try:
        with (folder / "ballast").open("wb") as ballast:
            ballast.write(bytes(shutil.disk_usage(folder).free - LEFT_BYTES))
        yield folder
    finally:
        if given:
            for path in folder.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        else:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("place", ["checkpoints", "out"])
def test_full_disk_is_told_and_resumed_once_there_is_space(space: MakeSpace, small_disk: Path, place: str) -> None:
    """Answers do not fit; the job fails saying so, and completes after space was freed."""
    workspace = space(fake_job(service_time="5ms"))
    write_rows(workspace.input, FULL_ROWS, random_text)
    setattr(workspace, place, small_disk / place)
    said = workspace.run(FAILED).stderr
    assert "no space left" in said.lower() or "full" in said.lower(), said
    assert "free space" in said, said
    assert str(small_disk) in said, said
    at_failure, finished = len(workspace.executed()), workspace.finished()
    (small_disk / "ballast").unlink()
    workspace.run(resume="latest")
    check_exact(workspace.out, FULL_ROWS)
    assert not finished & set(workspace.executed()[at_failure:]), "finished inferences run again"
