"""The pages in a real browser: what people do with them, that nobody is shut out, and that nothing leaves or runs."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Dialog, Locator, Page, expect

from tests.conftest import ROOT
from tests.support.pages import PAYLOADS, addresses, hostile
from tests.support.sites import PATIENCE, chromium, running

PATHS = [
    "/",
    "/?q=quinine",
    "/rules?q=statin",
    "/try/ada-stifcalf",
    "/nowhere",
    "/try/ada-stiffcalf?date=1999-01-01",
    "/try/ada-stiffcalf?prefetch.electrolytes=failed",
    "/try/ada-stiffcalf",
    "/try/kali-overfull",
    "/try/nobody",
]
PATHS += [
    "/try/kali-overfull/why",
    "/try/bert-quietleg/why",
    "/try/milo-nounit",
    "/try/nell-noresults/why",
    "/try/ada-stiffcalf/what-if?measured=value&value=2.4&drug=quinine&condition=cancer",
    "/rules",
    "/rules/low-potassium",
    "/rules/electrolytes",
    "/codes/magnesium-supplement",
    "/statements",
    "/dashboard",
    "/dashboard?days=364",
    "/try/cora-allwell/history",
    "/leaflets/leg-cramps-us",
    "/leaflets/leg-cramps-uk",
]
expect.set_options(timeout=PATIENCE)
AXE = (ROOT / "tests/axe/axe.min.js").read_text()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The service on a port of its own, with its database."""
    database = tmp_path_factory.mktemp("pages") / "cds.sqlite"
    with pytest.MonkeyPatch.context() as patch, running(database) as address:
        patch.setattr("cds_service.pages.guard.PASTES", 1000)
        yield address, database


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


