"""What a test needs besides Python (its tier), and the account of what was skipped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

# From cheap to dear: a run starts what it needs in this order, after all tests that need nothing.
TIERS = ("helm", "s3", "api", "controlplane", "kueue", "node")
TIER_OF_FIXTURE = {
    "helm": "helm",
    "s3_server": "s3",
    "api_server": "api",
    "control_plane": "controlplane",
    "kueue": "kueue",
    "own_nodes": "node",
}


def misplaced(name: str, tiers: Sequence[str], fixtures: Collection[str]) -> str | None:
    """Why a test's tier marker is wrong, or None: it names each tier that its fixtures take, and no other.

    A control plane has an API server, so naming *controlplane* covers *api*.
    """
    if unknown := [tier for tier in tiers if tier not in TIERS]:
        return f"{name}: unknown tier {unknown[0]!r}, one of {', '.join(TIERS)}"
    taken = {tier for fixture, tier in TIER_OF_FIXTURE.items() if fixture in fixtures}
    if "controlplane" in taken:
        taken.discard("api")
    if missing := sorted(taken - set(tiers)):
        return f'{name}: uses the tier {missing[0]!r}, mark it @pytest.mark.tier("{missing[0]}")'
    if idle := sorted(set(tiers) - taken):
        return f"{name}: is marked with the tier {idle[0]!r} but takes no fixture of it"
    return None


def rank(tiers: Iterable[str]) -> int:
    """Sort key: 0 for a test that needs nothing, then the dearest of its tiers."""
    return max((TIERS.index(tier) + 1 for tier in tiers), default=0)


def skip_line(reasons: Sequence[str]) -> str:
    """The last line of a run: how many tests were skipped for which reason."""
    if not reasons:
        return "nothing was skipped"
    counted = Counter(reasons).most_common()
    return f"{len(reasons)} skipped: " + "; ".join(f"{count} × {reason}" for reason, count in counted)


def skips_fail(env: Mapping[str, str]) -> bool:
    """In CI a test that did not run is a failure: there everything is meant to be present."""
    return env.get("CI", "").lower() not in ("", "0", "false")
