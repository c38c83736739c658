"""Why a card was shown: its rules with what the articles say, where numbers come from and what may mislead.

It tells of rules alone and nothing of a patient, so it is served to whoever asks, as the leaflet is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape

from cds_service.cards.approvals import Approval
from cds_service.cards.printed import LANGUAGES, Page, laid_out
from cds_service.errors import Problem, RequestError
from cds_service.knowledge.knowledge import Knowledge, Rule
from cds_service.knowledge.schema import Source

_MOST_RULES = 40


def chosen_rules(served: Mapping[str, Rule], given: str) -> list[Rule]:
    """The rules that an address names, `low-potassium,diuretic`, of those `served`, by id.

    Raises RequestError (404) naming those that are not served, or telling that there are too many.
    """
    names = list(dict.fromkeys(name for name in given.split(",") if name))
    unknown = [name for name in names if name not in served]
    wrong = ""
    if len(names) > _MOST_RULES:
        wrong = f"{len(names)} named, and at most {_MOST_RULES} are told"
    elif unknown or not names:
        shown = ", ".join(repr(name[:60]) for name in unknown[:3]) or "none"
        wrong = f"{shown} named, and no such rule is served here"
    if wrong:
        raise RequestError(404, "unknown-rule", "not-found", [Problem("rules", wrong, "follow the link of a card")])
    return [served[name] for name in names]


def render(
    knowledge: Knowledge, rules: Sequence[Rule], jurisdiction: str, approvals: Mapping[tuple[str, str], Approval]
) -> Page:
    say = knowledge.wording
    body = "\n".join(part for rule in rules for part in _told(rule, knowledge, approvals.get((rule.id, rule.file.version))))
    return laid_out(
        knowledge.root,
        LANGUAGES[jurisdiction],
        say.why_this_card,
        f"<h1>{escape(say.why_this_card)}</h1>\n{body}",
        say.why_footer,
    )


def _told(rule: Rule, knowledge: Knowledge, approval: Approval | None) -> Iterator[str]:
    say, file = knowledge.wording, rule.file
    yield f"<h2>{escape(file.title)}</h2><p>{escape(file.why)}</p>"
    yield _listed(say.why_articles, (_statement(name, knowledge) for name in file.evidence))
    yield _listed(say.why_numbers, (_linked(knowledge.sources[name]) for name in file.sources))
    yield _listed(say.why_misleads, [escape(file.may_mislead_when)] if file.may_mislead_when else [])
    review = say.reviewed.format(name=f"{approval.name}, {approval.date}") if approval else say.draft
    yield f"<p>{escape(say.why_version.format(rule=rule.id, version=file.version, review=review))}</p>"


def _listed(title: str, items: Iterable[str]) -> str:
    rows = "".join(f"<li>{item}</li>" for item in items)
    return f"<h3>{escape(title)}</h3><ul>{rows}</ul>" if rows else ""


def _statement(name: str, knowledge: Knowledge) -> str:
    article = next(source for source in knowledge.articles if name.startswith(source.cites))
    return f"{escape(knowledge.evidence[name].says)} {_linked(article, f'{article.publisher}, {name}')}"


def _linked(source: Source, shown: str = "") -> str:
    text = escape(shown or ", ".join(filter(None, (source.title, source.publisher, source.edition))))
    return f'<a href="{escape(source.url)}">{text}</a>' if source.url.startswith("https://") else text
