"""What training splits again gave, for a terminal."""

import math

from foldwise.engine.verification import Difference, Verification
from foldwise.numerics.split import split_name
from foldwise.wording.numbers import number, percent
from foldwise.wording.sentences import counted

PARTS = {"held_out": "predictions", "test": "test predictions"}


def text(verification: Verification) -> str:
    """A line, and where something differs one for each split and what may be the reason."""
    if not verification.places:
        return f"{verification.variant}: its training failed, so there is nothing to compare"
    places, differ = verification.places, len(verification.differences)
    what = split_name(*places[0]) if len(places) == 1 else counted(len(places), "split")
    result = f"{differ} of {len(places)} differ" if differ else "the same to the byte"
    lines = [f"{verification.variant}: {what} trained again: {result}"]
    if differ:
        lines += map(_difference, verification.differences)
        lines += [
            f"  {name}: {there[:16] or 'not recorded'} in run.json, "
            f"{here[:16] or 'not recorded'} here"
            for name, (there, here) in verification.changed.items()
        ]
        if not verification.changed:
            lines.append(
                "  nothing that run.json records is different here: the file, the machine or "
                "foldwise is at fault"
            )
    return "\n".join(lines)


def _difference(difference: Difference) -> str:
    name = split_name(*difference.place)
    if difference.parts == ["diverged"]:
        return f"  {name}: the training loss is no longer finite"
    parts = ", ".join(PARTS.get(part, part) for part in difference.parts)
    shown = [
        f"{key.replace('_', ' ')} {_score(key, before)} → {_score(key, after)}"
        for key, (before, after) in difference.scores.items()
        if not (math.isnan(before) and math.isnan(after))
    ]
    shown.append(f"probabilities by up to {number(difference.probabilities, 6)}")
    return f"  {name}: {parts}; {', '.join(shown)}"


def _score(name: str, value: float) -> str:
    return percent(value, 2) if name.endswith("accuracy") else number(value, 6)
