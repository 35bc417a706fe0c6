"""Starts KServe's model server, which speaks the binary tensor extension; ends when its standard input closes.

Usage: binary_tensors.py FOLDER HTTP_PORT GRPC_PORT METRICS_PORT
Readiness is told by the server itself at /v2/health/ready. Of the ports only the first is used.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer

UNSIGNED = ["UINT8", "UINT16", "UINT32", "UINT64"]
SIGNED = ["INT8", "INT16", "INT32", "INT64"]
TYPES = ["BOOL", *UNSIGNED, *SIGNED, "FP16", "FP32", "FP64", "BYTES"]


class Described(Model):  # type: ignore[misc]
    """A model with tensors that it describes."""

    def __init__(self, name: str, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Is ready at once."""
        super().__init__(name)
        self.inputs, self.outputs = inputs, outputs
        self.ready = True

    async def get_input_types(self) -> list[dict[str, Any]]:
        """What it takes."""
        return self.inputs

    async def get_output_types(self) -> list[dict[str, Any]]:
        """What it gives."""
        return self.outputs

    def answer(self, request: InferRequest, factor: int | None) -> InferResponse:
        """The inputs in their order as outputs, each times `factor` if there is one."""
        given = []
        for tensor, described in zip(request.inputs, self.outputs, strict=True):
            values = tensor.as_numpy()
            output = InferOutput(described["name"], list(values.shape), tensor.datatype)
            output.set_data_from_numpy(values if factor is None else values * factor, binary_data=True)
            given.append(output)
        return InferResponse(
            response_id=request.id or "none",
            model_name=self.name,
            infer_outputs=given,
            use_binary_outputs=request.use_binary_outputs,
            requested_outputs=request.request_outputs,
        )


class Double(Described):
    """Twice what it gets."""

    def predict(self, payload: InferRequest, headers: Any = None, response_headers: Any = None) -> InferResponse:
        """Answers a request."""
        return self.answer(payload, 2)


class Echo(Described):
    """What it gets."""

    def predict(self, payload: InferRequest, headers: Any = None, response_headers: Any = None) -> InferResponse:
        """Answers a request."""
        return self.answer(payload, None)


def tensor(name: str, datatype: str) -> dict[str, Any]:
    """Describes a tensor; that of `FP32` has two values a row."""
    return {"name": name, "datatype": datatype, "shape": [-1, 2] if datatype == "FP32" else [-1]}


def main() -> None:
    """Serves until standard input closes."""

    def end() -> None:
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=end, daemon=True).start()
    echo = Echo(
        "echo",
        [tensor(f"in_{kind.lower()}", kind) for kind in TYPES],
        [tensor(f"out_{kind.lower()}", kind) for kind in TYPES],
    )
    double = Double("double", [tensor("x", "FP32")], [tensor("y", "FP32")])
    ModelServer(http_port=int(sys.argv[2]), enable_grpc=False, workers=1).start([double, echo])


if __name__ == "__main__":
    main()
