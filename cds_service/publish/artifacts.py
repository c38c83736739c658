"""The resources of one package: each gets its address and its version, says who publishes it, and is validated."""

from __future__ import annotations

import hashlib
from typing import Any

from cds_service import __version__
from cds_service.cdshooks.response import encode
from cds_service.errors import KnowledgeError, Problem
from cds_service.knowledge.knowledge import Knowledge, Rule


class ArtifactShelf:
    """Finished resources by `Type/id`. Only what stands here can be referred to, so every reference leads somewhere."""

    def __init__(self, knowledge: Knowledge) -> None:
        self.base = str(knowledge.questionnaire["url"]).partition("/Questionnaire/")[0]
        self.resources: dict[str, dict[str, Any]] = {}
        self._rules = knowledge.rules

    def canonical(self, key: str) -> str:
        """`url|version` of a resource. KeyError if it is not here."""
        return "{url}|{version}".format(**self.resources[key])

    def add(self, kind: str, body: dict[str, Any], rule: Rule | None = None) -> None:
        """`body` has `id`, `title` and `description`. `rule`: whose it is; else it serves all, and is active where all are.

        The version ends in a hash of the content, so that what has the same version is the same.
        """
        owners = [item.file for item in ([rule] if rule else self._rules)]
        statuses = {"draft" if file.status == "trial" else file.status for file in owners}
        status = statuses.pop() if len(statuses) == 1 else "draft"
        own = {
            "resourceType": kind,
            "url": f"{self.base}/{kind}/{body['id']}",
            "name": "".join(part[:1].upper() + part[1:] for part in body["id"].split("-")),
            "status": status,
            "experimental": status != "active",
            "publisher": ", ".join(sorted({file.authored_by for file in owners})),
            **body,
        }
        digest = hashlib.sha256(encode(own)).hexdigest()[:12]
        self.put(own | {"version": f"{rule.file.version if rule else __version__}+{digest}"})

    def put(self, resource: dict[str, Any]) -> None:
        """What is complete already. Raises KnowledgeError if it is no valid FHIR R4."""
        from fhir.resources.R4B import get_fhir_model_class

        key = f"{resource['resourceType']}/{resource['id']}"
        try:
            get_fhir_model_class(resource["resourceType"]).model_validate_json(encode(resource))
        except ValueError as error:
            raise KnowledgeError([Problem(key, " ".join(str(error).split()), "mend what it is made of")]) from None
        self.resources[key] = resource
