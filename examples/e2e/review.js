// Returns what is wrong with the page as it stands, as a list of sentences.
(() => {
  const faults = [];
  const expect = (ok, what) => { if (!ok) faults.push(what); };
  const all = (selector) => [...document.querySelectorAll(selector)];

  expect(document.documentElement.lang === "en", "no language");
  expect(all("h1").length === 1, all("h1").length + " headings of the first level");
  expect(document.title.startsWith(document.querySelector("h1").textContent), "the title is not the heading: " + document.title);
  expect(all(".button").length <= 1, all(".button").length + " primary buttons");
  expect(document.documentElement.scrollWidth <= innerWidth, "scrolls sideways: " + document.documentElement.scrollWidth + " > " + innerWidth);
  expect(all("[style], style, script:not([src])").length === 0, "inline style or script");
  expect(all("[data-action]").every((e) => e.matches(".button")), "a data-action that is not the primary button");

  // Colours, as they come out: [red, green, blue, alpha].
  const parse = (css) => {
    const n = css.match(/[\d.]+/g).map(Number);
    return [n[0], n[1], n[2], n.length > 3 ? n[3] : 1];
  };
  const over = (top, bottom) => [0, 1, 2].map((i) => top[i] * top[3] + bottom[i] * (1 - top[3])).concat(1);
  const backdrop = (e) => {
    if (!e) return matchMedia("(prefers-color-scheme: dark)").matches ? [18, 18, 18, 1] : [255, 255, 255, 1];
    const own = parse(getComputedStyle(e).backgroundColor);
    return own[3] === 1 ? own : over(own, backdrop(e.parentElement));
  };
  const luminance = (c) => {
    const [r, g, b] = c.slice(0, 3).map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (a, b) => {
    const [hi, lo] = [luminance(a), luminance(b)].sort((x, y) => y - x);
    return (hi + 0.05) / (lo + 0.05);
  };
  const visible = (e) => {
    const box = e.getBoundingClientRect();
    return e.checkVisibility() && box.width > 1 && box.height > 1 && box.right > 0;
  };

  // All text that can be seen: WCAG 2.2, 1.4.3. Disabled buttons are exempt there.
  const text = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const seen = new Set(all("input:not([type=hidden])"));
  while (text.nextNode()) if (text.currentNode.data.trim()) seen.add(text.currentNode.parentElement);
  for (const e of seen) {
    if (!visible(e) || e.closest("[disabled]")) continue;
    const ground = backdrop(e);
    const ratio = contrast(over(parse(getComputedStyle(e).color), ground), ground);
    expect(ratio >= 4.5, "contrast " + ratio.toFixed(2) + " of " + e.tagName + "." + e.className + " “" + e.textContent.trim().slice(0, 30) + "”");
    expect(parseFloat(getComputedStyle(e).fontSize) >= 12, "text is too small: " + e.textContent.trim().slice(0, 30));
  }

  // What can be used: edges and the ring of the focus (1.4.11), and sizes (2.5.8).
  for (const e of all("input:not([type=hidden]), .button, .plain, a[href], summary")) {
    if (!visible(e)) continue;
    const style = getComputedStyle(e), around = backdrop(e.parentElement), box = e.getBoundingClientRect();
    if (e.matches("input")) {
      const edge = contrast(parse(style.borderTopColor), around);
      expect(edge >= 3, "contrast " + edge.toFixed(2) + " of the edge of an input");
    }
    if (e.matches(".button")) {
      expect(box.height >= 44, "the primary button is " + box.height + " high");
      const face = contrast(backdrop(e), around);
      expect(face >= 3, "contrast " + face.toFixed(2) + " of the primary button");
    }
    if (e.matches(".plain, summary, .more a")) expect(box.height >= 24, e.textContent.trim() + " is " + box.height + " high");
  }
  const ring = getComputedStyle(document.documentElement).getPropertyValue("--focus").trim();
  const probe = document.createElement("span");
  probe.className = "focus-probe";
  document.body.append(probe);
  probe.style.color = ring;
  const focus = parse(getComputedStyle(probe).color);
  probe.remove();
  for (const ground of [backdrop(document.querySelector("main")), backdrop(document.body)]) {
    const ratio = contrast(focus, ground);
    expect(ratio >= 3, "contrast " + ratio.toFixed(2) + " of the focus ring");
  }
  return faults;
})()
