"""Models as values: a file, and servers that speak HTTP."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pydantic
import pytest
from PIL import Image, ImageDraw

import forebay as fb
from forebay import testing
from worker_process import HANG_SECONDS

DIGITS = Path(__file__).resolve().parents[2] / "examples/digits/digits.onnx"
UNKNOWN: Any = {"bach_rows": 1}
TEXTS = testing.rows([{"text": "good"}, {"text": "bad {{text}}"}])
MESSAGES = [{"role": "user", "content": "{{text}}"}]


class Service(BaseHTTPRequestHandler):
    """Speaks as much of OpenAI's API as the engine asks for, and a JSON service of our own."""

    asked: list[dict[str, Any]] = []  # noqa: RUF012 - one list for all requests
    # How many requests it still refuses.
    full = 0
    released = threading.Event()

    def do_POST(self) -> None:
        """Answers with what follows from the request."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        Service.asked.append(body)
        if Service.full > 0:
            Service.full -= 1
            self.send_error(503)
            return
        if self.path.endswith("/held") and not Service.held(body["q"]):
            self.send_error(422)
            return
        self.reply(self.answer(body))

    @staticmethod
    def held(text: str) -> bool:
        """Refuses "bad", and holds all other answers back until the job has had time to fail of that."""
        if text == "bad":
            threading.Timer(0.5, Service.released.set).start()
            return False
        return Service.released.wait(HANG_SECONDS)

    def do_GET(self) -> None:
        """Says that it is there, and which models it has."""
        self.reply({"object": "list", "data": [{"id": "small", "object": "model"}]})

    def reply(self, body: dict[str, Any]) -> None:
        """Sends an answer."""
        answer = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """The body of the answer."""
        if self.path.endswith("/embeddings"):
            vectors = [[float(len(text)), 1.0] for text in body["input"]]
            data = [{"index": row, "embedding": vector} for row, vector in enumerate(vectors)]
            return {"data": data, "usage": {"prompt_tokens": 1, "total_tokens": 1}}
        if self.path.endswith(("/length", "/held")):
            return {"found": {"length": len(body["q"])}}
        asked = body["messages"][-1]["content"]
        content = json.dumps(Service.structured(body, asked)) if "response_format" in body else asked.upper()
        message = {"role": "assistant", "content": content}
        usage = {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
        return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}

    @staticmethod
    def structured(body: dict[str, Any], asked: str) -> dict[str, Any]:
        """A label, or the person that a text names where the schema has one; its ages are never below 0."""
        if "age" not in body["response_format"]["json_schema"]["schema"]["properties"]:
            return {"label": asked.split()[0]}
        name, age, *places = asked.split()
        return {"name": name, "age": int(age), "home": {"place": places[0]} if places else None}

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - its base calls it so
        """Says nothing."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Where the service listens."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_model_file_answers_with_all_its_outputs(tmp_path: Path) -> None:
    image = Image.new("L", (64, 64))
    ImageDraw.Draw(image).rectangle((28, 8, 36, 56), fill=255)
    image.save(tmp_path / "one.png")
    digits = fb.Model.onnx(DIGITS, outputs=["label", "scores"])
    pixels = fb.col("content").image.to_tensor(16, 16, dtype="float32")
    (row,) = fb.read_images(tmp_path / "*.png").with_columns(digits.predict(pixels=pixels)).exclude("content").collect()
    assert row["label"] in range(10)
    assert row["scores"].shape == (10,)
    assert set(row) == {"path", "label", "scores"}


def test_one_model_in_several_places_is_one_model_of_the_job() -> None:
    model = testing.scripted()
    first, second = model.predict(text=fb.col("text")), model.with_options(batch_rows=1).predict(text=fb.col("text"))
    frame = TEXTS.with_columns(a=first["echo"], b=first["length"], c=second["length"])
    job = frame.to_job().to_dict()
    assert list(job["model"]) == ["scripted"]
    assert [step["infer"]["outputs"] for step in job["step"]] == [{"echo": "a", "length": "b"}, {"length": "c"}]
    assert sorted(frame.collect().column("c")) == [4, 12]


