"""The peer of the image benchmark: the same job in Daft, on its native runner, with nothing tuned.

    daft_job.py 'IN/*.jpg' OUT_DIR     ->  one line of JSON

Needs `python/requirements-peers.txt`, in a virtual environment of its own. Seconds are counted from after `import daft`
to after the last file is written, so starting Python is in none of them; the peak memory is the whole process's.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Final

import daft
from daft import col
from daft.functions import decode_image, download, resize

SIDE: Final = 224


def cpu_seconds() -> float:
    """Returns user and system time of this process and of the children it waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def main() -> int:
    """Runs the job and prints what it took."""
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    images, out = sys.argv[1], Path(sys.argv[2])
    wall_before, cpu_before = time.perf_counter(), cpu_seconds()
    daft.set_runner_native()
    frame = daft.from_glob_path(images)
    pixels = resize(decode_image(download(col("path")), mode="RGB"), SIDE, SIDE)
    frame.select(col("path"), pixels.alias("pixels")).write_parquet(str(out))
    wall, cpu = time.perf_counter() - wall_before, cpu_seconds() - cpu_before
    files = sorted(out.rglob("*.parquet"))
    report = {
        "wall_seconds": round(wall, 3),
        "cpu_seconds": round(cpu, 3),
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "rows": daft.read_parquet([str(file) for file in files]).count_rows(),
        "output_bytes": sum(file.stat().st_size for file in files),
        "daft": daft.__version__,
    }
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
