"""Makes synthetic JPEGs that cost about what photographs cost to decode.

Each image is noise summed over seven octaves, stronger where coarser, as in natural scenes, with smooth colour and a
little fine grain: 400..=600 x 300..=450 pixels, quality 85, 4:2:0, around 45 KB in the mean. Every image has a seed of
its own, so the same numpy and Pillow give the same bytes whatever the count or the number of processes.

When all are written, `images.json` says so; with it in place the same call returns at once. A folder that holds
anything else is refused, never cleaned.
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SEED: Final = 375
WIDTHS: Final = (400, 600)
HEIGHTS: Final = (300, 450)
QUALITY: Final = 85
# Pixels between two independent values of an octave.
CELLS: Final = (2, 4, 8, 16, 32, 64, 128)
# An octave's strength is its cell to this power: near 1 it is a smooth landscape, near 0 it is gravel. With 0.6 and the
# grain below, the mean file is 45 KB.
ROUGHNESS: Final = 0.6
# Standard deviations, in levels of 255: brightness, and the grain that a sensor adds.
CONTRAST: Final = 50.0
GRAIN: Final = 5.0
PROCESSES: Final = 2
MARK: Final = "images.json"

Plane = NDArray[np.float32]


def octave(random: np.random.Generator, width: int, height: int, cell: int) -> Plane:
    """Draws smooth noise of about unit variance whose values are independent beyond `cell` pixels."""
    coarse = random.standard_normal((height // cell + 2, width // cell + 2), dtype=np.float32)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def photograph(number: int) -> Image.Image:
    """Draws image `number`: brightness over all octaves, colour over two coarse ones."""
    random = np.random.default_rng((SEED, number))
    width = int(random.integers(*WIDTHS, endpoint=True))
    height = int(random.integers(*HEIGHTS, endpoint=True))
    brightness = np.zeros((height, width), dtype=np.float32)
    for cell in CELLS:
        brightness += octave(random, width, height, cell) * np.float32(cell**ROUGHNESS)
    brightness *= np.float32(CONTRAST) / brightness.std()
    brightness += random.standard_normal((height, width), dtype=np.float32) * np.float32(GRAIN)
    colours = [octave(random, width, height, 64) * 18 + octave(random, width, height, 16) * 6 for _ in range(2)]
    levels = np.stack([brightness, *colours], axis=2) + np.float32(128)
    return Image.frombytes("YCbCr", (width, height), levels.clip(0, 255).astype(np.uint8).tobytes())


def write_image(folder: Path, number: int) -> int:
    """Writes image `number` and returns its size in bytes."""
    path = folder / f"image-{number:05d}.jpg"
    photograph(number).save(path, quality=QUALITY, subsampling="4:2:0")
    return path.stat().st_size


def make(folder: Path, count: int) -> str:
    """Fills the folder unless it already holds exactly these images, and returns a line about them."""
    settings = {"count": count, "seed": SEED, "roughness": ROUGHNESS, "grain": GRAIN, "quality": QUALITY}
    mark = folder / MARK
    if mark.exists():
        found = json.loads(mark.read_text())
        if found["settings"] != settings:
            raise SystemExit(f"{folder} holds other images ({found['settings']}); choose another folder or remove it")
        return f"{count} images, {found['bytes']} bytes, already in {folder}"
    folder.mkdir(parents=True, exist_ok=True)
    if any(path.suffix != ".jpg" for path in folder.iterdir()):
        raise SystemExit(f"{folder} holds other files; choose another folder")
    with ProcessPoolExecutor(PROCESSES) as pool:
        sizes = list(pool.map(partial(write_image, folder), range(count), chunksize=16))
    mark.write_text(json.dumps({"settings": settings, "bytes": sum(sizes)}) + "\n")
    return f"{count} images, {sum(sizes)} bytes ({sum(sizes) // count} in the mean) in {folder}"


def main() -> int:
    """Parses the arguments, makes the images, and says what was made."""
    parser = argparse.ArgumentParser(description="Make synthetic JPEGs of about 500x375.")
    parser.add_argument("out", metavar="OUT_DIR", type=Path)
    parser.add_argument("--count", type=int, default=2000)
    arguments = parser.parse_args()
    if arguments.count < 1:
        parser.error("--count must be at least 1")
    print(make(arguments.out, arguments.count))
    return 0


if __name__ == "__main__":
    sys.exit(main())
