"""Starts MLServer with the models of `mlserver/models.py` on ports of loopback; ends when its standard input closes.

Usage: open_inference.py FOLDER HTTP_PORT GRPC_PORT METRICS_PORT
FOLDER is empty and gets the settings files. Readiness is told by the server itself at /v2/health/ready.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

UNSIGNED = ["UINT8", "UINT16", "UINT32", "UINT64"]
SIGNED = ["INT8", "INT16", "INT32", "INT64"]
TYPES = ["BOOL", *UNSIGNED, *SIGNED, "FP16", "FP32", "FP64", "BYTES"]


Tensor = dict[str, object]


def tensor(name: str, datatype: str, shape: list[int]) -> Tensor:
    """Describes a tensor as MLServer's settings do."""
    return {"name": name, "datatype": datatype, "shape": shape}


def model(folder: Path, name: str, implementation: str, inputs: list[Tensor], outputs: list[Tensor]) -> None:
    """Writes the settings of one model."""
    (folder / name).mkdir()
    settings = {
        "name": name,
        "implementation": f"models.{implementation}",
        "inputs": inputs,
        "outputs": outputs,
    }
    (folder / name / "model-settings.json").write_text(json.dumps(settings))


def main() -> None:
    """Writes the settings, then runs the server until standard input closes."""
    folder = Path(sys.argv[1])
    http, grpc, metrics = (int(port) for port in sys.argv[2:5])
    settings = {
        "host": "127.0.0.1",
        "http_port": http,
        "grpc_port": grpc,
        "metrics_port": metrics,
        "parallel_workers": 0,
        "debug": False,
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    model(
        folder,
        "echo",
        "Echo",
        [tensor(f"in_{kind.lower()}", kind, [-1, 2] if kind == "FP32" else [-1]) for kind in TYPES],
        [tensor(f"out_{kind.lower()}", kind, [-1, 2] if kind == "FP32" else [-1]) for kind in TYPES],
    )
    model(folder, "double", "Double", [tensor("x", "FP32", [-1, 2])], [tensor("y", "FP32", [-1, 2])])
    model(folder, "text", "Echo", [tensor("in", "BYTES", [-1])], [tensor("out", "BYTES", [-1])])
    model(folder, "short", "Short", [tensor("x", "FP32", [-1, 2])], [tensor("y", "FP32", [-1, 2])])
    model(folder, "large", "Double", [tensor("x", "FP32", [-1, 1048576])], [tensor("y", "FP32", [-1, 1048576])])
    code = Path(__file__).parent / "mlserver"
    environment = os.environ | {"PYTHONPATH": str(code)}
    program = Path(sys.executable).parent / "mlserver"
    server = subprocess.Popen([str(program), "start", str(folder)], env=environment, stdin=subprocess.DEVNULL)
    # The pipe closes with the process that holds its other end, however that ends.
    try:
        sys.stdin.buffer.read()
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    main()
