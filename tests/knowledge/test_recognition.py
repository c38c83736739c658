"""What an entry is about, by its words: something else, or not understood."""

from collections.abc import Iterator

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
        # As medicine lists of the United States and England write them.
        ("omeprazole (PRILOSEC) 20 MG capsule", True),
        ("oxyCODONE-acetaminophen (PERCOCET) 5-325 mg per tablet", True),
        ("Nitroglycerin 0.4 MG/ACTUAT [Nitrolingual]", True),
        ("Bisoprolol 2.5mg tablets (Accord-UK Ltd)", True),
        ("Losartan potassium 50 mg", True),
        ("Take 1 tablet of lisinopril by mouth every day", True),
        ("OneTouch Verio testing strips", True),
        ("Tylenol PM Pill", True),
        ("NDA020503 200 ACTUAT Albuterol 0.09 MG/ACTUAT Metered Dose Inhaler", True),
        ("betamethasone (betamethasone valerate) 0.05 % cutaneous cream", True),
        ("TEVA-NYSTATIN (nystatin 100000 unit per mL oral suspension) TEVA CANADA LIMITED", True),
        ("Product containing precisely metformin hydrochloride 500 milligram/1 each oral tablet (clinical drug)", True),
        ("Product containing menthol and methyl salicylate in cutaneous dose form (medicinal product form)", True),
        ("Aranesp (darbepoetin alfa in polysorbat)", True),
        ("Insulin (Humulin N)", True),
        ("Humalog Mix25 KwikPen", True),
        ("Dopamine 400mg in 500mL D5W", True),
        ("Omega-3", True),
        ("Zinc sulfate 220 mg", True),
        ("Abuse-Deterrent 12 HR Oxycodone 36 MG Extended Release Oral Capsule", True),
        ("benzocaine 200 MG/ML Medicated Pad", True),
        # A supplement is no acid of which a metal behind it would be the salt.
        ("Vitamin D3 magnesium", False),
        ("Zinc Magnesium Aspartate", False),
        ("Multivitamin potassium", False),
        ("Clinical trial medication", False),
        ("Some medication", False),
        ("Product containing only", False),
        ("NDA020503", False),
        # One name that is known does not speak for what stands beside it.
        ("Lisinopril/HCT", False),
        ("Ramipril comp 5/25", False),
        ("Hyoscine/quinin", False),
        ("Atorvastatine/ezetimibe", False),
        ("Amlodipine 5 MG [Atorvastatine]", False),
        ("aspirin and a water tablet", False),
        ("aspirin and magnesium", False),
        ("Study drug or placebo with aspirin", False),
        ("Home meds incl. aspirin, see chart", False),
        ("blister pad pack", False),
        ("Xyzzyforte and test strips", False),
        ("", False),
    ],
)
def test_a_drug_is_something_else_only_where_a_list_names_it(knowledge: Knowledge, words: str, understood: bool) -> None:
    assert knowledge.recognition.is_another_drug(concept(words)) is understood


