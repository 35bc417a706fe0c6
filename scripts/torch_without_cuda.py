"""Lets the torch of a virtual environment work without CUDA's libraries: `PYTHON_OF_IT scripts/torch_without_cuda.py`.

torch from PyPI is linked to fourteen libraries of CUDA, gigabytes that a machine without a GPU loads and never calls.
This compiles one library in their place, in which every function that torch wants answers "there is no device", and
puts it where torch looks for them. For tests on a CPU only. Does nothing where it has done so before.
"""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

OWN: Final = "libforebay_no_cuda.so"
# Names of CUDA's libraries, and of what is in them.
_LIBRARY: Final = re.compile(r"lib(cu|nv|nccl)")
_SYMBOL: Final = re.compile(r"_*(cu|nv|nccl)")
# cudaErrorNoDevice, at which torch goes on without a GPU.
_NO_DEVICE: Final = 100
# More than the one variable that torch reads of them has.
_VARIABLE_BYTES: Final = 4096


class Symbol(NamedTuple):
    """What a library names: where it is wanted rather than defined, `wanted`."""

    name: str
    version: str
    kind: str
    wanted: bool


def main() -> None:
    """Puts the library there."""
    folder = Path(str(importlib.metadata.distribution("torch").locate_file("torch/lib")))
    if (folder / OWN).exists():
        return
    libraries = sorted(folder.glob("*.so"))
    symbols = [symbol for library in libraries for symbol in _symbols(library)]
    defined = {symbol.name for symbol in symbols if not symbol.wanted}
    lacking = {each for each in symbols if each.wanted and _SYMBOL.match(each.name) and each.name not in defined}
    for name in {name for library in libraries for name in _needed(library) if _LIBRARY.match(name)}:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(OWN)
    _compile(sorted(lacking), folder / OWN)


def _symbols(library: Path) -> Iterator[Symbol]:
    for words in map(str.split, _readelf("--dyn-syms", library)):
        if len(words) > 7 and words[0][:-1].isdigit():
            name, _, version = words[7].partition("@")
            yield Symbol(name, version.strip("@"), words[3], words[6] == "UND")


def _needed(library: Path) -> list[str]:
    return re.findall(r"\(NEEDED\).*\[(.*)\]", "\n".join(_readelf("--dynamic", library)))


def _readelf(what: str, library: Path) -> list[str]:
    command = ["readelf", "--wide", what, str(library)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def _compile(symbols: list[Symbol], target: Path) -> None:
    """Writes the library: each symbol under the version that torch wants it by. It is there whole or not at all."""
    versions = defaultdict(list)
    lines = []
    for each in symbols:
        versions[each.version].append(each.name)
        variable = f"char {each.name}[{_VARIABLE_BYTES}];"
        lines.append(variable if each.kind == "OBJECT" else f"int {each.name}(void) {{ return {_NO_DEVICE}; }}")
    versions.pop("", None)
    with tempfile.TemporaryDirectory(dir=target.parent) as name:
        source, script, made = (Path(name) / each for each in ("source.c", "versions", "made.so"))
        source.write_text("\n".join(lines))
        script.write_text("".join(f"{version} {{ {'; '.join(names)}; }};\n" for version, names in versions.items()))
        options = ["-shared", "-fPIC", "-nostdlib", f"-Wl,--version-script={script}"]
        subprocess.run(["gcc", *options, "-o", str(made), str(source)], check=True)
        made.rename(target)


if __name__ == "__main__":
    main()
