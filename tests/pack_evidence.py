"""Copy of a sweep what its tables are made from: ``python -m tests.pack_evidence SWEEP FOLDER PATH=NAME …``.

Scores, settings and manifests, no text, label or weight; each PATH of this machine is replaced by the NAME that a
reader would type.
"""

import sys
from pathlib import Path

KEPT = (
    "sweep.json",
    "grid.yaml",
    "*/*/5-scores.jsonl",
    "*/*/1-shots.meta.json",
    "*/*/2-*.meta.json",
    "*/*/4-students/*/settings.yaml",
)


def pack(sweep: Path, folder: Path, names: dict[str, str]) -> int:
    """Copy the files, the longest paths replaced first; how many there are."""
    found = sorted({path for pattern in KEPT for path in sweep.glob(pattern)})
    for path in found:
        text = path.read_text(encoding="utf-8")
        for known in sorted(names, key=len, reverse=True):
            text = text.replace(known, names[known])
        copy = folder / path.relative_to(sweep)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(text, encoding="utf-8")
    return len(found)


if __name__ == "__main__":
    print(pack(Path(sys.argv[1]), Path(sys.argv[2]), dict(pair.split("=", 1) for pair in sys.argv[3:])), "files")
