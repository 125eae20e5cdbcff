"""What the scores of many runs say: gathered, compared, tested, shown as tables; called by stages and `cli`."""
