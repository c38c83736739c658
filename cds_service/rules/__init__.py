"""Stage 3: rules decide on facts, and what was overridden or shown lately keeps silent. No words, no FHIR."""
