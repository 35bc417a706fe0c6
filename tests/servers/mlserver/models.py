"""Models that MLServer runs for the tests of the Open Inference Protocol, each with answers that are known."""

from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.errors import InferenceError
from mlserver.types import InferenceRequest, InferenceResponse


class Echo(MLModel):  # type: ignore[misc]  # MLServer is not in the environment that checks types
    """Gives every input back under the name of the output that the settings pair it with, by position."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Gives the inputs back."""
        outputs = []
        for tensor, described in zip(payload.inputs, self.outputs, strict=True):
            codec = StringCodec if tensor.datatype == "BYTES" else NumpyCodec
            values = codec.decode_input(tensor)
            output = codec.encode_output(described.name, values)
            output.shape = tensor.shape
            outputs.append(output)
        return InferenceResponse(model_name=self.name, outputs=outputs)


class Double(MLModel):  # type: ignore[misc]  # MLServer is not in the environment that checks types
    """Doubles a tensor `x`; refuses rows that hold 13, as a model that cannot digest them."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Doubles, or refuses."""
        values = NumpyCodec.decode_input(payload.inputs[0])
        if (values == 13).any():
            raise InferenceError("13 is not digestible")
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("y", values * 2)])


class Short(MLModel):  # type: ignore[misc]  # MLServer is not in the environment that checks types
    """Answers one row too few."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Leaves the first row out."""
        values = NumpyCodec.decode_input(payload.inputs[0])
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("y", values[1:])])
