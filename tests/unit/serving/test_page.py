"""The page in a real browser: recommend, like, the list changes, similar items; also at the width of a phone."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect
from tests.support.waiting import PATIENCE_S
from tests.unit.serving.live import save, served

PHONE = {"width": 375, "height": 740}


@pytest.fixture
def client(tmp_path):
    with served(save(tmp_path, "first"), tmp_path) as client:
        yield client


@pytest.fixture
def page(browser, client):
    """A page of the service that must leave no error in its console and ask nobody else."""
    said, foreign = [], []
    page = browser.new_page(base_url=str(client.base_url))
    page.set_default_timeout(1000 * PATIENCE_S)
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda r: None if r.url.startswith(str(client.base_url)) else foreign.append(r.url))
    yield page
    assert not said
    assert not foreign
    page.close()


def titles(page, where="#list"):
    return page.locator(f"{where} .title").all_text_contents()


def test_choose_a_user_like_and_watch_the_list_change(page):
    page.goto("/")
    expect(page.get_by_role("status")).to_contain_text("first@")
    page.get_by_label("User").fill("u1")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("#list li")).to_have_count(10)
    expect(page.locator("#explanation")).to_contain_text("8 events of the history")
    expect(page.locator("#history li")).to_have_count(8)
    before = titles(page)
    expect(page.locator("#list li").first.locator(".why")).to_contain_text("Because of Title")
    page.get_by_role("button", name=f"Like: {before[0]}").click()
    expect(page.locator("#history li")).to_have_count(9)
    expect(page.locator("#history li").first).to_have_text(before[0])
    after = titles(page)
    assert before[0] not in after
    page.get_by_role("button", name=f"Skip: {after[0]}").click()
    expect(page.locator("#list .title").first).not_to_have_text(after[0])
    expect(page.locator("#history li")).to_have_count(9)
    page.get_by_text("The model", exact=True).click()
    expect(page.locator("#about")).to_contain_text('"name": "ease"')
    expect(page.locator("#latency")).to_contain_text("ms by first@")


def test_an_invented_user_starts_from_what_is_popular(page):
    page.goto("/")
    page.get_by_role("button", name="Invent one").click()
    expect(page.locator("#explanation")).to_contain_text("Nothing is known")
    expect(page.locator("#list li").first.locator(".why")).to_contain_text("fallback:popular")
    page.get_by_label("Title", exact=True).fill("title 7")
    page.get_by_role("button", name="Find").click()
    page.get_by_role("button", name="Like: Title 7").click()
    expect(page.locator("#explanation")).to_contain_text("From 1 event of the history")
    assert all(int(title.split()[1]) % 2 for title in titles(page))


def test_similar_items_and_a_link_to_a_user(page):
    page.goto("/?user=u2")
    expect(page.locator("#list li")).to_have_count(10)
    first = titles(page)[0]
    page.get_by_role("button", name=f"Similar: {first}").first.click()
    expect(page.get_by_role("heading", name=f"Similar to {first}")).to_be_visible()
    expect(page.locator("#alike li").first.locator(".why")).to_contain_text("similarity")
    assert first not in titles(page, "#alike")


def test_a_phone_shows_all_of_it_without_scrolling_sideways(page):
    page.set_viewport_size(PHONE)
    page.goto("/?user=u3")
    expect(page.locator("#list li")).to_have_count(10)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    heights = page.locator("button:visible").evaluate_all(
        "all => all.map(b => b.getBoundingClientRect().height)"
    )
    assert min(heights) >= 32


def test_titles_are_text_and_never_code(page, client):
    client.post(
        "/items", json={"items": [{"item_id": "i9", "metadata": {"title": "<img src=x onerror=alert(1)>"}}]}
    )
    page.goto("/?user=u4")
    client.put("/admin/rules", json={"text": "rules: [{pin: {item: i9, slot: 1}}]"})
    page.goto("/?user=u4")
    expect(page.locator("#list .title").first).to_have_text("<img src=x onerror=alert(1)>")


def test_the_documentation_is_whole_and_tries_a_request(page):
    """Without the network: ``page`` looks that nobody else is asked and that the security policy blocks nothing."""
    page.goto("/docs")
    page.get_by_role("button", name="GET /items/{item_id}").first.click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_placeholder("item_id").fill("i3")
    page.get_by_role("button", name="Execute").click()
    expect(page.locator(".live-responses-table td.response-col_status").last).to_contain_text("200")
    expect(page.locator(".live-responses-table .highlight-code").first).to_contain_text("Title 3")


ATTACKS = """async ([base]) => {
    const body = JSON.stringify({user_id: "victim", item_id: "i1", feedback: "like"});
    const send = (path, options) => fetch(base + path, {mode: "no-cors", ...options}).catch(() => null);
    await send("/feedback", {method: "POST", body, headers: {"Content-Type": "text/plain"}});
    await send("/feedback", {method: "POST", body: new Blob([body])});
    await send("/feedback?user_id=victim&item_id=i1&feedback=like", {method: "POST"});
    await send("/users/victim/recommendations");
    await new Promise((done) => { const image = new Image(); image.onerror = image.onload = done;
        image.src = base + "/users/victim/recommendations"; });
}"""


def test_a_page_of_another_origin_changes_nothing(browser, client):
    page = browser.new_page()
    page.set_default_timeout(1000 * PATIENCE_S)
    page.route(
        "http://evil.example/", lambda route: route.fulfill(content_type="text/html", body="<title>x</title>")
    )
    page.goto("http://evil.example/")
    page.evaluate(ATTACKS, [str(client.base_url)])
    page.evaluate("""([base]) => {
        const form = document.createElement("form");
        form.method = "post"; form.action = base + "/feedback?user_id=victim&item_id=i1&feedback=like";
        document.body.append(form); form.submit();
    }""", [str(client.base_url)])  # fmt: skip
    page.wait_for_url(f"{client.base_url}/**")
    assert '"status":4' in page.content()
    assert client.get("/users/victim/history").json()["events"] == []
    answers = re.findall(
        r'^recsmith_answers_total\{from="model"\} (\S+)$', client.get("/metrics").text, re.MULTILINE
    )
    assert sum(map(float, answers)) == 0  # no list was made, so none is logged
    page.close()


def test_a_service_that_wants_a_key_asks_for_it(browser, tmp_path):
    from recsmith.serving.store import Store

    url = f"sqlite:///{tmp_path}/events.db"
    store = Store.open(url)
    secret = store.add_key("page", "writer")
    store.close()
    with served(save(tmp_path, "first"), tmp_path, store_url=url, auth="keys") as client:
        page = browser.new_page(base_url=str(client.base_url))
        page.set_default_timeout(1000 * PATIENCE_S)
        page.goto("/?user=u1")
        expect(page.get_by_role("alert")).to_contain_text("X-API-Key")
        page.get_by_label("API key").fill(secret)
        page.get_by_role("button", name="Show").click()
        expect(page.locator("#list li")).to_have_count(10)
        page.close()
