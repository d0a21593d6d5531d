"""The look of the page."""

from typing import Final

CSS: Final = """
:root {
  --ink: #1d2430; --soft: #5b6472; --line: #dfe3e8; --card: #ffffff; --page: #f5f6f8;
  --good: #1f8a5b; --warn: #b8651b; --calm: #3f6fa8;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e3e7ed; --soft: #9aa4b2; --line: #303844; --card: #1a2029; --page: #12161d;
    --good: #4cc38a; --warn: #e59a4d; --calm: #7fb0e6;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue",
    "DejaVu Sans", sans-serif;
}
main { max-width: 1020px; margin: 0 auto; padding: 2.2rem 1.2rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .2rem; letter-spacing: -.01em; }
h2 { font-size: 1.12rem; margin: 0 0 .55rem; }
p { margin: 0 0 .7rem; }
.soft { color: var(--soft); }
.verdict {
  margin: 1.1rem 0 1.4rem; padding: .8rem 1.1rem; background: var(--card);
  border: 1px solid var(--line); border-left: 5px solid var(--calm); border-radius: 8px;
}
.verdict strong { color: var(--calm); font-size: 1.08rem; }
.verdict.good { border-left-color: var(--good); }
.verdict.good strong { color: var(--good); }
.verdict.warn { border-left-color: var(--warn); }
.verdict.warn strong { color: var(--warn); }
.numbers {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(205px, 1fr));
  gap: .8rem; margin: 0 0 1.6rem; padding: 0;
}
.numbers div {
  background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: .75rem .95rem;
}
.numbers dt { color: var(--soft); font-size: .82rem; }
.numbers dd { margin: 0; font-size: 1.5rem; font-weight: 600; line-height: 1.3;
  font-variant-numeric: tabular-nums; }
.numbers dd small { display: block; font-size: .82rem; font-weight: 400;
  color: var(--soft); }
figure, section.table, details {
  margin: 0 0 1.3rem; padding: 1.05rem 1.2rem 1rem; background: var(--card);
  border: 1px solid var(--line); border-radius: 8px;
}
figcaption { color: var(--soft); font-size: .9rem; max-width: 76ch; margin-top: .5rem; }
svg.plot { display: block; max-width: 100%; height: auto; color: var(--ink); }
svg.plot text { font-family: inherit !important; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; min-width: 60%;
  font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .32rem .8rem .32rem 0; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 500; }
th.text, td.text { text-align: left; white-space: normal; }
summary { cursor: pointer; font-weight: 600; }
pre { overflow-x: auto; font-size: .84rem; line-height: 1.5; margin: .8rem 0 0; }
@media print {
  body { background: none; }
  figure, .numbers div { break-inside: avoid; }
}
"""
