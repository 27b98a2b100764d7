"""Numbers in sentences."""


def counted(count: int, what: str) -> str:
    """`1 round`, `2 rounds`; `what` in the singular, whose plural ends in s."""
    return f"{count} {what}" + ("" if count == 1 else "s")
