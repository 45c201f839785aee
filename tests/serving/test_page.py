"""The page at /, in a real Chromium: what a person sees of a model's answers."""

import contextlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

import pytest

from .page_models import MARKUP, SCRIPT, write

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")

PATIENCE = 60  # seconds until the server must listen
TOKEN = "a-secret"


# ------------------------------------------------------------------- the server, the browser


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    write(folder)
    return folder


@contextlib.contextmanager
def served(folder, log, *options):
    """Yield the URL of a server of a folder's models."""
    command = [sys.executable, "-m", "tfnlp.serve", str(folder), "--rest-port", "0"]
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            [*command, "--grpc-port", "0", *options],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            for line in process.stdout:
                if said := re.match(r"REST\s+(\S+)", line):
                    yield said[1].rstrip("/")
                    break
            else:
                raise RuntimeError(f"the server ended:\n{log.read_text()[-4000:]}")
        finally:
            process.terminate()
            process.communicate(timeout=PATIENCE)


@pytest.fixture(scope="module")
def url(models, tmp_path_factory):
    log = tmp_path_factory.mktemp("log") / "server.log"
    with served(models, log, "--max-body", "0.01") as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--headless=new", "--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


class Page:
    """A tab, and what it did that no one sees.

    Attributes:
        page: playwright's.
        errors: what its console says of errors, but of responses that say one.
        hosts: those it asked.
    """

    def __init__(self, context, url):
        self.page, self.url, self.errors, self.hosts = context.new_page(), url, [], set()
        self.page.set_default_timeout(20_000)
        self.page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.errors.append("dialog"), dialog.dismiss()))
        self.page.on("console", self._heard)

    def _heard(self, message):
        if message.type in ("error", "warning") and "server responded with" not in message.text:
            self.errors.append(message.text)

    def open(self, model, expect="#work"):
        self.page.goto(f"{self.url}/#/{quote(model)}")
        self.page.locator(expect).wait_for()

    def ask(self, **texts):
        for name, text in texts.items():
            self.page.get_by_label(name, exact=True).fill(text)
        self.page.keyboard.press("Control+Enter")
        self.page.locator("#raw, #answer .error").first.wait_for()
        self.page.locator("#answer[aria-busy=false]").wait_for()

    def texts(self, selector):
        return self.page.locator(selector).all_inner_texts()

    def text(self, selector):
        return self.page.locator(selector).inner_text()


def tab(browser, url, **given):
    """Yield a page; at the end it must have asked no other host and said no error."""
    with contextlib.closing(browser.new_context(**{"locale": "en-US", **given})) as context:
        page = Page(context, url)
        yield page
        assert page.hosts == {urlsplit(url).netloc}
        assert page.errors == []


@pytest.fixture
def page(browser, url):
    yield from tab(browser, url)


# ------------------------------------------------------------------- answers


def test_labels_are_bars_the_highest_first_and_the_chosen_marked(page):
    page.open("labels")
    page.ask(text="A text")
    assert page.texts(".bars .label") == ["good", SCRIPT, "bad"]
    assert page.texts(".bars .value") == ["90.0 %", "6.0 %", "4.0 %"]
    assert page.texts(".bars [aria-current=true] .label") == ["good"]
    assert page.text(".verdict") == "good\n90.0 %"
    widths = [box["width"] for box in map(_box, page.page.locator(".bars .bar").all())]
    assert widths[0] / widths[2] == pytest.approx(0.9 / 0.04, rel=0.05)
    assert re.fullmatch(r"[\d,]+ ms", page.text("#time"))


def _box(place):
    return place.bounding_box()


def test_several_given_labels_are_marked_and_many_are_folded(page):
    page.open("several")
    page.ask(text="A text")
    assert page.texts(".verdict bdi") == ["label 0", "label 2"]
    assert page.texts(".bars .chosen .label") == ["label 0", "label 2"]
    assert page.page.locator(".bars li:visible").count() == 10
    page.page.get_by_role("button", name="Show all 14").click()
    assert page.page.locator(".bars li:visible").count() == 14


@pytest.mark.parametrize("before", ["", "👩‍🚀🎉 ", "在北京，"])
def test_entities_are_highlighted_where_they_stand(page, before):
    page.open("entities")
    page.ask(text=f"{before}Ada <b>lives</b> in\nRome. 🎉")
    assert page.texts("mark .said") == ["Ada", "Rome"]
    assert page.texts("mark .tag") == ["PERSON", "PLACE"]
    marked = page.page.locator(".marked").text_content()
    assert marked == f"{before}AdaPERSON <b>lives</b> in\nRomePLACE. 🎉"
    assert page.texts(".legend bdi") == ["PERSON", "PLACE"]
    page.page.get_by_text("As a list (2)").click()
    assert page.texts("#answer details th") == ["text", "type", "start", "end", "score"]
    assert page.texts("#answer details tr:last-child td")[:2] == ["Rome", "PLACE"]


