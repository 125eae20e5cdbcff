"""A run's pool written by an LLM: from the journal and the server to rows, counts and cost."""

from collections.abc import Callable, Sequence

from cod_cli.errors import CodError
from cod_cli.llm.client import Session
from cod_cli.llm.pacing import Limits
from cod_cli.llm.prices import Estimate, Usage, total_usage
from cod_cli.pools.screen import Gathered, Screen
from cod_cli.pools.writer import TextWriter, Written, next_number, open_writer
from cod_cli.records import PoolText
from cod_cli.settings.pool import PoolSettings
from cod_cli.store.run import Run
from cod_cli.ui import Ui


def write_texts(
    run: Run, settings: PoolSettings, before: Sequence[PoolText], begin: Callable[[], None], ui: Ui
) -> Gathered:
    """Have an LLM write ``--number`` texts in the manner of the shots.

    Args:
        run: whose shots, and where replies are journalled.
        settings: the LLM, what it is told, and what may be spent.
        before: the texts of other sources that stand in the pool.
        begin: is called when nothing is wrong with the options, before anything is sent.
        ui: is told how far it is.

    Raises:
        UsageError, CodError: asking makes no sense.
    """
    screen, written = Screen.of(run, before, max_words=settings.max_length), Written()

    def admit(text: str) -> str | None:
        candidate = screen.look(text)
        return candidate.text if candidate and screen.admit(candidate) else None

    with Session(Limits.of(settings)) as session, _opened(run, settings, session) as writer:
        begin()
        with ui.progress(f"Writing texts ({settings.model})", total=settings.number) as advance:
            for new, latest in writer.write(settings.number, admit, next_number(before)):
                written = latest
                advance(new, detail=_standing(written, writer))
        price = writer.price
    rows = [PoolText(id=new.id, text=new.text, source="llm") for new in written.first(settings.number)]
    closed = run.pool.manifest()
    usage = total_usage(run.read_pool_replies()) - Usage.from_record(closed.usage if closed else {})
    return Gathered(
        rows,
        written.counts() | screen.counts(),
        broken=CodError(written.reason) if written.reason else None,
        usage=usage.record(),
        cost=usage.cost(price),
        short=written.short(settings.number),
    )


def estimate_texts(run: Run, settings: PoolSettings, before: Sequence[PoolText]) -> Estimate:
    """What that would take; nothing is sent."""
    with Session(Limits.of(settings)) as session, _opened(run, settings, session) as writer:
        return writer.estimate(settings.number, next_number(before))


def _opened(run: Run, settings: PoolSettings, session: Session) -> TextWriter:
    return open_writer(run.pool_replies, settings, run.shots.read(), run.shots.require().labels, session)


def _standing(written: Written, writer: TextWriter) -> str:
    """What the progress line says: taken, left out, spent."""
    spent = writer.spent
    line = f"{written.read - len(written.taken)} left out, {spent.calls} requests"
    line += f", {spent.prompt_tokens + spent.completion_tokens:,} tokens"
    return line + (f", cost {spent.cost:.4f}" if writer.price else "")
