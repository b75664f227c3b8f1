"""Reads every line by the types of legato.py, and checks each field against them."""
import sys
from types import UnionType
from typing import Literal, NotRequired, get_args, get_origin, get_type_hints, is_typeddict

import legato


def check(value, typ, at):
    origin = get_origin(typ)
    if origin is NotRequired:
        check(value, get_args(typ)[0], at)
    elif origin is Literal:
        assert value in get_args(typ), f"{at}: {value!r}"
    elif origin is list:
        assert isinstance(value, list), at
        for i, element in enumerate(value):
            check(element, get_args(typ)[0], f"{at}/{i}")
    elif origin is dict:
        assert isinstance(value, dict), at
        for name, element in value.items():
            check(element, get_args(typ)[1], f"{at}/{name}")
    elif is_typeddict(typ):
        hints = get_type_hints(typ)
        assert typ.__required_keys__ <= value.keys() <= hints.keys(), f"{at}: {value.keys() ^ hints.keys()}"
        for name, element in value.items():
            check(element, hints[name], f"{at}/{name}")
    elif typ is float:
        assert isinstance(value, (int, float)) and not isinstance(value, bool), at
    else:
        assert type(value) is typ, f"{at}: {value!r} is no {typ}"


assert isinstance(legato.Summary, UnionType)
newest = {}
lines = open(sys.argv[1], encoding="utf-8").read().splitlines()
for line in lines:
    summary = legato.parse(line, newest)
    assert summary is not None or len(newest) > 0
    if summary is not None:
        check(summary, legato.Leg if summary["kind"] == "leg" else legato.Session, summary["kind"])
assert len(newest) > 10, len(newest)
first = next(iter(newest.values()))
assert legato.parse(lines[0], newest) is None, "a repetition was kept"
older = dict(first, revision=0)
assert legato.parse(legato.json.dumps(older), newest) is None, "an older revision was kept"
newer = dict(first, revision=2)
assert legato.parse(legato.json.dumps(newer), newest) == newer, "a newer revision was not kept"
for bad in ("{}", "[]", '{"kind":"leg","schema":2}', "{"):
    try:
        legato.parse(bad, newest)
    except ValueError:
        continue
    raise AssertionError(bad)
