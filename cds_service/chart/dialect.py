"""How one EHR speaks where FHIR leaves it open: what its site has declared of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import tzinfo

from cds_service.knowledge.recognition import Lexicon


@dataclass(frozen=True, slots=True)
class Dialect:
    """`lexicon`: what codes and words mean, those of its own included; None: ours alone.

    `null_is_empty`: its null says that nothing was found, as CDS Hooks 2.0 first had it. `statements_apart`: it keeps drugs in
    MedicationStatement that no MedicationRequest tells, so that a list is whole only with both. `zone`: where its days begin
    and end; None: nobody has said, so a day counts as it is written, and as begun once it has begun anywhere.
    """

    lexicon: Lexicon | None = None
    null_is_empty: bool = False
    statements_apart: bool = False
    zone: tzinfo | None = None


STANDARD = Dialect()
