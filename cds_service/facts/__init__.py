"""Stage 2: typed answers about the patient, each with the resources that it rests on. It decides nothing."""
