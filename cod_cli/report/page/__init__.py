"""The report as one HTML page that loads nothing else; called by `cod report --html`.

`document` puts together what the other modules show, each a few sections of it.
"""
