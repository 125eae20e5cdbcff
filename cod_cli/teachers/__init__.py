"""Whose outputs a student learns, a classifier's or an LLM's, and calibration; opened by stages, asked by all above."""
