"""Stage 0: what an EHR did not send is read from its FHIR server, with the same templates."""
