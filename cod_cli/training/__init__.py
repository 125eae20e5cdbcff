"""How a model is trained: rows, batches, objective, loop, checkpoints; called by the stages `distill` and `teach`."""
