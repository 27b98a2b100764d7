"""What the type of a table's row says about a column besides its Python type. Loads no Arrow.

dpo_core.tables.schema_of makes the table's schema of the rows' type.
"""

from datetime import datetime
from typing import Annotated

VOLATILE = "volatile"
"""Mark of a column that differs between equal runs: a time, a duration, memory, speed."""

Int32 = Annotated[int, "int32"]
Float32 = Annotated[float, "float32"]
Messages = Annotated[list[dict[str, str]], "messages"]
"""The messages of a conversation: each its role and content."""

VolatileFloat = Annotated[float, VOLATILE]
VolatileTime = Annotated[datetime, VOLATILE]
