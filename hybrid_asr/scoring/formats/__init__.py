"""The files that references and hypotheses come in, one module a format."""
