"""What somebody would try who got their text into a page of ours."""

from __future__ import annotations

from tests.e2e.browser import Tab

# Each way that worked is written down in `worked`. A script comes in all the ways in which a page can have one: as an
# element, as an attribute, from elsewhere, from text; and then the page would tell somebody else.
_TRY = """(async () => {
  window.worked = [];
  const attempt = (what) => { try { what(); } catch (refused) {} };
  const element = (name, more) => Object.assign(document.createElement(name), more);
  const add = (one) => document.body.append(one);
  attempt(() => add(element('script', {text: "worked.push('inline script')"})));
  attempt(() => add(element('script', {src: "data:text/javascript,worked.push('script of data')"})));
  attempt(() => add(element('script', {src: ELSEWHERE + "/script.js"})));
  const image = '<img src="data:," onerror="worked.push(`markup`)">';
  attempt(() => document.body.insertAdjacentHTML('beforeend', image));
  attempt(() => { const button = element('button'); button.setAttribute('onclick', "worked.push('attribute')");
    add(button); button.click(); });
  attempt(() => { const link = element('a', {href: "javascript:worked.push('link')"}); add(link); link.click(); });
  attempt(() => setTimeout("worked.push('timer')", 0));
  const framed = "<script>parent.worked.push('frame')</script>";
  attempt(() => add(element('iframe', {srcdoc: framed})));
  attempt(() => { const style = element('style', {textContent: 'body { --got-in: 1 }'}); document.head.append(style);
    if (getComputedStyle(document.body).getPropertyValue('--got-in')) worked.push('style'); });
  await fetch(ELSEWHERE + '/told').then(() => worked.push('fetch'), () => undefined);
  await new Promise(done => setTimeout(done, 500));
  return window.worked;
})()"""


async def injected(tab: Tab, elsewhere: str) -> list[str]:
    """The ways that worked on the page in `tab`, which should be none. `elsewhere` is a server of somebody else that
    lets every page read what it answers."""
    found: list[str] = await tab.run(_TRY.replace("ELSEWHERE", repr(elsewhere)))
    return found
