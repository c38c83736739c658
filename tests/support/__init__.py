"""What several tests share: invented people, FHIR servers, signing, databases, browsers."""
