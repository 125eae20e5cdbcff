"""``python -m cod_cli`` is ``cod``."""

from cod_cli.cli.app import main

if __name__ == "__main__":
    main()
