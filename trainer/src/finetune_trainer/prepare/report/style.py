"""What the report of preparation looks like beyond what all pages have in common."""

from typing import Final

STYLE: Final = """
header h1 { font-size: 24px; line-height: 1.3; overflow-wrap: anywhere; } header .kind { margin: 0 0 6px; }
.points { background: var(--soft); border: 1px solid var(--line); border-radius: 12px; padding: 14px 24px;
  margin-top: 18px; } .points ol { margin: 0; padding-left: 20px; } .points h2 { margin-bottom: 6px; }
a { color: inherit; text-decoration-color: var(--train); text-underline-offset: 3px; }
section p { margin: 8px 0; } section, nav { overflow-wrap: break-word; }
.flow { list-style: none; margin: 0; padding: 0; } .flow li { margin: 0 0 12px; }
.flow p { display: flex; flex-wrap: wrap; gap: 0 10px; align-items: baseline; margin: 0 0 2px; }
.flow p span { margin-left: auto; font-variant-numeric: tabular-nums; }
.flow em { font-style: normal; font-size: 13px; color: var(--dim); } .flow em.less { color: var(--lost); }
svg { display: block; } svg .train { fill: var(--train); } svg .valid { fill: var(--valid); }
svg .good { fill: var(--good); } svg .lost { fill: var(--lost); } svg .track { fill: var(--grid); }
svg .tick { fill: var(--dim); font-size: 12px; } svg .grid { stroke: var(--line); }
svg .mark { stroke: var(--ink); stroke-dasharray: 3 3; } .columns { margin: 4px 0 14px; overflow: visible; }
.scroll + .scroll { margin-top: 14px; } td .bar { margin-top: 4px; }
td code { white-space: nowrap; }
.scroll td:first-child { min-width: 7em; overflow-wrap: anywhere; }
td span { color: var(--dim); font-size: 13px; }
h3 { margin: 14px 0 0; font-size: 13px; font-weight: 600; }
h4 { margin: 6px 0 4px; font-size: 13px; color: var(--dim); font-weight: 500; }
details ul { padding-left: 20px; margin: 8px 0; } .example { padding-bottom: 6px; }
"""
