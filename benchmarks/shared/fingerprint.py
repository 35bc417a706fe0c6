"""A small model of images in NumPy, as all engines of `images_python` run it; nothing here knows of any of them."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

SIDE: Final = 224
_BLOCKS: Final = 8


def fingerprints(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
    """The average hash of each image: one bit for each of 8 x 8 parts, set where it is lighter than the mean of all.

    Shape:  in [rows, height, width, channels] uint8, sides divisible by 8; out [rows] int64.
    Nulls:  none are taken.
    """
    rows, height, width, channels = pixels.shape
    parts = pixels.reshape(rows, _BLOCKS, height // _BLOCKS, _BLOCKS, width // _BLOCKS, channels)
    light = parts.mean(axis=(2, 4, 5), dtype=np.float32).reshape(rows, -1)
    bits = light > light.mean(axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(">i8").reshape(rows).astype(np.int64)
