"""A whole page in one file: head, colors for light and dark, sections with a list of links to them.

Inputs: sections of HTML. Outputs: the page. Nothing is loaded from elsewhere, and a policy in the page forbids it. A
page that is watched has one script, which fetches the page anew and puts in what has changed.
"""

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from unrolled.report.html.elements import text

STYLE = """
:root{color-scheme:light dark;--bg:#fff;--text:#1b1f24;--dim:#57606a;--rule:#d0d7de;--soft:#f4f6f8;
--c1:#0b62c4;--c2:#b04f00;--c3:#1a7f37;--c4:#7a3fd0;--c5:#a8175d;--c6:#0f7183;--gray:#616a74}
@media (prefers-color-scheme:dark){:root{--bg:#0f1216;--text:#e6edf3;--dim:#9da7b3;--rule:#3a424c;--soft:#1a1f26;
--c1:#6cb0ff;--c2:#f0a35e;--c3:#5fd07f;--c4:#c4a1ff;--c5:#ff8fc0;--c6:#5cc9dc;--gray:#8b949e}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--text);font:16px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
header,main,nav,footer{max-width:1000px;margin:0 auto;padding:0 16px}
h1{font-size:1.6rem;line-height:1.25;margin:20px 0 4px}
h2{font-size:1.2rem;margin:36px 0 8px;padding-top:8px;border-top:1px solid var(--rule)}
h3{font-size:1rem;margin:20px 0 4px}
p{margin:6px 0;max-width:75ch}
.verdict{font-weight:600}.dim,footer{color:var(--dim)}.dim{font-size:.9rem}
a{color:var(--c1)}
a:focus-visible,summary:focus-visible,[tabindex]:focus-visible{outline:3px solid var(--c1);outline-offset:2px}
.skip{position:absolute;left:-999px}.skip:focus{left:8px;top:8px;background:var(--bg);padding:8px;z-index:1}
nav ul{display:flex;flex-wrap:wrap;gap:0 20px;list-style:none;margin:8px 0;padding:0}
nav a{display:inline-block;padding:8px 0}
.scroll{overflow-x:auto;margin:8px 0}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--dim);padding:4px 0}
th,td{overflow-wrap:normal;text-align:left;vertical-align:top}
th,td{padding:4px 14px 4px 0;border-bottom:1px solid var(--rule)}
th{font-weight:600}tbody th{font-weight:400}td.n,th.n{text-align:right}
.facts td{overflow-wrap:anywhere}.facts th{color:var(--dim);width:10em}
.counts th,.counts td{padding:4px 8px;border:1px solid var(--rule)}
.share{background:color-mix(in srgb,var(--c1) calc(var(--p)*.3),transparent)}
.bar{min-width:8em;
background:linear-gradient(to right,color-mix(in srgb,var(--t) 28%,transparent) var(--p),transparent 0)}
pre,code{font:13px/1.45 ui-monospace,monospace}
pre{background:var(--soft);padding:10px 12px;margin:8px 0;overflow-x:auto;border-radius:6px}
pre.wrap{white-space:pre-wrap}
figure{margin:12px 0}figcaption{font-weight:600;font-size:.95rem}
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,430px),1fr));gap:4px 28px}
svg{display:block;max-width:100%;height:auto}.scroll svg{max-width:none}
svg text{fill:var(--text);font:13px system-ui,sans-serif}svg .axis{fill:var(--dim)}
.legend{display:flex;flex-wrap:wrap;gap:0 16px;list-style:none;margin:2px 0;padding:0;font-size:.85rem}
.key{display:inline-block;width:20px;vertical-align:middle;margin-right:6px;border-top:3px solid}
.key.band{height:10px;border:0;opacity:.3}
mark{background:color-mix(in srgb,var(--t) 22%,transparent);color:inherit;border-radius:3px;padding:0 2px;
border-bottom:2px solid var(--t)}
mark small{font-size:.75em}
.examples{padding-left:1.2em}.examples li{margin:10px 0}
summary{cursor:pointer;padding:6px 0;color:var(--c1)}
footer{margin-top:48px;padding-bottom:32px;font-size:.85rem}
@media print{nav,.skip{display:none}details>*{display:block}}
"""

# long enough between two fetches for a phone, short enough for a person
_SCRIPT = """
const every = 3000, look = async () => {
  try {
    const got = await fetch("/", {cache: "no-cache"});
    const page = new DOMParser().parseFromString(await got.text(), "text/html");
    document.getElementById("state").textContent = "";
    if (page.body.dataset.version !== document.body.dataset.version) {
      const open = [...document.querySelectorAll("details")].map(each => each.open);
      document.body.dataset.version = page.body.dataset.version;
      for (const name of ["header", "nav", "main"])
        document.querySelector(name).replaceWith(page.querySelector(name));
      document.querySelectorAll("details").forEach((each, i) => { each.open = open[i] || false; });
    }
  } catch { document.getElementById("state").textContent = "The server does not answer. Is unrolled watch running?"; }
  setTimeout(look, every);
};
setTimeout(look, every);
"""


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
        title: its heading, as text.
        body: HTML, in which all texts are escaped.
    """

    title: str
    body: str


def document(title: str, lead: str, sections: Sequence[Section], *, foot: str = "", is_watched: bool = False) -> str:
    """A page.

    Args:
        title: as text.
        lead: HTML below the title.
        sections: those without a body are left out.
        foot: text below all.
        is_watched: whether the page fetches itself anew every few seconds.
    """
    shown = [each for each in sections if each.body]
    names = _names([each.title for each in shown])
    links = "".join(
        f'<li><a href="#{name}">{text(each.title)}</a></li>' for name, each in zip(names, shown, strict=True)
    )
    parts = "".join(
        f'<section id="{name}" aria-labelledby="{name}-title"><h2 id="{name}-title">{text(each.title)}</h2>'
        f"{each.body}</section>"
        for name, each in zip(names, shown, strict=True)
    )
    head = f"<header><h1>{text(title)}</h1>{lead}</header>"
    main = f'<nav aria-label="Sections"><ul>{links}</ul></nav><main id="main">{parts}</main>'
    version = hashlib.sha256((head + main).encode("utf-8", "replace")).hexdigest()[:16]
    script = f'<p id="state" role="status"></p><script>{_SCRIPT}</script>' if is_watched else ""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy(is_watched=is_watched)}">'
        f'<title>{text(title)}</title><link rel="icon" href="data:,"><style>{STYLE}</style></head>'
        f'<body data-version="{version}"><a class="skip" href="#main">To the content</a>{head}{main}'
        f"<footer>{text(foot)}{script}</footer></body></html>\n"
    )


def policy(*, is_watched: bool) -> str:
    """What the page may load: pictures within it; where it is watched, its one script, which may ask its server."""
    allowed = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    if not is_watched:
        return allowed
    digest = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
    return f"{allowed}; script-src 'sha256-{digest}'; connect-src 'self'"


def _names(titles: Sequence[str]) -> list[str]:
    """Names of sections for links, each once."""
    found: list[str] = []
    for title in titles:
        name = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "section"
        found.append(name if name not in found else f"{name}-{len(found)}")
    return found