class Watched:
    """A page with everything that it asked for, complained of or popped up."""

    def __init__(self, page: Page) -> None:
        self.page = page
        page.set_default_timeout(PATIENCE)
        self.asked: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("console", lambda message: self.complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", self._pop_up)

    def _pop_up(self, dialog: Dialog) -> None:
        self.complaints.append("dialog")
        dialog.dismiss()


def opened(browser: Browser, site: str, **options: Any) -> Watched:
    return Watched(browser.new_page(base_url=site, **options))


@pytest.fixture
def watched(browser: Browser, site: tuple[str, Path]) -> Iterator[Watched]:
    found = opened(browser, site[0])
    yield found
    found.page.close()
    assert found.complaints == []
    assert all(url.startswith((site[0], "data:")) for url in found.asked)


def violations(page: Page, rules: tuple[str, ...] = ()) -> list[str]:
    """What axe-core finds: by all its rules, or by these."""
    page.evaluate(AXE)
    chosen = {"resultTypes": ["violations"]} | ({"runOnly": list(rules)} if rules else {})
    found = page.evaluate("(chosen) => axe.run(document, chosen)", chosen)["violations"]
    return [f"{item['id']}: {node['html'][:120]} {node['failureSummary']}" for item in found for node in item["nodes"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_shuts_anybody_out(browser: Browser, site: tuple[str, Path], scheme: Any) -> None:
    watched = opened(browser, site[0], color_scheme=scheme, reduced_motion="reduce")
    # Between light and dark only colours differ.
    rules = ("color-contrast", "link-in-text-block") if scheme == "dark" else ()
    for path in PATHS:
        watched.page.goto(path)
        watched.page.evaluate("document.querySelectorAll('details').forEach((item) => { item.open = true; })")
        assert violations(watched.page, rules) == [], path
    watched.page.goto("/")
    watched.page.fill("#text", "{")
    watched.page.click("text=Show the cards")
    assert violations(watched.page, rules) == []
    watched.page.close()


def test_every_page_fits_a_narrow_screen(browser: Browser, site: tuple[str, Path]) -> None:
    page = opened(browser, site[0], viewport={"width": 320, "height": 640}).page
    for path in PATHS:
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 320, path
    page.close()


def test_dark_is_dark_and_light_is_light(browser: Browser, site: tuple[str, Path]) -> None:
    shades = {}
    for scheme in ("light", "dark"):
        page = opened(browser, site[0], color_scheme=scheme).page
        page.goto("/")
        shades[scheme] = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        page.close()
    assert shades == {"light": "rgb(247, 246, 242)", "dark": "rgb(20, 25, 26)"}


def test_somebody_is_found_by_a_word_and_their_cards_are_read_by_keyboard_alone(watched: Watched) -> None:
    page = watched.page
    page.goto("/")
    page.focus("#search")
    page.keyboard.type("loop diuretic magnesium never")
    expect(page.locator(".cast li:visible")).to_have_count(1)
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Ada Stiffcalf")
    first = page.locator("article.card").first
    expect(first.locator(".badge")).to_contain_text("Warning")
    expect(first.locator("h3")).to_have_text("Potassium 3.1 mmol/L (12 Nov) may contribute to leg cramps")
    first.hover()
    expect(page.locator("li.lit").first).to_contain_text("3.1 mmol/L")


def test_a_broken_paste_is_told_by_its_place_and_mended(watched: Watched) -> None:
    page = watched.page
    text = (ROOT / "fixtures/patients/ada-stiffcalf.json").read_text()
    page.goto("/")
    page.fill("#text", text.rstrip()[:-1])
    page.click("text=Show the cards")
    expect(page.get_by_role("alert")).to_contain_text("line ")
    watched.complaints.clear()  # a browser notes the status 400 of the page
    page.fill("#text", text)
    page.fill("#paste-date", "2026-11-20")
    page.click("text=Show the cards")
    expect(page.locator("article.card")).to_have_count(5)
    assert "stiffcalf" not in page.url.lower()
    assert page.url.endswith("/try")


def test_a_card_that_is_overridden_is_kept_as_feedback(watched: Watched, site: tuple[str, Path]) -> None:
    page = watched.page
    page.goto("/try/ada-stiffcalf")
    card = page.locator("article.card").first
    card.get_by_text("Override", exact=True).click()
    card.get_by_label("Does not apply to this patient").check()
    card.get_by_role("button", name="Override this card").click()
    expect(card.get_by_role("status")).to_have_text("Thank you, noted.")
    uuid = card.get_attribute("data-uuid")
    assert kept(site[1], f"select outcome from feedback where card = '{uuid}'") == [("overridden",)]
    assert len(kept(site[1], f"select 1 from shown_cards where card = '{uuid}'", 1)) == 1


def test_a_card_that_is_overridden_is_seen_on_the_dashboard(watched: Watched) -> None:
    page = watched.page
    page.goto("/try/hedda-ninecauses")
    card = page.locator("article.card.warning").first
    card.get_by_text("Override", exact=True).click()
    card.get_by_label("Already done").check()
    card.get_by_role("button", name="Override this card").click()
    expect(card.get_by_role("status").last).to_have_text("Thank you, noted.")
    page.get_by_role("link", name="Dashboard").click()
    reasons = page.locator("section", has=page.get_by_role("heading", name="Why cards are overridden"))
    # Both the card and the feedback are there within a moment.
    for _ in range(PATIENCE // 1000):
        if reasons.get_by_text("Already done").count():
            break
        page.wait_for_timeout(1000)
        page.reload()
    expect(reasons.get_by_text("Already done")).to_be_visible()
    low = page.get_by_role("row").filter(has=page.get_by_role("link", name="eGFR below 60"))
    expect(low.first).to_contain_text("Already done 1")
    low.first.get_by_role("link").click()
    expect(page.locator("section", has=page.locator("#here"))).to_contain_text("overridden 1")


def test_a_reason_without_end_stays_in_its_column(browser: Browser, site: tuple[str, Path]) -> None:
    page = opened(browser, site[0], viewport={"width": 320, "height": 640}).page
    page.goto("/try/hedda-ninecauses")
    page.evaluate(
        """async () => {
          const card = document.querySelector("article.card.warning");
          const reason = { code: "x".repeat(190), system: "https://ehr.example/reasons" };
          const item = { card: card.dataset.uuid, outcome: "overridden", outcomeTimestamp: new Date().toISOString() };
          const body = JSON.stringify({ feedback: [{ ...item, overrideReason: { reason } }] });
          await fetch(card.dataset.feedback, { method: "POST", headers: { "Content-Type": "application/json" }, body });
        }"""
    )
    page.goto("/dashboard?days=90")
    for _ in range(PATIENCE // 1000):
        if page.get_by_text("xxxxxxxx").count():
            break
        page.wait_for_timeout(1000)
        page.reload()
    assert page.get_by_text("xxxxxxxx").count()
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    page.close()


def test_a_suggestion_that_is_taken_is_kept_as_accepted(watched: Watched, site: tuple[str, Path]) -> None:
    page = watched.page
    page.goto("/try/ada-stiffcalf")
    card = page.locator("article.card").filter(has_text="not tested recently")
    card.get_by_role("button", name="Order magnesium").click()
    expect(card.get_by_role("status").first).to_have_text("Thank you, noted as accepted; nothing is ordered here.")
    # Pressed again, or twice in haste, it counts once.
    card.get_by_role("button", name="Order magnesium").dispatch_event("click")
    uuid = card.get_attribute("data-uuid")
    suggestion = card.locator("[data-accept]").filter(has_text="Order magnesium").get_attribute("data-accept")
    rows = kept(site[1], f"select outcome, accepted from feedback where card = '{uuid}'")
    assert [(outcome, json.loads(accepted)) for outcome, accepted in rows] == [("accepted", [suggestion])]


def kept(database: Path, query: str, least: int = 0) -> list[Any]:
    """What the database says, once it says at least so much: cards are written a moment after they are shown."""
    for _ in range(600):
        connection = sqlite3.connect(database)
        rows = connection.execute(query).fetchall()
        connection.close()
        if len(rows) >= least:
            break
        time.sleep(0.1)
    return rows


def test_nothing_of_a_hostile_record_runs(watched: Watched) -> None:
    page = watched.page
    page.goto("/")
    page.fill("#text", json.dumps(hostile()))
    page.fill("#paste-date", "2026-11-20")
    page.click("text=Show the cards")
    expect(page.locator("#wire-title")).to_be_visible()
    page.evaluate("document.querySelectorAll('details').forEach((item) => { item.open = true; })")
    page.mouse.wheel(0, 5000)
    assert page.evaluate("window.hit") is None
    assert page.locator("article.card").count() > 0


def test_nothing_of_an_address_runs(watched: Watched) -> None:
    for path in addresses(" ".join(PAYLOADS)):
        watched.page.goto(path)
        assert watched.page.evaluate("window.hit") is None, path
    # A browser notes the status of a page that refuses.
    watched.complaints = [told for told in watched.complaints if "status of 4" not in told]


def test_no_payload_of_a_record_runs_whether_it_is_read_or_refused(watched: Watched) -> None:
    page = watched.page
    for text in (*(json.dumps(hostile(payload)) for payload in PAYLOADS), " ".join(PAYLOADS)):
        page.goto("/")
        page.fill("#text", text)
        page.click("text=Show the cards")
        expect(page.locator("#again-title, [role=alert]")).to_be_visible()
        page.evaluate("document.querySelectorAll('details').forEach((item) => { item.open = true; })")
        assert page.evaluate("window.hit") is None, text
    watched.complaints = [told for told in watched.complaints if "status of 400" not in told]


DROP = """(name) => {
    const dropped = new DataTransfer();
    dropped.items.add(new File([JSON.stringify({called: name})], name, {type: "application/json"}));
    const event = new DragEvent("drop", {dataTransfer: dropped, bubbles: true, cancelable: true});
    document.querySelector("#text").dispatchEvent(event);
}"""


def test_a_file_is_read_where_it_is_dropped_whatever_it_is_called(watched: Watched) -> None:
    page = watched.page
    page.goto("/")
    before = page.evaluate("document.documentElement.outerHTML")
    for payload in PAYLOADS:
        page.evaluate(DROP, payload)
        expect(page.locator("#text")).to_have_value(json.dumps({"called": payload}, ensure_ascii=False, separators=(",", ":")))
    assert page.evaluate("window.hit") is None
    assert page.evaluate("document.documentElement.outerHTML") == before


def test_the_leaflet_is_one_step_from_its_card_and_prints_on_two_pages(watched: Watched) -> None:
    page = watched.page
    page.goto("/try/ada-stiffcalf")
    page.get_by_role("link", name="Leaflet for the patient, to read or print").click()
    expect(page.locator("h1")).to_have_text("Leg cramps: what you can do")
    sections = page.locator("h2").count()
    page.emulate_media(media="print")
    for heading in page.locator("h2, h3").all():
        assert heading.is_visible()
    assert page.locator("h2").count() == sections > 3
    for place in ("us", "uk"):
        page.goto(f"/leaflets/leg-cramps-{place}")
        assert [sheets(page, paper) for paper in ("A4", "Letter")] == [2, 2]


def test_the_cards_of_a_person_print_on_few_sheets(watched: Watched) -> None:
    watched.page.goto("/try/ada-stiffcalf")
    assert sheets(watched.page) <= 4


def sheets(page: Page, paper: str = "A4") -> int:
    return page.pdf(format=paper).count(b"/Type /Page\n")


FOCUSABLE = "a[href], button, input, select, textarea, summary, [tabindex='0']"
# Of radio buttons of one name one is reached; the others by arrows. What can be scrolled may be reached as well.
REACHED_BY_TAB = """(selector) => new Set([...document.querySelectorAll(selector)]
    .filter((item) => item.checkVisibility({visibilityProperty: true}) && !item.disabled && item.type !== "hidden")
    .map((item) => item.type === "radio" ? item.name : item)).size"""
FOCUSED = """(selector) => {
    const item = document.activeElement;
    window.reached ??= new Set();
    if (!item || item === document.body) return "none";
    const name = item.type === "radio" ? item.name : item;
    // Day, month and year of a date are stops of one field.
    if (item === window.last) return "";
    window.last = item;
    if (window.reached.has(name)) return "again";
    if (item.matches(selector)) window.reached.add(name);
    const style = getComputedStyle(item);
    return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2 ? "" : item.outerHTML.slice(0, 100);
}"""


@pytest.mark.parametrize("path", PATHS)
def test_everything_is_reached_by_tab_and_shows_it_and_nothing_holds_on(
    browser: Browser, site: tuple[str, Path], path: str
) -> None:
    page = opened(browser, site[0]).page
    page.goto(path)
    expected = page.evaluate(REACHED_BY_TAB, FOCUSABLE)
    for _ in range(3 * expected + 50):
        page.keyboard.press("Tab")
        told = page.evaluate(FOCUSED, FOCUSABLE)
        if told in ("none", "again"):
            break
        assert told == "", told
    assert page.evaluate("window.reached?.size ?? 0") == expected
    page.close()


def test_nothing_moves_for_who_wants_no_motion(browser: Browser, site: tuple[str, Path]) -> None:
    moving = """() => [...document.querySelectorAll("*")].filter((item) => {
        const style = getComputedStyle(item);
        return parseFloat(style.transitionDuration) > 0 || parseFloat(style.animationDuration) > 0;
    }).length"""
    found = {}
    for motion in ("no-preference", "reduce"):
        page = opened(browser, site[0], reduced_motion=motion).page
        found[motion] = 0
        for path in PATHS:
            page.goto(path)
            found[motion] += page.evaluate(moving)
        page.close()
    assert found["no-preference"] > 0
    assert found["reduce"] == 0


def tabs(page: Page) -> Locator:
    return page.get_by_role("navigation", name="About this record")


def test_the_tabs_lead_around_a_person_and_say_where_one_is(watched: Watched) -> None:
    page = watched.page
    page.goto("/try/ada-stiffcalf?jurisdiction=uk&date=2026-12-01")
    for name, path in (("Why", "/why"), ("What if", "/what-if"), ("Cramp history", "/history"), ("Cards", "")):
        # On the form the tabs are its buttons, so that no answer is lost.
        tabs(page).get_by_text(name, exact=True).click()
        expect(tabs(page).locator("[aria-current=page]")).to_have_text(name)
        expect(page.locator("h1")).to_have_text("Ada Stiffcalf")
        assert f"/try/ada-stiffcalf{path}?" in page.url
        assert "jurisdiction=uk" in page.url
        assert "date=2026-12-01" in page.url


def test_answers_stay_when_something_else_is_changed_and_from_tab_to_tab(watched: Watched) -> None:
    page = watched.page
    page.goto("/try/cora-allwell/history")
    page.get_by_role("group", name="Does your heart race").get_by_label("Yes").check()
    tabs(page).get_by_role("button", name="Cards").click()
    expect(page.locator("article.card.critical")).to_have_count(1)
    page.get_by_label("Jurisdiction").select_option("uk")
    page.get_by_role("button", name="Ask again").click()
    expect(page.get_by_label("Jurisdiction")).to_have_value("uk")
    expect(page.locator("article.card.critical")).to_have_count(1)
    tabs(page).get_by_role("button", name="Why").click()
    expect(page.locator("section.card.critical")).to_have_count(1)
    expect(page.get_by_label("Jurisdiction")).to_have_value("uk")
    tabs(page).get_by_role("button", name="Cramp history").click()
    expect(page.get_by_role("group", name="Does your heart race").get_by_label("Yes")).to_be_checked()
    assert "palpitations" not in page.url
    assert violations(page) == []


def test_the_tabs_of_a_pasted_record_keep_it(browser: Browser, site: tuple[str, Path]) -> None:
    page = opened(browser, site[0], java_script_enabled=False).page
    page.goto("/")
    page.fill("#text", (ROOT / "fixtures/patients/ada-stiffcalf.json").read_text())
    page.fill("#paste-date", "2026-11-20")
    page.click("text=Show the cards")
    expect(tabs(page).get_by_role("button")).to_have_text(["Cards", "Why"])
    tabs(page).get_by_role("button", name="Why").click()
    expect(tabs(page).locator("[aria-current=page]")).to_have_text("Why")
    expect(page.locator("section.card h2").first).to_contain_text("Potassium 3.1 mmol/L")
    tabs(page).get_by_role("button", name="Cards").click()
    expect(page.locator("article.card")).to_have_count(5)
    assert page.url.endswith("/try")
    page.close()


def test_every_choice_stands_beside_its_label(browser: Browser, site: tuple[str, Path]) -> None:
    middles = """() => [...document.querySelectorAll("label.choice")].filter((item) => item.checkVisibility()).map((label) => {
        const input = label.querySelector("input").getBoundingClientRect();
        const text = document.createRange();
        text.selectNodeContents(label);
        const line = [...text.getClientRects()].filter((box) => box.width > 20)[0] ?? label.getBoundingClientRect();
        return Math.abs((input.top + input.bottom) / 2 - (line.top + Math.min(line.height, 24) / 2));
    })"""
    for width in (320, 1280):
        page = opened(browser, site[0], viewport={"width": width, "height": 800}).page
        for path in ("/try/ada-stiffcalf", "/try/cora-allwell/history", "/try/ada-stiffcalf/what-if"):
            page.goto(path)
            page.evaluate("document.querySelectorAll('details').forEach((item) => { item.open = true; })")
            found = page.evaluate(middles)
            assert found
            assert max(found) < 6, (path, width)
        page.close()


def test_a_reason_is_read_from_the_card_to_the_rule_to_the_statement(watched: Watched) -> None:
    page = watched.page
    page.goto("/try/ada-stiffcalf")
    tabs(page).get_by_role("link", name="Why").click()
    page.get_by_role("link", name=re.compile(r"^low-potassium \d")).click()
    expect(page.locator("h1")).to_have_text("Potassium below range")
    page.get_by_role("link", name="US-06").click()
    expect(page.locator("tr:target")).to_contain_text("Low potassium is a cause")


def test_the_form_is_answered_and_the_cards_count_it(watched: Watched) -> None:
    page = watched.page
    page.goto("/try/cora-allwell")
    tabs(page).get_by_role("link", name="Cramp history").click()
    page.get_by_role("group", name="Does your heart race").get_by_label("Yes").check()
    page.get_by_role("button", name="Show the cards with these answers").click()
    expect(page.locator("article.card.critical")).to_have_count(1)


def test_what_if_a_result_is_slid_across_a_boundary_by_keyboard(watched: Watched) -> None:
    page = watched.page
    page.goto("/try/ada-stiffcalf")
    tabs(page).get_by_role("link", name="What if").click()
    expect(page.get_by_role("status").first).to_have_text("As on record: nothing changes.")
    page.focus("#value")
    for _ in range(6):
        page.keyboard.press("ArrowLeft")
    expect(page.locator("#slid")).to_have_text("2.5")
    expect(page.locator("article.card.critical h3")).to_contain_text("potassium 2.5 mmol/L")
    expect(page.locator("tr.here")).to_contain_text("Potassium at a dangerous level")
    expect(page.locator("#value")).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(page.locator("article.card.critical")).to_have_count(0)
    expect(page.locator("tr.here th")).to_contain_text("2.6 to 3.4")


def test_what_if_a_condition_is_unticked_and_a_drug_is_added_on_a_day(watched: Watched) -> None:
    page = watched.page
    page.goto("/try/ada-stiffcalf/what-if")
    page.get_by_role("checkbox", name="Hypothyroidism").uncheck()
    expect(page.locator(".gone")).to_contain_text("Hypothyroidism")
    page.focus("#add-drug")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert page.locator("#add-drug").input_value() != ""
    page.select_option("#add-drug", "quinine")
    page.get_by_role("button", name="Add a drug").click()
    expect(page.locator("article.card").get_by_text("boxed warning in its US label").first).to_be_visible()
    page.fill("#since-quinine", "2026-11-02")
    expect(page.locator("article.card").get_by_text("Quinine (since 2 Nov)").first).to_be_visible()
    page.select_option("#add-condition", "peripheral-artery-disease")
    page.get_by_role("button", name="Add a condition").click()
    expect(page.locator("article.card").get_by_text("Peripheral artery disease of the leg").first).to_be_visible()
    expect(page.locator("#add-drug")).to_have_value("")
    shared = page.url
    summaries = page.locator("article.card h3").all_inner_texts()
    page.goto("/")
    page.goto(shared)
    assert page.locator("article.card h3").all_inner_texts() == summaries
    page.get_by_role("checkbox", name="Quinine").uncheck()
    expect(page.locator("article.card").get_by_text("boxed warning in its US label").first).to_have_count(0)


def test_what_if_another_result_is_chosen(watched: Watched) -> None:
    page = watched.page
    page.goto("/try/ada-stiffcalf/what-if?measured=value&value=2.4")
    page.select_option("#analyte", "sodium")
    expect(page.locator("#value")).to_have_attribute("max", "170")
    expect(page.locator("#slid")).to_have_text("139")
    expect(page.get_by_role("status").first).to_have_text("As on record: nothing changes.")


def test_what_if_the_service_fails_what_was_shown_stays_and_that_is_said(watched: Watched) -> None:
    page = watched.page
    page.goto("/try/ada-stiffcalf/what-if?drug=quinine")
    page.route("**/what-if?*", lambda route: route.fulfill(status=500, body="<p>broken</p>", content_type="text/html"))
    page.get_by_label("never measured").check()
    expect(page.get_by_role("status").first).to_contain_text("The service answered 500")
    page.unroute("**/what-if?*")
    page.route("**/what-if?*", lambda route: route.abort())
    page.get_by_label("as on record").check()
    expect(page.get_by_role("status").first).to_contain_text("cannot be reached")
    page.unroute("**/what-if?*")
    page.locator("#since-quinine").evaluate("(field) => { field.type = 'text'; field.value = '2026-13-77'; }")
    page.get_by_label("never measured").check()
    expect(page.get_by_role("status").first).to_contain_text("'2026-13-77' is no date")
    expect(page.locator("article.card").first).to_be_visible()
    watched.complaints.clear()  # a browser notes what could not be had


def test_what_if_needs_no_script(browser: Browser, site: tuple[str, Path]) -> None:
    page = opened(browser, site[0], java_script_enabled=False).page
    page.goto("/try/ada-stiffcalf/what-if")
    page.get_by_label("never measured").check()
    page.get_by_role("button", name="Show").click()
    expect(page.locator(".gone")).to_contain_text("Potassium 3.1 mmol/L")
    page.close()


def test_what_is_printed_is_the_cards(watched: Watched) -> None:
    page = watched.page
    page.goto("/try/ada-stiffcalf")
    page.emulate_media(media="print")
    expect(page.locator("article.card").first).to_be_visible()
    for shown in page.locator("nav").all():
        expect(shown).to_be_hidden()
    expect(page.locator(".wire")).to_be_hidden()


def test_a_page_weighs_little(watched: Watched) -> None:
    weights: list[int] = []
    watched.page.on("response", lambda answer: weights.append(len(answer.body())))
    watched.page.goto("/try/kali-overfull", wait_until="networkidle")
    assert len(weights) >= 4
    assert sum(weights) < 150_000
