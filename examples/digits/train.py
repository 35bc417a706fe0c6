"""Trains the digit classifier of the demo, exports it to ONNX, and measures the exported file.

The engine decodes and resizes with libraries other than Pillow: libjpeg-turbo may decode a JPEG at a fraction of its
size, and another resampler rounds differently. Therefore the training images are drawn through each way of resizing in
turn, and the held-out accuracy is measured for each of them, so a drop in one would be seen.

Training reads image files written by `render.py`, never the arrays inside scikit-learn, so files, decoding and resizing
are part of what is measured. The held-out half is used for nothing but the figure that is printed and put into
`README.md`; hidden units and weight decay were chosen by cross-validation inside the training half.

The model file:

    pixels  float32 [N, 16, 16, 3]   RGB in 0..=1, rows then columns then channels, contiguous
    label   int64   [N]              the most likely digit
    scores  float32 [N, 10]          softmax over the digits 0..=9, in that order

    python examples/digits/train.py                  train, export, measure, update README.md
    python examples/digits/train.py --measure-only   measure the committed file; exit 1 if README.md says otherwise
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

HERE: Final = Path(__file__).resolve().parent
MODEL: Final = HERE / "digits.onnx"
README: Final = HERE / "README.md"
MARKS: Final = ("<!-- measured by train.py: begin -->", "<!-- end -->")

# Pixels a side that the model sees. The strokes were digitised at 8x8, so 16 keeps all there is to see.
SIDE: Final = 16
CLASSES: Final = 10
# One hidden layer: 134 KiB of weights. Two folds by position inside the training half, two seeds each: 64 units gave
# 0.899 to 0.907, 96 gave 0.902 to 0.917, 128 gave 0.912 at decay 0.01, 0.920 at 0.1 and 0.906 at 0.5.
HIDDEN: Final = 128
WEIGHT_DECAY: Final = 0.1
# 60 passes over 15 copies of 898 images: under half a minute on one core.
PASSES: Final = 60
# Copies of each training image that are turned, moved and scaled a little, as another hand would.
COPIES_VARIED: Final = 12
SEED: Final = 20
# Opset 17 and its IR version: read by every onnxruntime since 1.13.
OPSET: Final = 17
IR_VERSION: Final = 8

Pixels = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Resizing:
    """One way of getting from a file to 16x16 pixels."""

    name: str
    filter: Image.Resampling
    # Whether a JPEG is decoded at a fraction of its size first, as libjpeg-turbo offers.
    scaled_decoding: bool = False


# The first is what the engine does (a triangle filter widened by the scale, so it antialiases).
RESIZINGS: Final = (
    Resizing("bilinear", Image.Resampling.BILINEAR),
    Resizing("bilinear after scaled JPEG decoding", Image.Resampling.BILINEAR, scaled_decoding=True),
    Resizing("box", Image.Resampling.BOX),
)


@dataclass(frozen=True)
class Variation:
    """A small change of the hand: rotation in radians, shift in pixels of the file, scale as a ratio."""

    angle: float
    shift_x: float
    shift_y: float
    scale: float

    def apply(self, image: Image.Image) -> Image.Image:
        """Returns the image turned and scaled about its centre, then shifted; what comes into view is black."""
        cos, sin = np.cos(self.angle) / self.scale, np.sin(self.angle) / self.scale
        x, y = (image.width - 1) / 2, (image.height - 1) / 2
        matrix = (cos, sin, x - cos * x - sin * y + self.shift_x, -sin, cos, y + sin * x - cos * y + self.shift_y)
        return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)


def render(folder: Path, split: str) -> Path:
    """Renders one split with the command a user would type and returns its folder."""
    out = folder / split
    subprocess.run([sys.executable, str(HERE / "render.py"), str(out), "--split", split], check=True)
    return out


def read_labels(folder: Path) -> tuple[list[Path], Labels]:
    """Reads `labels.csv`: the files in its order, and their digits."""
    with (folder / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [folder / row["file"] for row in rows], np.array([int(row["label"]) for row in rows], dtype=np.int64)


def load(path: Path, resizing: Resizing, variation: Variation | None = None) -> Pixels:
    """Decodes one file to [16, 16, 3] float32 in 0..=1."""
    with Image.open(path) as file:
        if resizing.scaled_decoding:
            file.draft(None, (SIDE, SIDE))  # does nothing to a PNG
        image = file.convert("RGB")
    if variation is not None:
        image = variation.apply(image)
    return np.asarray(image.resize((SIDE, SIDE), resizing.filter), dtype=np.float32) / np.float32(255)


def load_all(files: list[Path], resizing: Resizing) -> Pixels:
    """Decodes files to [rows, 16, 16, 3]."""
    return np.stack([load(file, resizing) for file in files])


def load_varied(files: list[Path], resizing: Resizing, random: np.random.Generator) -> Pixels:
    """Decodes files to [rows, 16, 16, 3], each changed by a variation of its own."""

    def draw() -> Variation:
        return Variation(random.normal(0, 0.1), random.normal(0, 3), random.normal(0, 3), random.normal(1, 0.07))

    return np.stack([load(file, resizing, draw()) for file in files])


def grey(pixels: Pixels) -> Pixels:
    """Averages the channels and flattens: [rows, 16, 16, 3] to [rows, 256]. The exported graph does the same."""
    flat: Pixels = pixels.mean(axis=3, dtype=np.float32).reshape(len(pixels), -1)
    return flat


def train(files: list[Path], labels: Labels) -> MLPClassifier:
    """Fits the classifier on the training files, plain and varied, through every way of resizing."""
    random = np.random.default_rng(SEED)
    parts = [load_all(files, resizing) for resizing in RESIZINGS]
    parts += [load_varied(files, RESIZINGS[copy % len(RESIZINGS)], random) for copy in range(COPIES_VARIED)]
    classifier = MLPClassifier(
        (HIDDEN,), alpha=WEIGHT_DECAY, batch_size=128, learning_rate_init=2e-3, max_iter=PASSES, random_state=SEED
    )
    with warnings.catch_warnings():
        # The number of passes is what we chose; stopping there is not a failure.
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier.fit(grey(np.concatenate(parts)), np.tile(labels, len(parts)))
    return classifier


def export(classifier: MLPClassifier) -> onnx.ModelProto:
    """Builds the ONNX graph from the fitted weights: grey, flatten, two layers, softmax, argmax."""
    weights = {
        "hidden_weight": classifier.coefs_[0],
        "hidden_bias": classifier.intercepts_[0],
        "output_weight": classifier.coefs_[1],
        "output_bias": classifier.intercepts_[1],
    }
    nodes = [
        helper.make_node("ReduceMean", ["pixels"], ["grey"], axes=[3], keepdims=0),
        helper.make_node("Flatten", ["grey"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "hidden_weight", "hidden_bias"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("Gemm", ["active", "output_weight", "output_bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
        helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        inputs=[helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["N", SIDE, SIDE, 3])],
        outputs=[
            helper.make_tensor_value_info("label", TensorProto.INT64, ["N"]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", CLASSES]),
        ],
        initializer=[numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    model = helper.make_model(
        graph, producer_name="forebay examples/digits/train.py", opset_imports=[helper.make_opsetid("", OPSET)]
    )
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    return model


def measure(model: Path, files: list[Path], labels: Labels) -> dict[str, int]:
    """Counts the files that the exported model labels rightly, for each way of resizing."""
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    right = {}
    for resizing in RESIZINGS:
        (answers,) = session.run(["label"], {"pixels": load_all(files, resizing)})
        right[resizing.name] = int((answers == labels).sum())
    return right


def table(right: dict[str, int], rows: int) -> str:
    """Formats the measured figures as a Markdown table."""
    lines = ["| resizing | right | held-out images | accuracy |", "|---|--:|--:|--:|"]
    lines += [f"| {name} | {count} | {rows} | {count / rows:.4f} |" for name, count in right.items()]
    return "\n".join(lines)


def split_readme() -> tuple[str, str, str]:
    """Cuts `README.md` into what stands before, between and after the marks."""
    before, rest = README.read_text().split(MARKS[0])
    between, after = rest.split(MARKS[1])
    return before, between.strip(), after


def main() -> int:
    """Trains unless told not to, measures, and updates or checks `README.md`."""
    parser = argparse.ArgumentParser(description="Train, export and measure the digit classifier.")
    parser.add_argument("--measure-only", action="store_true", help="measure the committed file and check README.md")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="forebay-digits-") as name:
        if not arguments.measure_only:
            classifier = train(*read_labels(render(Path(name), "train")))
            MODEL.write_bytes(export(classifier).SerializeToString())
        files, labels = read_labels(render(Path(name), "held-out"))
        measured = table(measure(MODEL, files, labels), len(files))
    print(f"{MODEL.name}: {MODEL.stat().st_size} bytes\n{measured}")
    before, between, after = split_readme()
    if not arguments.measure_only:
        README.write_text(f"{before}{MARKS[0]}\n{measured}\n{MARKS[1]}{after}")
    elif between != measured:
        print(f"README.md says otherwise:\n{between}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
