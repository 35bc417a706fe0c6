"""Images that cannot be read: each becomes a dead letter that says why, and every other image comes out."""

from __future__ import annotations

import json
import shutil
import struct
import zlib
from pathlib import Path

from conftest import MakeSpace
from jobs import IMAGES, IMAGES_NAME
from rows import balance, committed, dead_letters

SIDE = 50_000


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """Returns a chunk of a PNG file with its length and checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def huge_png(side: int) -> bytes:
    """Returns a PNG of a few hundred bytes whose header promises `side` x `side` pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", pixels) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def spoil(folder: Path) -> dict[str, list[str]]:
    """Adds bad files to a folder of images; returns what the dead letter of each may say, in one of these ways."""
    jpeg = next(folder.glob("*.jpg")).read_bytes()
    (folder / "truncated.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (folder / "text.png").write_text("this is not a picture\n")
    (folder / "huge.png").write_bytes(huge_png(SIDE))
    (folder / "empty.png").write_bytes(b"")
    return {
        "truncated.jpg": ["truncated"],
        "text.png": ["not an image"],
        "huge.png": [f"{SIDE} x {SIDE}", f"{SIDE}x{SIDE}"],
        "empty.png": ["empty"],
    }


def test_unreadable_images_become_dead_letters_and_all_others_come_out(space: MakeSpace, digit_files: Path) -> None:
    """A truncated JPEG, a text file, a header that promises 7.5 GB, an empty file."""
    workspace = space(IMAGES, IMAGES_NAME)
    shutil.copytree(digit_files, workspace.input)
    good = {path.name for path in workspace.input.glob("digit-*")}
    reasons = spoil(workspace.input)
    outcome = workspace.run()
    rows = committed(workspace.out)
    found = balance([row["file"] for row in rows], good)
    assert found.exact, found
    assert all(0 <= row["label"] <= 9 for row in rows)
    # The source knows files, the function knows the columns that the source made of them.
    named = [(json.loads(letter["input"]), letter) for letter in dead_letters(workspace.out)]
    letters = {Path(given.get("path") or given["file"]).name: letter for given, letter in named}
    assert letters.keys() == reasons.keys()
    assert len(named) == len(reasons)
    for name, mentioned in reasons.items():
        assert any(text in letters[name]["reason"] for text in mentioned), letters[name]
        assert letters[name]["kind"] == "data"
    assert outcome.report is not None
    assert (outcome.report["rows_out"], outcome.report["dead_letters"]) == (len(good), len(reasons))
