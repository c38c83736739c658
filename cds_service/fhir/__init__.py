"""FHIR R4 on the wire: the elements that are read, Bundles, dates. Nothing here knows a rule or a concept."""
