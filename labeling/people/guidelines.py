"""What annotators are told to judge by, on the side of Argilla's page."""

from pathlib import Path

from dpo_core.errors import ConfigError

GUIDELINES = """Read the prompt, then both responses, and say which one you would rather have got.

- **A** or **B**: that response is better.
- **Tie**: both are good, and neither is better.
- **Both bad**: neither should have been given.

Judge what the responses say, not how long they are. A response that stops in the middle is worse
than one that ends. Discard what you cannot judge."""

GUIDELINES_CHARACTERS = 10_000


def read_guidelines(value: str | None) -> str:
    """The text itself, or what the file holds that it names; without one, those of Ratchet.

    Raises ConfigError for more than Argilla takes.
    """
    text = value or GUIDELINES
    if value and "\n" not in value and Path(value).is_file():
        text = Path(value).read_text(encoding="utf-8")
    if len(text) > GUIDELINES_CHARACTERS:
        raise ConfigError(
            f"people.guidelines has {len(text):,} characters, Argilla takes "
            f"{GUIDELINES_CHARACTERS:,}: shorten it"
        )
    return text.strip() or GUIDELINES
