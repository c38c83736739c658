"""The HTTP door: CDS Hooks endpoints, refusals, limits, the OpenAPI document. It calls `service` and decides nothing."""
