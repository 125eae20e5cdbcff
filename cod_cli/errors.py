"""What can go wrong in a way that the user can mend: what is wrong, and what to do about it."""


class CodError(Exception):
    """A known failure, printed as ``error: …`` and ``hint: …`` instead of a traceback.

    Args:
        message: what is wrong and where (file and line), in one sentence.
        hint: what to do about it, ideally a command that can be pasted.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(CodError):
    """Options that cannot work together, or a value that is out of range (exit code 2)."""

    exit_code = 2


class PartialError(CodError):
    """Rows are still without an answer; all else is saved and the same command resumes (exit code 3)."""

    exit_code = 3
