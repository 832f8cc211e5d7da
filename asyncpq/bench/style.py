"""How the report looks: light, dark, on a phone, on paper."""

from __future__ import annotations

from typing import Final

__all__ = ["STYLE"]

STYLE: Final = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ink: #1c2126; --soft: #5b6670; --line: #d5dbe0; --tint: #f1f4f6; --mark: #0b6bcb;
  --c0: #0b6bcb; --c1: #b3541e; --c2: #1f8a4c; --c3: #8a3ffc; --c4: #7a6a00; --c5: #c2185b;
  --c6: #007d86; --c7: #6b7280;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --paper: #14181b; --ink: #e4e8eb; --soft: #9aa5ae; --line: #353c43; --tint: #1e2429; --mark: #6cb2ff;
    --c0: #6cb2ff; --c1: #ffa66b; --c2: #6fd69a; --c3: #c4a1ff; --c4: #e3cf5a; --c5: #ff8ab3;
    --c6: #5fd8de; --c7: #b0b8bf;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 75rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: .5rem 0; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
p, li, dd, td, th, code { overflow-wrap: anywhere; }
.advice { font-size: 1.1rem; padding: .8rem 1rem; background: var(--tint); border-left: .3rem solid var(--mark); }
.warning { padding: .8rem 1rem; border: 2px solid var(--c1); font-weight: 600; }
.missing { padding: .8rem 1rem; border: 1px dashed var(--soft); }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1rem 2rem; }
figure { margin: 0; min-width: 0; }
figure h2 { font-size: 1rem; margin: 1rem 0 .25rem; }
figure svg { width: 100%; height: auto; max-width: 36rem; display: block; color: var(--ink); }
figcaption { color: var(--soft); font-size: .85rem; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; font-size: .85rem; }
caption { text-align: left; font-weight: 600; font-size: 1rem; padding: .5rem 0; }
th, td { text-align: left; padding: .25rem .5rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th:first-child { padding-left: 0; }
thead th { color: var(--soft); font-weight: 500; vertical-align: bottom; }
tbody th { font-weight: 500; }
.figures tbody th { overflow-wrap: normal; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.promise { padding-top: .9rem; font-style: italic; color: var(--soft); }
summary { cursor: pointer; font-weight: 600; }
dl { font-size: .9rem; }
dt { font-weight: 600; }
dd { margin: 0 0 .4rem 1rem; }
@media screen and (max-width: 55rem) {
  .figures thead { position: absolute; clip-path: inset(50%); width: 1px; height: 1px; overflow: hidden; }
  .figures, .figures tbody, .figures td, .figures th, .figures caption { display: block; }
  .figures tbody { margin-bottom: 1rem; }
  .figures tr {
    display: grid; grid-template-columns: 1fr 1fr; column-gap: 1.5rem;
    padding: .5rem 0; border-bottom: 1px solid var(--line);
  }
  .figures tr > th, .figures td:last-child { grid-column: 1 / -1; }
  .figures th, .figures td { border: 0; padding: .05rem 0; }
  .figures tr:not(:first-child) > th { font-weight: 600; }
  .figures td { display: flex; justify-content: space-between; gap: 1rem; text-align: right; }
  .figures td::before { content: attr(data-name); color: var(--soft); text-align: left; white-space: nowrap; }
}
@media print {
  body { font-size: 10pt; }
  main { max-width: none; padding: 0; }
  table { font-size: 7.5pt; }
  .plots { grid-template-columns: 1fr 1fr; }
  figure, tr, .advice { break-inside: avoid; }
  h2, caption, .promise { break-after: avoid; }
  thead { display: table-header-group; }
}
"""
