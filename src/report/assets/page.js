// Zooms and moves the overviews, and says what the mark under the pointer is. The page tells its story without this
// script; it only gives a closer look.
"use strict";
(() => {
  // Round instants to label, about eight, as the server side draws them.
  function ticks(from, to) {
    const rough = (to - from) / 8;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((round) => round * power).find((step) => step >= rough * 0.999999);
    const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    const marks = [];
    for (let number = Math.ceil(from / step); number * step <= to; number++) {
      marks.push([number * step, (number * step).toFixed(decimals) + "s"]);
    }
    return marks;
  }

  function svg(name, attributes) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  }

  for (const figure of document.querySelectorAll("figure.overview")) {
    const end = Number(figure.dataset.to);
    const plot = figure.querySelector("svg.plot");
    const left = Number(plot.getAttribute("x"));
    const [, , width, height] = plot.getAttribute("viewBox").split(" ").map(Number);
    const axis = figure.querySelector("g.axis .ticks");
    const labels = [...figure.querySelectorAll("[data-t]")].map((element) => {
      const y = /translate\(\S+ (\S+)\)/.exec(element.getAttribute("transform"))[1];
      return { element, y, from: Number(element.dataset.t), until: Number(element.dataset.until ?? element.dataset.t) };
    });
    const hatch = figure.querySelector("pattern");
    let view = [0, end];
    let zoomed = false;

    function draw() {
      const [from, to] = view;
      const place = (t) => left + ((t - from) / (to - from)) * width;
      plot.setAttribute("viewBox", `${(from / end) * width} 0 ${((to - from) / end) * width} ${height}`);
      hatch.setAttribute("patternTransform", `scale(${(to - from) / end} 1) rotate(45)`);
      for (const label of labels) {
        const seen = label.from <= to && label.until >= from;
        label.element.style.display = seen ? "" : "none";
        label.element.setAttribute("transform", `translate(${place(Math.max(label.from, from))} ${label.y})`);
      }
      axis.replaceChildren(...ticks(from, to).map(([t, text]) => {
        const tick = svg("g", { transform: `translate(${place(t)} 0)` });
        tick.append(svg("line", { y2: 5 }), Object.assign(svg("text", { y: 18 }), { textContent: text }));
        return tick;
      }));
    }

    function show(from, to) {
      const span = Math.min(end, Math.max(end / 20000, to - from));
      const start = Math.min(Math.max(0, from), end - span);
      view = [start, start + span];
      zoomed = span < end;
      draw();
    }

    function zoom(factor, centre) {
      const [from, to] = view;
      const at = centre ?? (from + to) / 2;
      show(at - (at - from) * factor, at + (to - at) * factor);
    }

    // Where on the time axis a pointer is.
    function instant(event) {
      const box = plot.getBoundingClientRect();
      const share = box.width ? (event.clientX - box.left) / box.width : 0.5;
      return view[0] + Math.min(1, Math.max(0, share)) * (view[1] - view[0]);
    }

    figure.addEventListener("wheel", (event) => {
      // A plain wheel scrolls the page, as everywhere.
      if (!event.ctrlKey && !event.metaKey && !event.shiftKey) return;
      event.preventDefault();
      zoom((event.deltaY || event.deltaX) > 0 ? 1.3 : 1 / 1.3, instant(event));
    }, { passive: false });

    let drag = null;
    const picture = figure.querySelector("svg.timeline");
    picture.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || event.target.closest("a")) return;
      drag = { x: event.clientX, view };
    });
    window.addEventListener("pointermove", (event) => {
      if (!drag || !zoomed) return;
      const perPixel = (drag.view[1] - drag.view[0]) / plot.getBoundingClientRect().width;
      const by = (drag.x - event.clientX) * perPixel;
      show(drag.view[0] + by, drag.view[1] + by);
    });
    window.addEventListener("pointerup", () => { drag = null; });
    picture.addEventListener("dblclick", (event) => zoom(0.25, instant(event)));

    figure.tabIndex = 0;
    figure.addEventListener("keydown", (event) => {
      const third = (view[1] - view[0]) / 3;
      const actions = {
        "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), "0": () => show(0, end),
        ArrowLeft: () => show(view[0] - third, view[1] - third), ArrowRight: () => show(view[0] + third, view[1] + third),
      };
      if (!actions[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      actions[event.key]();
    });

    const tools = document.createElement("div");
    tools.className = "tools";
    const button = (text, title, action) => {
      const element = document.createElement("button");
      Object.assign(element, { type: "button", textContent: text, title, ariaLabel: title });
      element.addEventListener("click", action);
      tools.append(element);
    };
    button("+", "zoom in", () => zoom(0.5));
    button("−", "zoom out", () => zoom(2));
    button("◀", "earlier", () => show(view[0] - (view[1] - view[0]) / 3, view[1] - (view[1] - view[0]) / 3));
    button("▶", "later", () => show(view[0] + (view[1] - view[0]) / 3, view[1] + (view[1] - view[0]) / 3));
    button("all", "the whole run", () => show(0, end));
    tools.append("Ctrl + wheel or double click zooms, drag moves; keys: + − 0 ← →. A number leads to its incident.");
    figure.prepend(tools);
  }

  // Marks of one look are one path, and what each says is in `data-told`, made of the patterns of its scene, each of
  // which is written with the first picture that has it: `marks.rs` writes both.
  const scenes = new Map();
  for (const { dataset } of document.querySelectorAll("svg.timeline[data-scene]")) {
    if (!scenes.has(dataset.scene)) scenes.set(dataset.scene, []);
    scenes.get(dataset.scene).push(...dataset.patterns.split("\n").filter((pattern) => pattern));
  }

  function texts(path) {
    const patterns = scenes.get(path.closest("svg.timeline").dataset.scene);
    const known = {};
    let pattern = 0;
    return path.dataset.told.split(",").map((told) => {
      const [number, ...words] = told.split(" ");
      if (number) pattern = Number(number);
      const same = known[pattern] ??= [];
      let at = 0;
      return patterns[pattern].replace(/\uFFFC/g, () => {
        const word = words[at] ?? "";
        // Nothing, or a `~` and a letter that says how much, stands for what is as in the text before.
        const as = word === "" ? Infinity : word[0] === "~" ? word.charCodeAt(1) - 97 : 0;
        same[at] = as ? (same[at] ?? "").slice(0, as) + word.slice(2) : word;
        return same[at++];
      });
    });
  }

  // Where the marks of a path are: bars begin where it goes on, signs stand where it turns.
  function places(path) {
    const signs = path.classList.contains("points");
    const found = [];
    let [x, y] = [0, 0];
    for (const [, command, numbers] of path.getAttribute("d").matchAll(/([Mmhl])([^Mmhl]*)/g)) {
      const [first, second = 0] = numbers.match(/-?(\d+(\.\d+)?|\.\d+)/g).map(Number);
      const goes = command !== "h";
      if (!signs && !goes) found.push({ x, y, width: first });
      if (command === "M") [x, y] = [0, 0];
      [x, y] = [x + first, y + second];
      if (signs) found.push({ x, y, width: 0 });
    }
    return found;
  }

  const known = new WeakMap();
  function marks(path) {
    if (!known.has(path)) {
      const said = texts(path);
      known.set(path, places(path).map((place, at) => ({ ...place, text: said[at] })));
    }
    return known.get(path);
  }

  // The mark under a pointer, of those that lie on each other the last that was drawn.
  function markUnder(picture, event) {
    for (const path of [...picture.querySelectorAll("[data-told]")].reverse()) {
      const matrix = path.getScreenCTM();
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix.inverse());
      const high = path.classList.contains("points") ? 6 : Number(path.getAttribute("stroke-width")) / 2;
      const near = path.classList.contains("points") ? 6 : 2 / matrix.a;
      let best = null;
      for (const mark of marks(path)) {
        const away = Math.max(mark.x - at.x, at.x - mark.x - mark.width, 0);
        if (!mark.text || Math.abs(at.y - mark.y) > high || away > near) continue;
        if (!best || away < best.away) best = { away, path, text: mark.text };
      }
      if (best) return best;
    }
    return null;
  }

  for (const picture of document.querySelectorAll("svg.timeline[data-scene]")) {
    let said = null;
    const unsay = () => {
      if (said?.was === null) said.title.remove();
      else if (said) said.title.textContent = said.was;
      said = null;
    };
    picture.addEventListener("pointermove", (event) => {
      unsay();
      const target = event.target;
      const mark = target.closest("a") ? null : markUnder(picture, event);
      if (!mark) return;
      let title = [...target.children].find((child) => child.localName === "title");
      // What has a text of its own and lies above says that.
      if (title && mark.path.compareDocumentPosition(target) & Node.DOCUMENT_POSITION_FOLLOWING) return;
      said = { title: title ?? svg("title", {}), was: title ? title.textContent : null };
      if (!title) target.prepend(said.title);
      said.title.textContent = mark.text;
    });
    picture.addEventListener("pointerleave", unsay);
  }

  // A lane's name says in every drawing what it says in the overview of the same scene.
  const lanes = new Map();
  const named = [...document.querySelectorAll("svg.timeline .lane-name")].map((name) => {
    const title = name.querySelector("title");
    const key = `${name.closest("svg.timeline").dataset.scene} ${name.firstChild.data}`;
    if (title) lanes.set(key, title);
    return [name, title, key];
  });
  for (const [name, title, key] of named) {
    if (!title && lanes.has(key)) name.append(lanes.get(key).cloneNode(true));
  }

  // A number in a drawing says what its step does.
  for (const number of document.querySelectorAll("svg.timeline a > .mark")) {
    const step = document.getElementById(number.parentElement.getAttribute("href").slice(1));
    if (!step) continue;
    const text = [".at", ".told"].map((part) => step.querySelector(part).textContent.trim()).join(" ");
    number.append(Object.assign(svg("title", {}), { textContent: text }));
  }

  // A link into something that is closed opens it; paper cannot be clicked, so printing opens all.
  const openTarget = () => {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    if (!target) return;
    let closed = false;
    for (let at = target.closest("details"); at; at = at.parentElement?.closest("details")) {
      closed ||= !at.open;
      at.open = true;
    }
    if (closed) target.scrollIntoView();
  };
  window.addEventListener("hashchange", openTarget);
  openTarget();
  window.addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details")) details.open = true;
  });
})();
