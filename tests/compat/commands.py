"""The command lines that made the files of version 0.1, and those that look at them.

They are given in the folder that holds the files, with paths relative to it.
"""

# Never contacted: a name that no server has.
URL = "http://llm.invalid/v1"
_LLM = f"--base-url {URL} --price 1 2"

# By name, in the order in which they were run.
STAGES = {
    "teach": "teach teacher --data data --model base --epochs 40 --lr 0.03 --batch-size 40 --device cpu",
    "sample": "sample run --data data -k 6 --seed 1",
    "counterfact": f"counterfact run --model m --teacher teacher {_LLM}",
    "rival": "rival run --kind eda,pool --teacher teacher",
    "label": "label run --teacher teacher",
    "held-out": "counterfact run --held-out 4 --generator editor --teacher teacher",
    "distill": "distill run --student base --mix cod --epochs 30 --lr 0.06 --device cpu",
    "eval": "eval run --split test --device cpu",
    "llm-sample": "sample llm-run --data data -k 4",
    "llm-counterfact": f"counterfact llm-run --model m --teacher openai:m {_LLM}",
    "llm-label": f"label llm-run --teacher openai:m --calibrate contextual {_LLM}",
    "llm-eval": f"eval llm-run --in-context openai:m --teacher-on-split {_LLM}",
    "sweep": "sweep grid.yaml --out sweep --drop-weights",
}

# By the name of the file in `said` that holds what each printed on stdout.
VIEWS = {
    "show.txt": "show run",
    "show-summary.txt": "show run --summary",
    "show-rejected.txt": "show run --rejected",
    "show-prompt.txt": "show run --prompt sentiment",
    "show.json": "show llm-run --json",
    "eval.txt": STAGES["eval"],
    "eval.json": STAGES["eval"] + " --json",
    "llm-eval.txt": STAGES["llm-eval"],
    "llm-eval.json": STAGES["llm-eval"] + " --json",
    "report.txt": "report sweep",
    "report.json": "report sweep --json",
    "report-run.txt": "report run",
}
CSV = "report sweep --csv said/report.csv"
PREDICT = "predict run/4-students/kd-cod data/test.jsonl --device cpu"