@pytest.mark.parametrize(
    ("words", "understood"),
    [
        ("Fracture of clavicle", True),
        ("Alzheimer's disease", True),
        ("Chronic pain syndrome", True),
        ("Gastro-oesophageal reflux disease", True),
        ("Full-time employment (finding)", True),
        ("No known problems", True),
        ("No known problems | Cirrosis", False),
        ("No liver disease", True),
        ("Migraines", True),
        ("Bilateral cataracts (disorder)", True),
        ("Kidney stones", True),
        ("Hypotropia of left eye", True),
        ("LLL infiltrate", True),
        ("Deficiency of micronutrients (disorder)", True),
        ("HTN, goal below 140/90", True),
        ("Recurrent tension-type headache, worse with screen time", True),
        ("Partial fundoplication", True),
        ("Partial gastrectomy", True),
        # An operation on what a word of ours names, or in another language.
        ("Parathyroidectomy", False),
        ("Gastrektomie", False),
        ("Gastrectomia", False),
        # A plural of ours, or what is like one, is no other word.
        ("Neuropathys", False),
        ("Cirrhosises", False),
        ("Goal below 140/90", False),
        ("Worse than last week", False),
        ("Cost of medications", False),
        # Only words that say that there is something.
        ("No information about problems", False),
        ("Chronic problem", False),
        ("Long term condition", False),
        ("Other specified disorder", False),
        ("see problem list", False),
        ("as above", False),
        ("G2P1 at 20 weeks", False),
        # A known word beside one that is not read, or that is one of ours misspelt or parted.
        ("Niereninsuffizienz chronic", False),
        ("Hypothyreosis, chronic disease", False),
        ("Diabetes melitus type 2", False),
        ("Cirrosis of liver", False),
        ("Cirrosis of liver with ascites and varices", False),
        ("Under active thyroid", False),
        # Each of the names is read, as one of them may say more than the others.
        ("Leberzirrhose | Migraine of long standing", False),
        ("Migraine, Leberzirrhose | Migraine of long standing", False),
        # What may be ours though not in our words.
        ("Liver problem | Migraine", False),
        ("Parkinsons", False),
        ("Liver problem", False),
        ("CKD4", False),
        ("Schlüsselbeinbruch", False),
        ("Low K", False),
        ("High BP", True),
        ("Low mood", True),
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


@pytest.mark.parametrize(
    ("words", "understood"),
    [
        ("Serum ferritin", True),
        ("Chest X-ray", True),
        ("Urine albumin/creatinine ratio", True),
        ("Potassium, urine", True),
        ("Direct bilirubin", True),
        ("Glucose tolerance test 2 hours post 75g", True),
        ("Vitamin K", True),
        ("Urine electrolytes", True),
        ("Influenza virus B RNA [Presence] in Respiratory specimen by NAA with probe detection", True),
        ("Neutrophils.hypersegmented [#/volume] in Blood", True),
        ("C Ab [Presence] in Serum or Plasma", True),
        ("K Ab [Presence] in Serum or Plasma", True),
        ("CO2 SerPl-sCnc", True),
        ("EKG lead", True),
        ("Q-T interval {EKG lead}", True),
        ("Six minute walk test", True),
        ("Karnofsky Performance Status score", True),
        ("Transcutaneous Bilirubin", True),
        ("Hemoglobin saturation with oxygen", True),
        ("Inspiratory gas flow Respiratory system airway --on ventilator", True),
        ("Vaccine Funding Program Eligibility", True),
        ("No history of procedure (situation)", True),
        # A capital letter is the symbol of an analyte but before "Ab", and a short word is read as it is written only.
        ("K [Presence] in Serum or Plasma", False),
        ("Kalium ab morgen", False),
        ("ab", False),
        ("12 lead EKG", False),
        ("Bilirubin", False),
        ("MDC_VENT_FLOW", False),
        # The one word that says something is not read, is misspelt, or is a symbol.
        ("Serum Kalium", False),
        ("Kalium im Serum", False),
        ("Serum Pottasium", False),
        ("Potasium level", False),
        ("Creation kinase", False),
        ("Serum K", False),
        ("Venous K", False),
        ("Blood gas K", False),
        ("POT", False),
        ("Creat", False),
        ("Plt", False),
        ("Lead", False),
        ("Pacemaker lead impedance", True),
        ("Ankle pressure index", False),
        ("See report", False),
        # Groups of tests, of which ours may be one.
        ("Lytes serum", False),
        ("Laboratory result", False),
        ("Blood chemistry", False),
        ("Blood tests", False),
        ("Laboratory request", False),
        ("Renal function tests", False),
        ("Electrolytes, serum", False),
        ("Complete blood count", False),
        # An analyte of ours of which it is not certain that it is not that of blood, or two.
        ("Potassium (direct ISE)", False),
        ("Indirect potassium", False),
        ("Potassium, fluid-filled tube", False),
        ("Potassium post dialysis", False),
        ("Potassium and sodium", False),
        ("Potassium in serum and urine", False),
    ],
)
def test_a_result_or_an_order_is_something_else_only_where_it_cannot_be_ours(
    knowledge: Knowledge, words: str, understood: bool
) -> None:
    assert knowledge.recognition.is_another_result(concept(words)) is understood


SNOMED = "http://snomed.info/sct"
FOLATE = "Folate [Mass/volume] in Serum or Plasma"


@pytest.mark.parametrize(
    ("text", "system", "display", "understood"),
    [
        ("葉酸免疫分析", LOINC, FOLATE, True),
        ("Foliumzuur in bloed", LOINC, FOLATE, True),
        ("MDC_VENT_VOL_TIDAL", LOINC, "Tidal volume Ventilator --on ventilator", True),
        ("Tympanische temperatuur", LOINC, "Body temperature", True),
        # A text may name an analyte of ours, well or badly, in a symbol or in a group of tests.
        ("Creatinine in bloed", LOINC, FOLATE, False),
        ("Kreatinine in bloed", LOINC, FOLATE, False),
        ("K im Blut", LOINC, FOLATE, False),
        ("MDC_CONC_K", LOINC, FOLATE, False),
        ("Leverenzymen, liver enzymes", LOINC, FOLATE, False),
        # A display that is read by half, says nothing or names a group cannot speak.
        ("葉酸免疫分析", LOINC, "Foliumzuur in bloed", False),
        ("葉酸免疫分析", LOINC, "Folate, Foliumzuur", False),
        ("電解質", LOINC, "Laboratory studies (set)", False),
        ("電解質", LOINC, "Chemistry studies (set)", False),
        # Nor one of a system whose names may be wider than what a text orders.
        ("電解質", SNOMED, "Evaluation of body fluids", False),
        ("葉酸免疫分析", "https://ehr.example/own", FOLATE, False),
    ],
)
def test_a_loinc_name_that_is_wholly_read_speaks_for_the_names_beside_it(
    knowledge: Knowledge, text: str, system: str, display: str, understood: bool
) -> None:
    coded = CodeableConcept([Coding(system, "1-1", display)], text)
    assert knowledge.recognition.is_another_result(coded) is understood


@pytest.mark.parametrize("text", ["Wassertablette", "通舒錠", "Leberzirrhose und Migräne"])
def test_no_display_speaks_for_the_text_of_a_drug_or_of_a_condition(knowledge: Knowledge, text: str) -> None:
    """The text of a drug may be a combination of which its code names one part; that of a condition says more than its code."""
    assert not knowledge.recognition.is_another_drug(concept(text, "1-1", "Ramipril"))
    assert not knowledge.recognition.is_another_condition(concept(text, "1-1", "Migraine"))


def test_a_display_speaks_for_one_system_though_another_was_asked_first(knowledge: Knowledge) -> None:
    own, loinc = (CodeableConcept([Coding(system, "1-1", FOLATE)], "葉酸免疫分析") for system in ("urn:own", LOINC))
    answers = [knowledge.recognition.is_another_result(coded) for coded in (own, loinc, own)]
    assert answers == [False, True, False]


def slips(word: str) -> Iterator[str]:
    """A word with one letter left out, written twice, or changed with the next."""
    for at in range(len(word) - 1):
        yield word[:at] + word[at + 1 :]
        yield word[:at] + word[at] + word[at:]
        yield word[:at] + word[at + 1] + word[at] + word[at + 2 :]


@pytest.mark.parametrize("word", ["potassium", "magnesium", "creatinine", "haemoglobin"])
def test_an_analyte_misspelt_is_nothing_else(knowledge: Knowledge, word: str) -> None:
    assert knowledge.recognition.is_another_result(concept("Ferritin in blood, fasting morning"))
    ways = [way for way in slips(word) if way != word]
    assert [way for way in ways if knowledge.recognition.is_another_result(concept(f"{way} in blood, fasting morning"))] == []


@pytest.mark.parametrize("words", ["{} of long standing", "ascites, varices and {}"])
@pytest.mark.parametrize("word", ["cirrhosis", "hypothyroidism", "neuropathy", "rhabdomyolysis"])
def test_a_condition_misspelt_is_nothing_else(knowledge: Knowledge, word: str, words: str) -> None:
    assert knowledge.recognition.is_another_condition(concept(words.format("psoriasis")))
    ways = [way for way in slips(word) if way != word]
    assert [way for way in ways if knowledge.recognition.is_another_condition(concept(words.format(way)))] == []


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
        ("Potassium Lvl", "potassium"),
        ("Potassium, whole blood, point of care", "potassium"),
        ("Sodium and potassium", ""),
        ("Natrium/Potassium", ""),
        ("Sodium urinaire", ""),
        ("Heart rate", ""),
    ],
)
def test_words_name_one_analyte_of_blood(knowledge: Knowledge, words: str, analyte: str) -> None:
    assert knowledge.recognition.analyte(words) == analyte
