"""The wording that ``cod`` sends to an LLM: one YAML file per prompt, read by `cod_cli.llm.prompts`."""
