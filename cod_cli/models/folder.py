"""Where a model's files are: in a folder, or on the Hub; and the fingerprint that tells two models apart."""

import hashlib
import importlib
import importlib.util
import json
import re
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

from cod_cli.errors import CodError

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_SMALL_FILES = ("*.json", "*.txt", "*.model", "*.jinja")
# What the Hub's client is built on: another library in other releases, not every one of them installed.
_HTTP_LIBRARIES = ("httpx2", "httpx")


def fingerprint(name: str | Path) -> str:
    """16 hex digits over configuration (labels included), weights and tokenizer: other answers, other digits."""
    folder = find_model(str(name))
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise CodError(f"{folder / 'config.json'} is damaged: not JSON", "fetch or save the model again") from None
    if not isinstance(config, dict):
        raise CodError(f"{folder / 'config.json'} is damaged: no JSON object", "fetch or save the model again")
    config = {key: value for key, value in config.items() if key not in ("_name_or_path", "transformers_version")}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    small = {path for pattern in ("*token*", "vocab*", "merges*", "*.model") for path in folder.glob(pattern)}
    for path in sorted(small | set(weight_files(folder))):
        with path.open("rb") as file:
            digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def find_model(name: str) -> Path:
    """The local folder of a model, fetched from the Hub (weights as safetensors where it has them) if need be.

    Raises:
        CodError: neither a model folder nor a model on the Hub, or the Hub cannot be reached.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _require_model(name, folder)
    if folder.exists():
        raise CodError(f"{name} is a file, not a model folder", "give the folder that holds config.json")
    if not _HUB_ID.fullmatch(name):
        raise CodError(f"there is no folder {name}", "give a model folder or a Hub id such as org/name")
    try:
        fetched = _fetch(name, (*_SMALL_FILES, _WEIGHTS[0]))
        if not weight_files(fetched):
            fetched = _fetch(name, (*_SMALL_FILES, _WEIGHTS[1]))
    except GatedRepoError:
        raise CodError(f"{name} is gated on the Hub", "accept its terms there, then `hf auth login`") from None
    except RepositoryNotFoundError:
        raise CodError(f"{name} is neither a folder here nor a model on the Hub", "check its spelling") from None
    except _unreachable():
        raise CodError(
            f"{name} is no folder here, not in the Hub's cache, and the Hub cannot be reached",
            "check the path, or the network; a local model folder needs none",
        ) from None
    return _require_model(name, fetched)


def _unreachable() -> tuple[type[Exception], ...]:
    """All that can go wrong on the way to the Hub, whichever library takes it."""
    installed = [name for name in _HTTP_LIBRARIES if importlib.util.find_spec(name)]
    errors = (importlib.import_module(name).HTTPError for name in installed)
    return LocalEntryNotFoundError, HfHubHTTPError, *errors


def _fetch(name: str, patterns: Sequence[str]) -> Path:
    return Path(snapshot_download(name, allow_patterns=list(patterns), ignore_patterns=["*/*"]))


def _require_model(name: str, folder: Path) -> Path:
    missing = "config.json" if not (folder / "config.json").is_file() else None
    if missing is None and not weight_files(folder):
        missing = "model.safetensors"
    if missing is not None:
        raise CodError(
            f"{name} is no model folder: it holds no {missing}",
            "give a folder written by save_pretrained, `cod teach` or `cod distill`, or a Hub id such as org/name",
        )
    return folder


def weight_files(folder: Path) -> list[Path]:
    """The weights that would be loaded: safetensors, pickles only where there are none."""
    return next((files for pattern in _WEIGHTS if (files := sorted(folder.glob(pattern)))), [])
