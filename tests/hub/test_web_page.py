"""Web pages in place of files."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from hubserve.hub.web_page import Form, read_page

URL = "https://files.example/a/page"


def test_title_text_and_forms():
    page = read_page(
        "<title>A &amp; B</title><style>p { color: red }</style><p>Some\n  text</p><script>let x = '<form>'</script>"
        "<input name=outside value=1><form action='../get?x=1'><input type=hidden name=id value='a&quot;b'><input type=submit>"
        "<input name=empty></form>",
        url=URL,
    )
    assert (page.title, page.text) == ("A & B", "Some text")
    assert page.forms == (Form("https://files.example/get?x=1", {"id": 'a"b', "empty": ""}),)
    assert page.summary == "'A & B' from files.example"


def test_a_page_without_a_title_is_summarised_by_its_text():
    assert read_page("<p>" + "word " * 40, url=URL).summary == f"{('word ' * 20)!r}"[:-1] + "...' from files.example"


@given(html=st.text(max_size=60) | st.text(alphabet="<>!-/[]=\"'& formtileinputacd", max_size=60))
@example("<![bad")
@example("<form action='//['>")
def test_any_text_is_a_page(html):
    page = read_page(html, url=URL)
    assert isinstance(page.summary, str)
