"""How functions get to their workers, and what their answers are stored under."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import forebay as fb
import functions_under_test as functions
from forebay import testing
from forebay._function import Bound, Function
from worker_process import HANG_SECONDS, PACKAGE

SCRIPT = """
import dataclasses
import enum
import re
import forebay as fb

class Kind(enum.Enum):
    LONG = 1

@dataclasses.dataclass
class Rules:
    words: set[str]
    kind: Kind = Kind.LONG
    pattern: re.Pattern = re.compile("a+")

@fb.cls
class Judge:
    def __init__(self, rules, choose):
        self.words = {word for word in rules.words if choose(word)}

    @fb.method
    def judge(self, text: str) -> bool:
        return text in self.words or text in {"a", "b", "c"}

rules = Rules({"x", "y", "z", "w"})
bound = Judge(rules, lambda word: word not in {"d", "e", "f"}).judge(fb.col("text")).call.asked
import tempfile
print(bound.table(tempfile.mkdtemp())["version"])
"""


HINTED = """
from __future__ import annotations
from typing import NamedTuple
import numpy as np
import forebay as fb
from forebay import testing

class Found(NamedTuple):
    size: int
    twice: float

@fb.cls
class Measure:
    @fb.method.batch(returns=int)
    def size(self, n: np.ndarray):
        assert type(n).__name__ == "ndarray", type(n)
        return n * 1

    @fb.method
    def both(self, n: int) -> Found:
        return dict(size=n, twice=2.0 * n)

if __name__ == "__main__":
    rows = testing.rows([{"n": 1}, {"n": 2}])
    found = rows.select(size=Measure().size(fb.col("n"))).collect()
    print(sorted(found.column("size")), found.dead_letters)
    found = rows.with_columns(Measure().both(fb.col("n"))).collect()
    print(sorted(found.column("twice")), found.dead_letters)
"""


CACHED = """
import functools
from typing import TypedDict
import forebay as fb
from forebay import testing

Found = TypedDict("Found", {"size": int, "twice": int})

class More(Found):
    name: str

@functools.cache
def doubled(n: int) -> int:
    return 2 * n

@fb.func
@functools.lru_cache(maxsize=8)
def found(n: int) -> Found:
    return Found(size=n, twice=doubled(n))

@fb.func
def more(n: int) -> More:
    return {"size": found.plain.cache_parameters()["maxsize"], "twice": doubled(n), "name": "a"}

@functools.cache
def fibonacci(n: int) -> int:
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

if __name__ == "__main__":
    rows = testing.rows([{"n": 30}])
    n = fb.col("n")
    print(rows.with_columns(found(n)).collect().rows())
    print(rows.map(more(n)).collect().rows())
    print(rows.with_columns(n=fb.func(fibonacci)(n)).collect().rows())
"""


SPAWNING = """
import multiprocessing
import forebay as fb
from forebay import testing

OFFSET = 3

@fb.func
def more(n: int) -> int:
    return n + OFFSET

@fb.cls
class Less:
    def __init__(self, by):
        self.by = by

    @fb.method
    def less(self, n: int) -> int:
        return n - self.by

def run(answers):
    rows = testing.rows([{"n": 1}])
    answers.put(rows.select(more=more(fb.col("n")), less=Less(5).less(fb.col("n"))).collect().rows())

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=run, args=(answers,))
    process.start()
    print(answers.get(timeout=60))
    process.join()
