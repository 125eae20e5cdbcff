"""One file per command; a stage reads the previous stage's file and writes its own."""
