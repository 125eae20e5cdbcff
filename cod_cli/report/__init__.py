"""What the scores of many runs say: gathered, compared, tested, shown as tables; called by stages and `cli`.

`results` reads, `comparison` and `statistics` test, `tables` builds what `rendering` and `page` show, `why` explains.
"""
