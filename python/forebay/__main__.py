"""What the engine starts for models that it hosts itself, `python -m forebay worker ..`; and `version`."""

from __future__ import annotations

import sys

from forebay import _native


def main(arguments: list[str]) -> int:
    """Runs a subcommand; returns the exit status."""
    match arguments:
        case ["worker", *rest]:
            return int(_native.worker(rest))
        case ["version"]:
            print(_native.version())
            return 0
    print("usage: python -m forebay version", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
