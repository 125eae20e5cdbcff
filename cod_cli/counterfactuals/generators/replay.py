"""The replies that an LLM gave when it wrote the CFEs, once more: nothing is asked and nothing is paid."""

from collections.abc import Iterator, Sequence

from cod_cli.counterfactuals.generators.base import EditRequest, Proposal
from cod_cli.counterfactuals.replies import read_reply
from cod_cli.llm.messages import Choice
from cod_cli.records import Reply


class Replay:
    """Answers each request with the reply to the same attempt, as it was; later candidates of one are left out."""

    def __init__(self, replies: Sequence[Reply], *, max_attempts: int | None = None) -> None:
        self._by_case: dict[tuple[str, str], list[Reply]] = {}
        firsts: dict[str, Reply] = {}
        for reply in replies:
            firsts.setdefault(reply.key, reply)
        for reply in firsts.values():
            self._by_case.setdefault((reply.shot_id, reply.target), []).append(reply)
        self.name = f"openai:{replies[-1].model}" if replies else "replies"
        self.prompts: Sequence[str | None] = (None,)
        self.max_attempts = max_attempts or max(map(len, self._by_case.values()), default=1)

    def propose(self, requests: Sequence[EditRequest]) -> Iterator[Proposal]:
        """One proposal for each request, in order; none where there was no such reply."""
        for request in requests:
            replies = self._by_case.get((request.shot.id, request.target), [])
            if request.attempt > len(replies):
                yield Proposal(request, (), "empty", "no further reply is on disk")
                continue
            reply = replies[request.attempt - 1]
            reading = read_reply(Choice(reply.text, reply.finish_reason), request.shot.text)
            texts = (reading.text,) if reading.text is not None else ()
            yield Proposal(request, texts, None if texts else reading.status or "malformed", reading.reason)