"""


def table(function: Any, folder: Path) -> dict[str, Any]:
    """The table of a function in a job."""
    return Bound(function, tuple(parameter.name for parameter in function.parameters)).table(str(folder))


def test_names_that_only_the_hints_of_a_method_use_count_in_workers(tmp_path: Path) -> None:
    assert said(tmp_path, HINTED) == ["[1, 2] []", "[2.0, 4.0] []"]


def said(folder: Path, content: str) -> list[str]:
    """What a script prints."""
    script = folder / "script.py"
    script.write_text(content)
    environment = os.environ | {"PYTHONPATH": str(PACKAGE)}
    command = [sys.executable, str(script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=HANG_SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_functions_with_caches_and_called_typed_dicts_travel(tmp_path: Path) -> None:
    assert said(tmp_path, CACHED) == [
        "[{'n': 30, 'size': 30, 'twice': 60}]",
        "[{'size': 8, 'twice': 60, 'name': 'a'}]",
        "[{'n': 832040}]",
    ]


def test_functions_of_a_script_travel_from_a_process_that_it_spawned(tmp_path: Path) -> None:
    assert said(tmp_path, SPAWNING) == ["[{'more': 4, 'less': -4}]"]


def test_the_version_is_the_same_in_every_process(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    versions = set()
    for seed in ("1", "2", "3"):
        environment = os.environ | {"PYTHONPATH": str(PACKAGE), "PYTHONHASHSEED": seed}
        command = [sys.executable, str(script)]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=HANG_SECONDS, check=True
        )
        versions.add(done.stdout)
    assert len(versions) == 1


def test_the_version_follows_what_a_class_inside_a_function_is_given(tmp_path: Path) -> None:
    def made(factor: int) -> Any:
        class Times:
            def __call__(self, n: int) -> int:
                return n * factor

        @fb.cls
        class Outer:
            def __init__(self, times: Any) -> None:
                self.times = times

            @fb.method
            def found(self, n: int) -> int:
                return int(self.times(n))

        return Outer(Times())

    assert table(made(2).found, tmp_path)["version"] != table(made(3).found, tmp_path)["version"]


def test_the_version_follows_what_answers_hang_on(tmp_path: Path) -> None:
    def made(factor: int) -> Function:
        @fb.func
        def times(number: int) -> int:
            return factor * number

        return times

    versions = [table(made(factor), tmp_path)["version"] for factor in (2, 2, 3)]
    assert versions[0] == versions[1] != versions[2]
    finders = [table(functions.Finder(label).find, tmp_path)["version"] for label in ("cat", "dog")]
    assert finders[0] != finders[1]
    assert table(functions.shout.with_options(version="7"), tmp_path)["version"] == "7"


def test_the_version_is_of_the_source_of_the_function_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)

    def version(name: str, constant: int = 1, helper: int = 1, options: str = "", comment: str = "") -> str:
        source = [f"import forebay as fb\nK = {constant}\n\ndef helper(): return {helper}\n", f"@fb.func({options})"]
        source += ["def f(n: int) -> int:", f"    return n + K + helper() {comment}"]
        (tmp_path / f"{name}.py").write_text("\n".join(source))
        return str(table(importlib.import_module(name).f, tmp_path)["version"])

    first = version("versions_a")
    assert version("versions_b", constant=2) == version("versions_c", helper=2) == first
    others = {version("versions_d", options="batch_rows=3"), version("versions_e", comment="# why")}
    assert len(others | {first}) == 3
    assert (
        version("versions_f", options="version='2'") == version("versions_g", options="version='2'", comment="#") == "2"
    )


def test_options_go_to_the_model_or_to_the_step(tmp_path: Path) -> None:
    function = functions.shout.with_options(replicas=2, memory=1 << 20, batch_rows=3, timeout="1s")
    job = fb.Job().blackhole(fb.read_jsonl("x.jsonl").select(x=function(fb.col("text")))).to_dict(str(tmp_path))
    (model,) = job["model"].values()
    assert (model["host"], model["replicas"], model["memory"]) == ("python", 2, "1048576B")
    infer = job["step"][0]["infer"]
    assert {key: infer[key] for key in ("inputs", "batch_rows", "timeout")} == {
        "inputs": {"text": "text"},
        "batch_rows": 3,
        "timeout": "1s",
    }


def test_options_take_columns_by_name_or_as_expressions() -> None:
    word = fb.col("word")
    for key in ["word", word, ["word"], [word]]:
        assert functions.shout.with_options(key=key).options["key"] == ["word"]
    options = functions.shout.with_options(cost=word.str.length(), length=word, deadline_column=word).options
    assert (options["cost"], options["length"], options["deadline_column"]) == (
        'character_length("word")',
        '"word"',
        "word",
    )
    rows = testing.rows([{"word": "a"}, {"word": "bb"}])
    asked = functions.shout.with_options(order="per_key", key="word", cost=word.str.length(), length=word.str.length())
    assert sorted(rows.select(x=asked(word)).collect().column("x")) == ["A", "BB"]
    assert fb.Model.onnx("x.onnx", outputs="label").outputs == ("label",)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"key": fb.col("a") + 1}, "key takes names of columns, not"),
        ({"cost": functions.shout(fb.col("a"))}, "cost: .* asks a function"),
        ({"batch_rows": fb.col("a")}, "batch_rows takes no column or expression"),
        ({"fallback_column": fb.col("a")}, "fallback_column takes no column"),
    ],
)
def test_expressions_where_none_is_taken_are_refused(option: Any, words: str) -> None:
    with pytest.raises(fb.errors.InvalidError, match=words):
        functions.shout.with_options(**option)


def test_a_job_with_functions_needs_a_folder() -> None:
    job = fb.Job().blackhole(fb.read_jsonl("x.jsonl").select(x=functions.shout(fb.col("text"))))
    with pytest.raises(fb.errors.InvalidError, match="needs a folder"):
        job.to_json()


def test_a_fallback_takes_the_same_parameters(tmp_path: Path) -> None:
    function = functions.shout.with_options(fallback=functions.ends)
    job = fb.Job().blackhole(fb.read_jsonl("x.jsonl").select(x=function(fb.col("text"))))
    with pytest.raises(fb.errors.InvalidError, match="no parameter 'text'; it takes how"):
        job.to_dict(str(tmp_path))
