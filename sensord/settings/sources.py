"""Where settings come from, and what is wrong with them. Used by `cli` alone.

The first source that names a setting wins: flags, environment (`SENSORD_KAFKA__GROUP_ID`), secrets directories (a file
`kafka__sasl_password`), TOML files, defaults. What no group knows is refused, with the nearest name that one does know.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import EnvSettingsSource, NestedSecretsSettingsSource

from sensord.errors import SettingsInvalid
from sensord.settings.groups import DELIMITER, PREFIX, FleetSettings, Group, Settings

CONFIG_VARIABLE = "SENSORD_CONFIG"
TEST_PREFIX = "SENSORD_TEST_"
ETC = Path("/etc/sensord")
SECRETS = Path("/run/secrets/sensord")
DEFAULT = "default"

# What Kubernetes injects into every pod for a Service whose name starts with "sensord".
INJECTED = re.compile(r"SENSORD(_\w+)?_(SERVICE_(HOST|PORT)\w*|PORT(_\d+_\w+)?)$")

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and where each came from: dotted key -> source; a key that isn't there has its default."""

    settings: Settings
    origins: Mapping[str, str]

    def entries(self) -> Iterator[tuple[str, object, str]]:
        """(dotted key, value, origin) of every setting; secrets masked."""
        shown = self.settings.model_dump(mode="json")
        shown["store"]["url"] = self.settings.store.place
        for key, value in _leaves(shown):
            dotted = ".".join(key)
            yield dotted, value, self.origins.get(dotted, DEFAULT)


def load(
    config_path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
) -> Settings:
    """The settings in force. Raises SettingsInvalid, which lists every problem, one a line."""
    return load_with_origins(config_path, environ, overrides).settings


def load_with_origins(
    config_path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
) -> Loaded:
    """As `load`, remembering where each setting came from.

    environ: the process's when absent. overrides: dotted key -> value, from flags; None is a flag that wasn't given.
    """
    variables = dict(os.environ if environ is None else environ)
    merged = _Merged()
    for file in _files(config_path, variables):
        merged.add(_read(file), _always(str(file)))
    for directory in _secret_directories(variables):
        texts = {PREFIX + name: text for name, text in NestedSecretsSettingsSource.load_secrets(directory).items()}
        merged.add(_Variables(texts)(), _file_in(directory))
    merged.add(_Variables(variables)(), _variable_of(variables))
    for dotted, value in (overrides or {}).items():
        if value is not None:
            merged.add(_nested(tuple(dotted.split(".")), value), _always("command line"))
    problems = list(_unknown_variables(variables))
    try:
        settings = Settings(**merged.values)
    except ValidationError as error:
        problems += [
            _problem(details, merged.origins) for details in error.errors(include_url=False, include_input=False)
        ]
        raise SettingsInvalid("\n".join(problems)) from None  # the cause would show what was given, secrets too
    if problems:
        raise SettingsInvalid("\n".join(problems))
    return Loaded(settings, {".".join(key): origin for key, origin in merged.origins.items()})


# --- sources ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Merged:
    """What the sources gave so far; later additions win."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[Key, str] = field(default_factory=dict)

    def add(self, data: Mapping[str, Any], origin: Callable[[Key], str]) -> None:
        for key, value in _leaves(data):
            *tables, last = key
            target = self.values
            for table in tables:
                if not isinstance(target.get(table), dict):
                    target[table] = {}
                target = target[table]
            if value == {} and isinstance(target.get(last), dict):
                continue
            target[last] = value
            self.origins[key] = origin(key)


class _Variables(EnvSettingsSource):
    """Variables that were given, not those of the process; what isn't JSON is left for validation to name."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._given = {name.lower(): value for name, value in variables.items() if value != ""}
        super().__init__(Settings)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return cast(Mapping[str, str | None], self._given)

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            return value


