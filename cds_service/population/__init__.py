"""The same decisions over a whole population: exports of FHIR Bulk Data in, counts out."""
