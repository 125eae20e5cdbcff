"""``python -m cod_cli`` is ``cod``, whose entry point stands here: what can be interrupted begins with the imports."""

import sys


def main() -> None:
    """The entry point of the ``cod`` command; exits with 130 where it is interrupted before a command has begun."""
    try:
        from cod_cli.cli.app import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted; nothing was begun\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
