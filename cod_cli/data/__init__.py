"""Where texts and labels come from: the task table, files, the Hub; and which rows are scored."""
