#!/usr/bin/env bash
# The teacher is an LLM behind an API, and the same LLM writes the edits; nothing is known of it but its replies.
#   OPENAI_BASE_URL=http://127.0.0.1:8000/v1 OPENAI_API_KEY=none LLM=my-model tests/examples/black-box.sh FOLDER
# MODEL: any encoder to start the student from, a model folder or a Hub id
set -euo pipefail
data=$(cd "$(dirname "$0")" && pwd)/fraud
out=${1:-black-box}
model=${MODEL:-sentence-transformers/all-MiniLM-L6-v2}
llm=${LLM:?names the LLM at OPENAI_BASE_URL}
text=(merchant amount place hour entry customer_for)
columns=(${text[@]/#/--text-column=} --label-column verdict)
price=(--price 0.15 0.60 --max-cost 1)

cod sample "$out/run" --data "$data" "${columns[@]}" -k 8
cod counterfact "$out/run" --model "$llm" --teacher "openai:$llm" "${price[@]}" --dry-run
cod counterfact "$out/run" --model "$llm" --teacher "openai:$llm" "${price[@]}"
cod show "$out/run" --summary
cod label "$out/run" "${price[@]}"
cod distill "$out/run" --student "$model" --student-layers 1
cod eval "$out/run"
cod eval "$out/run" --teacher-on-split "${price[@]}"
