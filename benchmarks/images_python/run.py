"""Measures images through decoding, resizing and a model in Python, in Forebay, Daft and Ray Data, in one table.

    python benchmarks/images_python/run.py [--count N] [--times K] [--rounds R] [--only ENGINE]

The photographs of `benchmarks/images`, 2,000 synthetic JPEGs, are read from a folder, decoded, resized to 224 x 224 RGB
by what the engine has for that, handed to a class in Python, 64 at a time, that makes a fingerprint of each (an average
hash, in NumPy), and path and fingerprint go into Parquet. `--times 10` reads a folder with ten links to each.

The package `forebay` is taken from the tree; the peers get a virtual environment of their own in `$FOREBAY_CACHE`. Each
engine is measured as `shared/measuring.py` says. Every output is read: each image must be there once, and the
fingerprints of a sample must be near those that Pillow's decoder and resizer lead to.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
SHARED: Final = HERE.parent / "shared"
sys.path.append(str(SHARED))

import measuring  # noqa: E402
import side_by_side  # noqa: E402

ENGINES: Final = ("forebay", "daft", "ray")
SAMPLE: Final = 32
# Of 64 bits. Parts of an image that are as light as its mean fall on either side, by decoder and resizer; other images
# differ by about half of the bits.
BITS_MAX: Final = 8


def prepared(count: int, times: int, folder: Path) -> Path:
    """The folder of images; its files have been read once."""
    images = measuring.CACHE / ("bench-images" if count == 2000 else f"bench-images-{count}")
    script = HERE.parent / "images/make_images.py"
    subprocess.run([sys.executable, str(script), str(images), "--count", str(count)], check=True)
    for path in images.glob("*.jpg"):
        path.read_bytes()
    linked = folder / "images"
    linked.mkdir()
    for time in range(times):
        for path in images.glob("*.jpg"):
            (linked / f"{time}-{path.name}").hardlink_to(path)
    return linked


def check(out: Path, images: Path) -> None:
    """Exits unless every image is there once, with its fingerprint."""
    import numpy as np
    import pyarrow.parquet as pq
    from fingerprint import SIDE, fingerprints
    from PIL import Image

    files = side_by_side.files_of(out)
    tables = [pq.read_table(file, columns=["path", "fingerprint"]).to_pydict() for file in files]
    names = [path.rsplit("/", 1)[-1] for table in tables for path in table["path"]]
    found = dict(zip(names, (each for table in tables for each in table["fingerprint"]), strict=True))
    expected = sorted(path.name for path in images.glob("*.jpg"))
    if sorted(names) != expected:
        raise SystemExit(f"{out}: {len(found)} different images in {len(names)} rows, not {len(expected)}")
    for name in expected[:: len(expected) // SAMPLE]:
        with Image.open(images / name) as file:
            pixels = np.asarray(file.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR))
        bits = (int(fingerprints(pixels[None])[0]) ^ found[name]) & (1 << 64) - 1
        if bits.bit_count() > BITS_MAX:
            raise SystemExit(f"{out}: {name} has another fingerprint, by {bits.bit_count()} of 64 bits")


def main() -> int:
    """Runs every engine as often as asked and shows the run of each with the least CPU time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--times", type=int, default=1, help="how often each image is read")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", choices=ENGINES, help="one engine alone")
    options = parser.parse_args()
    engines = [options.only] if options.only else list(ENGINES)
    pythons = {engine: Path(sys.executable) if engine == "forebay" else measuring.peers() for engine in engines}
    # Ray makes its workers nicer than all others, which on a shared machine says nothing about Ray.
    environment = {"PYTHONPATH": f"{measuring.ROOT / 'python'}:{SHARED}", "RAY_worker_niceness": "0"}
    # In the cache, since links cannot lead to another disk.
    with tempfile.TemporaryDirectory(prefix="images-python-", dir=measuring.CACHE) as name:
        images = prepared(options.count, options.times, Path(name))
        count = options.count * options.times
        print(f"{count} images")

        def run(engine: str, out: Path) -> measuring.Measured:
            done = measuring.measure([pythons[engine], HERE / f"{engine}_job.py", images, out], environment)
            check(out, images)
            return done

        best = side_by_side.least_cpu(engines, options.rounds, Path(name), run)
    side_by_side.show(best, "images/s", lambda job: f"{count / job:.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
