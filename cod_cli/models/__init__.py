"""Classifiers and encoders: found, loaded, run, adapted, saved with a card; called by teachers and all above."""
