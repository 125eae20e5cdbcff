"""What the scores of many runs say: statistics, tables, the page."""
