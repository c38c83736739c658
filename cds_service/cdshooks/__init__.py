"""CDS Hooks 2.0 on the wire: requests, responses, discovery, feedback. No FHIR is read and nothing is decided here."""
