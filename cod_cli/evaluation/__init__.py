"""What teachers, students and baselines reach on rows that nobody trained on; called by the stage `eval`."""
