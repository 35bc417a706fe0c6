"""Audio from files in a column: samples at the rate of a model, what headers say, and bad files as dead letters."""

from __future__ import annotations

import io
import json
import math
import wave
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import forebay as fb
from forebay import testing

RATE = 44_100


def tone(hertz: float, seconds: float) -> np.ndarray[Any, Any]:
    """Samples of half the loudness."""
    return 0.5 * np.sin(math.tau * hertz * np.arange(int(RATE * seconds)) / RATE)


def encoded(channels: list[np.ndarray[Any, Any]]) -> bytes:
    """A WAV file of 16 bits, written by Python's own encoder."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(len(channels))
        writer.setsampwidth(2)
        writer.setframerate(RATE)
        writer.writeframes((np.stack(channels, axis=1) * 32_768).round().astype("<i2").tobytes())
    return file.getvalue()


def resampled(samples: np.ndarray[Any, Any], rate: int) -> np.ndarray[Any, Any]:
    """What `torchaudio.functional.resample` makes with its defaults."""
    cut = min(RATE, rate) * 0.99
    places = np.arange(math.ceil(len(samples) * rate / RATE))[:, None] / rate
    distance = np.clip((np.arange(len(samples)) / RATE - places) * cut, -6, 6)
    made: np.ndarray[Any, Any] = (np.sinc(distance) * np.cos(distance * math.pi / 12) ** 2 * cut / RATE) @ samples
    return made


FILES = {
    "mono": encoded([tone(440, 0.02)]),
    "stereo": encoded([tone(440, 0.05), tone(1000, 0.05)]),
    "cut": encoded([tone(440, 0.05)])[:-1],
    "text": b"no sound at all",
}


@pytest.fixture(scope="module")
def recordings() -> fb.DataFrame:
    """Two good files, two bad ones, and none."""
    rows = [{"name": name, "content": content} for name, content in [*FILES.items(), ("null", None)]]
    return testing.rows(pa.Table.from_pylist(rows))


def test_files_become_samples_at_the_rate_of_the_model(recordings: fb.DataFrame) -> None:
    result = recordings.select("name", samples=fb.col("content").audio.decode(16_000)).collect()
    found = {row["name"]: row["samples"] for row in result.rows()}
    assert found.keys() == {"mono", "stereo", "null"}
    assert found["null"] is None
    assert found["mono"] == pytest.approx(resampled(tone(440, 0.02), 16_000), abs=1e-4)
    mixed = (tone(440, 0.05) + tone(1000, 0.05)) / 2
    assert found["stereo"] == pytest.approx(resampled(mixed, 16_000), abs=1e-4)
    reasons = {json.loads(each["input"])["name"]: each["reason"] for each in result.dead_letters}
    assert reasons == {
        "cut": "decode audio (reason=truncated WAV)",
        "text": "decode audio (reason=not an audio file: it starts with the bytes 6e 6f 20 73 6f 75 6e 64)",
    }


def test_without_a_rate_samples_are_those_of_the_file(recordings: fb.DataFrame) -> None:
    result = recordings.select("name", samples=fb.col("content").audio.decode(), on_error="null").collect()
    found = {row["name"]: row["samples"] for row in result.rows()}
    assert found["mono"] == pytest.approx(tone(440, 0.02), abs=2e-5)
    assert [found[name] for name in ("cut", "text", "null")] == [None] * 3


def test_headers_say_how_long_a_recording_is(recordings: fb.DataFrame) -> None:
    told = fb.col("content").audio.metadata()
    result = recordings.filter("name IN ('mono', 'stereo')").select("name", told=told, s=told["duration_seconds"])
    found = {row["name"]: row for row in result.collect().rows()}
    expected = {"format": "wav", "sample_rate": RATE, "channels": 1, "frames": 882, "duration_seconds": 0.02}
    assert found["mono"] == {"name": "mono", "told": expected, "s": 0.02}
    assert (found["stereo"]["told"]["channels"], found["stereo"]["s"]) == (2, 0.05)


def test_samples_of_one_length_become_tensors_for_a_function(recordings: fb.DataFrame) -> None:
    @fb.func
    def loudest(samples: fb.Tensor("float32", 2, 160)) -> float:  # type: ignore[valid-type]
        """The loudest of them."""
        return float(np.abs(samples).max())

    samples = fb.col("content").audio.decode(16_000).tensor.reshape(2, 160)
    frame = recordings.filter("name = 'mono'").select(samples=samples)
    expected = np.abs(resampled(tone(440, 0.02), 16_000)).max()
    found = frame.select(loudest=loudest(fb.col("samples"))).collect()
    assert found.column("loudest") == [pytest.approx(expected, abs=1e-4)]
