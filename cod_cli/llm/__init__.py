"""All about talking to an LLM: prompts, messages, prices, limits, the journal and the client."""
