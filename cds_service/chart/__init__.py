"""Stage 1: what was sent, sorted by patient, type and concept, with how far each query was answered."""
