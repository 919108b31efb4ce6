"""The page in a real browser: drawn, readable in both lights, on a phone, by keyboard, and quiet.

SENSORD_TEST_SCREENS names a folder that pictures of all pages are put into, to be looked at.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from sensord.cli.web import served
from sensord.settings import KafkaSettings, Settings, WebSettings
from sensord.store.alerts import show
from sensord.web.pages import device_url
from tests.conftest import missing
from tests.services import ServerUnavailable, chromium
from tests.web.site import SCRIPT, TOKEN, Stage, staged

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
NAMES = ("fleets", "alerts", "alert", "closed", "device", "hostile", "models", "model", "status", "login", "nowhere")
LIGHTS = ("light", "dark")
LEAST = 4.5  # contrast of text and what is behind it, WCAG 2.2 AA

# Every piece of text that is seen, with its contrast against what is behind it.
CONTRASTS = """() => {
  const rgb = (text) => { const c = text.match(/[\\d.]+/g).map(Number); return c.length < 4 ? [...c, 1] : c; };
  const channel = (v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const over = (top, under) => top.slice(0, 3).map((v, i) => v * top[3] + under[i] * (1 - top[3])).concat(1);
  const behind = (element) => {
    const layers = [];
    for (let each = element; each; each = each.parentElement) layers.push(rgb(getComputedStyle(each).backgroundColor));
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255, 1]);
  };
  const found = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const text = walk.currentNode.textContent.trim(), element = walk.currentNode.parentElement;
    if (!text || !element.checkVisibility() || element.closest("script, noscript, .skip, option")) continue;
    const under = behind(element), ink = over(rgb(getComputedStyle(element).color), under);
    const [high, low] = [light(ink), light(under)].sort((a, b) => b - a);
    found.push([text.slice(0, 40), (high + 0.05) / (low + 0.05)]);
  }
  return found;
}"""
# Whatever a person works with, and whether it has a name and is large enough for a finger.
CONTROLS = """() => [...document.querySelectorAll("a, button, input:not([type=hidden]), select, summary")]
  .filter((each) => each.checkVisibility() && !each.classList.contains("skip"))
  .map((each) => ({
    what: each.outerHTML.slice(0, 80),
    name: (each.labels?.[0] ?? each).textContent.trim() || each.getAttribute("aria-label") || "",
    height: each.getBoundingClientRect().height,
  }))"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    try:
        program = chromium.fetched()
    except ServerUnavailable as error:
        missing(str(error))
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(tmp_path_factory.mktemp("page")) as one:
        yield one


@pytest.fixture(scope="module")
def address(stage: Stage) -> Iterator[str]:
    settings = Settings(
        kafka=KafkaSettings(bootstrap_servers="127.0.0.1:1"),
        fleets=dict(stage.site.fleets),
        web=WebSettings.model_validate({"token": TOKEN}),
    )
    with served(settings, stage.engine, lambda path: None, "127.0.0.1", 0) as page:
        yield f"http://127.0.0.1:{page.port}"


class Visit:
    """Somebody at a browser. asked: every address that was fetched; complaints: of the browser's console."""

    def __init__(self, browser: Browser, address: str, light: str, width: int, **options: bool) -> None:
        scheme = "dark" if light == "dark" else "light"
        self.context: BrowserContext = browser.new_context(
            color_scheme=scheme,  # type: ignore[arg-type]
            viewport={"width": width, "height": 800},
            base_url=address,
            **options,  # type: ignore[arg-type]
        )
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(20_000)
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def log_in(self) -> "Visit":
        self.page.goto("/login")
        self.page.fill("#name", "ann")
        self.page.fill("#token", TOKEN)
        self.page.click("main button")
        return self


def path_of(name: str, stage: Stage) -> str:
    paths = {
        "fleets": "/", "alerts": "/alerts", "alert": f"/alerts/{stage.drift}", "closed": f"/alerts/{stage.over}",
        "device": "/devices/pumps/pump-1", "hostile": device_url("pumps", SCRIPT), "models": "/models",
        "status": "/status", "login": "/login", "nowhere": "/nowhere",
    }  # fmt: skip
    return paths[name]


def visits(browser: Browser, address: str, stage: Stage, light: str, width: int) -> Iterator[tuple[str, Visit]]:
    """Each page, drawn; and a picture of it where one is wanted."""
    visit = Visit(browser, address, light, width).log_in()
    for name in NAMES:
        if name == "model":
            visit.page.goto("/models")
            visit.page.click("a.row")
        else:
            visit.page.goto(path_of(name, stage))
        if visit.page.locator("#curves").count():
            visit.page.locator(".chart canvas").first.wait_for()
        if folder := os.environ.get("SENSORD_TEST_SCREENS"):
            visit.page.screenshot(path=Path(folder) / f"{name}-{light}-{width}.png", full_page=True)
        yield name, visit
    visit.context.close()


