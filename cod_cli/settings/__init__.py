"""The options of every command, one file a command, in `base` and `shared` what several have; read by all above."""
