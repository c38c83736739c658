"""What `check` holds `logic/` and `cards/` to, with cases, mutants and the catalogue. Never loaded on a call."""