def test_triples_are_a_table(page):
    page.open("entities")
    page.ask(text="Ada lives in Rome")
    assert page.texts("#answer > .scroll tbody td") == ["Ada", "lives in", "Rome"]


def test_an_answer_is_marked_in_its_context(page):
    page.open("answer")
    page.ask(context="🗼 It was built in 1889 by Eiffel.", question="When?")
    assert page.text(".verdict") == "in 1889"
    assert page.text(".marked") == "🗼 It was built in 1889 by Eiffel."
    assert page.texts("mark") == ["in 1889"]
    assert "75.0 %" in page.text("#answer")
    page.ask(context="It was built.", question="When?")
    assert page.text(".verdict") == "No answer in this text."


def test_generated_text_keeps_its_lines_and_what_was_not_read_is_told(page):
    page.open("generated")
    page.ask(text=f"{SCRIPT} o\n")
    said = page.page.locator(".generated").text_content()
    assert said == f"1. {SCRIPT} o\n\n2. {SCRIPT.upper()} O\n"
    assert page.text(".warning") == "3 tokens of the text were not read"
    assert "score -0.5" in page.text("#answer")


def test_a_conversation_goes_on(page):
    page.open("talk")
    page.ask(text="Hello\nHi\nI am here")
    assert page.texts(".talk .user") == ["Hello", "I am here"]
    assert page.texts(".talk .other") == ["Hi", "So?"]
    page.page.get_by_role("button", name="Add to the conversation").click()
    assert page.page.get_by_label("text").input_value() == "Hello\nHi\nI am here\nSo?\n"


def test_numbers_and_vectors(page):
    page.open("numbers")
    page.ask(text="A text")
    shown = page.text("#answer")
    assert "16 numbers, length 1" in shown
    assert shown.count("0.25") == 9  # the first eight, and the similarity
    assert "NaN" in shown


def test_markup_in_names_and_texts_is_text(page):
    page.open(MARKUP)
    page.ask(text=MARKUP)
    assert page.text("#answer .generated") == MARKUP
    assert MARKUP in page.texts("#model option")
    assert page.page.locator("main img").count() == 0


# ------------------------------------------------------------------- why


def _why(page):
    page.page.get_by_role("button", name="Why?").click()
    page.page.locator("#answer mark").first.wait_for()
    return page.page.locator("#answer .why")


def test_why_asks_the_models_own_signature(page):
    page.open("explained")
    page.ask(text="🎉é<b>x</b>")
    said = _why(page)
    assert said.text_content() == "🎉é<b>x</b>"
    assert page.texts(".why .pro, .why .contra") == ["🎉", "é"]
    assert page.texts(".why .contra") == ["é"]
    assert SCRIPT in page.text("#answer")
    assert page.page.locator("#answer .hint mark").count() == 2


def test_why_leaves_out_words_of_a_model_without_one(page):
    page.open("liked")
    page.ask(text="So good, 🎉 Ada")
    _why(page)
    assert page.texts(".why mark") == ["good"]
    assert "fine 0.9" in page.text("#answer")
    page.open("entities")
    page.ask(text="Ada lives")
    assert page.page.get_by_role("button", name="Why?").count() == 1
    page.open("generated")
    page.ask(text="Ada")
    assert page.page.get_by_role("button", name="Why?").count() == 0


def test_why_refuses_what_are_not_the_models_texts(url):
    def ask(name, body):
        request = Request(f"{url}/page/models/{name}/explain", json.dumps(body).encode())
        with pytest.raises(HTTPError) as caught:
            urlopen(request)
        return caught.value.code, json.loads(caught.value.read())["error"]

    assert ask("liked", {"txt": "a"}) == (400, "an explanation is asked for with the texts text")
    assert ask("liked", {"text": ["a"]})[1] == "an explanation is asked for with strings"
    status, said = ask("generated", {"text": "a"})
    assert status == 400
    assert "no label, number or entity" in said
    assert ask("nobody", {"text": "a"})[0] == 404


# ------------------------------------------------------------------- around the answer


def test_settings_are_sent_with_their_defaults_and_checked(page):
    page.open("generated")
    # Neither ids nor what else reads no text is offered.
    assert page.texts("#signature option") == ["serving_default (as it was exported)", "repeated"]
    page.page.get_by_label("Signature").select_option("repeated")
    page.ask(text="ho")
    assert page.page.locator(".generated").text_content() == "ho ho "
    page.page.locator("#more summary").click()
    page.ask(times="3", joint="-")
    playwright.expect(page.page.locator(".generated")).to_have_text("ho-ho-ho-")
    page.ask(times="many")
    assert page.page.locator("#settings input:invalid").get_attribute("name") == "times"


def test_curl_is_the_same_request(page):
    page.open("generated")
    page.page.get_by_label("Signature").select_option("repeated")
    text = 'It\'s "so" $HOME `id` \\ !\n😀 '
    page.page.get_by_label("text", exact=True).fill(text)
    found = subprocess.run(
        ["bash", "-c", f"{page.text('#curl')} -s"], capture_output=True, check=True, text=True
    )
    assert json.loads(found.stdout) == {"predictions": [f"{text} {text} "]}


