"""What each statistic of assembly says, what its null exchanges, and what it cannot tell."""

from dataclasses import dataclass

from dvis.kinds.influence.analysis.edge_order import BETWEEN, EDGE_FIRST, TARGET_FIRST

TOGETHER = "born together"
TOGETHER_AT_FIRST = "born together, first checkpoint"
BEFORE = "source before target"
RISE = "influence rises at birth"

_NO_DIRECTION = (
    "An edge's share goes with its ends' own times: sources that are born early and influence all "
    "of their targets early have it without any effect on a single target"
)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A statistic in words.

    Attributes
    ----------
    effect : str
        What the number is.
    exchanged : str
        What its null exchanges.
    cannot_tell : str
        What it leaves open.
    why_no_p : str
        Why it has no p; "" where it has one.
    """

    effect: str
    exchanged: str
    cannot_tell: str
    why_no_p: str = ""


_OF_EDGES = {
    "exchanged": "births of edges among top inputs of like hubs and final strength",
    "cannot_tell": _NO_DIRECTION,
    "why_no_p": (
        "edges of one source or one target are born at like times, so that they are no witnesses "
        "of their own"
    ),
}
CLAIMS = {
    TOGETHER: Claim(
        effect="correlation of centred log strength, last checkpoint, with closeness of births",
        exchanged="births of sources within their layer",
        cannot_tell=(
            "Units that influence each other strongly are born close to each other; it cannot "
            "tell that inputs come first, nor that one makes the other: a third unit, or images "
            "that drive both, may"
        ),
    ),
    TOGETHER_AT_FIRST: Claim(
        effect="the same of strength at the first checkpoint",
        exchanged="births of sources within their layer",
        cannot_tell=(
            "A control: what is there before learning. Where it is as large, the first weights, "
            "which short trainings keep, make the association, not what was learnt"
        ),
    ),
    BEFORE: Claim(
        effect="correlation of centred log strength with whether the source is born before",
        exchanged="births of sources within their layer",
        cannot_tell=(
            "A weak hint at most: whatever is linear in the lag between births vanishes with the "
            "means of sources and targets, so that what is left goes with closeness as well as "
            "with order"
        ),
        why_no_p="units that are merely born together make it small as well",
    ),
    BETWEEN: Claim(
        effect="share of top edges born neither before their source nor after their target",
        **_OF_EDGES,
    ),
    EDGE_FIRST: Claim(effect="share of top edges born before their source", **_OF_EDGES),
    TARGET_FIRST: Claim(effect="share of top edges born after their target", **_OF_EDGES),
    RISE: Claim(
        effect="rank correlation of targets' births with the half-rise of their top inputs",
        exchanged="births of targets within their layer",
        cannot_tell=(
            "A target's strongest inputs grow when it is born; it cannot tell whether they made "
            "it or it began to listen to them, nor which of them was first. Its interval is too "
            "short where checkpoints or targets are few: what it says against its null and p counts"
        ),
    ),
}
MRQAP = {
    "effect": " beyond that at the first",
    "exchanged": "residuals of births, by sources and by targets (MRQAP-DSP)",
}
