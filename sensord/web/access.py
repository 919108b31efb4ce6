"""Who may read the page, and who may answer on it: a token, as a cookie for people and as Bearer for programs.

A session is signed with a key that follows from the token: nothing is kept, and another token ends all sessions. Forms
carry a word that only their own session's pages know. Who tries tokens is slowed down.
"""

import base64
import hashlib
import hmac
from collections import OrderedDict, deque
from dataclasses import dataclass, field

from sensord.clock import Clock
from sensord.errors import SensordError

SESSION_S = 30 * 86_400
TRIES, TRIES_S = 10, 300.0  # wrong tokens that one address may send within so many seconds
ADDRESSES = 10_000  # that are remembered
NAME = 100  # characters of a person's name


class Wrong(SensordError):
    """The token isn't right."""


class TooMany(SensordError):
    """Too many wrong tokens came from this address."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks. name: None: nobody in particular. session: "" where there is none, as of a program."""

    name: str | None = None
    session: str = ""

    @property
    def is_known(self) -> bool:
        return self.name is not None


NOBODY = Visitor()


@dataclass(slots=True)
class Access:
    """Decides. token: None: nobody may answer."""

    token: str | None
    public: bool
    clock: Clock
    _failures: "OrderedDict[str, deque[float]]" = field(default_factory=OrderedDict)

    def may_read(self, visitor: Visitor) -> bool:
        return self.token is None or self.public or visitor.is_known

    def log_in(self, name: str, token: str, address: str) -> str:
        """A new session's cookie. Raises Wrong, TooMany."""
        self._check(token, address)
        return self._session(name.strip()[:NAME] or "somebody")

    def visitor(self, cookie: str | None) -> Visitor:
        """Who a cookie is of; nobody where it isn't ours or has run out."""
        name, _, rest = (cookie or "").partition(".")
        ends, _, signature = rest.partition(".")
        if self.token is None or not hmac.compare_digest(signature.encode(), self._signed(f"{name}.{ends}").encode()):
            return NOBODY
        if not ends.isdecimal() or int(ends) < self._now_s():
            return NOBODY
        return Visitor(base64.urlsafe_b64decode(name).decode(), cookie or "")

    def bearer(self, header: str, address: str) -> Visitor:
        """Who sends an Authorization header. Raises Wrong, TooMany."""
        self._check(header.removeprefix("Bearer ").strip(), address)
        return Visitor("a program")

    def form_word(self, visitor: Visitor) -> str:
        """What a form of this session has to carry."""
        return self._signed(f"form.{visitor.session}")

    def is_own_form(self, visitor: Visitor, word: str) -> bool:
        return hmac.compare_digest(word.encode(), self.form_word(visitor).encode())

    def _check(self, token: str, address: str) -> None:
        failures = self._failures.setdefault(address, deque())
        self._failures.move_to_end(address)
        now = self.clock.monotonic()
        while failures and failures[0] < now - TRIES_S:
            failures.popleft()
        if len(failures) >= TRIES:
            raise TooMany("too many wrong tokens came from here: wait for five minutes")
        if self.token is None or not hmac.compare_digest(token.encode(), self.token.encode()):
            failures.append(now)
            while len(self._failures) > ADDRESSES:
                self._failures.popitem(last=False)
            raise Wrong("this is not the token; it is web.token of the settings")
        del self._failures[address]

    def _session(self, name: str) -> str:
        told = base64.urlsafe_b64encode(name.encode()).decode()
        ends = f"{told}.{self._now_s() + SESSION_S}"
        return f"{ends}.{self._signed(ends)}"

    def _signed(self, text: str) -> str:
        key = hashlib.sha256(b"sensord's page" + (self.token or "").encode()).digest()
        return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()

    def _now_s(self) -> int:
        return self.clock.now() // 1_000_000
