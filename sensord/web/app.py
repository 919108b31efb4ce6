"""The page's routes: who asks, what is read of the request, and what is answered where that goes wrong.

Nothing of the request is trusted. Pages run no script but the one beside this file, load nothing from elsewhere, and
may not be framed; answers to alerts need the token, and from a browser the word that only its own pages know.
"""

import hashlib
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

import structlog
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from sensord.errors import AccessRefused, NotFound, SensordError, StoreUnavailable
from sensord.store.alerts import Feedback, accept, acknowledge, feedback
from sensord.web.access import NAME, NOBODY, SESSION_S, TooMany, Visitor, Wrong
from sensord.web.pages import HERE, Pages
from sensord.web.site import Site

log = structlog.get_logger()

COOKIE = "sensord"
LARGEST = 16 << 10  # bytes of a form
COMMENT = 2_000  # characters
HERE_ALONE = ("127.0.0.1", "localhost", "[::1]")
SECURITY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
KINDS = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".txt": "text/plain"}

Handler = Callable[[Request, Visitor], str]


def build(site: Site) -> Starlette:
    """The page as an ASGI application."""
    return _App(site).application()


class _App:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._static = {file.name: file.read_bytes() for file in sorted((HERE / "static").iterdir())}
        self._pages = Pages(site, hashlib.sha256(b"".join(self._static.values())).hexdigest()[:12])

    def application(self) -> Starlette:
        pages, get, post = self._pages, self._get, self._post
        routes = [
            get("/", lambda ask, who: pages.fleets(who, ask.query_params.get("device"))),
            get("/alerts", lambda ask, who: pages.alerts(who, dict(ask.query_params))),
            get("/alerts/{name}", lambda ask, who: pages.alert(who, ask.path_params["name"])),
            get("/devices/{fleet}/{device:path}", self._device),
            get("/models", lambda ask, who: pages.models(who)),
            get("/models/{fleet}/{name}", self._model),
            get("/status", lambda ask, who: pages.status(who)),
            post("/alerts/{name}/{answer}"),
            Route("/login", self._show_login, methods=["GET"]),
            Route("/login", self._log_in, methods=["POST"]),
            Route("/logout", self._log_out, methods=["POST"]),
            Route("/static/{name}", self._file, methods=["GET"]),
            *(Route(path, self._probe, methods=["GET"]) for path in ("/livez", "/readyz", "/metrics")),
        ]
        guards = [Middleware(TrustedHostMiddleware, allowed_hosts=list(HERE_ALONE))] if self._site.loopback else []
        answers = {HTTPException: self._no_page, Exception: self._own_fault}
        return Starlette(routes=routes, middleware=guards, exception_handlers=answers)  # type: ignore[arg-type]

    # --- pages -------------------------------------------------------------------------------------------------------

    def _get(self, path: str, page: Handler) -> Route:
        async def answer(request: Request) -> Response:
            _refuse_nul(request.url.path, *request.query_params.values())
            try:
                who = self._who(request)
            except (Wrong, TooMany) as error:
                return self._wrong_token(request, error)
            if not self._site.access.may_read(who):
                return self._to_login(request)
            return await run_in_threadpool(self._answered, request, who, page)

        return Route(path, answer, methods=["GET"])

    def _answered(self, request: Request, who: Visitor, page: Handler) -> Response:
        try:
            return self._html(page(request, who))
        except SensordError as error:
            return self._trouble(who, error)

    def _device(self, request: Request, who: Visitor) -> str:
        device = request.query_params.get("id") or request.path_params["device"]
        return self._pages.device(who, request.path_params["fleet"], device)

    def _model(self, request: Request, who: Visitor) -> str:
        asked = request.path_params
        return self._pages.model(who, asked["fleet"], asked["name"], request.query_params.get("against"))

    def _trouble(self, who: Visitor, error: SensordError) -> Response:
        if isinstance(error, NotFound):
            return self._message(who, HTTPStatus.NOT_FOUND, "There is no such thing", str(error))
        if isinstance(error, StoreUnavailable):
            log.error("database unavailable", cause=str(error))
            text = "The database doesn't answer. Alerts are still being found; this page comes back by itself."
            return self._message(who, HTTPStatus.SERVICE_UNAVAILABLE, "The database is away", text)
        if isinstance(error, AccessRefused):
            text = f"The page's database user may not do this: {error}. deploy/postgres/grants.sql says who may."
            return self._message(who, HTTPStatus.FORBIDDEN, "The database refuses", text)
        log.error("a page could not be made", cause=str(error))
        return self._message(who, HTTPStatus.INTERNAL_SERVER_ERROR, "This could not be shown", str(error))

    # --- answers -----------------------------------------------------------------------------------------------------

    def _post(self, path: str) -> Route:
        async def answer(request: Request) -> Response:
            if self._site.access.token is None:
                text = "Set web.token in the settings: who knows it may answer alerts here."
                return self._message(NOBODY, HTTPStatus.FORBIDDEN, "Nobody may answer here", text)
            try:
                who = self._who(request)
            except (Wrong, TooMany) as error:
                return self._wrong_token(request, error)
            form = await _form(request)
            if not who.is_known:
                return self._to_login(request, "/alerts/" + request.path_params["name"])
            if who.session and not self._site.access.is_own_form(who, form.get("word", "")):
                text = "The form is older than your session, or not ours. Go back, load the page anew, and try again."
                return self._message(who, HTTPStatus.FORBIDDEN, "Not taken", text)
            return await run_in_threadpool(self._take, request, who, form)

        return Route(path, answer, methods=["POST"])

    def _take(self, request: Request, who: Visitor, form: dict[str, str]) -> Response:
        name, answer = request.path_params["name"], request.path_params["answer"]
        engine, now = self._site.engine, self._site.clock.now()
        by = (who.name or "") if who.session else form.get("by", "").strip()[:NAME] or "a program"
        comment = form.get("comment", "").strip()[:COMMENT] or None
        verdicts = {"real": Feedback.REAL, "false_alarm": Feedback.FALSE_ALARM, "none": None}
        try:
            if answer == "ack":
                alert = acknowledge(engine, name, by, now, comment)
            elif answer == "accept":
                alert = accept(engine, name, by, now, comment)
            elif answer == "feedback" and form.get("verdict") in verdicts:
                alert = feedback(engine, name, verdicts[form["verdict"]], by, now, comment)
            else:
                raise NotFound("an alert takes ack, accept, and feedback with a verdict: real, false_alarm or none")
        except SensordError as error:
            return self._trouble(who, error)
        log.info("answered", alert=str(alert.id), answer=answer, by=by)
        if not who.session:
            return JSONResponse({"id": str(alert.id), "answer": answer, "by": by}, headers=SECURITY)
        return RedirectResponse(f"/alerts/{alert.id}", HTTPStatus.SEE_OTHER, SECURITY)

    # --- who ---------------------------------------------------------------------------------------------------------

    def _who(self, request: Request) -> Visitor:
        """Raises Wrong, TooMany."""
        header = request.headers.get("authorization", "")
        if header.startswith("Bearer "):
            return self._site.access.bearer(header, _address(request))
        return self._site.access.visitor(request.cookies.get(COOKIE))

    async def _show_login(self, request: Request) -> Response:
        return self._html(self._pages.login(_local(request.query_params.get("then", "/"))))

    async def _log_in(self, request: Request) -> Response:
        form = await _form(request)
        then = _local(form.get("then", "/"))
        try:
            cookie = self._site.access.log_in(form.get("name", ""), form.get("token", ""), _address(request))
        except (Wrong, TooMany) as error:
            status = HTTPStatus.TOO_MANY_REQUESTS if isinstance(error, TooMany) else HTTPStatus.FORBIDDEN
            log.warning("a wrong token", address=_address(request))
            return self._html(self._pages.login(then, str(error)), status)
        answer = RedirectResponse(then, HTTPStatus.SEE_OTHER, SECURITY)
        secure = request.url.scheme == "https" or request.headers.get("x-forwarded-proto") == "https"
        answer.set_cookie(COOKIE, cookie, SESSION_S, httponly=True, samesite="lax", secure=secure)
        return answer

    async def _log_out(self, request: Request) -> Response:
        answer = RedirectResponse("/", HTTPStatus.SEE_OTHER, SECURITY)
        answer.delete_cookie(COOKIE)
        return answer

    def _to_login(self, request: Request, then: str | None = None) -> Response:
        back = then or request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse("/login?" + urlencode({"then": back}), HTTPStatus.SEE_OTHER, SECURITY)

    def _wrong_token(self, request: Request, error: SensordError) -> Response:
        log.warning("a wrong token", address=_address(request))
        status = HTTPStatus.TOO_MANY_REQUESTS if isinstance(error, TooMany) else HTTPStatus.UNAUTHORIZED
        return JSONResponse({"error": str(error)}, status, SECURITY)

    # --- the rest ----------------------------------------------------------------------------------------------------

    async def _file(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._static:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        kept = {"Cache-Control": "public, max-age=31536000, immutable"} if request.url.query else {}
        return Response(self._static[name], headers=SECURITY | kept, media_type=KINDS[Path(name).suffix])

    async def _probe(self, request: Request) -> Response:
        path, probe = request.url.path, self._site.probe
        # whether it lives is said at once, however many pages wait for the database: else they would have it killed
        found = probe(path) if path == "/livez" else await run_in_threadpool(probe, path)
        if found is None:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        status, body, kind = found
        return Response(body, status, SECURITY, kind)

    async def _no_page(self, request: Request, error: HTTPException) -> Response:
        title = {404: "There is no such page", 405: "Not like that"}.get(error.status_code, "Not taken")
        text = error.detail if error.status_code not in (404, 405) else "See the links above."
        who = self._site.access.visitor(request.cookies.get(COOKIE))
        return self._message(who, error.status_code, title, text)

    async def _own_fault(self, request: Request, error: Exception) -> Response:
        log.error("a fault of sensord's own", path=request.url.path, exc_info=error)
        title, text = "Something broke", "That is a fault of sensord's own. Its log says more."
        return self._message(NOBODY, HTTPStatus.INTERNAL_SERVER_ERROR, title, text)

    def _message(self, who: Visitor, status: int, title: str, text: str) -> Response:
        return self._html(self._pages.message(who, title, text), status)

    def _html(self, page: str, status: int = HTTPStatus.OK) -> Response:
        return HTMLResponse(page, status, SECURITY | {"Cache-Control": "no-store"})


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form, each once. Raises HTTPException where it is too large or no form."""
    told = bytearray()
    async for part in request.stream():
        told += part
        if len(told) > LARGEST:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The form is too large.")
    try:
        form = dict(parse_qsl(told.decode(), keep_blank_values=True, max_num_fields=50))
    except ValueError as error:
        raise HTTPException(HTTPStatus.BAD_REQUEST, "This is no form.") from error
    _refuse_nul(*form.values())
    return form


def _refuse_nul(*texts: str) -> None:
    """What PostgreSQL has no room for in a text. Raises HTTPException."""
    if any("\0" in text for text in texts):
        raise HTTPException(HTTPStatus.BAD_REQUEST, "There is a NUL in what was asked.")


def _address(request: Request) -> str:
    return "unknown" if request.client is None else request.client.host


def _local(path: str) -> str:
    """A path of this page; anything else is the first page."""
    is_ours = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if is_ours else "/"
