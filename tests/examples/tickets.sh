#!/usr/bin/env bash
# Support tickets in a CSV, three classes: a teacher is made from 66 labelled rows, a student from 9 of them.
#   tests/examples/tickets.sh FOLDER        MODEL: any encoder, a model folder or a Hub id
set -euo pipefail
data=$(cd "$(dirname "$0")" && pwd)/tickets
out=${1:-tickets}
model=${MODEL:-sentence-transformers/all-MiniLM-L6-v2}
columns=(--text-column subject --text-column body --label-column queue)

cod teach "$out/teacher" --data "$data" --model "$model" "${columns[@]}" --epochs 20 --lr 1e-4 --batch-size 16
cod sample "$out/run" --data "$data" "${columns[@]}" -k 9
cod counterfact "$out/run" --generator editor --teacher "$out/teacher" --per-shot 4
cod label "$out/run"
cod distill "$out/run" --init teacher --student-layers 1
cod distill "$out/run" --init teacher --student-layers 1 --mix shots
cod show "$out/run" --limit 3
cod eval "$out/run" --confusion
cod report "$out/run" --html "$out/report.html"
cod predict "$out/run/4-students/lwd-all-cut" "$data/test.csv" --text-column subject --text-column body \
    > "$out/labelled.jsonl"
