"""Which concepts the results of a chart are of, by their codes or, where no set has these, by their words and unit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cds_service.chart.chart import Chart
from cds_service.fhir.resources import CodeableConcept, Component, Observation
from cds_service.fhir.sections import measurement
from cds_service.knowledge.recognition import Lexicon, words_in
from cds_service.knowledge.terminology import Match
from cds_service.knowledge.units import Factors, Unusable, convert

ObservedPart = tuple[Observation, Observation | Component]
"""One measured value: an Observation, and what of it holds the value: itself, or one of its components."""


class Measured(NamedTuple):
    """Results by `lab:<analyte>`, and Observations by value set of their code; `unmatched` those of which no part is ours."""

    found: Mapping[str, Sequence[ObservedPart]]
    unmatched: Sequence[Observation]


def measured(chart: Chart, lexicon: Lexicon, factors: Mapping[str, Factors]) -> Measured:
    found: dict[str, list[ObservedPart]] = defaultdict(list)
    unmatched: list[Observation] = []
    matches_of = lexicon.terminology.matches
    for observation in chart.all(Observation):
        matches = matches_of(observation.code) or _named(observation.code, observation, lexicon, factors)
        for match in matches:
            found[match.concept].append((observation, observation))
        if observation.component:
            for part in chart.components_of(observation):
                for match in matches_of(part.code) or _named(part.code, part, lexicon, factors):
                    found[match.concept].append((observation, part))
        elif not matches:
            unmatched.append(observation)
    return Measured(found, unmatched)


def _named(
    code: CodeableConcept | None, part: Observation | Component, lexicon: Lexicon, factors: Mapping[str, Factors]
) -> Sequence[Match]:
    """What a result is of where no set has its code: by its words and a unit that leaves no doubt."""
    recognition = lexicon.recognition
    analyte = "" if recognition.is_another_result(code) else recognition.analyte(words_in(code))
    return (Match(f"lab:{analyte}", analyte),) if analyte and _has_unit_of(factors[analyte], part) else ()


def _has_unit_of(factors: Factors, part: Observation | Component) -> bool:
    said = measurement(part)
    quantity = said.value_quantity if said else None
    return quantity is not None and not isinstance(convert(quantity, factors), Unusable)
