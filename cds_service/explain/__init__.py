"""Why a rule fired, why not, and what would change it."""
