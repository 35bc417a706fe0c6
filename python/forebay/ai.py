"""What models are asked for most: an answer, an embedding, a label. Each is one `infer` step and no more.

`prompt`, `embed_text` and `classify_text` take a model of OpenAI's API, since no other host takes text. A local
embedding model is a class with `@cls`; see the guide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from forebay.errors import InvalidError
from forebay.expressions import Answer, Expression
from forebay.models import schema_of

if TYPE_CHECKING:
    from forebay.models import Model

__all__ = ["classify_text", "embed_text", "predict", "prompt"]


def predict(model: Model, inputs: Mapping[str, Any] | None = None, /, **named: Any) -> Answer:
    """Asks any model; see `Model.predict`."""
    return model.predict(inputs, **named)


def prompt(
    text: Expression,
    model: Model,
    *,
    system: str | None = None,
    return_format: Mapping[str, Any] | type[Any] | None = None,
    **parameters: Any,
) -> Expression:
    """What the model answers to a text.

    With `return_format`, a JSON schema of an object or a pydantic model, the answer is a struct of its properties; an
    answer that is not as the schema says is an error of its row.

    Shape:  in [rows] text; out [rows] text, or a struct with `return_format`.
    Nulls:  a null is an error of its row.
    Raises: InvalidError if the model is none of OpenAI's API.

    >>> import forebay as fb
    >>> model = fb.Model.openai("http://localhost:8000/v1", "small")
    >>> fb.ai.prompt(fb.col("question"), model, system="Answer in one word.", temperature=0)
    <small(..).text>
    """
    messages = [{"role": "system", "content": _plain(system)}] if system is not None else []
    messages.append({"role": "user", "content": "{{text}}"})
    if return_format is None:
        return _asked(model, {"messages": messages}, parameters).predict(text=text)["text"]
    task = {"messages": messages, "schema": schema_of(return_format)}
    return _asked(model, task, parameters).predict(text=text)["answer"]


def embed_text(text: Expression, model: Model, **parameters: Any) -> Expression:
    """The vector of a text.

    Shape:  in [rows] text; out [rows, length] float32.
    Nulls:  a null is an error of its row.
    Raises: InvalidError if the model is none of OpenAI's API.
    """
    return _asked(model, {"input": "{{text}}"}, parameters).predict(text=text)["embedding"]


def classify_text(text: Expression, labels: Sequence[str], model: Model, **parameters: Any) -> Expression:
    """Which of the labels fits a text best, in the model's opinion; never another text.

    Shape:  in [rows] text; out [rows] text.
    Nulls:  a null is an error of its row.
    Raises: InvalidError for fewer than two labels, or a model that is none of OpenAI's API.
    """
    if isinstance(labels, str) or len(set(labels)) < 2:
        raise InvalidError("classify_text needs at least two labels")
    content = _plain("Which of these labels fits the text best: " + ", ".join(labels))
    messages = [{"role": "system", "content": content}, {"role": "user", "content": "{{text}}"}]
    label = {"type": "string", "enum": list(labels)}
    schema = {"type": "object", "required": ["label"], "properties": {"label": label}, "additionalProperties": False}
    answer = _asked(model, {"messages": messages, "schema": schema}, parameters).predict(text=text)["answer"]
    return answer["label"]


def _asked(model: Model, task: dict[str, Any], parameters: Mapping[str, Any]) -> Model:
    return model.openai_with({**task, **({"parameters": dict(parameters)} if parameters else {})})


def _plain(text: str) -> str:
    """Text for a template, in which places cannot be escaped."""
    if "{{" in text:
        raise InvalidError("the text has `{{`, which would be read as the place of an input")
    return text
