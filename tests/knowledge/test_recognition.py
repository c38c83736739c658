"""What an entry is about, by its words: something else, or not understood."""

import pytest

from cds_service.fhir.resources import CodeableConcept, Coding
from cds_service.knowledge.knowledge import Knowledge

LOINC = "http://loinc.org"


def concept(text: str | None = None, code: str | None = None, display: str | None = None) -> CodeableConcept:
    return CodeableConcept([Coding(LOINC, code, display)] if code else None, text)


@pytest.mark.parametrize(
    ("words", "understood"),
    [
        ("Ibuprofen 400 MG Oral Tablet", True),
        ("Vitamin D3 1000 IU", True),
        ("Compression stockings, one pair", True),
        ("Xyzzyforte 20", False),
        ("Patient's own medicine", False),
        ("", False),
    ],
)
def test_a_drug_is_something_else_only_where_a_list_names_it(knowledge: Knowledge, words: str, understood: bool) -> None:
    assert knowledge.recognition.is_another_drug(concept(words)) is understood


@pytest.mark.parametrize(
    ("words", "understood"),
    [
        ("Fracture of clavicle", True),
        ("Schlüsselbeinbruch", False),
        ("See note", False),
        ("unknown", False),
        ("X", False),
        ("", False),
    ],
)
def test_a_condition_is_something_else_only_where_its_words_are_read(
    knowledge: Knowledge, words: str, understood: bool
) -> None:
    assert knowledge.recognition.is_another_condition(concept(words)) is understood


def test_a_code_without_words_is_not_understood_whatever_was_asked_before(knowledge: Knowledge) -> None:
    recognition = knowledge.recognition
    assert recognition.is_another_result(concept(code="8867-4", display="Heart rate"))
    assert not recognition.is_another_result(concept(code="8867-4"))


def test_the_words_of_one_record_do_not_speak_for_the_code_of_another(knowledge: Knowledge) -> None:
    recognition = knowledge.recognition
    assert recognition.is_another_result(concept("Blood culture", code="K1"))
    assert not recognition.is_another_result(concept("Potassium", code="K1"))


@pytest.mark.parametrize(
    ("words", "analyte"),
    [
        ("Serum potassium", "potassium"),
        ("Ankle-brachial index", "abi"),
        ("Potassium haemolysis index", ""),
        ("Urine potassium", ""),
        ("Sodium and potassium", ""),
        ("Heart rate", ""),
    ],
)
def test_words_name_one_analyte_of_blood(knowledge: Knowledge, words: str, analyte: str) -> None:
    assert knowledge.recognition.analyte(words) == analyte