def test_outputs_that_are_not_named_beforehand_are_taken_one_by_one() -> None:
    model = testing.scripted()
    nameless = fb.Model({"host": "fake"}, name="nameless", options={})
    assert sorted(TEXTS.select(n=nameless.predict(text=fb.col("text"))["length"]).collect().column("n")) == [4, 12]
    with pytest.raises(fb.errors.InvalidError, match="no output 'lenght'"):
        model.predict(text=fb.col("text"))["lenght"]
    with pytest.raises(fb.errors.InvalidError, match="lenght"):
        TEXTS.select(n=nameless.predict(text=fb.col("text"))["lenght"]).collect()
    with pytest.raises(fb.errors.InvalidError, match="are not known here"):
        TEXTS.select(n=nameless.predict(text=fb.col("text"))).collect()


def test_a_single_output_is_a_column_of_its_own_name(url: str) -> None:
    model = fb.Model.openai(url, "small", input="{{text}}", vector_length=2)
    result = TEXTS.with_columns(model.predict(text=fb.col("text"))).collect()
    assert result.schema.names == ["text", "embedding"]
    assert sorted(result.column("text")) == ["bad {{text}}", "good"]


def test_a_hosted_model_answers_prompts(url: str) -> None:
    model = fb.Model.openai(url, "small")
    answer = fb.ai.prompt(fb.col("text"), model, system="Shout.", temperature=0)
    assert sorted(TEXTS.select(answer=answer).collect().column("answer")) == ["BAD {{TEXT}}", "GOOD"]
    assert any(body.get("temperature") == 0 and body["messages"][0]["content"] == "Shout." for body in Service.asked)


def test_a_hosted_model_chooses_labels(url: str) -> None:
    label = fb.ai.classify_text(fb.col("text"), ["good", "bad"], fb.Model.openai(url, "small"))
    assert sorted(TEXTS.select(label=label).collect().column("label")) == ["bad", "good"]


class Home(pydantic.BaseModel):
    """Where somebody lives."""

    place: str


class Person(pydantic.BaseModel):
    """What is read out of a text."""

    name: str = pydantic.Field(pattern="^[A-Z]")
    age: int = pydantic.Field(ge=0)
    home: Home | None = None


def test_a_hosted_model_answers_in_the_form_of_a_pydantic_model(url: str) -> None:
    texts = ["Ada 36 London", "Bob 7", "eve 20", "Carl -1"]
    person = fb.ai.prompt(fb.col("text"), fb.Model.openai(url, "small", on_error="null"), return_format=Person)
    frame = testing.rows([{"text": text} for text in texts]).select("text", person=person)
    found = {row["text"]: row["person"] for row in frame.collect()}
    assert found == {
        "Ada 36 London": {"name": "Ada", "age": 36, "home": {"place": "London"}},
        "Bob 7": {"name": "Bob", "age": 7, "home": None},
        "eve 20": None,
        "Carl -1": None,
    }
    direct = fb.Model.openai(url, "small", messages=MESSAGES, schema=Person)
    assert direct.outputs[0] == "answer"


def test_a_hosted_model_makes_vectors(url: str) -> None:
    vector = fb.ai.embed_text(fb.col("text"), fb.Model.openai(url, "small", vector_length=2))
    found = TEXTS.select(vector=vector).collect().column("vector")
    assert sorted(each.tolist() for each in found) == [[4.0, 1.0], [12.0, 1.0]]


def test_a_server_that_is_full_for_a_moment_does_not_stop_a_start(url: str) -> None:
    Service.full = 1
    vector = fb.ai.embed_text(fb.col("text"), fb.Model.openai(url, "small"))
    found = TEXTS.select(vector=vector).collect().column("vector")
    assert (Service.full, sorted(each.tolist() for each in found)) == (0, [[4.0, 1.0], [12.0, 1.0]])


def test_any_json_service_is_a_model(url: str) -> None:
    assert sorted(http(url).collect().column("n")) == [4, 12]


