"""Refusing repeated keys, of which YAML and JSON readers silently keep the last."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdlm.errors import InputError

if TYPE_CHECKING:
    import yaml

__all__ = ["load_json", "refuse_repeated_keys"]


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the pairs of a JSON object as a dict.

    Raises:
        InputError: a key is repeated.

    """
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise InputError(f"the key {key!r} is given twice; leave one")
        found[key] = value
    return found


def load_json(text: str) -> Any:
    """Return the value of a JSON text.

    Raises:
        InputError: the text is not JSON, is nested too deeply, or repeats a key in an object.

    """
    try:
        return json.loads(text, object_pairs_hook=_once)
    except InputError:
        raise
    except RecursionError:
        raise InputError("not JSON that can be read (nested too deeply)") from None
    except ValueError as error:
        raise InputError(f"not JSON ({error})") from None


def _repeated(root: "yaml.Node") -> Iterator["yaml.Node"]:
    """Yield the node of each key that repeats a key of its mapping."""
    import yaml  # noqa: PLC0415

    waiting, known = [root], set()
    while waiting:
        node = waiting.pop()
        # An alias and its anchor are the same node, so a node may be reached several times.
        if id(node) in known:
            continue
        known.add(id(node))
        if isinstance(node, yaml.MappingNode):
            keys = set()
            for key, value in node.value:
                waiting += [key, value]
                if isinstance(key, yaml.ScalarNode):
                    if (key.tag, key.value) in keys:
                        yield key
                    keys.add((key.tag, key.value))
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value


def refuse_repeated_keys(path: Path) -> None:
    """Refuse a config file, YAML or JSON, in which a mapping has the same key twice.

    What is no file, or neither YAML nor JSON, passes; the function that reads it reports the error.

    Raises:
        InputError: a key is repeated; the message names file and key, and in YAML the line.

    """
    import yaml  # noqa: PLC0415

    if not path.is_file():
        # a pipe would be waited for without end
        return
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        root = yaml.compose(path.read_bytes(), Loader=loader)
    except (OSError, yaml.YAMLError, UnicodeError, RecursionError):
        # Some JSON is not YAML, if it is indented by tabs for example.
        _refuse_in_json(path)
        return
    for key in _repeated(root) if root is not None else ():
        raise InputError(
            f"{path}, line {key.start_mark.line + 1}: the key {key.value!r} is given twice in one "
            f"place, and only the last would count; leave one"
        )


def _refuse_in_json(path: Path) -> None:
    try:
        json.loads(path.read_bytes(), object_pairs_hook=_once)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (OSError, ValueError, RecursionError):
        return
