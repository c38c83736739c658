"""Pages for people who judge the service in a browser: invented patients, their cards and why, the rules in plain words.

Imported only where `CDS_PAGES` asks for them; templates and the reader of Markdown only when a page is first asked for.
"""

from __future__ import annotations

from cds_service.pages.nowhere import pages_for_browsers
from cds_service.pages.routes import page_routes

__all__ = ["page_routes", "pages_for_browsers"]
