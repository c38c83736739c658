"""The pages of a service made for a test, and what an attacker would put into them."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.testclient import TestClient

from cds_service.app import build_app
from cds_service.pages.library import FILTERS
from cds_service.service import DecisionService
from cds_service.settings import Settings
from tests.support.people import bundle, concept, condition, medication, observation, patient

PAYLOADS = [
    "<script>window.hit=1</script>",
    "<img src=x onerror=window.hit=1>",
    '"><svg onload=window.hit=1>',
    "'-window.hit=1-'",
    "{{ 7*7 }}",
    "</textarea></pre><script>window.hit=1</script>",
    "[x](javascript:window.hit=1)",
    "![x](https://elsewhere.example/x.png)",
    "<svg/onload=window.hit=1>",
    "<svg><animate onbegin=window.hit=1 attributeName=x dur=1s></svg>",
    "<details open ontoggle=window.hit=1>",
    "<input autofocus onfocus=window.hit=1>",
    "<iframe srcdoc='<script>top.window.hit=1</script>'></iframe>",
    "<object data='data:text/html,<script>top.window.hit=1</script>'></object>",
    "<base href='https://elsewhere.example/'>",
    "<meta http-equiv=refresh content='0;url=javascript:window.hit=1'>",
    "<link rel=stylesheet href=https://elsewhere.example/x.css>",
    "<style>@import 'https://elsewhere.example/x.css';</style>",
    "<math><mtext></mtext><mglyph><style></math><img src=x onerror=window.hit=1>",
    "<noscript><p title='</noscript><img src=x onerror=window.hit=1>'>",
    "</title></head><body onload=window.hit=1>",
    "</script><script>window.hit=1</script>",
    "--><script>window.hit=1</script><!--",
    "]]><script>window.hit=1</script>",
    "<scr<script>ipt>window.hit=1</scr</script>ipt>",
    "<ScRiPt\n>window.hit=1</ScRiPt\t>",
    "<script\x0c>window.hit=1</script>",
    '" autofocus onfocus="window.hit=1',
    "' autofocus onfocus='window.hit=1",
    "` onmouseover=`window.hit=1",
    '" style="background:url(https://elsewhere.example/x.png)',
    "&lt;script&gt;window.hit=1&lt;/script&gt;",
    "&#60;img src=x onerror=window.hit=1&#62;",
    "\uff1cscript\uff1ewindow.hit=1\uff1c/script\uff1e",
    "\u202e<script>window.hit=1</script>\u202c",
    "<\u200bscript>window.hit=1</script>",
    "<i\u0307mg src=x onerror=window.hit=1>",
    "[x](JaVaScRiPt&colon;window.hit=1)",
    "[x](java\tscript:window.hit=1)",
    "[x](data:text/html;base64,PHNjcmlwdD53aW5kb3cuaGl0PTE8L3NjcmlwdD4=)",
    "[x](vbscript:window.hit=1)",
    "<javascript:window.hit=1>",
    '[x](https://a.example/"onmouseover="window.hit=1)',
    "[x][y]\n\n[y]: javascript:window.hit=1",
    "${window.hit=1}",
    "{% if 1 %}{{ self.__init__.__globals__ }}{% endif %}",
    "{{ constructor.constructor('window.hit=1')() }}",
]


def make(decision_service: DecisionService, tmp_path: Path, address: str = "127.0.0.1", **settings: Any) -> TestClient:
    chosen = Settings(**({"database_url": f"sqlite+aiosqlite:///{tmp_path}/cds.sqlite"} | settings))
    app = build_app(chosen, decision_service)
    return TestClient(app, base_url="http://127.0.0.1:8000", client=(address, 50000), raise_server_exceptions=False)


def hostile(said: str = " ".join(PAYLOADS)) -> dict[str, Any]:
    """A record that says what nobody says, in each place that is shown."""
    return bundle(
        patient(name=[{"text": said}]),
        condition(concept("449917004", "http://snomed.info/sct", said, said), id="c<b>1", onsetDateTime="2026-01-01"),
        condition(concept(text=said), id="c2"),
        medication(concept(text=f"bumetanide {said}"), status="active", note=[{"text": said}]),
        observation(3.1, said),
        observation(3.1, "mmol/L", id="o2", referenceRange=[{"low": {"value": 3.5, "unit": said}}]),
    )


def addresses(payload: str) -> list[str]:
    """Every place of an address that a page may read."""
    given = quote(payload, safe="")
    asked = [f"/try/ada-stiffcalf?{name}={given}" for name in ("jurisdiction", "hook", "draft", "date", "prefetch.orders")]
    asked += [f"/try/ada-stiffcalf/why?date={given}", f"/try/ada-stiffcalf/history?hook={given}"]
    asked += [f"/rules?{name}={given}" for name in FILTERS] + [
        f"/rules?q={given}",
        f"/?q={given}",
        f"/dashboard?days={given}",
        f"/dashboard.csv?days={given}",
    ]
    told = ("analyte", "value", "measured", "condition", "drug", "keep", "since-quinine")
    asked += [f"/try/ada-stiffcalf/what-if?asked=1&{name}={given}" for name in told]
    asked += [f"{folder}/{given}" for folder in ("", "/try", "/rules", "/codes", "/pages")]
    return [*asked, f"/try/{given}/why"]
