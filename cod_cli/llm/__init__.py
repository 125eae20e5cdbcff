"""Talking to an LLM: prompts, messages, prices, limits, journal, client; called by all who ask one."""
