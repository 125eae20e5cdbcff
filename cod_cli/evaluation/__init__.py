"""What students, teachers and baselines reach on rows that nobody trained on."""
