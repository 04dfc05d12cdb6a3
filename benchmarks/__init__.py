"""Measurements of this machine as paired ratios: `benchmarks/run --help`, `docs/benchmarks.md`.

Each ratio's two sides are measured in one run, one after the other and again (A B A B ...), and compared by
their medians, so that a busy or slow machine moves both. May import everything of the gateway; nothing of
the gateway imports this.
"""
