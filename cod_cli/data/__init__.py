"""Where texts and labels come from: tasks, files, the Hub, columns, and which rows are scored; called by stages."""