def test_curl_can_be_copied(page):
    page.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.open("labels")
    page.page.get_by_role("button", name="Copy").click()
    page.page.get_by_role("button", name="Copied").wait_for()
    assert page.page.evaluate("() => navigator.clipboard.readText()") == page.text("#curl")


def test_the_card_is_read_as_markdown_without_html_and_gives_the_sample(page):
    page.open("labels")
    assert page.text("#card h3") == "A card"
    assert page.texts("#card em, #card strong") == ["this", "that"]
    assert page.texts("#card a") == ["here"]
    assert SCRIPT in page.text("#card")
    assert page.texts("#card td") == ["f1 | micro", "0.5000"]
    assert page.page.get_by_label("text").input_value() == "It's a sample."


def test_the_address_keeps_the_model(page):
    page.open("several")
    assert page.page.get_by_label("Model", exact=True).input_value() == "several"
    page.page.get_by_label("Model", exact=True).select_option(MARKUP)
    page.page.wait_for_url(re.compile(re.escape(quote("<img"))))
    page.page.reload()
    page.page.locator("#work").wait_for()
    assert page.page.title() == f"{MARKUP} · tfnlp"
    page.page.go_back()
    playwright.expect(page.page).to_have_title("several · tfnlp")


def test_a_model_that_reads_no_text_says_so(page):
    page.open("ids")
    assert "ids: ids int32" not in page.text("#answer")
    assert "serving_default: ids int32 → y" in page.text("#answer")
    assert not page.page.locator("#ask").is_visible()


def test_errors_are_told(page, url):
    page.open("nobody", "#trouble .error")
    assert "no such model" in page.text("#trouble")
    assert "nobody" in page.text("#trouble")
    page.open("broken", "text=Version 1: END")
    page.open("labels")
    page.ask(text="long " * 4000)
    assert "the body is larger than" in page.text("#answer .error")
    assert "HTTP 413" in page.text("#answer .error")
    page.page.route("**/v1/models/**", lambda route: route.fulfill(status=429, body="{}"))
    page.ask(text="short")
    playwright.expect(page.page.locator("#answer .error")).to_contain_text("busy")
    page.page.route("**/v1/models/**", lambda route: route.abort())
    page.ask()
    playwright.expect(page.page.locator("#answer .error")).to_contain_text("cannot be reached")
    page.errors.clear()  # the browser's own line about it
    page.page.unroute_all()
    page.page.get_by_role("button", name="Try again").click()
    playwright.expect(page.page.locator(".verdict")).to_contain_text("good")


def test_a_model_that_is_being_loaded_is_waited_for(page):
    states = {"model_version_status": [{"version": "1", "state": "LOADING"}]}
    route = page.page.route
    route("**/page/models/labels", lambda route: route.fulfill(status=404, json={}), times=1)
    route("**/v1/models/labels", lambda route: route.fulfill(json=states))
    page.open("labels", "text=Loading the model")
    page.page.locator("#work").wait_for()
    assert page.texts("#trouble *") == []


def test_a_token_is_asked_for_and_kept_in_the_tab(browser, models, tmp_path):
    file = tmp_path / "token"
    file.write_text(TOKEN)
    only = tmp_path / "models"
    only.mkdir()
    (only / "labels").symlink_to(models / "labels")
    with served(only, tmp_path / "log", "--token-file", str(file)) as url:
        for page in tab(browser, url):
            page.page.goto(url)
            for token in ("another", TOKEN):
                page.page.get_by_label("Bearer token").fill(token)
                page.page.keyboard.press("Enter")
            page.page.locator("#work").wait_for()
            page.ask(text="A text")
            assert page.text(".verdict bdi") == "good"
            assert '-H "Authorization: Bearer $TOKEN"' in page.text("#curl")
            assert TOKEN not in page.page.content()
            page.page.reload()
            page.page.locator("#work").wait_for()


@pytest.mark.parametrize("locale", ["zh-CN", "en-GB"])
def test_it_speaks_the_readers_language(browser, url, locale):
    for page in tab(browser, url, locale=locale):
        page.open("labels")
        chinese = locale == "zh-CN"
        assert page.text("#send") == ("发送" if chinese else "Send")
        assert page.page.locator("html").get_attribute("lang") == ("zh" if chinese else "en")


def test_it_fits_a_small_screen_in_the_dark(browser, url):
    small = {"width": 360, "height": 640}
    for page in tab(browser, url, viewport=small, color_scheme="dark"):
        page.open("several")
        page.ask(text="W" * 300)
        assert page.page.evaluate("() => document.documentElement.scrollWidth") == 360
        ground = page.page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        assert max(map(int, re.findall(r"\d+", ground))) < 60


def test_the_files_of_the_page_are_short_and_put_no_data_into_html():
    for path in (Path(__file__).parents[2] / "tfnlp/serving/page").iterdir():
        text = path.read_text("utf-8")
        assert len(text.splitlines()) < 400, path.name
        assert "innerHTML" not in text, path.name
