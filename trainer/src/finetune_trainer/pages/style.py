"""How report.html looks, in light and in dark."""

from typing import Final

STYLE: Final = """
:root { color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --ink: #1b2430; --dim: #66717f; --line: #e2e6eb; --grid: #eceff3;
  --train: #3b6fd4; --valid: #d9722a; --good: #1a8754; --soft: #eef3fc;
  --lost: #b3402e; --gone: #ffdfd8; --new: #d2f2df; }
@media (prefers-color-scheme: dark) { :root {
  --page: #12161c; --card: #1b2129; --ink: #e6eaf0; --dim: #95a1b0; --line: #2b333e; --grid: #262e38;
  --train: #7ba4f4; --valid: #f0a15f; --good: #57c793; --soft: #202a38;
  --lost: #f08a76; --gone: #5b2a22; --new: #1d4a33; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.55 system-ui, sans-serif; }
main { max-width: 960px; margin: 0 auto; padding: 36px 20px 60px; }
header h1 { margin: 0; font-size: 28px; letter-spacing: -.01em; }
header p { margin: 4px 0 0; color: var(--dim); }
section { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 20px 24px;
  margin-top: 18px; }
h2 { margin: 0 0 12px; font-size: 17px; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin-top: 18px; }
.figure { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 14px 18px; }
.figure b { display: block; font-size: clamp(18px, 5vw, 23px); font-variant-numeric: tabular-nums; }
.figure span { color: var(--dim); font-size: 13px; }
.figure em { font-style: normal; } .figure .better { color: var(--good); }
.chart { width: 100%; height: auto; display: block; }
.chart polyline { fill: none; stroke-width: 2; stroke-linejoin: round; }
.chart polyline.raw { stroke: var(--train); stroke-width: 1; opacity: .28; }
.chart .train { stroke: var(--train); } .chart circle.train { fill: var(--train); }
.chart circle.valid { fill: var(--valid); stroke: var(--card); stroke-width: 1.5; }
.chart circle.best { fill: var(--good); stroke: var(--card); stroke-width: 1.5; }
.chart .band { fill: var(--gone); opacity: .6; }
.chart .grid { stroke: var(--grid); } .chart .tick { fill: var(--dim); font-size: 12px; }
.key { color: var(--dim); font-size: 13px; margin: 8px 0; } .key span { display: inline-block; margin-right: 14px; }
.key i { display: inline-block; width: 10px; height: 10px; border-radius: 5px; margin-right: 6px; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
td, th { padding: 6px 8px 6px 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
tr:last-child :is(td, th) { border-bottom: 0; } th { color: var(--dim); font-weight: 500; font-size: 13px; }
td.number, th.number { text-align: right; padding-right: 0; }
.name { color: var(--dim); width: 34%; font-weight: 400; font-size: inherit; }
.split { display: flex; height: 12px; border-radius: 6px; overflow: hidden; margin: 14px 0 8px; gap: 2px; }
.split i { background: var(--train); } .split i:nth-child(2) { background: var(--valid); }
.split i:nth-child(3) { background: var(--good); }
.sample { border-top: 1px solid var(--line); padding: 18px 0; } .sample:first-of-type { border: 0; padding-top: 0; }
.sample h3 { margin: 12px 0 4px; font-size: 12px; color: var(--dim); font-weight: 600; text-transform: uppercase;
  letter-spacing: .05em; }
.answers { display: grid; grid-template-columns: repeat(auto-fit, minmax(240px, 1fr)); gap: 0 16px; }
pre { margin: 0; padding: 10px 12px; background: var(--page); border-radius: 8px; white-space: pre-wrap;
  overflow-wrap: anywhere; font: 13px/1.5 ui-monospace, monospace; max-height: 320px; overflow: auto; }
.after pre { background: var(--soft); }
code { font: 13px ui-monospace, monospace; overflow-wrap: anywhere; }
del { background: var(--gone); text-decoration: none; border-radius: 3px; }
ins { background: var(--new); text-decoration: none; border-radius: 3px; }
.point { border: 1px solid var(--dim); border-radius: 3px; padding: 0 2px; font-size: 11px; unicode-bidi: isolate; }
.scroll { overflow-x: auto; } .scroll td, .scroll th { padding-right: 16px; }
.scroll :is(td, th):last-child { padding-right: 0; } .scroll :is(.number, time) { white-space: nowrap; }
.warning { border-left: 3px solid var(--valid); padding-left: 10px; }
@media (max-width: 600px) { section { padding: 16px; } .chart { overflow: visible; } .chart .tick { font-size: 22px; }
  .chart polyline { stroke-width: 4; } .chart circle { r: 9px; } }
details { margin-top: 10px; } summary { cursor: pointer; color: var(--dim); }
"""
