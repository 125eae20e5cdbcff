"""Exit codes that are promised: scripts go by them."""

import pytest
import typer

from cod_cli.cli.options import with_exit_codes
from cod_cli.errors import CodError, PartialError, UsageError
from cod_cli.ui import Ui


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (KeyboardInterrupt(), 130),
        (CodError("no"), 1),
        (UsageError("no"), 2),
        (PartialError("no"), 3),
        (OSError(28, "No space left on device"), 1),
    ],
)
def test_each_failure_has_its_exit_code(failure: BaseException, code: int) -> None:
    def fail() -> None:
        raise failure

    with pytest.raises(typer.Exit) as caught:
        with_exit_codes(Ui.silent(), fail)
    assert caught.value.exit_code == code
