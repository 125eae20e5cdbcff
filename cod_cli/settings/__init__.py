"""The options of every command, one file a command; what several share stands in `base` and `shared`."""
