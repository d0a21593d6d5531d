"""The look of the page."""

from typing import Final

# No text is smaller than 14 pixels; everything fits into 390 of them.
CSS: Final = """
:root {
  --ink: #1d2430; --soft: #525b69; --line: #dfe3e8; --card: #ffffff; --page: #f5f6f8;
  --good: #1c7d52; --warn: #a3560f; --calm: #3f6fa8;
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue",
    "DejaVu Sans", sans-serif;
  overflow-wrap: anywhere;
}
main { max-width: 1140px; margin: 0 auto; padding: 2rem 1.2rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .2rem; letter-spacing: -.01em; }
h2 { font-size: 1.3rem; margin: 0 0 .6rem; }
h3 { font-size: 1rem; margin: 0 0 .35rem; }
p { margin: 0 0 .7rem; }
a { color: var(--calm); }
.soft { color: var(--soft); font-size: .92rem; }
.chapter { margin: 0 0 2.2rem; }
.chapter > .soft { max-width: 86ch; margin: -.3rem 0 1.2rem; }
.findings { margin: 0 0 1rem; padding-left: 1.2rem; max-width: 86ch; }
.findings li { margin: 0 0 .3rem; }
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
  display: grid; grid-template-columns: repeat(auto-fit, minmax(155px, 1fr));
  gap: .6rem; margin: 0 0 1.8rem; padding: 0;
}
.numbers div {
  background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: .6rem .8rem;
}
.numbers dt { color: var(--soft); font-size: .9rem; }
.numbers dd { margin: 0; font-size: 1.35rem; font-weight: 600; line-height: 1.3;
  font-variant-numeric: tabular-nums; }
.numbers dd small { display: block; font-size: .9rem; font-weight: 400;
  color: var(--soft); }
.gallery {
  display: grid; gap: .8rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 330px), 1fr));
  margin: 0 0 1rem; align-items: start;
}
.gallery figure { margin: 0; min-width: 0; padding: .7rem .6rem .5rem; }
.gallery figure.whole { grid-column: 1 / -1; }
.gallery svg.plot { width: 100%; max-width: 480px; margin: 0 auto; }
.gallery .wide { display: none; }
@media (min-width: 1060px) {
  .gallery .wide { display: block; }
  .gallery .wide svg.plot { max-width: none; }
  .gallery .narrow { display: none; }
}
figure, section.table, details {
  margin: 0 0 1.2rem; padding: 1rem 1.1rem; background: var(--card);
  border: 1px solid var(--line); border-radius: 8px;
}
figcaption { color: var(--soft); font-size: .92rem; max-width: 76ch;
  margin-top: .5rem; }
svg.plot { display: block; max-width: 100%; height: auto; color: var(--ink); }
svg.plot text { font-family: inherit !important; }
.scroll { overflow-x: auto; }
.scroll svg.plot { max-width: none; }
@media (min-width: 1000px) { .scroll svg.plot { max-width: 100%; } }
table { border-collapse: collapse; font-size: .92rem; min-width: 60%;
  overflow-wrap: normal; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .32rem .9rem .32rem 0; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 500; }
th.name, td.name { text-align: left; }
th.text, td.text { text-align: left; white-space: normal; min-width: 18ch; }
summary { cursor: pointer; font-weight: 600; }
pre { overflow-x: auto; font-size: .875rem; line-height: 1.5; margin: .8rem 0 0;
  overflow-wrap: normal; }
@media (max-width: 600px) {
  main { padding: 1.2rem .65rem 3rem; }
  figure, section.table, details { padding: .8rem .7rem; }
  .gallery figure { padding: .6rem .3rem .4rem; }
}
@media print {
  body { background: none; font-size: 11pt; }
  main { max-width: none; padding: 0; }
  .gallery { grid-template-columns: 1fr 1fr; }
  .gallery .wide { display: none; }
  .gallery .narrow { display: block; }
  .scroll { overflow: visible; }
  pre { white-space: pre-wrap; }
  figure, .numbers div, tr { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
}
"""
