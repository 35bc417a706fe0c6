"""Writes the small ONNX models that the tests of the ONNX host run.

    python crates/inference/tests/data/make_models.py

Needs `onnx` and `numpy`. The files are committed; run this only to change them.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).parent


def save(name: str, nodes: list, inputs: list, outputs: list, initializers: list = []) -> None:
    graph = helper.make_graph(nodes, name, inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(HERE / f"{name}.onnx"))


def tensor(name: str, kind: int, *shape) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, list(shape))


def small() -> None:
    """pixels float32[rows, 2, 3], add int64[rows] -> doubled float32[rows, 2, 3], label int64[rows]."""
    nodes = [
        helper.make_node("Mul", ["pixels", "two"], ["doubled"]),
        helper.make_node("Reshape", ["pixels", "flat"], ["flattened"]),
        helper.make_node("ArgMax", ["flattened"], ["best"], axis=1, keepdims=0),
        helper.make_node("Add", ["best", "add"], ["label"]),
    ]
    save(
        "small",
        nodes,
        [tensor("pixels", TensorProto.FLOAT, "rows", 2, 3), tensor("add", TensorProto.INT64, "rows")],
        [tensor("doubled", TensorProto.FLOAT, "rows", 2, 3), tensor("label", TensorProto.INT64, "rows")],
        [
            numpy_helper.from_array(np.array(2, np.float32), "two"),
            numpy_helper.from_array(np.array([-1, 6], np.int64), "flat"),
        ],
    )


def lookup() -> None:
    """index int64[rows] -> value float32[rows] out of a table of four: an index outside is the row's fault."""
    table = numpy_helper.from_array(np.array([0, 10, 20, 30], np.float32), "table")
    save(
        "lookup",
        [helper.make_node("Gather", ["table", "index"], ["value"], axis=0)],
        [tensor("index", TensorProto.INT64, "rows")],
        [tensor("value", TensorProto.FLOAT, "rows")],
        [table],
    )


def one_row() -> None:
    """x float32[1, 4] -> y float32[1, 4]: exported with a fixed first axis, which cannot take request batches."""
    save(
        "one_row",
        [helper.make_node("Relu", ["x"], ["y"])],
        [tensor("x", TensorProto.FLOAT, 1, 4)],
        [tensor("y", TensorProto.FLOAT, 1, 4)],
    )


if __name__ == "__main__":
    small()
    lookup()
    one_row()
