"""How a student is trained: rows, batches, loss, loop."""
