"""The live view and the replay, in a real browser: Chromium, driven by playwright."""

from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import nbformat
import pytest
from browser import ROOT, SCREENSHOTS, jupyterlab, new_page
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from redisflow_lab import Message
from redisflow_lab.lab import Lab
from redisflow_lab.lab.recording.moment import Happening, Moment
from redisflow_lab.lab.recording.recording import Recording
from redisflow_lab.lab.views.replay import Replay, frame_element
from redisflow_lab.lab.views.replay_output import ReplayOutput
from redisflow_lab.lab.workshop.learner.copies import Copies

pytestmark = [pytest.mark.once, pytest.mark.slow, pytest.mark.usefixtures("process_server")]


@pytest.fixture(scope="module")
def act() -> Iterator[Recording]:
    """alice is killed with two entries, an hour passes, bob claims them, and one is trimmed."""
    lab = Lab("own")
    fields: Any = Message("web", "1 x Dune").to_fields()
    lab.record()
    for number in range(1, 6):
        lab.redis.xadd("orders", fields, id=f"{number}-0")
    lab.worker("alice", print, crash="before-ack", after=2, batch=3).wait_end()
    lab.age()
    lab.redis.xautoclaim("orders", "billing", "bob", 60_000)
    lab.redis.xtrim("orders", maxlen=4, approximate=False)
    yield lab.recording()
    lab.close()


@pytest.fixture
def page() -> Iterator[Any]:
    with new_page(viewport={"width": 960, "height": 900}, reduced_motion="reduce") as page:
        yield page


@pytest.fixture
def replay(act: Recording, page: Any, tmp_path: Path) -> Any:
    """The page of a replay, opened, at its first step."""
    file = tmp_path / "replay.html"
    Replay(act, "billing").save(file)
    page.goto(file.as_uri())
    return page


def scrub(page: Any, step: int) -> None:
    page.locator("#scrubber").fill(str(step))


def last_step(page: Any) -> int:
    return int(page.locator("#scrubber").get_attribute("max"))


def find_step(page: Any, said: str) -> int:
    """The first step whose caption says this."""
    for step in range(last_step(page) + 1):
        scrub(page, step)
        if said in page.locator("#caption").inner_text():
            return step
    raise AssertionError(f"no step says {said!r}")


def shape(page: Any, name: str) -> Any:
    return page.locator(f'[data-name="{name}"]')


def test_a_moment_shows_who_owns_what_and_the_commands_that_prove_it(replay: Any) -> None:
    find_step(replay, "alice is killed")
    assert shape(replay, "cross 0 alice").count() == 1
    assert shape(replay, "deliveries 2-0").inner_html() == "1 x"
    assert "2-0  alice" in replay.locator("#proof").inner_text()
    find_step(replay, "XAUTOCLAIM")
    assert shape(replay, "arc 2-0").count() == 1
    assert shape(replay, "deliveries 2-0").inner_html() == "2 x"
    assert "2-0  bob" in replay.locator("#proof").inner_text()
    scrub(replay, last_step(replay))
    assert shape(replay, "entry 1-0").get_attribute("class") == "gone"
    replay.screenshot(path=SCREENSHOTS / "replay.png", full_page=True)
    assert replay.complaints == []
    assert replay.requested == [replay.url]


def test_going_back_shows_what_was_there_before(replay: Any) -> None:
    def drawn() -> str:
        shapes = replay.locator("svg [data-name]").evaluate_all(
            "all => all.map(one => one.dataset.name + one.outerHTML).sort().join()"
        )
        return str(shapes)

    seen = []
    for step in range(last_step(replay) + 1):
        scrub(replay, step)
        seen.append(drawn())
    for step in range(last_step(replay), -1, -1):
        scrub(replay, step)
        assert drawn() == seen[step]


def test_everything_works_by_keyboard(replay: Any) -> None:
    position = replay.locator("#position")
    assert position.inner_text().startswith("step 1 of")
    replay.keyboard.press("Tab")  # Play
    replay.keyboard.press("Tab")  # Step back is disabled: Step
    replay.keyboard.press("Enter")
    assert position.inner_text().startswith("step 2 of")
    replay.locator("#scrubber").focus()
    replay.keyboard.press("ArrowRight")
    assert position.inner_text().startswith("step 3 of")
    replay.locator("#forward").focus()
    replay.keyboard.press("ArrowRight")
    assert position.inner_text().startswith("step 4 of")
    replay.keyboard.press("ArrowLeft")
    assert position.inner_text().startswith("step 3 of")
    replay.locator("#speed").select_option("4")
    replay.locator("#speed").press("ArrowLeft")
    assert position.inner_text().startswith("step 3 of")
    replay.locator("#speed").select_option("4")
    replay.locator("#play").focus()
    replay.keyboard.press("Enter")
    replay.wait_for_function("document.getElementById('forward').disabled", timeout=30_000)
    assert replay.locator("#play").inner_text() == "▶ Play"


