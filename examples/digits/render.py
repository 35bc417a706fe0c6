"""Renders the UCI handwritten digits to real image files with their labels.

The digits ship inside scikit-learn's wheel as 1,797 images of 8x8 pixels with 17 levels of grey, so a demo on real
data needs no download. Every image is enlarged to 64x64 and written as PNG or JPEG, grey or RGB, in turn, so that a
reader meets every kind:

    number % 4    0          1         2         3
    file          grey PNG   RGB JPEG  RGB PNG   grey JPEG

`number` is the image's position in the data set plus 1,797 for every further copy (`--repeat`). It names the file,
`digit-00898.png`, so a name means the same image whatever split or count was asked for.

Splits are by position, the first half against the second: `train` is 0..898, `held-out` is 898..1797. Neighbours tend
to be by one of the 13 writers (the most similar image of the same digit lies within 70 positions for 45 % of the
images, 8 % by chance), so the second half is mostly by hands that training did not see. Taking every other image would
leak them, and would give one half all the PNGs.

The same arguments with the same Pillow give the same bytes. Files already in the folder are overwritten, never removed.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

# Images in the data set, and therefore the step between the numbers of two copies.
IMAGES: Final = 1797
SPLITS: Final = {
    "train": range(IMAGES // 2),
    "held-out": range(IMAGES // 2, IMAGES),
    "all": range(IMAGES),
}
# Eight times the original: large enough that decoding and resizing are real work, small enough for 2 KB a file.
SIDE: Final = 64
LEVEL_MAX: Final = 16.0
JPEG_QUALITY: Final = 95


def enlarge(levels: NDArray[np.float64]) -> Image.Image:
    """Turns one 8x8 array of levels 0..=16 into a 64x64 grey image, white ink on black."""
    grey = np.round(levels * (255.0 / LEVEL_MAX)).astype(np.uint8)
    return Image.fromarray(grey).resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def numbers(split: str, count: int | None, repeat: int) -> Iterator[int]:
    """Yields the file numbers of `repeat` copies of the first `count` images of a split."""
    positions = SPLITS[split][:count]
    for copy in range(repeat):
        for position in positions:
            yield copy * IMAGES + position


def write_image(image: Image.Image, number: int, folder: Path) -> str:
    """Writes a grey image in the format and colour its number calls for and returns the file's base name."""
    if number % 4 in (1, 2):
        image = image.convert("RGB")
    if number % 2 == 0:
        name = f"digit-{number:05d}.png"
        image.save(folder / name)
    else:
        name = f"digit-{number:05d}.jpg"
        image.save(folder / name, quality=JPEG_QUALITY)
    return name


def render(folder: Path, split: str, count: int | None, repeat: int) -> int:
    """Writes the image files and `labels.csv` (columns `file,label`) and returns the number of images."""
    digits = load_digits()
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in numbers(split, count, repeat):
        position = number % IMAGES
        name = write_image(enlarge(digits.images[position]), number, folder)
        rows.append((name, int(digits.target[position])))
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("file", "label"))
        writer.writerows(rows)
    return len(rows)


def at_least_one(text: str) -> int:
    """Parses a whole number of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def main() -> None:
    """Parses the arguments, renders, and says what was written."""
    parser = argparse.ArgumentParser(description="Render the UCI digits to PNG and JPEG files.")
    parser.add_argument("out", metavar="OUT_DIR", type=Path)
    parser.add_argument("--split", choices=SPLITS, default="held-out")
    parser.add_argument("--count", type=at_least_one, help="images of the split (default: all)")
    parser.add_argument("--repeat", type=at_least_one, default=1, help="copies of each image")
    arguments = parser.parse_args()
    rows = render(arguments.out, arguments.split, arguments.count, arguments.repeat)
    print(f"{rows} images and labels.csv in {arguments.out}")


if __name__ == "__main__":
    main()
