"""Counterfactuals and their rivals: asked for, read, verified, reverted, counted; called by stages."""
