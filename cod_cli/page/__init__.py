"""The HTML page of `cod report --html`: `document` holds the order of its sections."""

from cod_cli.page.document import page

__all__ = ["page"]
