//! What is asked of a page, as expressions that it evaluates itself: each has a list of what is wrong.

/// All texts whose contrast is below what WCAG 2 asks for (4.5, or 3 for large ones), by the colours as computed.
pub const CONTRAST: &str = r#"(() => {
  for (const details of document.querySelectorAll("details")) details.open = true;
  const parse = (text) => { const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number); return [r, g, b, a]; };
  const linear = (c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour[3] > 0.99) return colour;
    }
    return [255, 255, 255, 1];
  };
  const poor = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    // Texts in drawings lie on bars and bands, which this does not see.
    if (!node.data.trim() || !element.getClientRects().length || element.closest("svg, script, style")) continue;
    const style = getComputedStyle(element);
    const [one, other] = [light(parse(style.color)), light(ground(element))].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (other + 0.05);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.6 && style.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5)) poor.push(`${ratio.toFixed(2)} ${element.tagName}.${element.className}: ${node.data.trim().slice(0, 40)}`);
  }
  return [...new Set(poor)];
})()"#;

/// Whatever can be operated or stands for something and has no name.
pub const NAMELESS: &str = r#"(() => {
  const name = (element) => (element.getAttribute("aria-label") || element.textContent || element.value || "").trim();
  const labelled = (element) => element.labels?.length || element.getAttribute("aria-label");
  return [
    ...[...document.querySelectorAll("a, button, summary, th")].filter((e) => !name(e) && !(e.tagName === "TH" && e.cellIndex === 0)),
    ...[...document.querySelectorAll("svg[role]")].filter((e) => !e.getAttribute("aria-label")),
    ...[...document.querySelectorAll("input, select")].filter((e) => !labelled(e)),
    ...(document.documentElement.lang && document.title ? [] : [document.documentElement]),
  ].map((e) => e.outerHTML.slice(0, 120));
})()"#;

/// Links within the page that lead nowhere, and ids that stand twice.
pub const DANGLING: &str = r##"(() => {
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  return [
    ...[...document.querySelectorAll("a[href^='#']")].map((a) => a.getAttribute("href").slice(1)).filter((id) => !ids.includes(id)),
    ...ids.filter((id, at) => ids.indexOf(id) !== at),
  ];
})()"##;

/// Whatever reaches beyond the window and is not in something that scrolls.
pub const CUT_OFF: &str = r#"(() => {
  for (const details of document.querySelectorAll("details")) details.open = true;
  const scrolls = (e) => e.closest("pre, figure, .scroll, svg.defs");
  const wide = [...document.body.querySelectorAll("*")].filter((e) => !scrolls(e) && e.getClientRects().length
    && e.getBoundingClientRect().right > document.documentElement.clientWidth + 1);
  return wide.map((e) => `${e.tagName}.${e.className} ${Math.round(e.getBoundingClientRect().right)}: ${e.textContent.slice(0, 50)}`);
})()"#;
