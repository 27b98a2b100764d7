"""What things cost."""

from typing import Annotated

from pydantic import Field

from dpo_core.config import Section

Price = Annotated[float, Field(ge=0)]


class PricesConfig(Section):
    """Prices that a round's cost is counted with. What has no price is unknown, not free.

    Tokens of a judge with prices of its own (`money_per_million_tokens_in` and `_out`) are counted
    by those alone.
    """

    currency: str = Field("EUR", pattern=r"^[A-Za-z€$£¥]{1,8}$", description="only a name")
    gpu_hour: Price | None = Field(None, description="one GPU held for an hour")
    cpu_hour: Price | None = Field(None, description="one processor busy for an hour")
    label: Price | dict[str, Price] | None = Field(
        None,
        description="of a person; or by source, such as {human: 0.1, 'human:ann': 0.3}, where "
        "human stands for those that are not named",
    )
    million_tokens_in: Price | None = Field(
        None, description="read by models that sample or judge; leave it out if gpu_hour pays them"
    )
    million_tokens_out: Price | None = Field(None, description="written by them")
