"""Runs a job of the recovery corpus, kills it between a checkpoint and its commit, and keeps what it left.

    FOREBAY_BIN=target/debug/forebay python tests/recovery/make.py NAME

`NAME/job.toml` must be there and nothing else: what earlier code wrote is never written again.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "e2e"))

import recovery  # noqa: E402
from harness import Engine, Workspace  # noqa: E402

# How the name of an edge begins, under which a checkpoint holds the rows that its barrier overtook.
EDGE: Final = "~"
# What the dead letters' sink is called in a manifest.
LETTERS: Final = "dead-letters"
# Epochs before the kill: some snapshots then build on earlier ones.
EPOCHS: Final = 3
ATTEMPTS_MAX: Final = 50


def uncommitted(workspace: Workspace) -> bool:
    """Says whether the newest epoch is published and its sinks' commit is not noted yet."""
    if not workspace.region("epoch").exists() or len(published := workspace.published()) < EPOCHS:
        return False
    return not (workspace.region("committed") / published[-1]).exists()


def kill_early(workspace: Workspace) -> bool:
    """Runs the job and kills it; says whether it was killed between a checkpoint and its commit."""
    engine = workspace.start()
    while engine.running() and not (uncommitted(workspace) and in_flight(engine) > 0):
        pass
    engine.kill()
    if not (uncommitted(workspace) and any(workspace.out.glob("*/part-*")) and in_flight(engine) > 0):
        return False
    facts = about(workspace)
    return bool(facts["edges"] and facts["earlier_files"] and facts["open_letters"])


def in_flight(engine: Engine) -> int:
    """Returns how many requests were in flight when the engine last said so."""
    said = re.findall(r"(\d+) in flight", engine.stderr)
    return int(said[-1]) if said else 0


def about(workspace: Workspace) -> dict[str, Any]:
    """Returns what the newest checkpoint holds, and what was committed and finished beside it."""
    newest = workspace.published()[-1]
    manifest = json.loads(workspace.in_checkpoints("checkpoints", "show", str(int(newest))))
    files = [*manifest["files"], *manifest.get("earlier", [])]
    held = {uid for file in files for uid in file.get("parts", {})}
    return {
        "manifest_format": manifest["format"],
        "epoch": manifest["epoch"],
        "earlier_files": len(manifest.get("earlier", [])),
        "operators": sorted(uid for uid in held if not uid.startswith(EDGE)),
        "edges": sorted(uid for uid in held if uid.startswith(EDGE)),
        "in_flight": in_flight(workspace.engines[-1]),
        # Files of dead letters that the checkpoint must commit and the kill left uncommitted.
        "open_letters": sum(len(sink["items"]) for sink in manifest["committables"] if sink["sink"] == LETTERS),
        "finished_requests": len(workspace.finished()),
        "committed": recovery.committed(workspace),
    }


def main() -> int:
    """Makes one folder of the corpus."""
    [name] = sys.argv[1:]
    folder = HERE / name
    if (folder / "left.tar.xz").exists():
        print(f"{folder} is there already, and what it holds is never written again", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="forebay-recovery-") as place:
        whole = Workspace(Path(place) / "whole", recovery.job_text(name), recovery.JOB)
        whole.run()
        for attempt in range(ATTEMPTS_MAX):
            workspace = Workspace(Path(place) / f"killed-{attempt}", recovery.job_text(name), recovery.JOB)
            if kill_early(workspace):
                break
            shutil.rmtree(workspace.folder)
        else:
            print(f"no kill of {ATTEMPTS_MAX} came between a checkpoint and its commit", file=sys.stderr)
            return 1
        facts = about(workspace)
        with tarfile.open(folder / "left.tar.xz", "w:xz") as left:
            for part in ("checkpoints", "out"):
                left.add(workspace.folder / part, part, filter=anonymous)
        (folder / "about.json").write_text(json.dumps(facts, indent=2) + "\n")
        (folder / "expected.json").write_text(json.dumps(recovery.committed(whole), indent=2) + "\n")
    return 0


def anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Takes out of an entry who made it."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


if __name__ == "__main__":
    sys.exit(main())