def _files(explicit: Path | None, variables: Mapping[str, str]) -> list[Path]:
    if explicit is not None or variables.get(CONFIG_VARIABLE):
        return [explicit or Path(variables[CONFIG_VARIABLE])]
    system = [ETC / "sensord.toml", *sorted((ETC / "conf.d").glob("*.toml"))]
    local = Path("sensord.toml")
    return [file for file in system if file.is_file()] or ([local] if local.is_file() else [])


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsInvalid(f"{file}: can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsInvalid(f"{file}: not UTF-8 at byte {error.start}") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsInvalid(f"{file}: not TOML: {error}") from error


def _secret_directories(variables: Mapping[str, str]) -> list[Path]:
    """Lowest precedence first."""
    named = variables.get("CREDENTIALS_DIRECTORY")
    return [path.resolve() for path in (SECRETS, *([Path(named)] if named else [])) if path.is_dir()]


def _unknown_variables(variables: Mapping[str, str]) -> Iterator[str]:
    ours = [name for name in sorted(variables) if name.upper().startswith(PREFIX)]
    unknown = [name for name in ours if name != CONFIG_VARIABLE and not name.startswith(TEST_PREFIX)]
    unknown = [name for name in unknown if _key_of(name)[0] not in Settings.model_fields]
    injected = [name for name in unknown if INJECTED.match(name)]
    if injected:
        yield f"{', '.join(injected)}: injected by Kubernetes for a Service; set `enableServiceLinks: false` in the pod"
    for name in unknown:
        if name not in injected:
            yield f"{name}: unknown variable{_hint(name.upper(), [variable(key) for key in _known_keys('NAME')])}"


# --- problems --------------------------------------------------------------------------------------------------------


def _problem(details: ErrorDetails, origins: Mapping[Key, str]) -> str:
    key = tuple(str(part) for part in details["loc"] if part != "[key]")
    origin = next(
        (text for known, text in origins.items() if known[: len(key)] == key or key[: len(known)] == known), ""
    )
    from_variable = origin.upper().startswith(PREFIX)
    text = details["msg"].removeprefix("Value error, ")
    if details["type"] == "extra_forbidden":
        fleet = key[1] if key[0] == "fleets" and len(key) > 1 else "NAME"
        known = list(_known_keys(fleet))
        if from_variable:
            text = "unknown setting" + _hint(variable(key), [variable(other) for other in known])
        else:
            text = "unknown setting" + _hint(".".join(key), [".".join(other) for other in known])
    elif from_variable and details["type"] in ("tuple_type", "dict_type", "model_type"):
        text += """; in a variable as JSON, such as '["a", "b"]' or '{"a": "b"}'"""
    place = f" ({origin})" if origin else ""
    return f"{'.'.join(key) or 'settings'}{place}: {text}"


def _hint(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; the nearest is {close[0]}" if close else ""


def _known_keys(fleet: str) -> Iterator[Key]:
    """Every group and setting; those of a fleet under the name given."""
    for group, info in Settings.model_fields.items():
        yield (group,)
        if group == "fleets":
            yield from ((group, fleet, name) for name in FleetSettings.model_fields)
        elif isinstance(info.annotation, type) and issubclass(info.annotation, Group):
            yield from ((group, name) for name in info.annotation.model_fields)


# --- keys ------------------------------------------------------------------------------------------------------------


def _key_of(variable: str) -> Key:
    return tuple(variable[len(PREFIX) :].lower().split(DELIMITER))


def variable(key: Key) -> str:
    """The environment variable that a setting is given by."""
    return PREFIX + DELIMITER.join(key).upper()


def supervisor_socket() -> str | None:
    """Where whoever started this process wants to be told of it: sd_notify(3); None: nobody does."""
    return os.environ.get("NOTIFY_SOCKET")


def _always(text: str) -> Callable[[Key], str]:
    return lambda key: text


def _file_in(directory: Path) -> Callable[[Key], str]:
    return lambda key: str(directory / DELIMITER.join(key))


def _variable_of(variables: Mapping[str, str]) -> Callable[[Key], str]:
    """The variable that set a key: its own, or one of a table around it, given as JSON."""
    given = {_key_of(name): name for name in variables if name.upper().startswith(PREFIX)}
    return lambda key: next((given[key[:n]] for n in range(len(key), 0, -1) if key[:n] in given), variable(key))


def _nested(key: Key, value: object) -> dict[str, Any]:
    first, *rest = key
    return {first: _nested(tuple(rest), value) if rest else value}


def _leaves(data: Mapping[str, Any], at: Key = ()) -> Iterator[tuple[Key, Any]]:
    for name, value in data.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*at, name))
        else:
            yield (*at, name), value
