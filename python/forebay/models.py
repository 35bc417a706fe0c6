"""Models as values: a local model file, a server, a hosted model. One may be asked in many places and is loaded once.

A `Model` says where the model is and how it is spoken to; `predict` asks it about columns. The tables are those of
docs/reference/job-file.md; what a host cannot do is not here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Unpack

from forebay._call import Call
from forebay._options import Options, Size, checked, of_model, size
from forebay._settings import without_none
from forebay.errors import InvalidError
from forebay.expressions import Answer, Expression, lit

_IN_FLIGHT: Final = 32
"""How many URLs are asked for at a time: servers are many, and each takes its time."""

_FETCHED = ("content", "content_type")
_CHAT = ("text", "finish_reason", "prompt_tokens", "completion_tokens")


class Model:
    """A model, by what a job says about it.

    >>> import forebay as fb
    >>> digits = fb.Model.onnx("digits.onnx", outputs=["label", "scores"])
    >>> digits.predict(pixels=fb.col("pixels"))["label"]
    <digits(..).label>
    """

    def __init__(
        self, settings: Mapping[str, Any], *, outputs: str | Sequence[str] = (), name: str, options: Options
    ) -> None:
        """Not for users: use `Model.onnx` and the others."""
        self._settings = dict(settings)
        self._options = options
        self.outputs = (outputs,) if isinstance(outputs, str) else tuple(outputs)
        self.label = name

    @classmethod
    def onnx(
        cls, path: str | Path, *, outputs: str | Sequence[str] = (), name: str | None = None, **options: Unpack[Options]
    ) -> Model:
        """A model file for ONNX Runtime; each replica is a process.

        `outputs` names its outputs, so that `with_columns(model.predict(..))` can add them all; one by one they are
        taken with `["name"]`, also without.
        """
        return cls(
            {"host": "onnx", "path": str(path)}, outputs=outputs, name=name or Path(path).stem, options=checked(options)
        )

    @classmethod
    def open_inference(
        cls,
        url: str | Sequence[str],
        model: str,
        *,
        outputs: str | Sequence[str] = (),
        model_version: str | None = None,
        transport: str | None = None,
        credential: str | None = None,
        name: str | None = None,
        settings: Mapping[str, Any] | None = None,
        **options: Unpack[Options],
    ) -> Model:
        """A model behind the Open Inference Protocol (Triton, KServe).

        `url` is its address, or a list of those of its replicas. `settings`, here and in the functions like it, are
        more keys of the model's table in a job file, tables in it included: `{"open_inference": {..}}`.

        Raises: InvalidError if `settings` say what an argument says; for keys that there are not, when the job starts.
        """
        own = without_none({"version": model_version, "transport": transport})
        table = {**_remote("open_inference", url, model, credential), **({"open_inference": own} if own else {})}
        return cls(_merged(table, settings, options), outputs=outputs, name=name or model, options=checked(options))

    @classmethod
    def openai(
        cls,
        url: str | Sequence[str],
        model: str,
        *,
        messages: Sequence[Mapping[str, str]] | None = None,
        prompt: str | None = None,
        input: str | None = None,  # noqa: A002 - the API's own name
        schema: Mapping[str, Any] | type[Any] | None = None,
        parameters: Mapping[str, Any] | None = None,
        vector_length: int | None = None,
        credential: str | None = None,
        name: str | None = None,
        settings: Mapping[str, Any] | None = None,
        **options: Unpack[Options],
    ) -> Model:
        """A model behind OpenAI's API; without `messages`, `prompt` and `input` one for the functions of `ai`.

        `url` is its address, or a list of those of its replicas. `schema`, for `messages`, is what answers have to be:
        a JSON schema of an object, or a pydantic model.
        """
        own: dict[str, Any] = {
            "messages": messages and [dict(each) for each in messages],
            "prompt": prompt,
            "input": input,
            "schema": None if schema is None else schema_of(schema),
        }
        own |= {"parameters": parameters, "length": vector_length}
        table = {**_remote("openai", url, model, credential), "openai": without_none(own)}
        whole = _merged(table, settings, options)
        return cls(whole, outputs=_openai_outputs(whole["openai"]), name=name or model, options=checked(options))

    @classmethod
    def http(
        cls,
        url: str | Sequence[str],
        *,
        request: Any,
        outputs: Mapping[str, Mapping[str, str]],
        inputs: Mapping[str, str] | None = None,
        rows: Mapping[str, str] | None = None,
        credential: str | None = None,
        name: str = "http",
        settings: Mapping[str, Any] | None = None,
        **options: Unpack[Options],
    ) -> Model:
        """Any service that takes and answers JSON: a template of the request, and where in the answer outputs are.

        `{{name}}` in `request` is an input, text unless `inputs` gives it another type; `at` is a JSON pointer. `url`
        is its address, or a list of those of its replicas.

        >>> import forebay as fb
        >>> languages = fb.Model.http(
        ...     "http://localhost:9000/detect",
        ...     request={"text": "{{text}}", "top": 1},
        ...     outputs={"label": {"type": "string", "at": "/results/0/label"}},
        ... )
        >>> languages.predict(text=fb.col("body"))["label"]
        <http(..).label>
        """
        own = without_none({"request": request, "outputs": outputs, "inputs": inputs, "rows": rows})
        table = {**_remote("http_json", url, None, credential), "http_json": own}
        return cls(_merged(table, settings, options), outputs=tuple(outputs), name=name, options=checked(options))

    @classmethod
    def fetch(
        cls,
        *,
        private_hosts: Sequence[str] = (),
        answer_bytes: Size | None = None,
        headers: Mapping[str, str] | None = None,
        name: str = "fetch",
        settings: Mapping[str, Any] | None = None,
        **options: Unpack[Options],
    ) -> Model:
        """What stands behind the URLs of rows: input `url`, outputs `content` and `content_type`.

        Only public addresses are asked, wherever a URL or a redirect leads; `private_hosts` names hosts that rows may
        ask although theirs is not, as `"NAME"` or `"NAME:PORT"`. Without `in_flight` and `latency`, each subtask asks
        for 32 at a time. `Expression.url.download` is the short form.
        """
        if "latency" not in {**options, **(settings or {})}:
            options = {"in_flight": _IN_FLIGHT, **options}
        table = {
            "host": "fetch",
            **without_none({"answer_bytes": None if answer_bytes is None else size(answer_bytes)}),
        }
        table |= {"headers": dict(headers)} if headers else {}
        table |= {"fetch": {"private_hosts": _hosts(private_hosts)}} if private_hosts else {}
        return cls(_merged(table, settings, options), outputs=_FETCHED, name=name, options=checked(options))

    @staticmethod
    def python(function: Any) -> Any:
        """What `func` or `cls` decorated, as it is: it is a model already, and is asked by calling it."""
        if not hasattr(function, "asked_with"):
            raise InvalidError(
                "Model.python takes a function with @func, or a method of an object of a class with @cls"
            )
        return function

    def predict(self, inputs: Mapping[str, Any] | None = None, /, **named: Any) -> Answer:
        """Asks it about every row; `predict(pixels=col("pixels"))`, or a mapping where a name is none of Python's."""
        given: dict[str, Expression] = {name: lit(value) for name, value in {**(inputs or {}), **named}.items()}
        if not given:
            raise InvalidError(f"model {self.label} is given no input")
        # A column is called what the model calls its output, and does not replace the input that it was asked about.
        name = self.outputs[0] if len(self.outputs) == 1 else None
        return Answer(Call(self, given, self.outputs, self._options), name=name)

    def with_options(self, **options: Unpack[Options]) -> Model:
        """The same model, asked in another way; still one model of the job unless options of the model differ."""
        merged: Any = {**self._options, **checked(options)}
        return Model(self._settings, outputs=self.outputs, name=self.label, options=merged)

    @property
    def key(self) -> object:
        """Its settings: two with the same are one model of a job."""
        return repr((self.label, self.table("")))

    def table(self, folder: str) -> dict[str, Any]:
        """Its table in a job."""
        return {**self._settings, **of_model(self._options)}

    def openai_with(self, task: Mapping[str, Any]) -> Model:
        """The same hosted model with a task of `ai`.

        Raises: InvalidError if it is none of OpenAI's API, or has a task already.
        """
        own = self._settings.get("openai")
        if own is None or own.keys() & {"messages", "prompt", "input"}:
            raise InvalidError(
                f"model {self.label}: this takes Model.openai(url, model) without messages, prompt and input"
            )
        whole = {**own, **task}
        return Model(
            {**self._settings, "openai": whole}, outputs=_openai_outputs(whole), name=self.label, options=self._options
        )

    def __repr__(self) -> str:
        """Where it is."""
        return f"<Model {self.label}: {self._settings['host']}>"


