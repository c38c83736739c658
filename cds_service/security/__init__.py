"""Who may call: registered clients, their signed tokens and keys, replay. It knows nothing of patients."""
