"""The report as one HTML page that loads nothing else; called by `cod report --html`."""
