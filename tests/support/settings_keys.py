"""Every key of the settings file, as the models have them."""

from collections.abc import Iterator

from pydantic.fields import FieldInfo

from shiny_sticky.settings.mistakes import model_at


def all_keys(place: tuple[str, ...] = ()) -> Iterator[tuple[str, FieldInfo]]:
    """Keys that take a value, in order, such as ``cookie.name`` and ``apps.<name>.workers``, with their fields."""
    for key, field in model_at(place).model_fields.items():
        below = (*place, key)
        if model_at(below):
            yield from all_keys(below)
        elif model_at((*below, "<name>")):
            yield from all_keys((*below, "<name>"))
        else:
            yield ".".join(below), field