def _remote(host: str, url: str | Sequence[str], model: str | None, credential: str | None) -> dict[str, Any]:
    where = {"url": url} if isinstance(url, str) else {"urls": list(url)}
    return {"host": host, **where, **without_none({"name": model, "credential": credential})}


def _merged(table: Mapping[str, Any], settings: Mapping[str, Any] | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """The model's table with the settings in it; of a table in both, the keys of both.

    Raises: InvalidError for a key that both say.
    """
    said = {**table, **of_model(checked(options))}
    whole = dict(table)
    for key, value in (settings or {}).items():
        if key in ("url", "urls") and said.keys() & {"url", "urls"}:
            raise InvalidError(f"settings say {key}, which the argument url says; for replicas pass it a list of URLs")
        whole[key] = _both(key, said[key], value) if said.get(key, {}) != {} else value
    return whole


def _both(key: str, own: Any, more: Any) -> dict[str, Any]:
    """The keys of both tables."""
    tables = isinstance(own, Mapping) and isinstance(more, Mapping)
    twice = [f"{key}.{each}" for each in own if each in more] if tables else [key]
    if twice:
        raise InvalidError(f"settings say {twice[0]}, which an argument says too; say it in one place")
    return {**own, **more}


def schema_of(form: Mapping[str, Any] | type[Any]) -> Mapping[str, Any]:
    """The JSON schema of answers: itself, or that of a pydantic model.

    Raises: InvalidError for anything else.
    """
    if isinstance(form, Mapping):
        return form
    make = getattr(form, "model_json_schema", None)
    if not callable(make):
        raise InvalidError(f"a JSON schema is a mapping or a pydantic model, found {form!r}")
    schema: Mapping[str, Any] = make()
    return schema


def _hosts(hosts: Sequence[str]) -> list[str]:
    if isinstance(hosts, str):
        raise InvalidError(f"private_hosts is a list of hosts: private_hosts=[{hosts!r}]")
    return list(hosts)


def _openai_outputs(own: Mapping[str, Any]) -> tuple[str, ...]:
    if "input" in own:
        return ("embedding",)
    return ("answer", *_CHAT[1:]) if "schema" in own else _CHAT
