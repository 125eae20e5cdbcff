"""`cod sweep`: the grid of tasks, k, seeds and arms, an estimate, and the cells, which call the other stages."""
