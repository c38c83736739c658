"""The invented people of `fixtures/`, and counts over their cards."""
