"""Parts of the pages that replay writes: one self-contained HTML file, nothing that runs, nothing fetched."""

import html
from collections.abc import Iterable, Sequence

from streams.charts import STYLE
from streams.wire.policy_words import escaped

_STYLE = """
body { font:15px/1.45 system-ui,sans-serif; color:var(--ink); max-width:1200px; margin:0 auto; padding:16px; }
h1 { font-size:24px; margin:0 0 4px; } h2 { font-size:18px; margin:28px 0 6px; } p { margin:6px 0; }
.wide { overflow-x:auto; } table { border-collapse:collapse; font-size:13px; width:100%; }
th, td { text-align:left; padding:4px 10px 4px 0; border-bottom:1px solid var(--faint); vertical-align:top; }
td.n, th.n { text-align:right; } td { overflow-wrap:break-word; } .soft { color:#5b6673; }
td:first-child { min-width:9em; } td.s { white-space:nowrap; }
td:not(.n):last-child { min-width:14em; overflow-wrap:anywhere; }
.big { font-size:17px; padding:10px 14px; border-left:4px solid var(--c3); background:#f3f8f5; }
.warn { border-left-color:var(--c2); background:#fdf6ee; } figure { margin:8px 0; }
.small { display:none; } @media (max-width:640px) { .small { display:block; } .large { display:none; } }
@media (min-width:941px) and (max-width:1200px) { td { overflow-wrap:anywhere; }
td.s:not(:first-child) { white-space:normal; } td:not(.n,.s,:first-child,:last-child) { min-width:7em; }
td:not(.n):last-child { min-width:12em; } }
@media (max-width:940px) { thead { display:none; }
table, tbody { display:block; } tr { display:block; padding:7px 0; border-bottom:1px solid var(--faint); }
td, td.n, td.s { display:inline-block; border:0; padding:0 12px 0 0; text-align:left; }
td { overflow-wrap:anywhere; }
td:first-child { display:block; font-weight:600; padding:0 0 2px; }
td:not(.n):last-child { display:block; padding:2px 0 0; min-width:0; }
td:not(:first-child)::before { content:attr(data-of) " "; color:#5b6673; } }
@media print { .wide { overflow:visible; } }
"""


def page(title: str, parts: Iterable[str]) -> str:
    """The whole document."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}</title><style>{STYLE}{_STYLE}</style></head><body>\n"
        f"<h1>{text(title)}</h1>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def text(said: object, longest: int = 300) -> str:
    """A text as HTML: bounded, escaped, control characters written out."""
    return html.escape(escaped(str(said)[:longest]))


def paragraph(said: str, *, kind: str = "") -> str:
    """A paragraph; `kind` is a class of the style."""
    return f'<p class="{kind}">{text(said, 1000)}</p>' if kind else f"<p>{text(said, 1000)}</p>"


def heading(said: str) -> str:
    """A heading within the page."""
    return f"<h2>{text(said)}</h2>"


def table(names: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table, numbers to the right; on a narrow screen each row is a block of named values."""
    lines = list(rows)
    numeric = [all(isinstance(row[n], int) for row in lines) and bool(lines) for n in range(len(names))]
    kinds = [' class="n"' if it else "" for it in numeric]
    head = "".join(f"<th{kind}>{text(name)}</th>" for name, kind in zip(names, kinds, strict=True))
    body = "".join(
        "<tr>"
        + "".join(
            f'<td{kind or _short(it)} data-of="{text(name)}">'
            f"{f'{it:,}' if isinstance(it, int) else text(it)}</td>\n"
            for it, kind, name in zip(row, kinds, names, strict=True)
        )
        + "</tr>"
        for row in lines
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _short(said: object) -> str:
    """A short text, such as an address or a moment, is not broken."""
    return ' class="s"' if len(str(said)) <= 16 else ""
