"""`python -m forebay run FILE`, `version`, and what the engine starts for models that it hosts itself, `worker ..`."""

from __future__ import annotations

import sys

from forebay import _native


def main(arguments: list[str]) -> int:
    """Runs a subcommand; returns the exit status."""
    match arguments:
        case ["worker", *rest]:
            return int(_native.worker(rest))
        case ["run", *rest]:
            from forebay import _script

            return _script.main(rest)
        case ["version"]:
            print(_native.version())
            return 0
    print("usage: python -m forebay run FILE | version", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
