"""Make the files of version 0.1 anew, with the code of that version.

Check that version out (``git checkout a243651``), put this folder into its ``tests``, and run in the root of the
repository ``python -m tests.compat.build``. It writes ``version_0_1``, which is all that the tests read. Nothing is
sent to a network: the LLM is a loopback server, reached as a proxy, so that the files hold the address of a server
that does not exist, and no port. The imports below are that version's, wherever its modules are now.
"""

import json
import math
import os
import re
import shutil
import sqlite3
import sys
import tempfile
from collections import Counter
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "OPENAI_API_KEY": "none", "COD_CACHE": "cache"}

import torch
import yaml
from transformers import AutoModel, BertTokenizer
from typer.testing import CliRunner

from cod_cli import __version__
from cod_cli.cli import app
from tests.compat.commands import CSV, PREDICT, STAGES, URL, VIEWS
from tests.fake_llm import Answer, Body, FakeLLM, logprobs, refused
from tests.tiny import LANGUAGE, sentences, tiny_config, vocabulary

FIXTURE = Path(__file__).parent / "version_0_1"
PLACEHOLDER = b"@ROOT@"
OPPOSITE = dict(zip(LANGUAGE["negative"], LANGUAGE["positive"], strict=True))
OPPOSITE |= {other: word for word, other in OPPOSITE.items()}
GRID = {
    "data": "data",
    "teacher": "teacher",
    "student": "base",
    "model": "m",
    "base_url": URL,
    "split": "test",
    "k": [4],
    "seeds": [0],
    "epochs": 20,
    "lr": 0.03,
    "arms": [{"mix": "shots"}, {"mix": "cod"}],
}


def main() -> None:
    """Build in a folder of its own, then replace ``version_0_1``."""
    assert __version__ == "0.1.0", f"this is version {__version__}"
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        _write_inputs()
        with FakeLLM(_Writer()) as llm:
            os.environ["HTTP_PROXY"] = os.environ["http_proxy"] = llm.url.removesuffix("/v1")
            for words in STAGES.values():
                _cod(words)
        _write_what_is_said()
        _keep(Path(folder).resolve())


def _write_inputs() -> None:
    rows = [json.dumps({"text": text, "label": label}) + "\n" for text, label in dict(sentences(200)).items()]
    _write("data/train.jsonl", "".join(rows[:40]))
    _write("data/test.jsonl", "".join(rows[40:52]))
    _write("grid.yaml", yaml.safe_dump(GRID, sort_keys=False))
    _write_model(Path("base"))


def _write_model(folder: Path) -> None:
    """A model without a head, of 8 hidden units, whose tokenizer knows the words of the language and nothing else."""
    words = sorted({word for text in vocabulary() for word in text.split()})
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    tokenizer = BertTokenizer(vocab={piece: index for index, piece in enumerate(pieces)}, model_max_length=24)
    config = tiny_config(tokenizer, layers=1, hidden=8)
    config.max_position_embeddings = 24
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _write_what_is_said() -> None:
    for name, words in VIEWS.items():
        _write(f"said/{name}", _cod(words))
    _write("said/predict.jsonl", _cod(PREDICT))
    _cod(CSV)


def _write(name: str, text: str) -> None:
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_text(text, encoding="utf-8", newline="\n")


class _Writer:
    """An LLM that exchanges words and knows the classes.

    It refuses one kind of text, and returns another as it is when it is first asked.
    """

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()

    def __call__(self, body: Body) -> Answer | str:
        question = body["messages"][-1]["content"]
        text = re.findall(r"<text>\s*(.*?)\s*</text>", question, re.DOTALL)[-1]
        if "Which class?" in question:
            return _class_of(text)
        self.asked[text] += 1
        if "friends" in text and self.asked[text] == 1:
            return f'Here is the edited text: "{text}"'
        return refused() if "thing" in text else " ".join(OPPOSITE.get(word, word) for word in text.split())


def _class_of(text: str) -> Answer:
    good, bad = (sum(word in LANGUAGE[name] for word in text.split()) for name in ("positive", "negative"))
    p = 0.5 + 0.4 * (good > bad) - 0.4 * (bad > good)
    return Answer(("A",), "length", logprobs=logprobs(("A", [("A", math.log(1 - p)), ("B", math.log(p))])))


def _cod(words: str) -> str:
    done = CliRunner().invoke(app, words.split())
    sys.stderr.write(f"$ cod {words}\n{done.stderr}{done.stdout}\n")
    assert done.exit_code == 0, done.output
    return done.stdout


def _keep(root: Path) -> None:
    """Copy everything that is to be kept, the path of this machine replaced."""
    shutil.rmtree(FIXTURE, ignore_errors=True)
    here = str(root).encode()
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        if path.name == ".lock" or path.name.endswith(("-wal", "-shm")):
            continue
        if path.suffix == ".sqlite":
            _make_whole(path)
        content, name = path.read_bytes(), path.relative_to(root)
        assert here not in content or path.suffix == ".json", f"{name} is hashed, and holds a path"
        (FIXTURE / name).parent.mkdir(parents=True, exist_ok=True)
        (FIXTURE / name).write_bytes(content.replace(here, PLACEHOLDER))


def _make_whole(path: Path) -> None:
    """Move what stands in the write-ahead log into the database."""
    db = sqlite3.connect(path)
    busy, *_ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert not busy
    db.close()


if __name__ == "__main__":
    main()