@pytest.mark.parametrize("light", LIGHTS)
@pytest.mark.parametrize("width", [1280, 360])
def test_every_page_is_readable_and_can_be_worked_with(
    browser: Browser, address: str, stage: Stage, light: str, width: int
) -> None:
    for name, visit in visits(browser, address, stage, light, width):
        page = visit.page
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide == 0, f"{name} is wider than {width} pixels"
        faint = [(text, round(contrast, 2)) for text, contrast in page.evaluate(CONTRASTS) if contrast < LEAST]
        assert faint == [], name
        controls = page.evaluate(CONTROLS)
        assert controls
        assert [one for one in controls if not one["name"] or one["height"] < 16] == [], name
        for picture in page.locator(".chart [role=img]").all():
            assert re.match(r"\w+: ", picture.get_attribute("aria-label") or "")
        expected = ["404"] if name == "nowhere" else []
        assert [each for each in visit.complaints if not any(code in each for code in expected)] == [], name
        assert [url for url in visit.asked if not url.startswith((address, "data:"))] == []
        visit.complaints.clear()


def test_curves_are_drawn_and_the_alert_is_marked(browser: Browser, address: str, stage: Stage) -> None:
    visit = Visit(browser, address, "light", 1280).log_in()
    page = visit.page
    page.goto(path_of("alert", stage))
    page.locator(".chart canvas").first.wait_for()
    assert page.locator(".chart h3").all_inner_texts() == ["score, limits", "heat", "load"]
    colours = page.evaluate("""() => {
      const canvas = document.querySelector(".chart canvas"), found = {};
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      for (let i = 0; i < data.length; i += 4) if (data[i + 3] > 30) {
        const key = [data[i], data[i + 1], data[i + 2]].join(); found[key] = (found[key] || 0) + 1;
      }
      return found;
    }""")
    assert colours.get("29,78,216", 0) > 100, "the score's curve"
    assert colours.get("180,35,24", 0) > 20, "the limit"
    assert sum(colours.get(f"{239 + off},{95 + off},{95 + off}", 0) for off in (-1, 0, 1)) > 1_000, "the alert"
    visit.context.close()


def test_a_person_answers_by_keyboard_alone(browser: Browser, address: str, stage: Stage) -> None:
    visit = Visit(browser, address, "light", 1280).log_in()
    page = visit.page
    page.goto("/alerts?open=1")
    for key in "jjkj":
        page.keyboard.press(key)
    assert page.evaluate("document.activeElement.className") == "row"
    assert page.locator("tr.here").count() == 1
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.name") == "device"
    page.keyboard.type("pump-1")
    page.keyboard.press("Enter")
    page.wait_for_url("**device=pump-1**")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/alerts/{stage.drift}")
    page.focus("#comment")
    page.keyboard.type("looked at")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_text("seen by ann").first.wait_for()
    assert show(stage.engine, str(stage.drift)).acknowledged_by == "ann"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    visit.context.close()


def test_a_page_stays_fresh_and_leaves_who_writes_alone(browser: Browser, address: str, stage: Stage) -> None:
    visit = Visit(browser, address, "light", 1280).log_in()
    page = visit.page
    page.clock.install()
    page.goto(path_of("alert", stage))
    page.evaluate("document.querySelector('h1').textContent = 'old'")
    page.fill("#comment", "half a sent")
    page.clock.run_for(31_000)
    assert page.locator("h1").inner_text() == "old"
    page.fill("#comment", "")
    page.evaluate("document.activeElement.blur()")
    with page.expect_response("**/alerts/**"):
        page.clock.run_for(31_000)
    page.get_by_role("heading", name="pump-1: drift").wait_for()
    page.locator(".chart canvas").first.wait_for()
    page.route("**/alerts/**", lambda route: route.abort())
    page.clock.run_for(31_000)
    page.get_by_text("could not be brought up to date").wait_for()
    visit.context.close()


def test_without_scripts_all_but_the_pictures_is_there(browser: Browser, address: str, stage: Stage) -> None:
    visit = Visit(browser, address, "light", 1280, java_script_enabled=False).log_in()
    visit.page.goto(path_of("alert", stage))
    assert "Pictures need JavaScript" in visit.page.locator("noscript").inner_text()
    assert visit.page.get_by_role("button", name="It is real").is_visible()
    visit.context.close()
