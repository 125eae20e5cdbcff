"""What is wrong with a YAML file is said in one way."""

from pathlib import Path

import pytest

from cod_cli.errors import UsageError
from cod_cli.store.yaml import read_yaml


def test_a_file_that_is_not_there_has_the_hint_of_whoever_asks(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist") as caught:
        read_yaml(tmp_path / "none.yaml", "give one")
    assert caught.value.hint == "give one"


@pytest.mark.parametrize("content", [b"a: [1", b"a: \xff", b"[" * 5000])
def test_what_is_no_yaml_is_named_with_its_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "grid.yaml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"grid.yaml is no YAML: "):
        read_yaml(path, "")
