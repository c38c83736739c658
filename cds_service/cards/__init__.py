"""Stage 4: findings put into words, with suggestions, sources and leaflets. It decides nothing."""
