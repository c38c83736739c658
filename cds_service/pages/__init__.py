"""Pages for a browser: invented patients, pasted records, rules, the dashboard. Loaded only where `CDS_PAGES` asks for them."""
