"""Stage 3: rules decide on facts, and overridden rules keep silent. No words, no FHIR."""
