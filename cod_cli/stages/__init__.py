"""What each command does, one file a command: reads the files of earlier stages, writes its own; called by `cli`."""
