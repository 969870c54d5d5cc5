"""How does training scale, in processes, utterances and devices?  Three measurements, one list.

    python -m tools.benchmarks.scaling --json scaling.json
    python -m tools.benchmarks.scaling --parts balance training

Each part is a program with options of its own. scaling_training: audio a second on 1 and 2 processes, waiting for data,
what saving costs. scaling_manifests: from a thousand utterances to ten million, time and memory. scaling_balance: 8 to
512 devices, beside Lhotse's sampler. Together they take about an hour of two cores and 4 GB.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.benchmarks.sidebyside import ROOT, Row

PARTS = ("training", "manifests", "balance")


def main() -> int:
    """Run the parts one after the other; 0 if none failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    rows, failed = list[Row](), list[str]()
    with tempfile.TemporaryDirectory(prefix="scaling-") as folder:
        for part in options.parts:
            print(f"-- {part}", flush=True)
            file = Path(folder) / f"{part}.json"
            command = [sys.executable, "-m", f"tools.benchmarks.scaling_{part}", "--json", str(file)]
            if subprocess.run(command, cwd=ROOT).returncode:
                failed.append(part)
            elif file.is_file():
                rows += json.loads(file.read_text(encoding="utf-8"))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(f"{len(rows)} rows" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
