"""The place of a text in another one, as each database finds it."""

from typing import Any

from sqlalchemy import Integer
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class Place(FunctionElement[int]):
    """The place of some bytes or letters in others, from 1; 0: they are not there."""

    type = Integer()
    inherit_cache = True


@compiles(Place)
def _place(element: Place, compiler: SQLCompiler, **how: Any) -> str:
    part, whole = element.clauses
    return f"position({compiler.process(part, **how)} IN {compiler.process(whole, **how)})"


@compiles(Place, "sqlite")
def _place_on_sqlite(element: Place, compiler: SQLCompiler, **how: Any) -> str:
    part, whole = element.clauses
    return f"instr({compiler.process(whole, **how)}, {compiler.process(part, **how)})"
