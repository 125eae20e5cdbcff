"""The command line: the commands, their options, and how results are printed; called by `cod`."""
