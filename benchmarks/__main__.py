"""``make bench``: run us and the peers side by side, and write down what was found."""

from __future__ import annotations

import argparse
import os
import time
import traceback
import warnings
from importlib import import_module

os.environ.setdefault("TQDM_DISABLE", "1")  # the peers' bars; before they are imported

from benchmarks import chart
from benchmarks.harness import QUICK, RESULTS, Report, machine, write_table

PARTS = ("reference", "engine", "price", "lime", "shapley", "overhead", "first_picture", "toggle", "memory", "gpu")


def main() -> int:
    """Run what was asked for; 1 if something failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="NAME", help=", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="a smoke run, whose numbers mean nothing")
    asked = parser.parse_args()
    folder = QUICK if asked.quick else RESULTS
    warnings.simplefilter("ignore")  # the peers', about how they are called by default
    print(", ".join(f"{key} {value}" for key, value in machine().items() if value))
    failed = [name for name in asked.only if not run(name, quick=asked.quick)]
    print(f"\n{write_table(folder, PARTS)}")
    print(chart.draw(folder, folder / "benchmark.svg" if asked.quick else chart.PICTURE))
    if failed:
        print(f"Failed: {', '.join(failed)}")
    return bool(failed)


def run(name: str, *, quick: bool) -> bool:
    """Run one part and write its result; False if it failed, which leaves its last result as it was."""
    part = import_module(f"benchmarks.{name}")
    report = Report(name, part.__doc__.split("\n\n")[0].replace("\n", " "))
    print(f"\n{name}: {report.question}", flush=True)
    start = time.perf_counter()
    try:
        part.run(report, quick)
    except Exception:  # noqa: BLE001 - the others still have something to say
        traceback.print_exc()
        return False
    took = time.perf_counter() - start
    report.write(QUICK if quick else RESULTS, took)
    print(f"  {took:.0f} s")
    return True


if __name__ == "__main__":
    raise SystemExit(main())
