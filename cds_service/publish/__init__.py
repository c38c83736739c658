"""The knowledge as a package of FHIR R4 resources, for systems that keep it, read it or run it themselves."""
