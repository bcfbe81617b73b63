"""The page that a preview is on: no script, nothing loaded, one column on a narrow window, fit to print."""

import html
from collections.abc import Sequence
from typing import Final

from streams import charts

_STYLE: Final = """
* { box-sizing:border-box; }
body { margin:0; background:#f3f5f7; color:var(--ink); }
body { font:14px/1.4 system-ui,"Segoe UI",Roboto,sans-serif; }
main { max-width:1280px; margin:0 auto; padding:12px 24px 40px; }
h1 { font-size:22px; margin:8px 0 4px; }
h2 { font-size:18px; margin:28px 0 2px; padding-top:8px; }
h3 { font-size:13px; font-weight:600; margin:0 0 8px; }
a { color:#1f5f9c; }
nav { display:flex; flex-wrap:wrap; gap:4px 16px; }
.about { margin:0 0 10px; }
.about span { color:#5b6673; font-size:13px; overflow-wrap:anywhere; }
.panels { display:grid; grid-template-columns:repeat(24, minmax(0, 1fr)); gap:10px; }
.panel { grid-column:span var(--w); min-width:0; padding:10px 12px; }
.panel { background:#fff; border:1px solid var(--faint); border-radius:6px; }
.note, .nothing { color:#5b6673; font-size:12px; margin:6px 0 0; }
.stats { display:flex; flex-wrap:wrap; gap:8px 36px; }
.stats b { display:block; font-size:24px; font-weight:600; line-height:1.2; }
.stats b, .number, .when { font-variant-numeric:tabular-nums; }
.stats span { color:#5b6673; font-size:12px; }
.scroll { overflow-x:auto; }
table { border-collapse:collapse; width:100%; font-size:12px; }
th, td { text-align:left; vertical-align:top; padding:4px 12px 4px 0; }
th, td { border-bottom:1px solid var(--faint); }
td { overflow-wrap:anywhere; }
th { color:#5b6673; font-weight:600; white-space:nowrap; }
td.short { overflow-wrap:normal; }
td.number, td.when { white-space:nowrap; overflow-wrap:normal; }
tr:last-child td { border-bottom:0; }
.narrow { display:none; }
@media screen and (max-width: 900px) {
  main { padding:8px 12px 24px; }
  .panel { grid-column:1 / -1; }
  .wide { display:none; }
  .narrow { display:block; }
  .stats { gap:8px 24px; }
  .stats b { font-size:19px; }
  thead { display:none; }
  table, tbody, tr, td { display:block; }
  tr { padding:6px 0; border-bottom:1px solid var(--faint); }
  tr:last-child { border-bottom:0; }
  td { display:grid; grid-template-columns:96px minmax(0, 1fr); border:0; padding:1px 0; }
  td, td.short, td.number, td.when { white-space:normal; overflow-wrap:anywhere; }
  td::before { content:attr(data-name); color:#5b6673; overflow-wrap:anywhere; padding-right:8px; }
  td:empty { display:none; }
}
@media print {
  @page { size:A4; margin:12mm; }
  * { -webkit-print-color-adjust:exact; print-color-adjust:exact; }
  body { background:#fff; }
  main { padding:0 1px; max-width:none; }
  nav { display:none; }
  h2, h3, .about { break-after:avoid; }
  .panel, tr { break-inside:avoid; }
  .panels { grid-auto-flow:dense; }
  .panel-table { grid-column:1 / -1; }
  .panel-columns, .panel-bars { grid-column:span 12; }
  .wide { display:none; }
  .narrow { display:block; }
  table { font-size:11px; }
}
"""
_HEAD: Final = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Goaway: dashboards</title>'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    '<meta http-equiv="Content-Security-Policy" '
    "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
)


def page(sections: Sequence[tuple[str, str, str]]) -> str:
    """The page with these sections: (anchor, title, content as markup)."""
    links = "".join(f'<a href="#{anchor}">{html.escape(title)}</a>' for anchor, title, _ in sections)
    bodies = "".join(
        f'<h2 id="{anchor}">{html.escape(title)}</h2>{content}' for anchor, title, content in sections
    )
    return (
        f"{_HEAD}<style>{charts.STYLE}{_STYLE}</style></head><body><main>"
        f"<h1>Goaway: dashboards</h1><nav>{links}</nav>{bodies}</main></body></html>\n"
    )
