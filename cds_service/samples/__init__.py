"""The invented people of `fixtures/`, what an EHR supplies of a record, and counts over their cards."""
