"""The floors: the same server and body, with next to no work, and with a FHIR library validating the prefetch."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import FastAPI, Request, Response

app = FastAPI()

_CARD = {
    "uuid": "5d6b3f5e-61a8-4c3e-9d8e-1f4f5b6a7c8d",
    "summary": "A constant card",
    "indicator": "info",
    "detail": "It says the same to everyone.",
    "source": {"label": "The floor"},
}


@app.get("/readyz")
async def ready() -> dict[str, str]:
    return {"status": "ready"}


@app.post("/constant")
async def constant(request: Request) -> Response:
    """Decode the body, answer one constant card."""
    orjson.loads(await request.body())
    return Response(orjson.dumps({"cards": [_CARD]}), media_type="application/json")


@app.post("/validating")
async def validating(request: Request) -> Response:
    """The same, with fhir.resources validating each Bundle of the prefetch."""
    from fhir.resources.R4B.bundle import Bundle

    prefetch: dict[str, Any] = orjson.loads(await request.body())["prefetch"]
    for section in prefetch.values():
        if section["resourceType"] == "Bundle":
            Bundle.model_validate(section)
    return Response(orjson.dumps({"cards": [_CARD]}), media_type="application/json")
