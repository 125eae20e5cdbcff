#!/usr/bin/env bash
# Rows of a table as text: six columns of a payment become `name: value` lines; the editor changes values, never names.
#   tests/examples/fraud.sh FOLDER          MODEL: any encoder, a model folder or a Hub id
set -euo pipefail
data=$(cd "$(dirname "$0")" && pwd)/fraud
out=${1:-fraud}
model=${MODEL:-sentence-transformers/all-MiniLM-L6-v2}
text=(merchant amount place hour entry customer_for)
columns=(${text[@]/#/--text-column=} --label-column verdict)

cod teach "$out/teacher" --data "$data" --model "$model" "${columns[@]}" --epochs 20 --lr 1e-4 --batch-size 16
cod sample "$out/run" --data "$data" "${columns[@]}" -k 8
cod counterfact "$out/run" --generator editor --teacher "$out/teacher" --per-shot 4
cod show "$out/run" --limit 3
cod label "$out/run"
cod distill "$out/run" --student "$model" --student-layers 1
cod eval "$out/run"
cod predict "$out/run/4-students/lwd-all" "$data/test.csv" "${text[@]/#/--text-column=}" > "$out/labelled.jsonl"