def test_settings_are_keys_beside_those_of_the_arguments(url: str) -> None:
    more = {"openai": {"parameters": {"top_p": 0.5}}, "limits": {"requests_per_second": 1000}}
    model = fb.Model.openai([url, f"{url}/"], "small", messages=MESSAGES, settings=more)
    assert model.table("")["openai"] == {"messages": MESSAGES, "parameters": {"top_p": 0.5}}
    assert sorted(TEXTS.select(t=model.predict(text=fb.col("text"))["text"]).collect().column("t")) == [
        "BAD {{TEXT}}",
        "GOOD",
    ]
    assert any(body.get("top_p") == 0.5 for body in Service.asked)
    model = fb.Model.openai(url, "small", settings={"openai": {"input": "{{text}}", "length": 2}})
    assert model.outputs == ("embedding",)
    more = {"open_inference": {"server_batches": True}}
    table = fb.Model.open_inference(url, "m", transport="http_json", model_version="3", settings=more).table("")
    assert table["open_inference"] == {"transport": "http_json", "version": "3", "server_batches": True}
    with pytest.raises(fb.errors.InvalidError, match="nonsense"):
        http(url, settings={"http_json": {"nonsense": 1}}).collect()


def http(url: str, **more: Any) -> fb.DataFrame:
    """Rows that a service of JSON is asked about."""
    outputs = {"length": {"type": "int64", "at": "/found/length"}}
    model = fb.Model.http(f"{url}/length", request={"q": "{{text}}"}, outputs=outputs, **more)
    return TEXTS.select(n=model.predict(text=fb.col("text")))


def test_what_was_in_flight_when_a_job_failed_is_not_asked_again(url: str, tmp_path: Path) -> None:
    texts = [f"good {number}" for number in range(8)]
    texts.insert(2, "bad")
    rows = testing.rows([{"text": text} for text in texts])
    held = fb.Model.http(
        f"{url}/held",
        request={"q": "{{text}}"},
        inputs={"text": "string"},
        outputs={"n": {"type": "int64", "at": "/found/length"}},
    )
    Service.asked.clear()
    for on_error in ("fail", "dead_letter"):
        answered = rows.with_columns(held.with_options(on_error=on_error).predict(text=fb.col("text")), uid="ask")
        job = fb.Job().jsonl(answered, tmp_path / "out")
        with contextlib.suppress(fb.errors.DataError):
            job.run(checkpoints=tmp_path / "checkpoints").wait()
    assert sorted(body["q"] for body in Service.asked) == sorted(texts)


def test_rows_that_one_model_refuses_go_to_another(url: str) -> None:
    @fb.func
    def small(text: str) -> int:
        return -len(text)

    first = testing.scripted(
        fail_on="bad", fallback=[{"length": fb.col("text").str.length() * 100}], fallback_column="by"
    )
    assert sorted(TEXTS.with_columns(n=first.predict(text=fb.col("text"))["length"]).collect().column("n")) == [4, 1200]

    @fb.func(fallback=small, order="ordered")
    def large(text: str) -> int:
        if "bad" in text:
            raise ValueError("too hard")
        return len(text)

    assert TEXTS.select(n=large(fb.col("text"))).collect().column("n") == [4, -12]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: testing.scripted().predict(), "given no input"),
        (lambda: testing.scripted().predict(text="x")["answer"], "no output 'answer'; there are"),
        (lambda: TEXTS.with_columns(fb.Model.onnx(DIGITS).predict(pixels=fb.col("text"))), "take each with"),
        (lambda: TEXTS.select(x=testing.scripted().predict(text="x")).schema, "take one of them"),
        (lambda: fb.ai.embed_text(fb.col("text"), testing.scripted()), r"Model\.openai"),
        (lambda: fb.ai.classify_text(fb.col("text"), ["one"], fb.Model.openai("http://x", "m")), "two labels"),
        (lambda: fb.ai.prompt(fb.col("text"), fb.Model.openai("http://x", "m"), system="{{x}}"), "place of an input"),
        (lambda: fb.ai.prompt(fb.col("x"), fb.Model.openai("http://x", "m"), return_format=int), "or a pydantic model"),
        (lambda: fb.Model.python(len), "with @func"),
        (lambda: testing.scripted().with_options(**UNKNOWN), "no option"),
        (lambda: http("http://x", settings={"urls": ["http://a"]}), "say urls, which the argument url says; for repl"),
        (lambda: http("http://x", settings={"http_json": {"request": {}}}), r"say http_json\.request, which an arg"),
        (lambda: http("http://x", settings={"latency": "1s"}, latency="2s"), "say latency, which an argument says"),
        (lambda: http("http://x", settings={"host": "onnx"}), "say host, which an argument says"),
    ],
)
def test_what_is_wrong_is_said_with_what_is_right(make: Any, words: str) -> None:
    with pytest.raises(fb.errors.InvalidError, match=words):
        make()
