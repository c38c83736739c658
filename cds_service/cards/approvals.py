"""A site's own clinical sign-off: `approvals.json`, a list of rule, version, name and date."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from cds_service.errors import Problem, SettingsError


@dataclass(frozen=True, slots=True)
class Approval:
    """A site's own clinical sign-off of one version of a rule."""

    rule: str
    version: str
    name: str
    date: str


def read_approvals(path: Path | None) -> Mapping[tuple[str, str], Approval]:
    """Approvals by rule and version. Raises SettingsError if the file cannot be read or has another shape."""
    if path is None:
        return {}
    try:
        items = msgspec.json.decode(path.read_bytes(), type=list[Approval])
    except OSError as error:
        raise SettingsError([Problem("CDS_APPROVALS", f"{path} cannot be read: {error.strerror}", "mend the path")]) from None
    except msgspec.DecodeError as error:
        remedy = 'write [{"rule": …, "version": …, "name": …, "date": …}]'
        raise SettingsError([Problem("CDS_APPROVALS", f"{path}: {error}", remedy)]) from None
    return {(item.rule, item.version): item for item in items}
