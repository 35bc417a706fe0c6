"""From the graph of data frames to a job: the dict that a job file would hold.

Uids come from the kind of a step, or the name of what it asks, and how many of those stand before it, so that they stay
when steps of other kinds come and go; `uid=` fixes one. Nothing is read here but, where columns are dropped, their
names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from forebay._ask import Models, infer
from forebay._call import Output
from forebay._graph import Node, ordered
from forebay._literals import quoted_name
from forebay._split import Asking, aliased, split
from forebay.errors import InvalidError
from forebay.expressions import Expression

Schema = Callable[[dict[str, Any]], list[str]]
_UID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
# Steps whose rows have the columns of the step before.
_KEEPS: Final = frozenset({"filter", "deduplicate", "durable", "explode", "limit", "sample", "union"})


class Compiler:
    """One job in the making."""

    def __init__(self, folder: str, columns: Schema) -> None:
        """`folder` gets the files of functions; `columns` says what a job's sink gets, where that has to be known."""
        self._columns_of_job = columns
        self._uids: set[str] = set()
        self._counts: dict[str, int] = {}
        self._made: dict[int, str] = {}
        self._columns: dict[str, list[str]] = {}
        self._models = Models(folder)
        self.sources: dict[str, dict[str, Any]] = {}
        self.steps: list[dict[str, Any]] = []

    def add(self, nodes: list[Node]) -> None:
        """Adds nodes and all that they hang on."""
        each = list(ordered(nodes))
        for node in each:
            if node.uid is not None and id(node) not in self._made:
                self._uids.add(self._checked(node.uid))
        for node in each:
            if id(node) not in self._made:
                self._made[id(node)] = self._add(node)

    def uid_of(self, node: Node) -> str:
        """The uid under which steps and sinks read a node."""
        return self._made[id(node)]

    def job(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The job so far, with its settings and sinks."""
        parts = {"step": self.steps, "model": self._models.tables}
        return {**settings, "source": self.sources} | {name: part for name, part in parts.items() if part}

    def fresh(self, stem: str) -> str:
        """The next free uid of this stem."""
        stem = re.sub(r"[^A-Za-z0-9_-]", "-", stem)[:56] or "step"
        while True:
            self._counts[stem] = self._counts.get(stem, 0) + 1
            uid = stem if self._counts[stem] == 1 else f"{stem}-{self._counts[stem]}"
            if uid not in self._uids:
                self._uids.add(uid)
                return uid

    # === nodes ===

    def _add(self, node: Node) -> str:
        match node.kind:
            case "source":
                uid = node.uid or self.fresh("source")
                self.sources[uid] = dict(node.settings)
                return uid
            case "side":
                return f"{self.uid_of(node.inputs[0])}.{node.settings['name']}"
            case "select" | "with" | "filter":
                return self._computed(node)
            case "exclude":
                return self._excluding(node)
        return self._plain(node)

    def _plain(self, node: Node) -> str:
        """A step whose settings are those of the job file, but for the streams that it reads."""
        settings = dict(node.settings)
        uids = [self.uid_of(each) for each in node.inputs]
        if node.kind == "union":
            return self._step(node.uid or self.fresh("union"), None, {"union": uids})
        if node.kind == "limit":
            return self._step(node.uid or self.fresh("limit"), uids[0], {"limit": settings["rows"]})
        if len(uids) > 1:
            settings[{"join": "stream", "feedback": "labels"}[node.kind]] = uids[1]
        return self._step(node.uid or self.fresh(node.kind), uids[0], {node.kind: settings})

    def _excluding(self, node: Node) -> str:
        above = self.uid_of(node.inputs[0])
        known, gone = self.columns(above), node.settings["names"]
        missing = [name for name in gone if name not in known]
        if missing:
            raise InvalidError(f"exclude: there is no column {missing[0]!r}; there are {', '.join(known)}")
        return self._keeping(above, [name for name in known if name not in gone], node.uid or self.fresh("exclude"))

    def _keeping(self, above: str, names: list[str], uid: str) -> str:
        items = [f"{quoted_name(name)} AS {quoted_name(name)}" for name in names]
        self._columns[uid] = names
        return self._step(uid, above, {"select": items})

    def _computed(self, node: Node) -> str:
        above = self.uid_of(node.inputs[0])
        named: dict[str, Expression] = node.settings["expressions"]
        in_place = self._in_place(node, above, named)
        found = split(named.values(), {output: name for name, output in in_place.items()})
        before = self.columns(above) if found.made and node.kind != "select" else []
        for step in found.steps:
            above = self._asking(step, above, node)
        rest = {name: each for name, each in named.items() if name not in in_place}
        if rest or not named:
            above = self._step(node.uid or self.fresh(node.kind), above, self._texts(node, rest, found.answers))
        if not found.made or node.kind == "select":
            return above
        added = [*_told(found.steps), *named] if node.kind == "with" else []
        kept = before + [name for name in added if name not in before]
        return self._keeping(above, kept, self.fresh("drop"))

    def _texts(self, node: Node, rest: dict[str, Expression], answers: dict[Output, str]) -> dict[str, Any]:
        extra = {"on_error": node.settings["on_error"]} if node.settings.get("on_error") else {}
        if node.kind == "filter":
            return {"filter": rest["filter"].sql(answers), **extra}
        return {node.kind: [aliased(each, name, answers) for name, each in rest.items()], **extra}

    def _asking(self, step: list[str] | Asking, above: str, node: Node) -> str:
        if isinstance(step, list):
            return self._step(self.fresh("inputs"), above, {"with": step})
        uid = node.uid if node.uid and node.kind == "with" and node.uid not in self._taken() else None
        settings = infer(step, self._models)
        return self._step(uid or self.fresh(step.call.asked.label), above, {"infer": settings})

    def _taken(self) -> set[str]:
        return {step["uid"] for step in self.steps}

    def _in_place(self, node: Node, above: str, named: dict[str, Expression]) -> dict[str, Output]:
        """New columns that are one answer, so that the step can give it that name at once."""
        if node.kind != "with":
            return {}
        alone = {name: each.pieces[0] for name, each in named.items() if len(each.pieces) == 1}
        outputs = {name: piece for name, piece in alone.items() if isinstance(piece, Output)}
        known = self.columns(above) if outputs else []
        once = {output: name for name, output in outputs.items() if name not in known}
        return {name: output for output, name in once.items()}

    # === columns ===

    def columns(self, uid: str) -> list[str]:
        """The columns of what a uid gives; the engine is asked where the kind of the step does not tell."""
        if uid not in self._columns:
            self._columns[uid] = self._found(uid)
        return self._columns[uid]

    def _found(self, uid: str) -> list[str]:
        step = next((each for each in self.steps if each["uid"] == uid), None)
        if step is not None and "infer" in step:
            column = step["infer"].get("fallback_column")
            return self.columns(step["from"]) + list(step["infer"]["outputs"].values()) + ([column] if column else [])
        if step is not None and _KEEPS & step.keys():
            return self.columns(step["from"] if "from" in step else step["union"][0])
        sink = {"sink": {"from": uid, "format": "blackhole"}}
        return self._columns_of_job(self._up_to(uid) | sink)

    def _up_to(self, uid: str) -> dict[str, Any]:
        """A job of what this uid hangs on, and nothing else."""
        needed, found = [uid.partition(".")[0]], set()
        while needed:
            found.add(each := needed.pop())
            for step in self.steps:
                if step["uid"] == each:
                    needed += [read.partition(".")[0] for read in _reads(step) if read not in found]
        steps = [step for step in self.steps if step["uid"] in found]
        asked = {name for step in steps for name in _models_of(step)}
        parts = {
            "name": "columns",
            "dead_letters": {"path": "columns"},
            "source": {name: each for name, each in self.sources.items() if name in found},
            "step": steps,
            "model": {name: each for name, each in self._models.tables.items() if name in asked},
        }
        return {name: part for name, part in parts.items() if part}

    def _step(self, uid: str, above: str | None, parts: dict[str, Any]) -> str:
        self.steps.append({"uid": uid, **({"from": above} if above else {}), **parts})
        return uid

    def _checked(self, uid: str) -> str:
        if not _UID.fullmatch(uid):
            raise InvalidError(f"uid {uid!r} is not 1 to 64 letters, digits, - and _")
        if uid in self._uids:
            raise InvalidError(f"two parts of the job have the uid {uid!r}")
        return uid


def _told(steps: list[list[str] | Asking]) -> list[str]:
    """The columns that say who answered."""
    columns = (step.call.options.get("fallback_column") for step in steps if isinstance(step, Asking))
    return [column for column in columns if column is not None]


def _reads(step: dict[str, Any]) -> list[str]:
    more = [step[kind][key] for kind, key in (("join", "stream"), ("feedback", "labels")) if key in step.get(kind, {})]
    return [each for each in (step.get("from"), *step.get("union", []), *more) if each]


def _models_of(step: dict[str, Any]) -> list[str]:
    settings = step.get("infer")
    if settings is None:
        return []
    return [settings["model"], *(each["model"] for each in settings.get("fallback", []) if "model" in each)]
