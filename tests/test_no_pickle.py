"""Nothing here runs code that came as data: no pickle, no eval, no YAML objects; and a pickle is refused."""

import io
import itertools
import pickle
import tokenize
from pathlib import Path

import pytest
import torch

import sensord
from sensord.detection.devices import Devices
from sensord.errors import BundleInvalid, StateUnreadable
from sensord.model.bundle import MANIFEST_FILE, WEIGHTS_FILE, Packed, unpack
from tests.builders import honest, packed
from tests.model.test_bundle import fields_of

PACKAGE = Path(sensord.__file__).parent
SCRIPTS = PACKAGE.parent / "scripts"
GOOD = packed()

NAMES = {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle", "allow_pickle", "yaml"}
CALLS = {"eval", "exec", "compile", "__import__"}
ATTRIBUTES = {
    *(("torch", "load"), ("torch", "save"), ("torch", "package"), ("jit", "load")),
    *(("np", "load"), ("numpy", "load"), ("np", "fromfile"), ("pd", "read_pickle"), ("os", "system")),
}


def words(source: str) -> list[str]:
    """Names and operators of a source, without comments, texts and white space."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return [token.string for token in tokens if token.type in (tokenize.NAME, tokenize.OP)]


def offences(source: str) -> set[str]:
    found = words(source)
    named = NAMES & set(found)
    triples = set(zip(found, found[1:], found[2:], strict=False))
    reached = {f"{module}.{name}" for module, name in ATTRIBUTES if (module, ".", name) in triples}
    called = {
        name
        for before, name, after in itertools.chain([("", *found[:2])] if len(found) > 1 else [], triples)
        if name in CALLS and after == "(" and before not in (".", "def")
    }
    return named | reached | called


@pytest.mark.parametrize("folder", [PACKAGE, SCRIPTS], ids=["package", "scripts"])
def test_no_source_runs_what_came_as_data(folder: Path) -> None:
    sources = sorted(folder.rglob("*.py"))
    assert len(sources) > 5
    assert {str(path): found for path in sources if (found := offences(path.read_text()))} == {}


@pytest.mark.parametrize(
    "source",
    [
        *("import pickle", "from joblib import load", "np.load(f, allow_pickle=True)", "np.load(f)", "torch.load(f)"),
        *("x = eval(text)", "eval(text)", "exec(code)", "yaml.load(f)", "yaml.unsafe_load(f)", "marshal.loads(b)"),
        *("torch.jit.load(f)", "os.system(c)", "__import__(name)"),
    ],
)
def test_the_search_finds_what_it_looks_for(source: str) -> None:
    assert offences(source)


@pytest.mark.parametrize(
    "source", ["network.eval()", "def eval(self): ...", "re.compile(text)", "# pickle", "'eval(x)'"]
)
def test_the_search_finds_nothing_else(source: str) -> None:
    assert offences(source) == set()


# --- fed -------------------------------------------------------------------------------------------------------------


class _Bomb:
    """Leaves a file where it is unpickled."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self._file,)


@pytest.fixture(params=[0, 2, pickle.HIGHEST_PROTOCOL, "torch"])
def bomb(request: pytest.FixtureRequest, tmp_path: Path) -> bytes:
    """A pickle of some protocol, or a file of torch's own; all go off when unpickled."""
    sprung = _Bomb(tmp_path / "gone-off")
    if request.param == "torch":
        file = io.BytesIO()
        torch.save(sprung, file)
        return file.getvalue()
    return pickle.dumps(sprung, request.param)


@pytest.fixture(autouse=True)
def _nothing_goes_off(tmp_path: Path) -> object:
    yield
    assert not (tmp_path / "gone-off").exists()


def test_the_bomb_would_go_off(bomb: bytes, tmp_path: Path) -> None:
    if bomb[:2] == b"PK":
        torch.load(io.BytesIO(bomb), weights_only=False)
    else:
        pickle.loads(bomb)
    (tmp_path / "gone-off").unlink()


def test_a_pickle_in_the_place_of_weights_is_refused(bomb: bytes) -> None:
    with pytest.raises(BundleInvalid, match="SHA-256"):
        unpack(Packed(GOOD.bundle_id, GOOD.manifest, bomb, GOOD.sha256))
    with pytest.raises(BundleInvalid, match="can't be read"):
        unpack(honest(fields_of(GOOD), bomb))


def test_a_pickle_in_the_place_of_a_manifest_is_refused(bomb: bytes) -> None:
    with pytest.raises(BundleInvalid, match="manifest can't be read"):
        unpack(Packed(GOOD.bundle_id, bomb, GOOD.weights, GOOD.sha256))


@pytest.mark.parametrize("file", [MANIFEST_FILE, WEIGHTS_FILE])
def test_a_pickle_in_a_folder_is_refused(bomb: bytes, file: str, tmp_path: Path) -> None:
    GOOD.write(tmp_path / "bundle")
    (tmp_path / "bundle" / file).write_bytes(bomb)
    with pytest.raises(BundleInvalid):
        unpack(Packed.read(tmp_path / "bundle"))


def test_a_pickle_in_the_place_of_a_state_page_is_refused(bomb: bytes) -> None:
    with pytest.raises(StateUnreadable, match="state page 0 doesn't begin as one"):
        Devices(2, 8).load({0: bomb})
