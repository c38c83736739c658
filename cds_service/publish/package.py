"""The package as files: `package/` as FHIR packages have it, and `rules.json` beside it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from cds_service import __version__
from cds_service.cdshooks.response import encode
from cds_service.errors import Problem, SettingsError
from cds_service.knowledge.knowledge import Knowledge
from cds_service.publish.artifacts import ArtifactShelf
from cds_service.publish.definitions import add_orders, add_rules, add_value_sets

MANIFEST = "package/package.json"
RULES = "rules.json"


def write_package(knowledge: Knowledge, folder: Path) -> int:
    """Write all files anew and return how many resources there are. Raises SettingsError if the folder holds anything else."""
    files = package_of(knowledge)
    _demand_own(folder, files[MANIFEST]["canonical"])
    shutil.rmtree(folder / "package", ignore_errors=True)
    (folder / "package").mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(msgspec.json.format(encode(content), indent=2) + b"\n")
    return len(files) - 2


def package_of(knowledge: Knowledge) -> Mapping[str, Any]:
    """Every file by its path; the same knowledge gives the same. `rules.json` is for engines, where all facts are known."""
    shelf = ArtifactShelf(knowledge)
    shelf.put(dict(knowledge.questionnaire))
    for add in (add_value_sets, add_orders, add_rules):
        add(shelf, knowledge)
    manifest = {
        "name": ".".join(reversed(str(urlsplit(shelf.base).hostname).split("."))),
        "version": f"{__version__}-{knowledge.fingerprint}",
        "canonical": shelf.base,
        "description": next(iter(knowledge.services.values())).description,
        "author": ", ".join(sorted({rule.file.authored_by for rule in knowledge.rules})),
        "license": "Apache-2.0",
        "fhirVersions": ["4.0.1"],
        "dependencies": {"hl7.fhir.r4.core": "4.0.1"},
    }
    rules = {rule.id: {"applies_when": rule.file.applies_when, "fires_when": rule.file.fires_when} for rule in knowledge.rules}
    files = {f"package/{key.replace('/', '-')}.json": resource for key, resource in sorted(shelf.resources.items())}
    return {MANIFEST: manifest, RULES: rules, **files}


def _demand_own(folder: Path, canonical: str) -> None:
    """Whoever names a folder by mistake loses nothing: each file there but `rules.json` has to tell that it is ours."""
    found = sorted(folder.rglob("*"))
    ours = {path for path in found if path.is_file() and f'": "{canonical}' in path.read_text(errors="replace")}
    known = ours and {*ours, folder / "package", folder / RULES}
    for path in (path for path in found if path not in known):
        text = f"holds {path.relative_to(folder)}, which is of no package of ours"
        raise SettingsError([Problem(str(folder), text, "name an empty folder, or a new one")])
