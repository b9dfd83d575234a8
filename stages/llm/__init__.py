"""Asks a language model behind an OpenAI-compatible server; the stages that do so are in annotate/ and rewrite/."""
