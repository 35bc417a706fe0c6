"""A gRPC server that answers wrongly, each model in its own way; ends when its standard input closes.

Usage: hostile_grpc.py FOLDER READY_PORT GRPC_PORT UNUSED_PORT
"""

import struct
import sys
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, HTTPServer

import grpc
from mlserver.grpc import dataplane_pb2 as pb


def tensor(shape: list[int], **contents: object) -> pb.ModelInferResponse.InferOutputTensor:
    """An output `y` of floats."""
    described = pb.InferTensorContents(**contents) if contents else None
    return pb.ModelInferResponse.InferOutputTensor(name="y", datatype="FP32", shape=shape, contents=described)


def raw(shape: list[int], *pieces: bytes) -> bytes:
    """An answer with raw contents."""
    answer = pb.ModelInferResponse(outputs=[tensor(shape)], raw_output_contents=list(pieces))
    return bytes(answer.SerializeToString())


FLOATS = struct.pack("<2f", 3.5, 4.5)
ANSWERS = {
    "good": raw([2], FLOATS),
    "typed": pb.ModelInferResponse(outputs=[tensor([2], fp32_contents=[3.5, 4.5])]).SerializeToString(),
    "typed_short": pb.ModelInferResponse(outputs=[tensor([2], fp32_contents=[3.5])]).SerializeToString(),
    "nothing": b"",
    "garbage": b"\xff\xff\xff\xff",
    "cut": raw([2], FLOATS)[:-3],
    "two_raw": raw([2], FLOATS, FLOATS),
    "short_raw": raw([2], FLOATS[:-1]),
    "wrong_rows": raw([1], FLOATS[:4]),
    "huge_shape": raw([2, 2**62, 2**62], FLOATS),
    "nan": raw([2], struct.pack("<2f", 1.0, float("nan"))),
    "long": raw([2], bytes(200_000)),
}


def infer(request: bytes, context: grpc.ServicerContext) -> bytes:
    """Answers as the model's name says."""
    name = pb.ModelInferRequest.FromString(request).model_name
    if name == "quota":
        context.set_trailing_metadata((("grpc-retry-pushback-ms", "700"),))
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down: 100% é")
    if name == "never":
        context.set_trailing_metadata((("grpc-retry-pushback-ms", "-1"),))
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "not again")
    if name == "slow":
        threading.Event().wait(5)
    return bytes(ANSWERS[name])


class Ready(BaseHTTPRequestHandler):
    """Says that the server is ready."""

    def do_GET(self) -> None:
        """Answers any path."""
        self.send_response(200)
        self.end_headers()


def main() -> None:
    """Serves until standard input closes."""
    server = grpc.server(futures.ThreadPoolExecutor(4))
    handlers = {"ModelInfer": grpc.unary_unary_rpc_method_handler(infer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("inference.GRPCInferenceService", handlers),))
    server.add_insecure_port(f"127.0.0.1:{sys.argv[3]}")
    server.start()
    ready = HTTPServer(("127.0.0.1", int(sys.argv[2])), Ready)
    threading.Thread(target=ready.serve_forever, daemon=True).start()
    sys.stdin.buffer.read()
    server.stop(0)


if __name__ == "__main__":
    main()
