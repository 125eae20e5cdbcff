"""A JSONL file beside the manifest that says what made it, and whether it is complete."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from cod_cli import __version__
from cod_cli.errors import CodError
from cod_cli.records import Calibration, Manifest, PoolText, Record, SoftLabel
from cod_cli.store.jsonl import file_sha, first_problem, read_records, write_records, write_text

R = TypeVar("R", bound=Record)


class Artifact(Generic[R]):
    """A numbered JSONL file of a run beside its manifest ``N-name.meta.json``."""

    def __init__(self, folder: Path, name: str, record: type[R], command: str) -> None:
        self.record = record
        self.command = command
        self.path = folder / f"{name}.jsonl"
        self.meta = folder / f"{name}.meta.json"

    def manifest(self) -> Manifest | None:
        """The manifest, or None where the stage has not begun."""
        if not self.meta.exists():
            return None
        try:
            return Manifest.model_validate_json(self.meta.read_text(encoding="utf-8"))
        except (ValidationError, UnicodeDecodeError) as error:
            raise CodError(f"{self.meta} is damaged: {first_problem(error)}", f"run `{self.command} --force`") from None

    def require(self) -> Manifest:
        """The manifest of a finished file; an error names the command that makes or finishes it."""
        manifest = self.manifest()
        if manifest is None or (manifest.complete and not self.path.exists()):
            raise CodError(f"{self.path} does not exist", f"make it first: `{self.command}`")
        if not manifest.complete:
            raise CodError(f"{self.path} is not complete", f"finish it first: `{self.command}` with the same options")
        return manifest

    def read(self) -> list[R]:
        """The rows of a finished file, ids unique."""
        self.require()
        return read_records(self.path, self.record)

    def peek(self) -> list[R]:
        """The rows that are there, finished or not."""
        return read_records(self.path, self.record) if self.path.exists() else []

    def edited(self) -> bool:
        """Whether somebody changed the file by hand after its stage had finished it."""
        manifest = self.manifest()
        recorded = manifest.outputs.get(self.path.name) if manifest else None
        return recorded is not None and self.path.exists() and recorded != file_sha(self.path)

    def check(
        self, settings: dict[str, Any], *, teacher: str | None = None, before: Mapping[str, Any] | None = None
    ) -> Manifest | None:
        """The manifest of a stage that was begun with these settings, None where it was not begun.

        ``before`` are the values of options before there were such, as `changed_settings` takes them.

        Raises:
            CodError: it was begun with other settings that change results.
        """
        old = self.manifest()
        if old is not None:
            _refuse_other_settings(self, old, settings, teacher, before)
        return old

    def begin(
        self,
        settings: dict[str, Any],
        *,
        labels: list[str],
        seed: int | None = None,
        teacher: str | None = None,
        calibration: Calibration | None = None,
        inputs: Iterable[Path] = (),
        before: Mapping[str, Any] | None = None,
    ) -> Manifest:
        """Write the manifest with ``complete: false``, before the first row; what an earlier go counted stays.

        Raises:
            CodError: the stage was begun with other settings that change results.
        """
        old = self.check(settings, teacher=teacher, before=before)
        manifest = Manifest(
            stage=self.path.name.removesuffix(".jsonl"),
            complete=False,
            cod_version=__version__,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            labels=labels,
            settings=settings,
            seed=seed,
            inputs={path.name: file_sha(path) for path in inputs if path.exists()},
            teacher=teacher,
            calibration=calibration,
            counts=old.counts if old else {},
        )
        self.meta.parent.mkdir(parents=True, exist_ok=True)
        self._write_manifest(manifest)
        return manifest

    def finish(
        self,
        manifest: Manifest,
        rows: Iterable[R],
        *,
        complete: bool = True,
        counts: dict[str, int] | None = None,
        usage: dict[str, int] | None = None,
        cost: float | None = None,
    ) -> Manifest:
        """Write the rows, then the manifest; both replace the old ones atomically."""
        write_records(self.path, rows)
        done = manifest.replace(
            complete=complete,
            outputs={self.path.name: file_sha(self.path)},
            counts=counts or {},
            usage=usage or {},
            cost=cost,
        )
        self._write_manifest(done)
        return done

    def note(self, manifest: Manifest) -> None:
        """Keep what an unfinished stage has counted so far."""
        self._write_manifest(manifest)

    def rewrite(self, manifest: Manifest, rows: Iterable[R]) -> None:
        """Write the rows of a finished file anew, with a field more in each."""
        write_records(self.path, rows)
        self._write_manifest(manifest.replace(outputs={self.path.name: file_sha(self.path)}))

    def _write_manifest(self, manifest: Manifest) -> None:
        text = json.dumps(manifest.model_dump(by_alias=True), ensure_ascii=False, indent=2)
        write_text(self.meta, text + "\n")


class SoftLabelFile(Artifact[SoftLabel]):
    """Soft labels, each of which has a logit for every class of the manifest."""

    def read(self) -> list[SoftLabel]:
        """The rows of a finished file.

        Raises:
            CodError: a row, edited by hand perhaps, has other logits; `cod label` makes it anew.
        """
        classes, rows = len(self.require().labels), super().read()
        for row in rows:
            if not row.fits(classes):
                raise CodError(
                    f"{self.path}: the soft label of {row.id} has {len(row.logits)} logits for {classes} classes",
                    f"make it anew: `{self.command}`",
                )
        return rows

    def peek(self) -> list[SoftLabel]:
        """The rows that are there and fit, finished or not."""
        manifest = self.manifest()
        return [row for row in super().peek() if manifest is None or row.fits(len(manifest.labels))]


class PoolFile(Artifact[PoolText]):
    """Texts without labels. Version 0.1 kept a rival, real texts in the place of CFEs, under this file's name."""

    def manifest(self) -> Manifest | None:
        """The manifest, None also where the file is that rival's."""
        found = super().manifest()
        return None if found is not None and _of_a_rival(found) else found

    def is_old_rival(self) -> bool:
        """Whether the file is that rival's."""
        found = super().manifest()
        return found is not None and _of_a_rival(found)

    def refuse_old_rival(self, hint: str) -> None:
        """Leave that rival's rows alone.

        Raises:
            CodError: the file is that rival's.
        """
        if self.is_old_rival():
            raise CodError(f"{self.path} holds the rival that is called pool-rows now, no pool", hint)


def _of_a_rival(manifest: Manifest) -> bool:
    return "kind" in manifest.settings


def changed_settings(
    was: Mapping[str, Any], wanted: Mapping[str, Any], defaults: Mapping[str, Any] | None = None
) -> list[str]:
    """What tells settings apart from those of before, ``NAME: WAS → WANTED`` in order of the names.

    Args:
        was: as they stand in a manifest.
        wanted: as they are asked for now.
        defaults: the value that an option had before there was such an option; one without it is not compared, nor
            one that there is no more.
    """
    before = {**(defaults or {}), **was}
    names = sorted(before.keys() & wanted.keys())
    return [f"{name}: {before[name]} → {wanted[name]}" for name in names if before[name] != wanted[name]]


def _refuse_other_settings(
    artifact: Artifact[Any],
    old: Manifest,
    settings: dict[str, Any],
    teacher: str | None,
    before: Mapping[str, Any] | None,
) -> None:
    changed = changed_settings(old.settings, settings, before)
    if not changed and old.teacher != teacher:
        changed = ["the teacher's weights have changed"]
    if changed:
        raise CodError(
            f"{artifact.path} was begun with other settings ({'; '.join(changed)})",
            "use the same options, another run folder, or --force to archive it and start over",
        )
