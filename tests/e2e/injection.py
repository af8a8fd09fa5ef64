"""What somebody would try who got their text into a page of ours."""

from __future__ import annotations

from tests.e2e.browser import Tab

# Each way that worked is written down in `worked`. A script comes in all the ways in which a page can have one: as an
# element, as an attribute, from elsewhere, from text; and then the page would tell somebody else. What takes no plain
# text there is told that the text is trusted, so that each bar is tried by itself.
_TRY = """(async () => {
  window.worked = [];
  const attempt = (what) => { try { what(); } catch (refused) {} };
  const element = (name, more) => Object.assign(document.createElement(name), more);
  const trusted = trustedTypes.createPolicy('anything',
    {createHTML: text => text, createScript: text => text, createScriptURL: text => text});
  const script = (text) => trusted.createScript(text), html = (text) => trusted.createHTML(text);
  const address = (text) => trusted.createScriptURL(text);
  const add = (one) => document.body.append(one);
  attempt(() => add(element('script', {text: script("worked.push('inline script')")})));
  attempt(() => add(element('script', {src: address("data:text/javascript,worked.push('data')")})));
  attempt(() => add(element('script', {src: address(ELSEWHERE + "/script.js")})));
  const image = '<img src="data:," onerror="worked.push(`markup`)">';
  attempt(() => document.body.insertAdjacentHTML('beforeend', html(image)));
  attempt(() => { document.body.insertAdjacentHTML('beforeend', image); worked.push('plain text'); });
  attempt(() => { const button = element('button'); add(button);
    button.setAttribute('onclick', script("worked.push('attribute')")); button.click(); });
  attempt(() => { const link = element('a', {href: "javascript:worked.push('link')"}); add(link); link.click(); });
  attempt(() => setTimeout(script("worked.push('timer')"), 0));
  const framed = "<script>parent.worked.push('frame')</script>";
  attempt(() => add(element('iframe', {srcdoc: html(framed)})));
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
