"use strict";
(function () {
  const root = document.documentElement;
  const read = (selector) => { const found = document.querySelector(selector); return found ? JSON.parse(found.textContent) : null; };
  const darkFor = read("script.dark");
  const steps = read("script.steps") || [];
  const facts = read("script.facts");
  const plots = [...document.querySelectorAll(".plot")];
  const ZERO_AT = 0.4; // where step 0 stands on a logarithmic axis
  const KINDS = ["right", "right value, another language's word", "wrong value", "other"];
  const page = window.mechxlPage = { steps, glide: 0, step: () => step, fact: () => fact, choose, chooseFact: (number) => facts && chooseFact(number), draw, plots, setTheme, csv, specOf };
  let step = steps.length ? steps[steps.length - 1] : null;
  let fact = 0;

  // ---- theme: the page's colours are CSS variables; figures are stored in light colours and translated
  const isDark = () => root.dataset.theme === "dark";
  function rgb(hex) { return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)).join(","); }
  const darkRgb = Object.fromEntries(Object.entries(darkFor).map(([light, dark]) => [rgb(light), rgb(dark)]));
  function colour(text) {
    if (darkFor[text.toUpperCase()]) return darkFor[text.toUpperCase()];
    const parts = /^rgba\((\d+),(\d+),(\d+),(.*)\)$/.exec(text.replace(/ /g, ""));
    const found = parts && darkRgb[parts.slice(1, 4).join(",")];
    return found ? `rgba(${found},${parts[4]})` : text;
  }
  function themed(value) {
    if (typeof value === "string") return value.length < 40 && isDark() ? colour(value) : value;
    if (Array.isArray(value)) return value.length > 400 ? value : value.map(themed);
    if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, themed(v)]));
    return value;
  }

  // ---- figures: drawn when they come near the screen
  const config = { responsive: true, displaylogo: false, displayModeBar: false };
  function specOf(plot) {
    plot.spec = plot.spec || JSON.parse(plot.querySelector("script").textContent);
    return plot.spec;
  }
  function draw(plot) {
    if (plot.drawn) return;
    plot.drawn = true;
    const spec = specOf(plot), title = plot.closest("figure, .panel");
    Plotly.newPlot(plot, themed(spec.data), themed(spec.layout), config).then(function () {
      if (spec.frames) Plotly.addFrames(plot, spec.frames);
      plot.on("plotly_click", (event) => clicked(plot, event));
      plot.on("plotly_sliderchange", (event) => choose(Number(event.step.args[0][0])));
      plot.ready = true;
      follow(plot);
    });
    if (title && title.id) plot.setAttribute("aria-labelledby", title.id + "-title");
    plot.setAttribute("role", "group");
  }
  function redraw(plot) {
    if (!plot.ready) return;
    const spec = specOf(plot);
    plot.shown = plot.pickedShown = undefined;
    Plotly.react(plot, themed(spec.data), themed(spec.layout), config).then(() => follow(plot));
  }
  const near = new IntersectionObserver((entries) => entries.forEach((entry) => entry.isIntersecting && draw(entry.target)), { rootMargin: "500px 0px" });
  const seen = new IntersectionObserver((entries) => entries.forEach(function (entry) {
    entry.target.seen = entry.isIntersecting;
    follow(entry.target);
  }), { rootMargin: "50px 0px" });
  plots.forEach((plot) => { near.observe(plot); seen.observe(plot); });
  let before = null, folded = []; // print in light colours, with every figure at the chosen checkpoint
  window.addEventListener("beforeprint", function () {
    before = root.dataset.theme;
    root.dataset.theme = "light";
    folded = [...document.querySelectorAll("details:not([open])")]; // all that unfolds is printed
    folded.forEach((one) => { one.open = true; open(one); });
    plots.forEach(function (plot) { plot.seen = true; if (plot.ready && before === "dark") redraw(plot); else draw(plot); follow(plot); });
  });
  window.addEventListener("afterprint", function () {
    root.dataset.theme = before;
    folded.forEach((one) => { one.open = false; });
    if (before === "dark") plots.forEach(redraw);
  });

  // ---- one checkpoint for all figures
  const nearest = (among, wanted) => among.reduce((best, one) => Math.abs(one - wanted) < Math.abs(best - wanted) ? one : best);
  function follow(plot) {
    if (!plot.ready || !plot.seen || step === null) return; // a figure out of sight follows once it is visible
    const layout = specOf(plot).layout, markers = plot.data.map((trace, at) => trace.mode === "markers" ? at : -1).filter((at) => at >= 0);
    if (plot.picked && plot.pickedShown !== fact && layout.meta && layout.meta.facts && markers.length) {
      plot.pickedShown = fact;
      Plotly.restyle(plot, { selectedpoints: [[fact]] }, markers);
    }
    if (plot.shown === step) return;
    plot.shown = step;
    if (layout.sliders && layout.sliders.length) { // the slider follows its frames
      const name = String(nearest(layout.sliders[0].steps.map((one) => Number(one.args[0][0])), step));
      const glide = plot.id === "plot-map" ? page.glide : 0; // dots move while the run plays
      Plotly.animate(plot, [name], { mode: "immediate", frame: { duration: glide, redraw: !glide }, transition: { duration: glide } });
    } else if (layout.meta && layout.meta.clock === "step") {
      const line = { color: getComputedStyle(root).getPropertyValue("--chosen").trim(), width: 1.5, dash: "dash" };
      const marks = Object.keys(layout).filter((key) => /^xaxis\d*$/.test(key) && layout[key].type === "log").map(function (key) {
        const number = key.slice(5);
        return { type: "line", xref: "x" + number, yref: "y" + number + " domain", x0: step || ZERO_AT, x1: step || ZERO_AT, y0: 0, y1: 1, line: line, layer: "below" };
      });
      Plotly.relayout(plot, { shapes: themed(layout.shapes || []).concat(marks) });
    }
  }
  function choose(wanted) {
    if (!steps.length) return;
    step = nearest(steps, wanted);
    const range = document.getElementById("checkpoint"), said = `step ${step.toLocaleString("en")}`;
    range.value = steps.indexOf(step);
    range.setAttribute("aria-valuetext", said);
    document.getElementById("step").textContent = said;
    plots.forEach(follow);
    tellFact();
    document.dispatchEvent(new CustomEvent("mechxl-step", { detail: step })); // the model's panel follows
  }
  function clicked(plot, event) {
    const meta = specOf(plot).layout.meta || {}, point = event.points[0];
    if (meta.facts) {
      const at = Array.isArray(point.pointNumber) ? point.pointNumber[0] : point.pointNumber;
      if (facts) chooseFact(at % meta.facts);
    } else if (meta.clock === "step") {
      choose(point.x === ZERO_AT ? 0 : Number(point.x));
    }
  }
  const range = document.getElementById("checkpoint");
  if (range) {
    let waiting = false;
    range.addEventListener("input", function () {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(function () { waiting = false; choose(steps[Number(range.value)]); });
    });
  }

  // ---- one fact in every language, with its answers over time
  function element(tag, text, properties) {
    const made = Object.assign(document.createElement(tag), properties || {});
    if (text !== undefined) made.textContent = text;
    return made;
  }
  function chooseFact(number) {
    fact = number;
    plots.forEach((plot) => { plot.picked = true; });
    document.getElementById("fact-choice").value = String(number);
    plots.forEach(follow);
    tellFact();
  }
  function tellFact() {
    if (!facts) return;
    const now = facts.steps.indexOf(nearest(facts.steps, step)), table = document.getElementById("fact-table");
    document.getElementById("fact-step").textContent = `answers at step ${facts.steps[now].toLocaleString("en")}`;
    const head = element("tr");
    ["language", "told", "sentence", "over training", "answer now"].forEach((name) => head.append(element("th", name, { scope: "col" })));
    const body = facts.languages.map(function (language, a) {
      const row = element("tr"), strip = element("td", undefined, { className: "strip" });
      facts.steps.forEach(function (at, place) {
        const kind = facts.kind[place][a][fact], word = facts.words[facts.word[place][a][fact]] || "no value";
        const said = `step ${at.toLocaleString("en")}: ${word} (${KINDS[kind]})`;
        const bar = element("button", undefined, { type: "button", title: said, className: `kind${kind}${place === now ? " now" : ""}`, tabIndex: place === now ? 0 : -1 });
        bar.setAttribute("aria-label", said);
        bar.addEventListener("click", () => choose(at));
        strip.append(bar);
      });
      const kind = facts.kind[now][a][fact], word = facts.words[facts.word[now][a][fact]] || "no value";
      row.append(element("td", language), element("td", facts.told[a][fact] ? "✓" : ""), element("td", facts.sentences[a][fact], { className: "sentence", lang: "und" }), strip, element("td", `${word} (${KINDS[kind]})`));
      return row;
    });
    table.replaceChildren(element("thead"), element("tbody"));
    table.tHead.append(head);
    table.tBodies[0].append(...body);
  }
  if (facts) {
    const choice = document.getElementById("fact-choice");
    facts.sentences[0].forEach((text, number) => choice.append(element("option", text, { value: String(number) })));
    choice.addEventListener("change", () => chooseFact(Number(choice.value)));
  }

  // ---- tables: built when opened, sorted by a click on a column's name, saved as CSV
  const FIRST = 100;
  const shown = (value) => value === null ? "–" : typeof value === "number" ? (Number.isInteger(value) ? value.toLocaleString("en") : String(Number(value.toPrecision(4)))) : String(value);
  function compare(a, b) {
    if (a === null || b === null) return (a === null) - (b === null); // missing values come last
    return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
  }
  function csv(content) {
    const safe = (text) => /^\s*[=+\-@\uFF1D\uFF0B\uFF0D\uFF20]|^[\t\r\n]/.test(text) ? "'" + text : text; // a spreadsheet must not take a text for a formula
    function quoted(value) {
      const text = value === null ? "" : typeof value === "string" ? safe(value) : String(value);
      return /[",;\t\n\r]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
    }
    const rows = content.values[0].map((_, row) => content.values.map((column) => quoted(column[row])).join(","));
    return [content.columns.map(quoted).join(","), ...rows].join("\r\n") + "\r\n";
  }
  function open(details) {
    if (details.table || !details.matches(".rows")) return;
    const content = JSON.parse(details.querySelector("script").textContent), n = content.values[0].length;
    let order = [...Array(n).keys()], by = -1, up = true, all = n <= FIRST;
    const tools = element("div", undefined, { className: "tools" }), count = element("span", "", { className: "quiet" });
    const save = element("button", "save as CSV", { type: "button" }), more = element("button", "show all rows", { type: "button", hidden: all });
    const scroll = element("div", undefined, { className: "scroll", tabIndex: 0 });
    const table = details.table = element("table"), head = element("tr"), body = element("tbody");
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", details.querySelector("summary").textContent);
    function fill() {
      const some = all ? order : order.slice(0, FIRST);
      body.replaceChildren(...some.map(function (row) {
        const line = element("tr");
        content.values.forEach((column) => line.append(element("td", shown(column[row]), { className: typeof column[row] === "number" ? "number" : "" })));
        return line;
      }));
      count.textContent = all ? "" : `${FIRST} of ${n.toLocaleString("en")} rows`;
      more.hidden = all;
    }
    content.columns.forEach(function (name, at) {
      const cell = element("th", undefined, { scope: "col" }), button = element("button", name, { type: "button" });
      button.addEventListener("click", function () {
        up = by === at ? !up : true;
        by = at;
        order.sort((a, b) => { const [x, y] = [content.values[at][a], content.values[at][b]]; return x === null || y === null || up ? compare(x, y) : compare(y, x); });
        [...head.children].forEach((other) => other.removeAttribute("aria-sort"));
        cell.setAttribute("aria-sort", up ? "ascending" : "descending");
        [...head.children].forEach((other, place) => { other.firstChild.textContent = content.columns[place] + (place === at ? (up ? " ▲" : " ▼") : ""); });
        fill();
      });
      cell.append(button);
      head.append(cell);
    });
    save.addEventListener("click", function () {
      const link = element("a", "", { href: URL.createObjectURL(new Blob(["\ufeff" + csv(content)], { type: "text/csv" })), download: `${details.dataset.file}.csv` });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
    more.addEventListener("click", () => { all = true; fill(); });
    table.append(element("thead"), body);
    table.tHead.append(head);
    tools.append(save, more, count);
    scroll.append(table);
    details.append(tools, scroll);
    fill();
  }
  document.querySelectorAll("details.rows").forEach((details) => details.addEventListener("toggle", () => details.open && open(details)));

  // ---- theme button
  const button = document.getElementById("theme");
  function label() { button.textContent = isDark() ? "light" : "dark"; button.setAttribute("aria-label", `Use the ${button.textContent} theme`); }
  function setTheme(theme) {
    if (theme !== root.dataset.theme) button.click();
  }
  button.addEventListener("click", function () {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("mechxl-theme", root.dataset.theme); } catch (none) { /* a file's storage may be closed */ }
    label();
    plots.forEach(redraw);
  });
  label();
  if (step !== null) choose(step);
})();