def test_the_buttons_stay_where_they_are_while_it_plays(replay: Any) -> None:
    places = []
    for _ in range(2):
        places.append(replay.locator("#forward").bounding_box())
        replay.locator("#play").click()
    assert places[0] == places[1]


def test_it_plays_by_itself_unless_less_motion_is_wanted(
    act: Recording, page: Any, tmp_path: Path
) -> None:
    file = tmp_path / "replay.html"
    Replay(act, "billing").save(file)
    page.emulate_media(reduced_motion="no-preference")
    page.goto(file.as_uri())
    page.wait_for_function("document.getElementById('scrubber').value > 1", timeout=10_000)
    page.emulate_media(reduced_motion="reduce")
    page.goto(file.as_uri())
    assert page.locator("#play").inner_text() == "▶ Play"


@pytest.mark.parametrize("zoom", [1, 2])
def test_no_barrier_is_found(replay: Any, zoom: int) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    replay.set_viewport_size({"width": 960 // zoom, "height": 900 // zoom})
    find_step(replay, "XAUTOCLAIM")
    found = axe.Axe().run(replay)
    assert [violation["id"] for violation in found.response["violations"]] == []
    wide = replay.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0


def test_ten_thousand_moments_are_there_within_two_seconds(
    act: Recording, page: Any, tmp_path: Path
) -> None:
    state = act.moments[-1].state
    moments = [Moment(number / 100, state) for number in range(10_000)]
    happened = [Happening(number / 100, "command", f"no. {number}") for number in range(10_000)]
    file = tmp_path / "replay.html"
    Replay(Recording("orders", moments, happened), "billing").save(file)
    began = monotonic()
    page.goto(file.as_uri())
    shape(page, "entry 3-0").wait_for()
    assert monotonic() - began < 2
    assert "10,000 moments, shown in 1,000 steps" in page.locator("#notice").inner_text()


STILL = ".jp-Cell img"


@pytest.fixture
def chapter(act: Recording, tmp_path: Path) -> str:
    """The address of a saved notebook with a replay, as HTML."""
    output = ReplayOutput(act, "billing")
    html = frame_element(output._replay.html, 800)
    data, metadata = output.picture._repr_mimebundle_()
    outputs = [
        new_output("display_data", {"text/html": html}),
        new_output("display_data", data, metadata=metadata),
    ]
    notebook = new_notebook(cells=[new_code_cell("lab.replay()", outputs=outputs)])
    exporter = pytest.importorskip("nbconvert").HTMLExporter()
    file = tmp_path / "chapter.html"
    file.write_text(exporter.from_notebook_node(notebook)[0])
    return file.as_uri()


def test_a_saved_notebook_plays_without_a_kernel(page: Any, chapter: str) -> None:
    page.goto(chapter, wait_until="domcontentloaded")
    frame = page.frame_locator("iframe[title=Replay]")
    last = int(frame.locator("#scrubber").get_attribute("max"))
    frame.locator("#scrubber").fill(str(last))
    assert frame.locator("#caption").inner_text().startswith("XTRIM")
    assert page.locator(STILL).count() == 1


def test_the_still_picture_is_shown_only_where_the_replay_does_not_run(
    page: Any, chapter: str
) -> None:
    page.goto(chapter, wait_until="domcontentloaded")
    page.locator(STILL).wait_for(state="hidden", timeout=5_000)
    page.emulate_media(media="print")
    assert page.locator(STILL).is_visible()
    page.emulate_media(media="screen")
    page.locator("iframe[title=Replay]").evaluate("frame => frame.remove()")
    assert page.locator(STILL).is_visible()


def test_the_still_picture_stays_where_no_script_runs(chapter: str) -> None:
    with new_page(java_script_enabled=False) as page:
        page.goto(chapter, wait_until="domcontentloaded")
        assert page.locator("iframe[title=Replay]").is_visible()
        assert page.locator(STILL).is_visible()


def test_the_still_picture_stays_where_the_notebook_is_out_of_reach(
    page: Any, chapter: str, tmp_path: Path
) -> None:
    file = tmp_path / "sandboxed.html"
    html = (tmp_path / "chapter.html").read_text()
    file.write_text(html.replace("<iframe ", '<iframe sandbox="allow-scripts" '))
    page.goto(file.as_uri(), wait_until="domcontentloaded")
    page.frame_locator("iframe").locator("#position", has_text="step 1 of").wait_for()
    assert page.locator(STILL).is_visible()
    assert [said for said in page.complaints if "Failed to load" not in said] == []


def buttons_of(view: Any) -> dict[str, tuple[float, float]]:
    """Where each button is, from the upper left corner of the view."""
    corner = view.bounding_box()
    buttons = view.get_by_role("button").all()
    boxes = {button.inner_text(): button.bounding_box() for button in buttons}
    return {
        text: (round(box["x"] - corner["x"]), round(box["y"] - corner["y"]))
        for text, box in boxes.items()
    }


LIVE = new_notebook(
    cells=[
        new_markdown_cell("# Live\n\n" + "Text.\n\n" * 12),
        new_code_cell("from redisflow_lab.lab import Lab\n\nlab = Lab('own')"),
        new_code_cell("lab.live()"),
        new_markdown_cell("Text.\n\n" * 40),
    ],
    metadata={
        "kernelspec": {
            "display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3",
        }
    },
)  # fmt: skip


def test_buttons_publish_start_kill_and_claim_and_the_page_does_not_jump(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    nbformat.write(LIVE, tmp_path / "live.ipynb")
    size = {"width": 1300, "height": 900}
    with jupyterlab(tmp_path) as address, new_page(viewport=size) as page:
        page.goto(f"{address}/lab/tree/live.ipynb")
        page.locator(".jp-NotebookPanel .jp-Cell").first.wait_for(timeout=60_000)
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=60_000)
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        view = page.locator(".redisflow-live")
        view.wait_for(timeout=60_000)
        view.scroll_into_view_if_needed()
        begins = view.bounding_box()
        jumps = []
        assert not view.locator("pre").is_visible()  # nothing has been called
        assert begins["height"] <= 600
        places = buttons_of(view)
        assert len({y for _, y in places.values()}) == 2

        def press(button: str, then: str) -> None:
            view.get_by_role("button", name=button, exact=True).click()
            shape(page, then).first.wait_for(state="attached", timeout=15_000)
            jumps.append(abs(view.bounding_box()["y"] - begins["y"]))

        press("Publish an order", "stream")
        for _ in range(4):
            press("Publish an order", "stream")
        press("Start alice", "name alice")
        shape(page, "cursor").wait_for(state="attached")
        press("Kill alice", "cross 0 alice")
        page.screenshot(path=SCREENSHOTS / "killed.png")
        press("Let an hour pass", "name alice")
        view.get_by_role("button", name="Let carol claim", exact=True).click()
        page.locator('[data-name^="arc "]').first.wait_for(state="attached", timeout=15_000)
        page.screenshot(path=SCREENSHOTS / "claimed.png")
        press("Kill the server", "trouble")
        press("Start the server", "cursor")
        assert "lab.age()" in view.locator("pre").inner_text()
        assert max(jumps) <= 20
        assert buttons_of(view) == places
        assert [said for said in page.complaints if "favicon" not in said] == []
        assert [
            url for url in page.requested if address not in url and not url.startswith("data:")
        ] == []


@pytest.mark.parametrize(
    ("chapter", "ends_on"),
    [("03_offline_persistence", "alice"), ("04_crash_before_ack", "alice is killed (SIGKILL)")],
)
def test_a_chapter_of_the_learners_copy_runs_in_jupyterlab(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chapter: str, ends_on: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    Copies(ROOT / "notebooks", tmp_path / "work").update()
    size = {"width": 1300, "height": 1000}
    with jupyterlab(tmp_path / "work") as address, new_page(viewport=size) as page:
        page.goto(f"{address}/lab/tree/{chapter}.ipynb")
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=60_000)
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        replay = page.frame_locator("iframe[title=Replay]")
        replay.locator("#scrubber").wait_for(timeout=120_000)
        page.screenshot(path=SCREENSHOTS / f"{chapter[:2]}.png")
        scrub(replay, last_step(replay))
        assert ends_on in replay.locator("body").inner_text()
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=60_000)
        assert [said for said in page.complaints if "favicon" not in said] == []
        assert [
            url for url in page.requested if address not in url and not url.startswith("data:")
        ] == []
